//! How soon readers of `/changes` are told of a change after its callback was answered, beside how
//! soon it can be read at all.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::home::lock;
use super::lag::{self, APART, announce};
use super::reads::RECORD_BYTES;
use super::wire::{Wire, get};

/// A change that has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time for the agent to see that readers are gone: only so many may listen at once.
const PARTING: Duration = Duration::from_millis(200);
const READERS: [usize; 3] = [1, 8, 32];

/// How a reader listens.
#[derive(Clone, Copy)]
enum Manner {
    Stream,
    LongPoll,
}

/// A change that a reader was told of.
struct Told {
    id: u64,
    at: Instant,
}

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, bench.many(), RECORD_BYTES, &[])?;
    let columns = ["from the answer until the last of them has it", "p50 ms", "spread", "p99 ms"];
    let mut table = Table::new(format!("A change is told, of {} records", ids.len()), &columns);
    let mut polled = Vec::new();
    for _ in 0..bench.repetitions {
        polled.push(lag::repeat(&mut stage, &ids, bench.rounds, 1, APART)?.0);
    }
    table.row(row("1 reader who reads it again and again", &polled));
    let asked: io::Result<Vec<Sample>> =
        (0..bench.repetitions).map(|_| ask_upstream(bench, &stage, &ids)).collect();
    table.row(row("floor: upstream's answer to the fetch", &asked?));
    for (name, manner) in [("event stream", Manner::Stream), ("long poll", Manner::LongPoll)] {
        for readers in READERS {
            let samples: io::Result<Vec<Sample>> = (0..bench.repetitions)
                .map(|_| repeat(bench, &stage, &ids, manner, readers))
                .collect();
            table.row(row(&format!("{name}, {readers}"), &samples?));
        }
    }
    stage.stop()?;
    Ok(table)
}

fn row(name: &str, samples: &[Sample]) -> Vec<String> {
    let p50 = Figure::of(samples, |sample| sample.percentile(50));
    let p99 = Figure::of(samples, |sample| sample.percentile(99));
    vec![name.to_owned(), p50.median(), p50.spread(), p99.median()]
}

/// How long the simulator takes to show one record: so much of the time is not ours.
fn ask_upstream(bench: &Bench, stage: &Stage, ids: &[u64]) -> io::Result<Sample> {
    let token = lock(&stage.upstream).issue_token();
    let mut wire = Wire::connect(stage.loopback.addr())?;
    let (mut latencies, began) = (Vec::new(), Instant::now());
    for _ in 0..bench.rounds {
        let id = ids[fastrand::usize(..ids.len())];
        let request = format!(
            "GET /crm/v2/Leads?ids={id} HTTP/1.1\r\nAuthorization: Zoho-oauthtoken {token}\r\n\r\n"
        );
        let asked = Instant::now();
        let status = wire.ask(request.as_bytes())?;
        latencies.push(asked.elapsed());
        if status != 200 {
            return Err(io::Error::other(format!("the simulator answers {status}")));
        }
        thread::sleep(APART);
    }
    Ok(Sample::new(latencies, began.elapsed()))
}

fn repeat(
    bench: &Bench,
    stage: &Stage,
    ids: &[u64],
    manner: Manner,
    readers: usize,
) -> io::Result<Sample> {
    let (tell, told) = mpsc::channel();
    let local = stage.home.local;
    let mut listening = Vec::new();
    for _ in 0..readers {
        let (tell, ready) = (tell.clone(), mpsc::channel());
        listening.push(thread::spawn(move || match manner {
            Manner::Stream => stream(local, &tell, &ready.0),
            Manner::LongPoll => poll(local, &tell, &ready.0),
        }));
        let failed = |_| io::Error::other("a reader of /changes was not let in");
        ready.1.recv_timeout(PATIENCE).map_err(failed)?;
    }
    let mut caller = Wire::connect(stage.home.callbacks)?;
    let (mut latencies, began) = (Vec::new(), Instant::now());
    for _ in 0..bench.rounds {
        let id = ids[fastrand::usize(..ids.len())];
        let phone = format!("\"{:016x}\"", fastrand::u64(..));
        let answered = announce(stage, &mut caller, id, &phone)?;
        latencies.push(wait_for(&told, id, readers)?.saturating_duration_since(answered));
        thread::sleep(APART);
    }
    let sample = Sample::new(latencies, began.elapsed());
    // With one more change they find out that nobody hears them any more.
    drop(told);
    announce(stage, &mut caller, ids[0], &format!("\"{:016x}\"", fastrand::u64(..)))?;
    for listener in listening {
        listener.join().expect("a reader does not panic")?;
    }
    thread::sleep(PARTING);
    Ok(sample)
}

/// When the last of so many readers was told of this id.
fn wait_for(told: &Receiver<Told>, id: u64, readers: usize) -> io::Result<Instant> {
    let mut last = None;
    let mut missing = readers;
    while missing > 0 {
        let never = |_| io::Error::other(format!("{missing} readers never heard of {id}"));
        let Told { id: of, at } = told.recv_timeout(PATIENCE).map_err(never)?;
        if of == id {
            missing -= 1;
            last = last.max(Some(at));
        }
    }
    last.ok_or_else(|| io::Error::other("nobody listens"))
}

/// Reads server-sent events; the chunks they come in are of no interest.
fn stream(local: SocketAddr, tell: &Sender<Told>, ready: &Sender<()>) -> io::Result<()> {
    let mut stream = TcpStream::connect(local)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        b"GET /changes?since=now HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
    )?;
    let (mut text, mut piece) = (String::new(), [0; 8 << 10]);
    loop {
        let count = stream.read(&mut piece)?;
        let at = Instant::now();
        if count == 0 {
            return Ok(());
        }
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        if text.contains("retry:") {
            // The sequence to go on from: changes are heard from here on.
            let _ = ready.send(());
            text.clear();
        }
        while let Some((event, rest)) = text.split_once("\n\n") {
            let id = event.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"'));
            if let Some(id) = id.and_then(|(id, _)| id.parse().ok()) {
                if tell.send(Told { id, at }).is_err() {
                    return Ok(());
                }
            }
            text = rest.to_owned();
        }
    }
}

/// Asks for what comes next, again and again.
fn poll(local: SocketAddr, tell: &Sender<Told>, ready: &Sender<()>) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Changes {
        changes: Vec<Change>,
        last_sequence: u64,
    }
    #[derive(Deserialize)]
    struct Change {
        id: String,
    }
    let mut wire = Wire::connect(local)?;
    let (mut since, mut wait) = ("now".to_owned(), 0);
    loop {
        let status = wire.ask(&get(&format!("/changes?since={since}&wait={wait}")))?;
        let at = Instant::now();
        if status != 200 {
            return Err(io::Error::other(format!("/changes answers {status}")));
        }
        let page: Changes = serde_json::from_slice(wire.body())?;
        for change in page.changes {
            let id = change.id.parse().map_err(io::Error::other)?;
            if tell.send(Told { id, at }).is_err() {
                return Ok(());
            }
        }
        let _ = ready.send(());
        (since, wait) = (page.last_sequence.to_string(), 20);
    }
}
