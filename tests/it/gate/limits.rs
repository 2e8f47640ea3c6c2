//! Who is slow, who sends too much, and who comes when it is full.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crmirror::server::gate::{Limits, Reason};

use super::{House, PATIENCE, connect_from, read_reply, status};

/// So short that a test can wait for it.
const SOON: Duration = Duration::from_millis(150);

/// Sends a byte every now and then until the reply comes; its status.
fn drip(mut stream: TcpStream, start: &str) -> u16 {
    let reader = stream.try_clone().unwrap();
    let reply = thread::spawn(move || {
        let mut reply = String::new();
        let _ = (&reader).read_to_string(&mut reply);
        status(&reply)
    });
    let mut sent = stream.write_all(start.as_bytes());
    while sent.is_ok() && !reply.is_finished() {
        sent = stream.write_all(b"1");
        thread::sleep(Duration::from_millis(5));
    }
    reply.join().unwrap()
}

#[test]
fn who_drips_is_told_that_it_is_too_slow() {
    let house = House::open(Limits { head: SOON, request: SOON * 2, ..Limits::default() });
    assert_eq!(drip(house.connect(), "GET / HTTP/1.1\r\nHost: h\r\nX: "), 408);
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    assert_eq!(drip(house.connect(), &format!("{post}Content-Length: 9999\r\n\r\n")), 408);
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n8000\r\n");
    assert_eq!(drip(house.connect(), &chunked), 408);
    assert_eq!(house.refused(Reason::TooSlow), 3);
}

#[test]
fn who_says_nothing_is_shut_without_a_word() {
    let house = House::open(Limits { idle: SOON, ..Limits::default() });
    let mut silent = house.connect();
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0);
    let mut kept = house.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&read_reply(&mut kept)), 200);
    assert_eq!(kept.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn who_does_not_read_the_reply_holds_up_nobody() {
    // Three workers, six who do not read.
    let house = House::open(Limits::default());
    let request = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut deaf: Vec<TcpStream> = (0..6).map(|_| house.connect()).collect();
    for stream in &mut deaf {
        stream.write_all(request).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
    }
}

#[test]
fn who_does_not_read_the_reply_is_shut() {
    let house = House::open(Limits { reply: SOON, ..Limits::default() });
    let mut deaf = house.connect();
    deaf.write_all(b"GET /huge HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let start = Instant::now();
    while house.gate.counters().connections > 0 || house.gate.counters().accepted == 0 {
        assert!(start.elapsed() < PATIENCE, "it was not shut");
        thread::sleep(Duration::from_millis(5));
    }
    let mut part = Vec::new();
    let _ = deaf.read_to_end(&mut part);
    assert!(part.len() < 12 << 20);
}

#[test]
fn a_body_over_the_limit_is_refused_by_either_framing() {
    let house = House::open(Limits::default());
    let full = "x".repeat(1 << 20);
    let post = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let sized = |body: &str| format!("{post}Content-Length: {}\r\n\r\n{body}", body.len());
    let chunked = |body: &str| {
        let half = body.len() / 2;
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        let (one, other) = (chunk(&body[..half]), chunk(&body[half..]));
        format!("{post}Transfer-Encoding: chunked\r\n\r\n{one}{other}0\r\n\r\n")
    };
    let over = format!("{full}y");
    assert_eq!(house.status(sized(&full).as_bytes()), 200);
    assert_eq!(house.status(chunked(&full).as_bytes()), 200);
    assert_eq!(house.status(sized(&over).as_bytes()), 413);
    assert_eq!(house.status(chunked(&over).as_bytes()), 413);
}

#[test]
fn a_hall_that_is_busy_for_too_long_is_said_to_be() {
    let house = House::open(Limits { queue: SOON, ..Limits::default() });
    let busy: Vec<TcpStream> = (0..3).map(|_| house.occupy()).collect();
    let reply = house.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&reply), 503, "{reply}");
    assert!(reply.contains("Retry-After: "), "{reply}");
    house.release(busy);
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn when_it_is_full_the_silent_give_way_to_a_newcomer() {
    let house = House::open(Limits { connections: 4, one_peer: true, ..Limits::default() });
    let silent: Vec<TcpStream> = (0..20).map(|_| house.connect()).collect();
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
    assert!(house.gate.counters().connections <= 4);
    assert!(house.refused(Reason::GaveWay) > 0);
    drop(silent);
}

#[test]
fn who_calls_from_far_away_outlasts_a_crowd_from_a_few_addresses() {
    let house = House::open(Limits { connections: 8, per_address: 6, ..Limits::default() });
    let mut far = house.connect();
    let crowd: Vec<TcpStream> = (0..60)
        .map(|number| {
            // So slowly that each has had its time when the next comes.
            thread::sleep(Duration::from_millis(12));
            connect_from(Ipv4Addr::new(127, 0, 0, 2 + number % 3), house.address).unwrap()
        })
        .collect();
    far.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(status(&read_reply(&mut far)), 200);
    assert!(house.refused(Reason::GaveWay) > 40);
    drop(crowd);
}

#[test]
fn who_is_being_answered_does_not_give_way() {
    let house = House::open(Limits { connections: 2, one_peer: true, ..Limits::default() });
    let busy: Vec<TcpStream> = (0..2).map(|_| house.occupy()).collect();
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 0, "turned away without a reply");
    assert_eq!(house.refused(Reason::Full), 1);
    house.release(busy);
}

#[test]
fn one_address_cannot_take_all_places() {
    let house = House::open(Limits { per_address: 2, ..Limits::default() });
    let busy: Vec<TcpStream> = (0..2).map(|_| house.occupy()).collect();
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 0, "turned away without a reply");
    assert_eq!(house.refused(Reason::PerAddress), 1);
    house.release(busy);
}

#[test]
fn who_comes_and_goes_leaves_nothing_behind() {
    let house = House::open(Limits { one_peer: true, ..Limits::default() });
    for number in 0..300 {
        let mut stream = house.connect();
        if number % 2 == 0 {
            stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab").unwrap();
        }
    }
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
    house.gate.stop();
    assert_eq!(house.gate.counters().connections, 0);
}
