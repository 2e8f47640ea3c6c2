//! Requests that could be read in two ways, or that no good caller sends: each is refused and
//! ends its connection, whatever follows it.

use std::thread;
use std::time::Instant;

use super::{SPAN, Siege, exchange, status};
use crate::agent::CALLBACK_PATH;

/// What stands behind each request, to be smuggled past it.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Requests and what they are answered with. `callback` is a good one.
fn requests(callback: &str) -> Vec<(&'static str, String, u16)> {
    let length = callback.len();
    let post = format!("POST {CALLBACK_PATH} HTTP/1.1\r\nHost: h\r\n");
    let sized = format!("{post}Content-Length: {length}\r\n");
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    let with = |line: &str| format!("{sized}{line}\r\n\r\n{callback}");
    vec![
        ("an absolute target", sized.replace("POST ", "POST http://h") + "\r\n" + callback, 400),
        ("an authority", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("an asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("HTTP/2.0", sized.replace("1.1", "2.0") + "\r\n" + callback, 505),
        ("HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), 400),
        ("no host", sized.replace("Host: h\r\n", "") + "\r\n" + callback, 400),
        ("two hosts", with("Host: g"), 400),
        (
            "both lengths",
            chunked.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("two lengths", with(&format!("Content-Length: {length}")), 400),
        ("two different lengths", with("Content-Length: 0"), 400),
        ("a list of lengths", sized.replace("Length: ", "Length: 1, ") + "\r\n" + callback, 400),
        ("a signed length", sized.replace("Length: ", "Length: +") + "\r\n" + callback, 400),
        ("a length that overflows", format!("{post}Content-Length: 4294967301\r\n\r\nabcde"), 413),
        ("a longer one", format!("{post}Content-Length: 18446744073709551617\r\n\r\n."), 413),
        ("chunks of HTTP/1.0", chunked.replace("1.1", "1.0") + "0\r\n\r\n", 400),
        ("another encoding", chunked.replace("chunked", "gzip, chunked") + "0\r\n\r\n", 400),
        ("a chunk without a size", format!("{chunked}\r\n{callback}\r\n0\r\n\r\n"), 400),
        ("a chunk of size x", format!("{chunked}x\r\n{callback}\r\n0\r\n\r\n"), 400),
        ("a chunk of size -1", format!("{chunked}-1\r\n{callback}\r\n0\r\n\r\n"), 400),
        ("a chunk of size 0x1", format!("{chunked}0x1\r\n{callback}\r\n0\r\n\r\n"), 400),
        ("a chunk whose size overflows", format!("{chunked}FFFFFFFFFFFFFFFF\r\n"), 413),
        ("a chunk longer than its size", format!("{chunked}1\r\n{callback}\r\n0\r\n\r\n"), 400),
        ("a chunk that ends in a line feed", format!("{chunked}1\nx\n0\n\n"), 400),
        ("NUL in a value", with("X: a\0b"), 400),
        ("NUL in a name", with("X\0: a"), 400),
        ("NUL in the target", sized.replace(CALLBACK_PATH, "/a\0b") + "\r\n" + callback, 400),
        ("a folded line", with("X: a\r\n b"), 400),
        ("a bare line feed", with("X: a\nY: b"), 400),
        ("a bare carriage return", with("X: a\rY: b"), 400),
        ("a space before the colon", with("X : a"), 400),
        ("a line without a colon", with("X"), 400),
        ("65 headers", with("X: y\r\n".repeat(63).trim_end()), 431),
        ("another expectation", with("Expect: 200-ok"), 417),
        ("an empty line first", format!("\r\n{sized}\r\n{callback}"), 400),
        ("TLS in the clear", "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".into(), 400),
        ("a longer target", format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9_000)), 414),
    ]
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let siege = Siege::new("framing");
    let callback = siege.place.callback("update", &[siege.id]).to_string();
    let requests = requests(&callback);
    let doors = [siege.place.callbacks, siege.place.local];
    siege.during_at(2, "malformed requests", || {
        let began = Instant::now();
        let mut rounds = 0;
        while rounds == 0 || began.elapsed() < SPAN {
            thread::scope(|scope| {
                for (what, request, expected) in &requests {
                    scope.spawn(move || {
                        for door in doors {
                            let reply = exchange(door, format!("{request}{NEXT}").as_bytes());
                            let text = String::from_utf8_lossy(&reply);
                            assert_eq!(status(&reply), *expected, "{what}: {text}");
                            let replies =
                                text.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count();
                            assert_eq!(replies, 1, "{what}: something was smuggled: {text}");
                        }
                    });
                }
            });
            rounds += 1;
        }
        println!("    {rounds} rounds of {} requests", requests.len() * doors.len());
    });
    siege.recovers();
}

#[test]
fn what_is_unusual_but_clear_is_served() {
    let siege = Siege::new("unusual");
    let callback = siege.place.callback("update", &[siege.id]).to_string();
    let ask = |request: String| {
        let reply = exchange(siege.place.callbacks, request.as_bytes());
        String::from_utf8(reply).unwrap()
    };
    let length = callback.len();
    let head = |version: &str, rest: &str| {
        format!("POST {CALLBACK_PATH} HTTP/{version}\r\nHost: h\r\nConnection: close\r\n{rest}")
    };
    let sized = format!("Content-Length: {length}\r\n\r\n{callback}");
    let (first, second) = callback.split_at(7);
    let chunks = format!(
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{first}\r\n{:X};a=b\r\n{second}\r\n\
         0\r\nT: t\r\n\r\n",
        second.len()
    );
    for request in [head("1.0", &sized), head("1.1", &sized), head("1.1", &chunks)] {
        let reply = ask(request.clone());
        assert_eq!(status(reply.as_bytes()), 200, "{request}\n{reply}");
    }
    let expecting =
        head("1.1", &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"));
    let mut stream = super::connect(siege.place.callbacks).unwrap();
    let mut reply = [0; 25];
    {
        use std::io::{Read, Write};
        stream.write_all(expecting.as_bytes()).unwrap();
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(callback.as_bytes()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(status(&rest), 200);
    }
}
