//! The one form in which a request goes to tiny_http and a reply comes back. Pure.
//!
//! tiny_http is lenient, and what it is lenient about has been somebody's vulnerability. So it
//! never sees what a stranger sent: the request is written anew, ASCII only, with one
//! `Content-Length`, without any header that speaks of a connection, and with the peer in a header
//! of our own. This file reads nothing from a stranger.

use super::asked::{Asked, Peer};
use super::budget::Hold;
use super::reply::{Reply, reason};

/// Names the peer to the worker. Inbound copies are dropped, so a request without it is ours: the
/// probe of a new line.
pub(super) const PEER_HEADER: &str = "x-gate-peer";

/// What a line is proved with before it carries anything.
pub(super) const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: hall\r\n\r\n";

/// Headers that speak of one connection, or that tiny_http would act upon.
const LEFT_BEHIND: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    PEER_HEADER,
];

/// Whether a header of this name (in lower case) crosses to the hall.
fn crosses(name: &str) -> bool {
    !LEFT_BEHIND.contains(&name)
}

/// The head of the request as it goes to tiny_http; the body follows as it is.
pub(super) fn request_head(asked: &Asked) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", asked.method, asked.target);
    for (name, value) in asked.headers.iter().filter(|(name, _)| crosses(name)) {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    }
    let by = if asked.secure { "tls" } else { "plain" };
    head.push_str(&format!("{PEER_HEADER}: {by} {}\r\n", asked.peer));
    head.push_str(&format!("content-length: {}\r\n\r\n", asked.body.len()));
    head.into_bytes()
}

/// Reads the value of [`PEER_HEADER`]: the peer, and whether it came by TLS.
pub(super) fn parse_peer(value: &str) -> Option<(Peer, bool)> {
    let (by, peer) = value.split_once(' ')?;
    let secure = match by {
        "tls" => true,
        "plain" => false,
        _ => return None,
    };
    let peer = match peer {
        "unix" => Peer::Unix,
        address => Peer::Tcp(address.parse().ok()?),
    };
    Some((peer, secure))
}

/// A reply on its way to the peer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    /// Header lines, each with its line end.
    lines: String,
    body: Vec<u8>,
    /// Keeps the body's bytes in the budget until they are sent.
    _hold: Option<Hold>,
}

impl Answer {
    /// What the head of tiny_http's reply says (status and lines to send on), and how long the
    /// body behind it is. `None` for what tiny_http cannot have written to one of our requests.
    pub(super) fn parse_head(head: &[u8], to_head_request: bool) -> Option<(Answer, usize)> {
        let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
        let mut source = head.split("\r\n");
        let status: u16 = source.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let bodiless = status < 200 || status == 204 || status == 304;
        let (mut lines, mut length) = (String::new(), None);
        for line in source {
            let (name, value) = line.split_once(": ")?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.parse::<usize>().ok()?),
                "server" | "connection" => continue,
                "transfer-encoding" => return None,
                _ => {}
            }
            if !(bodiless && name.eq_ignore_ascii_case("content-length")) {
                lines.extend([line, "\r\n"]);
            }
        }
        let follows = if to_head_request || bodiless { 0 } else { length? };
        Some((Answer { status, lines, body: Vec::new(), _hold: None }, follows))
    }

    /// The same answer with its body and the bytes that this holds in the budget.
    pub(super) fn with_body(self, body: Vec<u8>, hold: Hold) -> Answer {
        Answer { body, _hold: Some(hold), ..self }
    }

    /// The bytes for the peer: the head, then the body.
    pub(super) fn parts(&self, keep_alive: bool) -> (Vec<u8>, &[u8]) {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        head.push_str(&self.lines);
        head.push_str(if keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        (head.into_bytes(), &self.body)
    }
}

/// A reply that the gate gives by itself.
impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        let mut lines = String::new();
        for (name, value) in reply.headers() {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        lines.push_str(&format!("Content-Length: {}\r\n", reply.body().len()));
        Answer { status: reply.status(), lines, body: reply.body().to_vec(), _hold: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_crosses_without_what_speaks_of_its_connection() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let asked = Asked {
            method: "POST".into(),
            target: "/a?b".into(),
            headers: vec![
                header("host", "h"),
                header("transfer-encoding", "chunked"),
                header("te", "chunked"),
                header("x-gate-peer", "plain unix"),
            ],
            body: b"abc".to_vec(),
            peer: Peer::Tcp("[::1]:7".parse().unwrap()),
            secure: true,
        };
        let head = String::from_utf8(request_head(&asked)).unwrap();
        let expected = "POST /a?b HTTP/1.1\r\nhost: h\r\nx-gate-peer: tls [::1]:7\r\n\
                        content-length: 3\r\n\r\n";
        assert_eq!(head, expected);
        assert_eq!(parse_peer("tls [::1]:7"), Some((asked.peer, true)));
        assert_eq!(parse_peer("plain unix"), Some((Peer::Unix, false)));
        assert_eq!(parse_peer("plain nobody"), None);
    }

    #[test]
    fn an_answer_keeps_its_headers_and_gets_its_framing() {
        let check = |head: &str, to_head: bool, written: &str, follows: usize| {
            let head = format!("{head}\r\n\r\n");
            let (answer, length) = Answer::parse_head(head.as_bytes(), to_head).unwrap();
            assert_eq!(String::from_utf8(answer.parts(true).0).unwrap(), written, "{head}");
            assert_eq!(length, follows, "{head}");
        };
        let ok = "HTTP/1.1 200 OK\r\nServer: x\r\nETag: \"1\"\r\nContent-Length: 5";
        check(ok, false, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\n", 5);
        check(ok, true, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\n", 0);
        let none = "HTTP/1.1 204 No Content\r\nContent-Length: 0";
        check(none, false, "HTTP/1.1 204 No Content\r\n\r\n", 0);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Answer::parse_head(chunked, false).is_none());
    }
}
