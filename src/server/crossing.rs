//! The one form in which a request goes to tiny_http and a reply comes back. Pure.
//!
//! tiny_http is lenient, and what it is lenient about has been somebody's vulnerability. So it
//! never sees what a stranger sent: the request is written anew, ASCII only, with one
//! `Content-Length`, without any header that speaks of a connection, and with the peer in a header
//! of our own. The head of a reply comes back; its body is laid beside the line. This file reads
//! nothing from a stranger.

use std::fmt::Write as _;

use super::again::{AGAIN_HEADER, Again, Mode, ROUND_HEADER, Round};
use super::asked::{Asked, Peer};
use super::budget::Hold;
use super::reply::{Reply, reason};

/// Names the line and the peer to the worker. Inbound copies are dropped, so a request without it
/// is ours: the probe of a new line.
pub(super) const PEER_HEADER: &str = "x-gate-peer";

/// Says how long the body is that lies beside the line.
pub(super) const BODY_HEADER: &str = "x-gate-body";

/// What a line is proved with before it carries anything.
pub(super) const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: hall\r\n\r\n";

/// Bytes of most heads of requests: they then grow in one piece.
const HEAD_BYTES: usize = 512;
/// Bytes around the lines of a reply's head, at most.
const AROUND_LINES: usize = 128;

/// Headers that speak of one connection, or that tiny_http would act upon.
const LEFT_BEHIND: [&str; 12] = [
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
    AGAIN_HEADER,
    ROUND_HEADER,
];

/// Whether a header of this name (in lower case) crosses to the hall.
fn crosses(name: &str) -> bool {
    !LEFT_BEHIND.contains(&name)
}

/// The head of the request as it goes to tiny_http, with what has been when it is asked again; the
/// body follows as it is. It goes over the line of this number.
pub(super) fn request_head(asked: &Asked, round: Option<Round>, line: usize) -> Vec<u8> {
    let mut head = String::with_capacity(HEAD_BYTES);
    for part in [asked.method.as_str(), " ", &asked.target, " HTTP/1.1\r\n"] {
        head.push_str(part);
    }
    for (name, value) in asked.headers.iter().filter(|(name, _)| crosses(name)) {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    }
    let by = if asked.secure { "tls" } else { "plain" };
    // Writing to a text cannot fail.
    let _ = write!(head, "{PEER_HEADER}: {line} {by} {}\r\n", asked.peer);
    if let Some(round) = round {
        let _ = write!(head, "{ROUND_HEADER}: {}\r\n", round.to_header());
    }
    // tiny_http reads byte by byte: what says nothing is left out.
    if !asked.body.is_empty() {
        let _ = write!(head, "content-length: {}\r\n", asked.body.len());
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Reads the value of [`PEER_HEADER`]: the line, the peer, and whether it came by TLS.
pub(super) fn parse_peer(value: &str) -> Option<(usize, Peer, bool)> {
    let (line, rest) = value.split_once(' ')?;
    let (by, peer) = rest.split_once(' ')?;
    let secure = match by {
        "tls" => true,
        "plain" => false,
        _ => return None,
    };
    let peer = match peer {
        "unix" => Peer::Unix,
        address => Peer::Tcp(address.parse().ok()?),
    };
    Some((line.parse().ok()?, peer, secure))
}

/// A reply on its way to the peer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    /// Header lines but for that of the length, each with its line end.
    lines: String,
    /// What the peer is told of the length of the body; nothing where there can be none.
    length: Option<usize>,
    body: Vec<u8>,
    again: Option<Again>,
    /// Keeps the body's bytes in the budget until they are sent.
    _hold: Option<Hold>,
}

impl Answer {
    /// What the head of tiny_http's reply says (status and lines to send on), and how long the
    /// body beside the line is. `None` for what no worker of ours has written.
    pub(super) fn parse_head(head: &[u8], to_head_request: bool) -> Option<(Answer, usize)> {
        let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
        let mut source = head.split("\r\n");
        let status: u16 = source.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (mut lines, mut beside, mut again) = (String::with_capacity(head.len()), None, None);
        for line in source {
            let (name, value) = line.split_once(": ")?;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is(BODY_HEADER) {
                beside = Some(value.parse::<usize>().ok()?);
            } else if is(AGAIN_HEADER) {
                again = Some(Again::parse(value)?);
            } else if is("transfer-encoding") {
                return None;
            } else if !["content-length", "server", "connection"].into_iter().any(is) {
                lines.extend([line, "\r\n"]);
            }
        }
        let beside = beside?;
        let bodiless = status < 200 || status == 204 || status == 304;
        // Nothing can be sent after the reply to HEAD, and a stream has no length to tell of.
        let streamed = again.is_some_and(|again| again.mode == Mode::Streamed);
        let cut_off = to_head_request && streamed;
        let length = Some(beside).filter(|_| !bodiless && !cut_off);
        again = again.filter(|_| !cut_off);
        Some((Answer { status, lines, length, body: Vec::new(), again, _hold: None }, beside))
    }

    /// The same answer with its body and the bytes that this holds in the budget.
    pub(super) fn with_body(self, body: Vec<u8>, hold: Hold) -> Answer {
        Answer { body, _hold: Some(hold), ..self }
    }

    /// Whether the same is to be asked again, and when.
    pub(super) fn asks_again(&self) -> Option<Again> {
        self.again
    }

    /// The bytes of the body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The head for a peer who is sent more than this body: it ends where the connection does.
    pub(super) fn stream_head(&self) -> Vec<u8> {
        self.head(None, false)
    }

    /// The bytes for the peer: the head, then the body.
    pub(super) fn parts(&self, keep_alive: bool) -> (Vec<u8>, &[u8]) {
        (self.head(self.length, keep_alive), &self.body)
    }

    fn head(&self, length: Option<usize>, keep_alive: bool) -> Vec<u8> {
        let mut head = String::with_capacity(self.lines.len() + AROUND_LINES);
        // Writing to a text cannot fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n{}", self.status, reason(self.status), self.lines);
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str(if keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        head.into_bytes()
    }
}

/// A reply that the gate gives by itself.
impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        let mut lines = String::new();
        for (name, value) in reply.headers() {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        let (status, again) = (reply.status(), reply.asks_again());
        let body = reply.into_body();
        Answer { status, lines, length: Some(body.len()), body, again, _hold: None }
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
                header("x-gate-round", "1 2 3"),
                header("x-gate-again", "held 1 2"),
            ],
            body: b"abc".to_vec(),
            peer: Peer::Tcp("[::1]:7".parse().unwrap()),
            secure: true,
        };
        let head = String::from_utf8(request_head(&asked, None, 4)).unwrap();
        let expected = "POST /a?b HTTP/1.1\r\nhost: h\r\nx-gate-peer: 4 tls [::1]:7\r\n\
                        content-length: 3\r\n\r\n";
        assert_eq!(head, expected);
        let again = String::from_utf8(request_head(&asked, Some(Round::default()), 4)).unwrap();
        assert_eq!(again, expected.replace("content-", "x-gate-round: 0 0 0\r\ncontent-"));
        let bare = Asked { body: Vec::new(), ..asked.clone() };
        let bare = String::from_utf8(request_head(&bare, None, 4)).unwrap();
        assert_eq!(bare, expected.replace("content-length: 3\r\n", ""));
        assert_eq!(parse_peer("4 tls [::1]:7"), Some((4, asked.peer, true)));
        assert_eq!(parse_peer("0 plain unix"), Some((0, Peer::Unix, false)));
        assert_eq!(parse_peer("0 plain nobody"), None);
        assert_eq!(parse_peer("plain unix"), None);
    }

    #[test]
    fn an_answer_keeps_its_headers_and_gets_its_framing() {
        let check = |head: &str, to_head: bool, written: &str, beside: usize| {
            let head = format!("{head}\r\n\r\n");
            let (answer, length) = Answer::parse_head(head.as_bytes(), to_head).unwrap();
            assert_eq!(String::from_utf8(answer.parts(true).0).unwrap(), written, "{head}");
            assert_eq!(length, beside, "{head}");
        };
        let ok = "HTTP/1.1 200 OK\r\nServer: x\r\nETag: \"1\"\r\nX-Gate-Body: 5\r\n\
                  Content-Length: 0";
        let sent = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\n";
        check(ok, false, sent, 5);
        check(ok, true, sent, 5);
        let none = "HTTP/1.1 204 No Content\r\nx-gate-body: 0\r\nContent-Length: 0";
        check(none, false, "HTTP/1.1 204 No Content\r\n\r\n", 0);
        let known = "HTTP/1.1 304 Not Modified\r\nx-gate-body: 0\r\nContent-Length: 0";
        check(known, true, "HTTP/1.1 304 Not Modified\r\n\r\n", 0);
        let more = "HTTP/1.1 200 OK\r\nX-Gate-Again: streamed 7 20000\r\nETag: x\r\n\
                    X-Gate-Body: 5\r\nContent-Length: 0";
        // A stream has no length, not even for who asks only for its head.
        check(more, true, "HTTP/1.1 200 OK\r\nETag: x\r\n\r\n", 5);
        let head = format!("{more}\r\n\r\n");
        let (answer, _) = Answer::parse_head(head.as_bytes(), false).unwrap();
        assert_eq!(answer.asks_again().map(|again| again.after), Some(7));
        let written = "HTTP/1.1 200 OK\r\nETag: x\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(answer.stream_head()).unwrap(), written);
        let (to_head, _) = Answer::parse_head(head.as_bytes(), true).unwrap();
        assert_eq!(to_head.asks_again(), None);
        for bad in ["Transfer-Encoding: chunked\r\nX-Gate-Body: 5", "Content-Length: 0"] {
            let head = format!("HTTP/1.1 200 OK\r\n{bad}\r\n\r\n");
            assert!(Answer::parse_head(head.as_bytes(), false).is_none(), "{bad}");
        }
    }
}
