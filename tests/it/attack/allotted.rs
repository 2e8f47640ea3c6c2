//! How long those are waited for who let us wait: as the gate's limits say, and no longer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::vitals::guests;
use super::{data, quoted};
use crate::agent::Place;

/// How often who drips sends a byte.
const DRIP: Duration = Duration::from_millis(200);
/// What the machine may add to a limit.
const LATE: Duration = Duration::from_secs(6);

/// Sends a byte now and then until it is told to stop; when that was.
fn wait_out(address: SocketAddr, opening: &[u8], drips: bool) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DRIP)).unwrap();
    stream.write_all(opening).unwrap();
    let mut reply = [0; 4_096];
    while began.elapsed() < Duration::from_secs(60) {
        if drips && stream.write_all(b"1").is_err() {
            break;
        }
        match stream.read(&mut reply) {
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    began.elapsed()
}

/// Two who read nothing of what they have asked for, one at each door; when both are gone. Only
/// the daemon knows: its last words lie in the way of its good-bye.
fn stay_deaf(place: &Place) -> Duration {
    let began = Instant::now();
    let many = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    let deaf = [place.callbacks, place.local].map(|door| TcpStream::connect(door).unwrap());
    for stream in &deaf {
        rustix::net::sockopt::set_socket_recv_buffer_size(stream, 4_096).unwrap();
        stream.set_write_timeout(Some(DRIP)).unwrap();
    }
    while began.elapsed() < DRIP * 5 || guests(place.pid()) > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is waited for without end");
        for mut stream in &deaf {
            // It takes no more, or has been shut.
            let _ = stream.write(&many);
        }
        thread::sleep(DRIP);
    }
    began.elapsed()
}

#[test]
fn nobody_is_waited_for_longer_than_the_limits_say() {
    let mut plain = Place::new("patience");
    plain.start();
    let mut tls = Place::new("patience-tls");
    tls.set("callbacks.tls_cert", &quoted(&data("first-cert.pem")));
    tls.set("callbacks.tls_key", &quoted(&data("first-key.pem")));
    tls.start();
    let mut deaf = Place::new("patience-deaf");
    deaf.start();
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nX: ";
    let body = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n";
    let chunks = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n";
    let greeting = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut waits: Vec<(&str, SocketAddr, &[u8], bool, u64)> =
        vec![("a handshake", tls.callbacks, greeting, true, 10)];
    for door in [plain.callbacks, plain.local] {
        waits.extend([
            ("the first byte", door, &b""[..], false, 15),
            ("a head", door, head, true, 10),
            ("a body", door, body, true, 20),
            ("chunks", door, chunks, true, 20),
        ]);
    }
    thread::scope(|scope| {
        for (what, address, opening, drips, limit) in waits {
            scope.spawn(move || check(what, wait_out(address, opening, drips), limit));
        }
        scope.spawn(|| check("replies to be read", stay_deaf(&deaf), 20));
    });
}

fn check(what: &str, took: Duration, limit: u64) {
    println!("waiting for {what}: {} ms", took.as_millis());
    let limit = Duration::from_secs(limit);
    assert!(took > limit / 2, "{what}: given up after {took:?} already");
    assert!(took < limit + LATE, "{what}: waited for {took:?}");
}
