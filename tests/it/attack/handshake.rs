//! What comes where a TLS handshake is expected.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use super::{SHORT, SPAN, Siege};
use crate::gate::connect_from;

/// An address of this machine from which no good caller comes: a handshake takes several turns, and
/// in a crowd of its own address the good caller would be one of those who have to give way.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How a handshake begins: a record of 512 bytes with a greeting, of which nothing follows.
const HALF: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[test]
fn half_open_handshakes() {
    let siege = Siege::with_tls("half-open");
    let address = siege.place.callbacks;
    siege.during("500 half-open handshakes", || {
        let crowd: Vec<TcpStream> = (0..500)
            .filter_map(|_| {
                let mut stream = connect_from(STRANGER, address).ok()?;
                stream.write_all(HALF).ok()?;
                Some(stream)
            })
            .collect();
        thread::sleep(SPAN);
        drop(crowd);
    });
    siege.recovers();
}

#[test]
fn garbage_before_tls() {
    let siege = Siege::with_tls("garbage");
    let address = siege.place.callbacks;
    let long = vec![0x16; 100_000];
    let clear = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    let garbage: [&[u8]; 6] =
        [b"\0", b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x03\x01", &long, &[0xff; 9_000], clear];
    let began = Instant::now();
    siege.during("garbage before TLS", || {
        thread::scope(|scope| {
            for bytes in garbage {
                scope.spawn(move || {
                    while began.elapsed() < SPAN {
                        let heard = send(address, bytes);
                        assert!(!heard.starts_with(b"HTTP"), "answered in the clear");
                    }
                });
            }
        });
    });
    siege.recovers();
}

/// Sends bytes; what comes back. A single byte is not waited for to be answered, so that the next
/// can come.
fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    if let Ok(mut stream) = connect_from(STRANGER, address) {
        stream.set_read_timeout(Some(SHORT)).unwrap();
        stream.set_write_timeout(Some(SHORT)).unwrap();
        let _ = stream.write_all(bytes);
        if bytes.len() > 1 {
            let _ = stream.read_to_end(&mut reply);
        }
    }
    reply
}
