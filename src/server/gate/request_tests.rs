//! What the head of a request is refused for, case by case.

use super::*;

fn read(bytes: &str) -> Result<Head, u16> {
    match head_end(bytes.as_bytes(), 0).map_err(Refusal::status)? {
        Some(end) => parse_head(&bytes.as_bytes()[..end]).map_err(Refusal::status),
        None => Err(0),
    }
}

#[test]
fn a_plain_head_is_read_whole() {
    let head = read("POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nX-Name:  v w \r\nEmpty:\r\n\r\nbody");
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        head,
        Ok(Head {
            method: "POST".into(),
            target: "/a/b?c=d".into(),
            headers: vec![header("host", "h"), header("x-name", "v w"), header("empty", "")],
            framing: Framing::Length(0),
            expects_continue: false,
            keep_alive: true,
        })
    );
}

#[test]
fn request_lines() {
    let check = |line: &str, expected: u16| {
        let status = read(&format!("{line}\r\nHost: h\r\n\r\n")).err().unwrap_or(200);
        assert_eq!(status, expected, "{line}");
    };
    check("GET / HTTP/1.1", 200);
    check("GET / HTTP/1.0", 200);
    check("PROPFIND //a HTTP/1.1", 200);
    check("GET  / HTTP/1.1", 400);
    check("GET /  HTTP/1.1", 400);
    check("GET /\tHTTP/1.1", 400);
    check("GET /", 400);
    check("GET / http/1.1", 400);
    check("GET / HTTP/1.2", 505);
    check("GET / HTTP/2.0", 505);
    check("PRI * HTTP/2.0", 505);
    check("GET / HTTP/11", 400);
    check("GET / HTTP/1.1 ", 400);
    check(" GET / HTTP/1.1", 400);
    check("<!> / HTTP/1.1", 400);
    check("G(T / HTTP/1.1", 400);
    check("GET http://h/ HTTP/1.1", 400);
    check("CONNECT h:443 HTTP/1.1", 400);
    check("OPTIONS * HTTP/1.1", 400);
    check("GET /ä HTTP/1.1", 400);
    check("GET /#a HTTP/1.1", 400);
    check(&format!("GET /{} HTTP/1.1", "a".repeat(TARGET_LIMIT - 1)), 200);
    check(&format!("GET /{} HTTP/1.1", "a".repeat(TARGET_LIMIT)), 414);
    check(&format!("{} / HTTP/1.1", "A".repeat(METHOD_LIMIT + 1)), 400);
}

#[test]
fn header_lines() {
    let check = |lines: &str, expected: u16| {
        let status = read(&format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")).err().unwrap_or(200);
        assert_eq!(status, expected, "{lines:?}");
    };
    check("Host: h", 200);
    check("Host:", 200);
    check("X: y", 400);
    check("Host: h\r\nHost: h", 400);
    check("Host : h", 400);
    check("Host: h\r\n: v", 400);
    check("Host: h\r\nno colon", 400);
    check("Host: h\r\n folded", 400);
    check(" Host: h", 400);
    check("Host: h\nX: y", 400);
    check("Host: h\rX: y", 400);
    check("Host: h\r\nX: a\0b", 400);
    check("Host: h\r\nX: a\x7fb", 400);
    check("Host: h\r\nX: a\x1bb", 400);
    check("Host: h\r\nX: a\tb", 200);
    check(&format!("Host: h{}", "\r\nX: y".repeat(HEADER_LINES_LIMIT - 1)), 200);
    check(&format!("Host: h{}", "\r\nX: y".repeat(HEADER_LINES_LIMIT)), 431);
    check(&format!("Host: h\r\nX: {}", "y".repeat(HEAD_LIMIT)), 431);
    check("Host: h\r\nExpect: 100-Continue", 200);
    check("Host: h\r\nExpect: 200-ok", 417);
    check("Host: h\r\nExpect: 100-continue\r\nExpect: x", 417);
}

#[test]
fn framing() {
    let check = |lines: &str, expected: Result<Framing, u16>| {
        let head = read(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n"));
        assert_eq!(head.map(|head| head.framing), expected, "{lines:?}");
    };
    check("Content-Length: 0", Ok(Framing::Length(0)));
    check("Content-Length: 1048576", Ok(Framing::Length(BODY_LIMIT)));
    check("Content-Length: 1048577", Err(413));
    check("Content-Length: 4294967301", Err(413));
    check("Content-Length: 99999999999999999999999999", Err(413));
    check("Content-Length: ", Err(400));
    check("Content-Length: +3", Err(400));
    check("Content-Length: -3", Err(400));
    check("Content-Length: 0x3", Err(400));
    check("Content-Length: 3, 3", Err(400));
    check("Content-Length: 3 3", Err(400));
    check("Content-Length: 3\r\nContent-Length: 3", Err(400));
    check("Content-Length: 3\r\ncontent-length: 4", Err(400));
    check("Content-Length: 3\r\nTransfer-Encoding: chunked", Err(400));
    check("Transfer-Encoding: chunked\r\nContent-Length: 3", Err(400));
    check("Transfer-Encoding: chunked", Ok(Framing::Chunked));
    check("Transfer-Encoding: Chunked", Ok(Framing::Chunked));
    check("Transfer-Encoding: chunked, chunked", Err(400));
    check("Transfer-Encoding: gzip, chunked", Err(400));
    check("Transfer-Encoding: identity", Err(400));
    check("Transfer-Encoding: xchunked", Err(400));
    check("Transfer-Encoding: \"chunked\"", Err(400));
    check("Transfer-Encoding:", Err(400));
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(400));
    let old = read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(400));
}

#[test]
fn a_connection_is_kept_unless_somebody_closes_it() {
    let check = |version: &str, line: &str, kept: bool| {
        let head = read(&format!("GET / {version}\r\nHost: h\r\n{line}\r\n\r\n"));
        assert_eq!(head.map(|head| head.keep_alive), Ok(kept), "{version} {line}");
    };
    check("HTTP/1.1", "X: y", true);
    check("HTTP/1.1", "Connection: close", false);
    check("HTTP/1.1", "Connection: Upgrade, CLOSE", false);
    check("HTTP/1.1", "Connection: closed", true);
    check("HTTP/1.0", "X: y", false);
    check("HTTP/1.0", "Connection: keep-alive", false);
}

#[test]
fn a_head_is_found_wherever_it_was_cut_on_its_way() {
    let whole = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET";
    let mut judged = 0;
    for length in 0..whole.len() - 3 {
        let found = head_end(&whole[..length], judged);
        assert_eq!(found, Ok(None), "after {length} bytes");
        judged = length;
    }
    assert_eq!(head_end(whole, judged), Ok(Some(whole.len() - 3)));
    assert_eq!(head_end(whole, 0), Ok(Some(whole.len() - 3)));
}

#[test]
fn what_cannot_become_a_head_is_refused_at_once() {
    let check = |bytes: &[u8], expected: u16| {
        let refusal = head_end(bytes, 0).unwrap_err();
        assert_eq!(refusal.status(), expected, "{:?}", String::from_utf8_lossy(bytes));
    };
    check(b"\x16\x03\x01\x02\x00\x01", 400);
    check(b"\r\nGET / HTTP/1.1\r\n", 400);
    check(b"GET / HTTP/1.1\n", 400);
    check(b"GET /\0", 400);
    check(&[b'A'; METHOD_LIMIT + TARGET_LIMIT + 1], 414);
}
