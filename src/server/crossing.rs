//! The one form in which a request goes to tiny_http and a reply comes back. Pure.
//!
//! tiny_http is lenient, and what it is lenient about has been somebody's vulnerability. So it
//! never sees what a stranger sent: the request is written anew, ASCII only, with one
//! `Content-Length`, without any header that speaks of a connection, and with the peer in a header
//! of our own. This file reads nothing from a stranger.

use super::again::{AGAIN_HEADER, Again, Mode, ROUND_HEADER, Round};
use super::asked::{Asked, Peer};
use super::budget::Hold;
use super::reply::{Reply, reason};

/// Names the peer to the worker. Inbound copies are dropped, so a request without it is ours: the
/// probe of a new line.
pub(super) const PEER_HEADER: &str = "x-gate-peer";

/// What a line is proved with before it carries anything.
pub(super) const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: hall\r\n\r\n";

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
/// body follows as it is.
pub(super) fn request_head(asked: &Asked, round: Option<Round>) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", asked.method, asked.target);
    for (name, value) in asked.headers.iter().filter(|(name, _)| crosses(name)) {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    }
    let by = if asked.secure { "tls" } else { "plain" };
    head.push_str(&format!("{PEER_HEADER}: {by} {}\r\n", asked.peer));
    if let Some(round) = round {
        head.push_str(&format!("{ROUND_HEADER}: {}\r\n", round.to_header()));
    }
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
    again: Option<Again>,
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
        let (mut lines, mut length, mut again) = (String::new(), None, None);
        for line in source {
            let (name, value) = line.split_once(": ")?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.parse::<usize>().ok()?),
                "server" | "connection" => continue,
                AGAIN_HEADER => {
                    again = Some(Again::parse(value)?);
                    continue;
                }
                "transfer-encoding" => return None,
                _ => {}
            }
            if !(bodiless && name.eq_ignore_ascii_case("content-length")) {
                lines.extend([line, "\r\n"]);
            }
        }
        let follows = if to_head_request || bodiless { 0 } else { length? };
        // Nothing can be sent after the reply to HEAD.
        again = again.filter(|again| !to_head_request || again.mode == Mode::Held);
        Some((Answer { status, lines, body: Vec::new(), again, _hold: None }, follows))
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
        let is_length = |line: &&str| {
            let (name, _) = line.split_once(':').unwrap_or_default();
            name.eq_ignore_ascii_case("content-length")
        };
        let lines: String =
            self.lines.split_inclusive("\r\n").filter(|line| !is_length(line)).collect();
        let (status, reason) = (self.status, reason(self.status));
        format!("HTTP/1.1 {status} {reason}\r\n{lines}Connection: close\r\n\r\n").into_bytes()
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
        let (body, again) = (reply.body().to_vec(), reply.asks_again());
        Answer { status: reply.status(), lines, body, again, _hold: None }
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
        let head = String::from_utf8(request_head(&asked, None)).unwrap();
        let expected = "POST /a?b HTTP/1.1\r\nhost: h\r\nx-gate-peer: tls [::1]:7\r\n\
                        content-length: 3\r\n\r\n";
        assert_eq!(head, expected);
        let again = String::from_utf8(request_head(&asked, Some(Round::default()))).unwrap();
        assert_eq!(again, expected.replace("content-", "x-gate-round: 0 0 0\r\ncontent-"));
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
        let more =
            "HTTP/1.1 200 OK\r\nX-Gate-Again: streamed 7 20000\r\nETag: x\r\nContent-Length: 5";
        check(more, false, "HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 5\r\n\r\n", 5);
        let head = format!("{more}\r\n\r\n");
        let (answer, _) = Answer::parse_head(head.as_bytes(), false).unwrap();
        assert_eq!(answer.asks_again().map(|again| again.after), Some(7));
        let written = "HTTP/1.1 200 OK\r\nETag: x\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(answer.stream_head()).unwrap(), written);
        let (to_head, _) = Answer::parse_head(head.as_bytes(), true).unwrap();
        assert_eq!(to_head.asks_again(), None);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Answer::parse_head(chunked, false).is_none());
    }
}
