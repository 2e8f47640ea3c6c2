//! Those who send without end: heads, bodies, requests whose replies they do not read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{SPAN, Siege, connect, status};
use crate::agent::CALLBACK_PATH;

/// What a flood consists of.
const PIECE: usize = 64 << 10;
/// How much is announced.
const ANNOUNCED: usize = 100_000_000;
/// The longest body that is taken.
const LONGEST: usize = 1 << 20;
/// Connections of a flood, each with its thread.
const STREAMS: usize = 8;

/// Sends the opening, then the piece over and over, until nobody takes it any more; over and over
/// again for the span of an attack. How much was sent, and the statuses that came back.
fn flood(address: SocketAddr, opening: &str, piece: &[u8]) -> (usize, Vec<u16>) {
    let (began, mut sent, mut heard) = (Instant::now(), 0, Vec::new());
    while began.elapsed() < SPAN {
        let Ok(mut stream) = connect(address) else { continue };
        let mut taken = stream.write_all(opening.as_bytes());
        let mut of_this = 0;
        while taken.is_ok() && of_this < ANNOUNCED && began.elapsed() < SPAN {
            taken = stream.write_all(piece);
            of_this += piece.len();
        }
        sent += of_this;
        let mut reply = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = stream.read_to_end(&mut reply);
        heard.push(status(&reply));
    }
    (sent, heard)
}

/// Floods over several connections at once; the replies must be none but these. (One that is
/// overtaken by the reset of its connection is not heard.)
fn flood_wide(siege: &Siege, name: &str, opening: &str, piece: &[u8], expected: &[u16]) {
    let address = siege.place.callbacks;
    siege.during(name, || {
        let floods = thread::scope(|scope| {
            let floods: Vec<_> =
                (0..STREAMS).map(|_| scope.spawn(|| flood(address, opening, piece))).collect();
            floods.into_iter().map(|flood| flood.join().unwrap()).collect::<Vec<_>>()
        });
        let sent: usize = floods.iter().map(|(sent, _)| sent >> 20).sum();
        let heard: Vec<u16> = floods.into_iter().flat_map(|(_, heard)| heard).collect();
        let answered = heard.iter().filter(|status| **status != 0).count();
        println!("    {sent} MiB over {} connections, {answered} answered", heard.len());
        let strange = heard.iter().find(|status| **status != 0 && !expected.contains(status));
        assert_eq!(strange, None, "{name}: an unexpected status");
    });
}

fn post(rest: &str) -> String {
    format!("POST {CALLBACK_PATH} HTTP/1.1\r\nHost: h\r\n{rest}")
}

#[test]
fn heads_without_end() {
    let siege = Siege::new("heads");
    flood_wide(&siege, "a header without end", &post("X: "), &[b'x'; PIECE], &[431]);
    let lines = b"X: y\r\n".repeat(PIECE / 6);
    flood_wide(&siege, "headers without end", &post(""), &lines, &[431]);
    siege.recovers();
}

#[test]
fn bodies_of_a_hundred_megabytes() {
    let siege = Siege::new("bodies");
    let announced = post(&format!("Content-Length: {ANNOUNCED}\r\n\r\n"));
    flood_wide(&siege, "100 MB announced", &announced, &[b'x'; PIECE], &[413]);
    let mut chunk = format!("{PIECE:x}\r\n").into_bytes();
    chunk.extend_from_slice(&[b'x'; PIECE]);
    chunk.extend_from_slice(b"\r\n");
    let chunked = post("Transfer-Encoding: chunked\r\n\r\n");
    // The memory for all of them together may be short before one of them is too long.
    flood_wide(&siege, "100 MB in chunks", &chunked, &chunk, &[413, 503]);
    flood_wide(
        &siege,
        "100 MB in chunks of a byte",
        &chunked,
        &b"1\r\nx\r\n".repeat(9_999),
        &[400, 413, 503],
    );
    siege.recovers();
}

/// Together they are more than may be held at once, and each may be sent. The first take most of
/// it; what is left goes to ever smaller ones, until nothing is.
#[test]
fn bodies_that_stop_before_their_end() {
    let siege = Siege::new("stalled");
    let (one, other) = (siege.place.callbacks, siege.place.local);
    for (doors, name) in [(&[one][..], "callbacks"), (&[other], "local"), (&[one, other], "both")] {
        siege.during_at(doors.len(), &format!("stalled bodies at {name}"), || {
            let mut stalled = Vec::new();
            for &door in doors {
                for (count, length) in [(30, LONGEST), (20, 128 << 10), (30, 40 << 10)] {
                    stalled.extend((0..count).filter_map(|_| stall(door, length)));
                }
            }
            thread::sleep(SPAN);
            drop(stalled);
        });
    }
    siege.recovers();
}

/// Sends a body but for its last byte.
fn stall(address: SocketAddr, length: usize) -> Option<TcpStream> {
    let mut request = post(&format!("Content-Length: {length}\r\n\r\n")).into_bytes();
    request.resize(request.len() + length - 1, b'x');
    let mut stream = connect(address).ok()?;
    // It may be refused before it is through.
    let _ = stream.write_all(&request);
    Some(stream)
}

/// Sends requests for the span of an attack and reads no reply.
fn ask_deaf(address: SocketAddr, requests: &[u8]) -> Option<(TcpStream, usize)> {
    let (began, mut sent) = (Instant::now(), 0);
    let mut stream = connect(address).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
    while began.elapsed() < SPAN {
        // What does not fit is sent later, wherever it was cut.
        sent += stream.write(&requests[sent % requests.len()..]).unwrap_or(0);
    }
    Some((stream, sent))
}

#[test]
fn requests_without_waiting_for_replies() {
    let siege = Siege::new("pipelined");
    let many = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    for (door, address) in [("callbacks", siege.place.callbacks), ("local", siege.place.local)] {
        siege.during(&format!("pipelined requests at {door}"), || {
            let sent: Vec<usize> = thread::scope(|scope| {
                let all: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| ask_deaf(address, &many))).collect();
                all.into_iter().filter_map(|one| Some(one.join().unwrap()?.1)).collect()
            });
            println!("    {sent:?} bytes of requests");
        });
    }
    siege.recovers();
}

/// As many as there are places, each with replies that it does not read.
#[test]
fn a_crowd_that_does_not_read() {
    let siege = Siege::new("deaf");
    let many = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    for (door, address) in [("callbacks", siege.place.callbacks), ("local", siege.place.local)] {
        siege.during(&format!("a deaf crowd at {door}"), || {
            let began = Instant::now();
            let mut crowd: Vec<TcpStream> =
                (0..200).filter_map(|_| hard_of_hearing(address)).collect();
            while began.elapsed() < SPAN * 2 {
                for stream in &mut crowd {
                    let _ = stream.write(&many);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
    }
    siege.recovers();
}

/// A connection whose own buffers take little.
fn hard_of_hearing(address: SocketAddr) -> Option<TcpStream> {
    let stream = connect(address).ok()?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4_096).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}
