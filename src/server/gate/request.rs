//! Bytes of a stranger → the head of a request, or why it is refused. Pure.
//!
//! What two readers could understand differently is refused, never repaired: that is how requests
//! are smuggled. So it is stricter than HTTP asks in places: no empty line before a request, no
//! folded header, no bare line feed, no list of lengths. It is the only file that names httparse.

use std::fmt;

use crate::server::asked::FOREIGN;

/// Longest head: request line and headers. A callback's is below 1 KiB; cookies of a kiosk's
/// browser need a few more.
pub const HEAD_LIMIT: usize = 16 << 10;
/// Most header lines; browsers send about 20, a chain of proxies 15 more.
pub const HEADER_LINES_LIMIT: usize = 64;
/// Longest target: a search with 100 ids needs 2.5 KiB.
pub const TARGET_LIMIT: usize = 8 << 10;
/// Longest body: the largest callback known names 100 ids and is below 64 KiB.
pub const BODY_LIMIT: usize = 1 << 20;
/// Longest method.
const METHOD_LIMIT: usize = 32;

/// The head of a request that may be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The method as sent.
    pub method: String,
    /// The target, in origin form.
    pub target: String,
    /// The header lines in order; names in lower case, bytes outside of ASCII in a value as
    /// [`FOREIGN`].
    pub headers: Vec<(String, String)>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the peer may send another request after this one.
    pub keep_alive: bool,
}

/// How the body of a request is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes, none when nothing was said; at most [`BODY_LIMIT`].
    Length(usize),
    /// In chunks.
    Chunked,
}

/// Why a request is refused, each with one status. The connection ends with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not HTTP as we read it, or something that could be read in two ways.
    Malformed(&'static str),
    /// The request did not come in time.
    TooSlow,
    /// The body is longer than [`BODY_LIMIT`].
    BodyTooLong,
    /// The target is longer than [`TARGET_LIMIT`].
    TargetTooLong,
    /// An expectation other than `100-continue`.
    UnknownExpectation,
    /// More than [`HEAD_LIMIT`] or [`HEADER_LINES_LIMIT`].
    HeadTooLong,
    /// Too much is in hand already.
    Busy,
    /// A version of HTTP that we do not speak.
    UnknownVersion,
}

impl Refusal {
    /// The status that says so.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed(_) => 400,
            Refusal::TooSlow => 408,
            Refusal::BodyTooLong => 413,
            Refusal::TargetTooLong => 414,
            Refusal::UnknownExpectation => 417,
            Refusal::HeadTooLong => 431,
            Refusal::Busy => 503,
            Refusal::UnknownVersion => 505,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed(why) => f.write_str(why),
            Refusal::TooSlow => f.write_str("the request did not come in time"),
            Refusal::BodyTooLong => write!(f, "the body is longer than {BODY_LIMIT} bytes"),
            Refusal::TargetTooLong => write!(f, "the target is longer than {TARGET_LIMIT} bytes"),
            Refusal::UnknownExpectation => f.write_str("only 100-continue can be expected"),
            Refusal::HeadTooLong => write!(
                f,
                "the head is longer than {HEAD_LIMIT} bytes or {HEADER_LINES_LIMIT} header lines"
            ),
            Refusal::Busy => f.write_str("too much is in hand; try again in a moment"),
            Refusal::UnknownVersion => f.write_str("only HTTP/1.1 and HTTP/1.0 are spoken here"),
        }
    }
}

/// Where the head ends (behind its empty line), or `None` while it does not. `bytes[..judged]` were
/// looked at by an earlier call. What can never become a head is refused before its end has come.
pub fn head_end(bytes: &[u8], judged: usize) -> Result<Option<usize>, Refusal> {
    if bytes.first().is_some_and(|first| !first.is_ascii_alphabetic()) {
        return Err(Refusal::Malformed("a request begins with its method"));
    }
    for place in judged..bytes.len().min(HEAD_LIMIT) {
        let after_return = place > 0 && bytes[place - 1] == b'\r';
        match bytes[place] {
            b'\n' if !after_return => return Err(Refusal::Malformed("a bare line feed")),
            b'\n' if bytes[..place].ends_with(b"\r\n\r") => return Ok(Some(place + 1)),
            b'\n' => {}
            _ if after_return => return Err(Refusal::Malformed("a bare carriage return")),
            b'\t' | b'\r' | b' '..=b'~' | 0x80..=0xff => {}
            0..=8 | 11 | 12 | 14..=31 | 127 => {
                return Err(Refusal::Malformed("a control character in the head"));
            }
        }
    }
    let first_line = bytes.iter().take(HEAD_LIMIT).position(|byte| *byte == b'\n');
    if first_line.is_none() && bytes.len() > METHOD_LIMIT + TARGET_LIMIT {
        return Err(Refusal::TargetTooLong);
    }
    if bytes.len() >= HEAD_LIMIT { Err(Refusal::HeadTooLong) } else { Ok(None) }
}

/// Reads a whole head, as [`head_end`] has found it.
pub fn parse_head(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut room = [httparse::EMPTY_HEADER; HEADER_LINES_LIMIT];
    let mut parsed = httparse::Request::new(&mut room);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Refusal::Malformed("not one head")),
        Err(error) => return Err(refusal_of(error, bytes)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::Malformed("not a request line"));
    };
    check_request_line(method, target)?;
    let fields = Fields { headers: parsed.headers, old: version == 0 };
    fields.check_host()?;
    let framing = fields.framing()?;
    Ok(Head {
        method: method.to_owned(),
        target: target.to_owned(),
        framing,
        expects_continue: fields.expects_continue()?,
        keep_alive: fields.keep_alive(),
        headers: fields.to_text(),
    })
}

fn refusal_of(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLong,
        httparse::Error::HeaderName => {
            Refusal::Malformed("a header name is malformed, or the line is folded")
        }
        httparse::Error::HeaderValue => Refusal::Malformed("a header value is malformed"),
        httparse::Error::NewLine => Refusal::Malformed("a line end is malformed"),
        httparse::Error::Token | httparse::Error::Status => {
            Refusal::Malformed("the request line is malformed")
        }
        httparse::Error::Version if names_another_version(bytes) => Refusal::UnknownVersion,
        httparse::Error::Version => Refusal::Malformed("the version of HTTP is malformed"),
    }
}

/// Whether the request line is well formed but for its version, such as `HTTP/2.0`.
fn names_another_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    match (parts.next(), parts.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

fn check_request_line(method: &str, target: &str) -> Result<(), Refusal> {
    if method.len() > METHOD_LIMIT {
        return Err(Refusal::Malformed("no method is so long"));
    }
    if target.len() > TARGET_LIMIT {
        return Err(Refusal::TargetTooLong);
    }
    if !target.starts_with('/') {
        return Err(Refusal::Malformed("the target must be a path: no scheme, no authority, no *"));
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::Malformed("the target must be percent-encoded, without a fragment"));
    }
    Ok(())
}

/// The header lines, as they decide about the request.
struct Fields<'a> {
    headers: &'a [httparse::Header<'a>],
    /// HTTP/1.0, which knows neither chunks nor expectations.
    old: bool,
}

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|header| header.value)
    }

    fn check_host(&self) -> Result<(), Refusal> {
        match self.all("host").count() {
            1 => Ok(()),
            0 if self.old => Ok(()),
            0 => Err(Refusal::Malformed("the Host header is missing")),
            _ => Err(Refusal::Malformed("more than one Host header")),
        }
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        let mut lengths = self.all("content-length");
        let mut encodings = self.all("transfer-encoding");
        match (lengths.next(), encodings.next()) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(_), Some(_)) => {
                Err(Refusal::Malformed("both Content-Length and Transfer-Encoding"))
            }
            (Some(length), None) if lengths.next().is_none() => content_length(length),
            (Some(_), None) => Err(Refusal::Malformed("more than one Content-Length")),
            (None, Some(_)) if self.old => {
                Err(Refusal::Malformed("HTTP/1.0 knows no Transfer-Encoding"))
            }
            (None, Some(encoding)) => {
                let chunked = encoding.eq_ignore_ascii_case(b"chunked");
                let only = chunked && encodings.next().is_none();
                let refused = Refusal::Malformed("a Transfer-Encoding other than chunked");
                if only { Ok(Framing::Chunked) } else { Err(refused) }
            }
        }
    }

    fn expects_continue(&self) -> Result<bool, Refusal> {
        let known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        if self.old {
            return Ok(false); // A peer of HTTP/1.0 could not read the answer.
        }
        if self.all("expect").all(known) {
            Ok(self.all("expect").next().is_some())
        } else {
            Err(Refusal::UnknownExpectation)
        }
    }

    fn keep_alive(&self) -> bool {
        let closes = |value: &[u8]| {
            value.split(|byte| *byte == b',').any(|token| {
                let token = token.trim_ascii();
                token.eq_ignore_ascii_case(b"close")
            })
        };
        !self.old && !self.all("connection").any(closes)
    }

    fn to_text(&self) -> Vec<(String, String)> {
        let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { FOREIGN };
        self.headers
            .iter()
            .map(|header| {
                (header.name.to_ascii_lowercase(), header.value.iter().map(ascii).collect())
            })
            .collect()
    }
}

fn content_length(value: &[u8]) -> Result<Framing, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed("Content-Length must be one number"));
    }
    let digit = |length: usize, byte: &u8| {
        length.saturating_mul(10).saturating_add(usize::from(byte - b'0'))
    };
    let length = value.iter().fold(0, digit);
    if length > BODY_LIMIT { Err(Refusal::BodyTooLong) } else { Ok(Framing::Length(length)) }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
