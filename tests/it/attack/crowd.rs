//! Those who take places: the silent, the dripping, those who only come and go.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{SPAN, Siege, connect};

/// More than there are places, by far.
const CROWD: usize = 500;
/// Comings and goings.
const VISITS: usize = 10_000;
/// What a head begins with that never ends.
const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nX: ";

/// A crowd that has come, and said this.
fn gather(address: SocketAddr, opening: &[u8]) -> Vec<TcpStream> {
    (0..CROWD).filter_map(|_| arrive(address, opening)).collect()
}

fn arrive(address: SocketAddr, opening: &[u8]) -> Option<TcpStream> {
    let mut stream = connect(address).ok()?;
    stream.write_all(opening).ok()?;
    Some(stream)
}

#[test]
fn five_hundred_who_say_nothing() {
    let siege = Siege::new("silent");
    for (door, address) in [("callbacks", siege.place.callbacks), ("local", siege.place.local)] {
        siege.during(&format!("500 silent at {door}"), || {
            let crowd = gather(address, b"");
            thread::sleep(SPAN);
            drop(crowd);
        });
    }
    siege.recovers();
}

#[test]
fn five_hundred_who_send_a_byte_a_second() {
    let siege = Siege::new("drip");
    siege.during_at(2, "500 dripping at both doors", || {
        thread::scope(|scope| {
            for address in [siege.place.callbacks, siege.place.local] {
                scope.spawn(move || drip(address));
            }
        });
    });
    siege.recovers();
}

fn drip(address: SocketAddr) {
    let mut crowd = gather(address, HEAD);
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        for stream in &mut crowd {
            // Who was turned away comes again.
            if stream.write_all(b"x").is_err() {
                arrive(address, HEAD).into_iter().for_each(|again| *stream = again);
            }
        }
    }
}

#[test]
fn ten_thousand_who_come_and_go() {
    let siege = Siege::new("come-and-go");
    let address = siege.place.callbacks;
    let visit = |politely: bool| {
        for number in 0..VISITS / 2 {
            let Some(stream) = arrive(address, if number % 2 == 0 { b"" } else { HEAD }) else {
                continue;
            };
            if !politely {
                // Closing then resets the connection, and the daemon may find it gone.
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        }
    };
    let began = Instant::now();
    siege.during("10,000 who come and go", || {
        thread::scope(|scope| {
            scope.spawn(|| visit(true));
            scope.spawn(|| visit(false));
        });
    });
    println!("    in {} ms", began.elapsed().as_millis());
    siege.recovers();
}
