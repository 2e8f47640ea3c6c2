//! Programs that live on changes: nobody misses one, nobody holds up another, and whoever cannot be
//! brought up to date is told so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::old_leads;
use crate::agent::{PATIENCE, Place};
use crate::sim::http;

/// How many may wait for changes, as README has it.
const PLACES: usize = 32;

/// A stream of changes that is being read.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens one; `None` when the daemon is away.
    fn open(local: SocketAddr, query: &str, accept: &str, last: Option<u64>) -> Option<Stream> {
        let mut stream = TcpStream::connect(local).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /changes{query} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut stream = Stream(BufReader::new(stream));
        let status = stream.line()?;
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        while !stream.line()?.is_empty() {}
        Some(stream)
    }

    /// The next line; `None` when the stream has ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("a stream stands still: {error}"),
        }
    }

    /// The next change, of either kind of stream; `None` when the stream has ended.
    fn change(&mut self) -> Option<Value> {
        loop {
            let line = self.line()?;
            let json = line.strip_prefix("data: ").unwrap_or(&line);
            if json.starts_with("{\"sequence\"") {
                return Some(serde_json::from_str(json).unwrap());
            }
        }
    }
}

fn sequence(change: &Value) -> u64 {
    change["sequence"].as_u64().unwrap()
}

/// The sequences of an answer of `/changes`, and how far it reaches; `None` when nobody answers.
fn ask(local: SocketAddr, target: &str) -> Option<(Vec<u64>, u64)> {
    let heard = http(local, "GET", target, &[], b"").ok().filter(|heard| heard.status != 503)?;
    assert_eq!(heard.status, 200, "{target}: {}", heard.text());
    let document = heard.value();
    let changes = document["changes"].as_array().unwrap().iter().map(sequence).collect();
    Some((changes, document["last_sequence"].as_u64().unwrap()))
}

/// All sequences through `last`, as a reader of each kind hears of them. It reconnects when a
/// stream ends, and sometimes by itself.
fn hear(kind: usize, local: SocketAddr, last: u64, restarts: bool) -> Vec<u64> {
    let (mut heard, mut since) = (Vec::new(), 0);
    let began = Instant::now();
    while since < last {
        assert!(began.elapsed() < 3 * PATIENCE, "reader {kind} stands at {since}");
        let pause = || thread::sleep(Duration::from_millis(5));
        if kind < 2 {
            let wait = ["", "&wait=20"][kind];
            match ask(local, &format!("/changes?since={since}&limit=7{wait}")) {
                Some((changes, reached)) => {
                    heard.extend(changes);
                    since = reached;
                }
                None => assert!(restarts, "nobody answers"),
            }
            pause();
            continue;
        }
        let stream = match kind {
            2 => Stream::open(local, &format!("?since={since}"), "application/x-ndjson", None),
            // A browser asks the same again, and says how far it has come.
            _ => Stream::open(local, "?since=0", "text/event-stream", Some(since)),
        };
        let Some(mut stream) = stream else {
            assert!(restarts, "nobody answers");
            pause();
            continue;
        };
        for _ in 0..40 {
            let Some(change) = stream.change() else { break };
            since = sequence(&change);
            heard.push(since);
            if since >= last {
                break;
            }
        }
    }
    heard
}

/// Changes the records one after another, several times over.
fn burst(place: &Place, ids: &[u64], rounds: usize) {
    for round in 0..rounds {
        for id in ids {
            place.upstream().edit("Leads", *id, &[("Phone", &format!("\"{round}\""))]);
            place.carry();
        }
    }
}

#[test]
fn every_change_is_heard_once_and_in_order_by_every_kind_of_reader() {
    let mut place = Place::new("feed-burst");
    let ids = old_leads(&mut place.upstream(), 30);
    place.begin();
    let first = place.status()["sequence"].as_u64().unwrap();
    let local = place.local;
    // A change may be fetched together with the next one of its record: none is counted here.
    let done = AtomicBool::new(false);
    let heard = thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || hear(number % 4, local, first + 60, false)))
            .collect();
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) && round < 400 {
                burst(&place, &ids, 1);
                round += 1;
            }
        });
        let heard: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        done.store(true, Ordering::Relaxed);
        heard
    });
    for (number, heard) in heard.into_iter().enumerate() {
        let heard = heard.unwrap();
        let all: Vec<u64> = (1..=*heard.last().unwrap()).collect();
        assert_eq!(heard, all, "reader {number}");
    }
    place.until_settled();
}

#[test]
fn readers_go_on_after_the_daemon_was_restarted() {
    let mut place = Place::new("feed-restart");
    let ids = old_leads(&mut place.upstream(), 5);
    place.begin();
    let first = place.status()["sequence"].as_u64().unwrap();
    let local = place.local;
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..4).map(|kind| scope.spawn(move || hear(kind, local, first + 20, true))).collect();
        for _ in 0..2 {
            burst(&place, &ids, 1);
            place.until_settled();
            let (code, _) = place.stop();
            assert_eq!(code, Some(0));
            place.begin();
        }
        while readers.iter().any(|reader| !reader.is_finished()) {
            burst(&place, &ids, 1);
        }
        for (kind, reader) in readers.into_iter().enumerate() {
            let heard = reader.join().unwrap();
            let all: Vec<u64> = (1..=*heard.last().unwrap()).collect();
            assert_eq!(heard, all, "reader {kind}: a clean end gives no number up");
        }
    });
}

/// What a kill takes back was told under numbers that are not given again; and whoever heard of it
/// hears what became of it, or that it has to begin anew.
#[test]
fn after_a_kill_no_number_stands_for_something_else() {
    let mut place = Place::new("feed-kill");
    let ids = old_leads(&mut place.upstream(), 4);
    place.begin();
    let mut told = BTreeMap::new();
    for round in 0..4 {
        let id = place.upstream().create("Leads", &[("Last_Name", "\"Short\"")]);
        place.carry();
        place.until("it is here", |place| place.record("Leads", id).map(drop));
        tell(&place, &mut told);
        let last = *told.keys().next_back().unwrap();
        // It goes while nobody looks, and no callback says so.
        place.kill();
        place.upstream().delete("Leads", id);
        drop(place.upstream().take_callbacks());
        place.begin();
        place.ask("POST", "/sync", &[]);
        place.until("it is gone", |place| place.record("Leads", id).is_none().then_some(()));
        let text = format!("\"{round}\"");
        place.upstream().edit("Leads", ids[0], &[("Phone", &text)]);
        place.carry();
        place.until_reads("Leads", ids[0], "Phone", &text);
        let begins_anew = place.until("its reader knows", |place| {
            let heard = place.get(&format!("/changes?since={last}&ids={id}"));
            let gone = heard.text().contains("\"kind\":\"delete\"");
            (gone || heard.status == 410).then_some(!gone)
        });
        println!("round {round}: after {last}, begins anew: {begins_anew}");
        tell(&place, &mut told);
    }
}

/// Adds what is told now; no number may stand for two changes.
fn tell(place: &Place, told: &mut BTreeMap<u64, String>) {
    for change in place.get("/changes?limit=1000").value()["changes"].as_array().unwrap() {
        let text = change.to_string();
        let earlier = told.insert(sequence(change), text.clone());
        assert!(earlier.as_ref().is_none_or(|earlier| *earlier == text), "{earlier:?}, {text}");
    }
}

#[test]
fn those_who_wait_are_few_and_apart() {
    let mut place = Place::new("feed-places");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    let local = place.local;
    let open = || Stream::open(local, "?since=now", "text/event-stream", None).unwrap();
    let mut streams: Vec<Stream> = (0..PLACES - 1).map(|_| open()).collect();
    // The last waits for what does not come. Whoever looks for a place takes it for a moment: when
    // that was before the last had it, the last asks again.
    let mut last = waiting(local);
    place.until("all places are taken", |place| {
        if is_answered(&last) {
            last = waiting(local);
        }
        (stream_status(place) == 503 && !is_answered(&last)).then_some(())
    });
    let held = place.get("/changes?since=now&wait=60");
    assert_eq!((held.status, held.header("retry-after").is_some()), (503, true));
    // Whoever does not wait is served as ever, and so are callbacks.
    for number in 0..20 {
        assert_eq!(place.get("/changes?since=now").status, 200);
        let text = format!("\"{number}\"");
        place.upstream().edit("Leads", ids[0], &[("Phone", &text)]);
        place.carry();
        let committed = Instant::now();
        place.until_reads("Leads", ids[0], "Phone", &text);
        for stream in &mut streams {
            assert_eq!(stream.change().unwrap()["id"], ids[0].to_string());
        }
        if number == 0 {
            println!("all were told within {:?} of the callback", committed.elapsed());
        }
    }
    drop(streams.pop());
    place.until("a place is free", |place| (stream_status(place) == 200).then_some(()));
    // SIGTERM waits for none of them.
    let (code, took) = place.stop();
    println!("with {} streams open: ended after {} ms", streams.len(), took.as_millis());
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
    streams.iter_mut().for_each(|stream| assert!(stream.change().is_none(), "it has ended"));
    drop(last);
}

/// Asks for a change that does not come, and can wait for it.
fn waiting(local: SocketAddr) -> TcpStream {
    let mut waiting = TcpStream::connect(local).unwrap();
    waiting.write_all(b"GET /changes?wait=60&ids=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    waiting
}

/// Whether an answer came, or comes soon.
fn is_answered(asked: &TcpStream) -> bool {
    asked.peek(&mut [0]).is_ok()
}

/// With which status a stream begins; it is left at once.
fn stream_status(place: &Place) -> u16 {
    let mut stream = TcpStream::connect(place.local).unwrap();
    let head = "GET /changes HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    std::str::from_utf8(&status[9..]).unwrap().parse().unwrap()
}

#[test]
fn a_stream_of_what_seldom_changes_is_not_silent_and_says_how_far_it_is() {
    let mut place = Place::new("feed-quiet");
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    let local = place.local;
    let query = format!("?since=now&ids={}", ids[1]);
    let mut events = Stream::open(local, &query, "text/event-stream", None).unwrap();
    let mut lines = Stream::open(local, &query, "application/x-ndjson", None).unwrap();
    let first: Vec<String> = (0..3).map(|_| events.line().unwrap()).collect();
    assert_eq!(first, ["retry: 2000", &format!("id: {}", place.status()["sequence"]), ""]);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    let last = place.status()["sequence"].to_string();
    let told: Vec<String> = (0..3).map(|_| events.line().unwrap()).collect();
    assert_eq!(told, [": nothing new", &format!("id: {last}"), ""]);
    assert_eq!(lines.line().unwrap(), format!("{{\"last_sequence\":{last}}}"));
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"2\"")]);
    place.carry();
    let heard: BTreeSet<String> =
        [&mut events, &mut lines].map(|stream| stream.change().unwrap()["id"].to_string()).into();
    assert_eq!(heard, [format!("\"{}\"", ids[1])].into());
}
