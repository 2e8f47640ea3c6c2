//! Those who wait for changes: woken together, in places of their own, and gone when they are gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crmirror::server::again::{Again, Mode};
use crmirror::server::asked::Asked;
use crmirror::server::gate::{Gate, Limits, Listener};
use crmirror::server::hall::Hall;
use crmirror::server::reply::Reply;
use crmirror::store::Bell;

use super::{PATIENCE, read_reply, status};

/// How many may wait, as README has it.
const PLACES: usize = 32;

struct House {
    gate: Gate,
    address: SocketAddr,
    bell: Arc<Bell>,
    _hall: Hall,
}

/// Waits for change after change: `/held` until the third, `/stream` for ever, `/flood` with more
/// than anybody takes, `/brief` until the time is over. Says what it was asked.
fn respond(asked: &Asked) -> Reply {
    let round = asked.header("x-gate-round").map(|round| round.split(' ').next().unwrap());
    let after: u64 = round.map_or(0, |after| after.parse().unwrap());
    let again = |mode, within| Again { after: after + 1, within, mode };
    let far = PATIENCE * 10;
    let said = |text: String| Reply::text(200, "text/plain", text);
    match asked.target.as_str() {
        "/held" if after < 2 => said("not yet".into()).again(again(Mode::Held, far)),
        "/brief" if round.is_none() => {
            said("too soon".into()).again(again(Mode::Held, Duration::from_millis(30)))
        }
        "/stream" => said(format!("after {after}\n")).again(again(Mode::Streamed, far)),
        "/flood" => {
            let flood = "x".repeat(4 << 20);
            said(flood).again(again(Mode::Streamed, Duration::ZERO))
        }
        "/last" if after < 2 => said(format!("{after}\n")).again(again(Mode::Streamed, far)),
        _ => said(format!("{} {after} {:?}", asked.target, asked.header("x-gate-peer"))),
    }
}

impl House {
    fn open(limits: Limits) -> House {
        let bell = Arc::new(Bell::new(0));
        let hall = Hall::open(3, Arc::new(respond)).unwrap().live(Arc::clone(&bell));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Gate::open(Listener::Tcp(listener), None, limits, &hall).unwrap();
        let address = gate.address().unwrap();
        House { gate, address, bell, _hall: hall }
    }

    fn ask(&self, target: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// Opens a stream, and has its head and first line come.
    fn stream(&self) -> BufReader<TcpStream> {
        let mut stream = self.ask("/stream");
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Connection: close"), "{head}");
        assert!(!head.contains("Content-Length") && !head.contains("-gate-"), "{head}");
        assert_eq!(line(&mut stream), "after 0");
        stream
    }

    fn until(&self, what: &str, mut look: impl FnMut(&House) -> bool) {
        let began = Instant::now();
        while !look(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn connections(&self) -> usize {
        self.gate.counters().connections
    }
}

fn head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    head
}

fn line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn a_held_question_is_answered_once_there_is_something_or_its_time_is_over() {
    let house = House::open(Limits::default());
    let mut held = house.ask("/held");
    house.until("it waits", |house| house.connections() == 1);
    house.bell.ring(2);
    house.bell.ring(3);
    assert!(read_reply(&mut held).ends_with("/held 2 None"), "the first two were kept back");
    // The connection goes on.
    for _ in 0..2 {
        held.get_mut().write_all(b"GET /brief HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(read_reply(&mut held).ends_with("/brief 1 None"));
    }
}

#[test]
fn one_ring_wakes_all_who_listen() {
    let house = House::open(Limits::default());
    let mut streams: Vec<_> = (0..PLACES).map(|_| house.stream()).collect();
    for sequence in 1..50 {
        // They want to hear of what comes after the one that they were told of.
        house.bell.ring(sequence + 1);
        let began = Instant::now();
        for stream in &mut streams {
            assert_eq!(line(stream), format!("after {sequence}"));
        }
        if sequence % 16 == 1 {
            println!("all {PLACES} were told after {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_stream_ends_with_the_answer_that_asks_no_further() {
    let house = House::open(Limits::default());
    let mut stream = house.ask("/last");
    head(&mut stream);
    house.bell.ring(5);
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert_eq!(told, "0\n1\n", "the last one is none of the stream");
}

#[test]
fn who_waits_takes_no_place_from_others_and_gives_way_to_nobody() {
    let house = House::open(Limits { connections: 3, ..Limits::default() });
    let mut streams: Vec<_> = (0..PLACES).map(|_| house.stream()).collect();
    let full = |house: &House, target: &str| {
        let reply = read_reply(&mut house.ask(target));
        (status(&reply), reply.contains("Retry-After: "))
    };
    for target in ["/stream", "/held", "/flood"] {
        assert_eq!(full(&house, target), (503, true), "{target}");
    }
    // A crowd that says nothing, at a gate with three places, and callers in between.
    let crowd: Vec<TcpStream> = (0..20)
        .map(|_| {
            let silent = TcpStream::connect(house.address).unwrap();
            assert_eq!(status(&read_reply(&mut house.ask("/"))), 200);
            silent
        })
        .collect();
    house.bell.ring(2);
    streams.iter_mut().for_each(|stream| assert_eq!(line(stream), "after 1"));
    drop(crowd);
    // Whoever goes is seen to be gone, without a word.
    drop(streams.pop());
    house.until("its place is free", |house| {
        let mut stream = house.ask("/stream");
        status(&head(&mut stream)) == 200
    });
}

#[test]
fn who_does_not_take_what_it_is_told_is_let_go_and_holds_up_nobody() {
    let soon = Duration::from_millis(200);
    let house = House::open(Limits { reply: soon, ..Limits::default() });
    let mut streams: Vec<_> = (0..PLACES - 4).map(|_| house.stream()).collect();
    let deaf: Vec<_> = (0..4).map(|_| house.ask("/flood")).collect();
    for sequence in 1..20 {
        house.bell.ring(sequence + 1);
        streams.iter_mut().for_each(|stream| assert_eq!(line(stream), format!("after {sequence}")));
        assert_eq!(status(&read_reply(&mut house.ask("/"))), 200);
    }
    house.until("they are let go", |house| house.connections() == PLACES - 4);
    drop(deaf);
}

#[test]
fn closing_waits_for_nobody_who_waits() {
    let house = House::open(Limits::default());
    let mut streams: Vec<_> = (0..PLACES - 2).map(|_| house.stream()).collect();
    let mut held: Vec<_> = (0..2).map(|_| house.ask("/held")).collect();
    house.until("all are in", |house| house.connections() == PLACES);
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    house.gate.stop();
    println!("closed after {:?}", began.elapsed());
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    // What holds if nothing more happens is what they are told.
    held.iter_mut().for_each(|held| assert!(read_reply(held).ends_with("not yet")));
}

#[test]
fn nobody_else_says_what_gate_and_hall_say_to_each_other() {
    let house = House::open(Limits::default());
    let mut stream = house.ask("/");
    read_reply(&mut stream);
    let request = "GET /x HTTP/1.1\r\nHost: h\r\nX-Gate-Round: 7 7 7\r\n\
                   X-Gate-Peer: 0 plain unix\r\n\r\n";
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    assert!(read_reply(&mut stream).ends_with("/x 0 None"));
    // HEAD has nothing to follow it, nor a length, since a stream has none.
    stream.get_mut().write_all(b"HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let head = head(&mut stream);
    assert!(!head.contains("Content-Length") && !head.contains("Connection: close"), "{head}");
    stream.get_mut().write_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_reply(&mut stream).ends_with("/x 0 None"));
}

#[test]
fn where_nobody_waits_an_answer_is_the_last() {
    let hall = Hall::open(2, Arc::new(respond)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::open(Listener::Tcp(listener), None, Limits::default(), &hall).unwrap();
    let address = gate.address().unwrap();
    let house = House { gate, address, bell: Arc::new(Bell::new(9)), _hall: hall };
    for (target, said) in [("/held", "not yet"), ("/stream", "after 0\n")] {
        let reply = read_reply(&mut house.ask(target));
        assert!(reply.ends_with(said) && !reply.to_lowercase().contains("-gate-"), "{reply}");
    }
}
