//! The one form in which a request goes to tiny_http and a reply leaves. Pure.
//!
//! tiny_http is lenient, and what it is lenient about has been somebody's vulnerability. So it
//! never sees what a stranger sent: the request is written anew, ASCII only, with one
//! `Content-Length`, without any header that speaks of a connection, and with the peer in a header
//! of our own. The reply does not come back over the line (`tray`). This file reads nothing from a
//! stranger.

use std::fmt::Write as _;

use super::again::{Again, Mode, ROUND_HEADER, Round};
use super::asked::{Asked, Peer};
use super::budget::Hold;
use super::reply::{Reply, reason};
use crate::mirror::time::UpstreamTime;

/// Names the line and the peer to the worker. Inbound copies are dropped, so a request without it
/// is ours: the probe of a new line.
pub(super) const PEER_HEADER: &str = "x-gate-peer";

/// What a line is proved with before it carries anything.
pub(super) const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: hall\r\n\r\n";

/// Bytes of most heads: they then grow in one piece.
const HEAD_BYTES: usize = 512;

/// Headers that speak of one connection, or that tiny_http would act upon.
const LEFT_BEHIND: [&str; 11] = [
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
    /// When the hall gave it; none for what the gate says by itself.
    date: Option<UpstreamTime>,
    headers: Vec<(&'static str, String)>,
    /// What the peer is told of the length of the body; nothing where there can be none.
    length: Option<usize>,
    body: Vec<u8>,
    again: Option<Again>,
    /// Keeps the body's bytes in the budget until they are sent.
    _hold: Option<Hold>,
}

impl Answer {
    /// What the hall replied then, and the bytes that its body holds in the budget.
    pub(super) fn of(
        reply: Reply,
        to_head_request: bool,
        date: UpstreamTime,
        hold: Hold,
    ) -> Answer {
        let answer = Answer { date: Some(date), _hold: Some(hold), ..Answer::from(reply) };
        let bodiless = answer.status < 200 || answer.status == 204 || answer.status == 304;
        let length = answer.length.filter(|_| !bodiless);
        if !to_head_request {
            return Answer { length, ..answer };
        }
        // Nothing can be sent after the reply to HEAD, and a stream has no length to tell of.
        let (streamed, others) = match answer.again {
            Some(again) if again.mode == Mode::Streamed => (true, None),
            again => (false, again),
        };
        let length = length.filter(|_| !streamed);
        Answer { length, again: others, body: Vec::new(), ..answer }
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
        let mut head = String::with_capacity(HEAD_BYTES);
        // Writing to a text cannot fail.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if let Some(date) = self.date {
            let _ = write!(head, "Date: {}\r\n", date.to_http_date());
        }
        for (name, value) in &self.headers {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
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
        let (status, again) = (reply.status(), reply.asks_again());
        let (headers, body) = reply.into_parts();
        let length = Some(body.len());
        Answer { status, date: None, headers, length, body, again, _hold: None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::budget::Budget;

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
        let budget = Budget::new(0, 9);
        let date = UpstreamTime::from_unix(784_111_777);
        let of = |reply: &Reply, to_head| Answer::of(reply.clone(), to_head, date, budget.hold());
        let check = |reply: &Reply, to_head, status: &str, lines: &str, body: &str| {
            let answer = of(reply, to_head);
            let (head, sent) = answer.parts(true);
            let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
            let expected = format!("HTTP/1.1 {status}\r\n{date}\r\n{lines}\r\n");
            assert_eq!(String::from_utf8(head).unwrap(), expected);
            assert_eq!(std::str::from_utf8(sent).unwrap(), body);
        };
        let ok = Reply::text(200, "text/plain", "12345").with("ETag", "\"1\"");
        let lines = "Content-Type: text/plain\r\nETag: \"1\"\r\nContent-Length: 5\r\n";
        check(&ok, false, "200 OK", lines, "12345");
        check(&ok, true, "200 OK", lines, "");
        check(&Reply::empty(204), false, "204 No Content", "", "");
        check(&Reply::empty(304), true, "304 Not Modified", "", "");
        let again = Again { after: 7, within: Duration::from_secs(20), mode: Mode::Streamed };
        let more = Reply::text(200, "text/plain", "12345").again(again);
        // A stream has no length, not even for who asks only for its head.
        check(&more, true, "200 OK", "Content-Type: text/plain\r\n", "");
        assert_eq!(of(&more, true).asks_again(), None);
        assert_eq!(of(&more, false).asks_again(), Some(again));
        let head = String::from_utf8(of(&more, false).stream_head()).unwrap();
        assert!(head.ends_with("Content-Type: text/plain\r\nConnection: close\r\n\r\n"), "{head}");
        let held = more.again(Again { mode: Mode::Held, ..again });
        assert!(of(&held, true).asks_again().is_some());
        // What the gate says by itself has no date.
        let head = Answer::from(Reply::empty(408)).parts(false).0;
        let expected = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
    }
}
