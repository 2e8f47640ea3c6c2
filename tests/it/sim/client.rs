//! A small HTTP client for tests: one request, one connection, one reply.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Long enough for a loaded machine, short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reply.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The status.
    pub status: u16,
    /// The headers, names as written.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Heard {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is not.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Asks `addr` over a connection of its own. A `Host` among the headers replaces the address.
pub fn http(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Heard> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    http_over(stream, &addr.to_string(), method, target, headers, body)
}

/// Asks over this connection, which may be a Unix socket's, and reads the reply whole.
pub fn http_over(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Heard> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    let mut reply = Vec::new();
    if let Err(error) = stream.read_to_end(&mut reply) {
        // A listener that answers before it has read everything may reset the rest.
        if error.kind() != io::ErrorKind::ConnectionReset || reply.is_empty() {
            return Err(error);
        }
    }
    parse(&reply)
}

fn parse(reply: &[u8]) -> io::Result<Heard> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(reply).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let status = response.code.unwrap_or(0);
    let mut heard = Heard { status, headers, body: reply[head..].to_vec() };
    if heard.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        heard.body = joined(&heard.body)?;
    } else if let Some(length) = heard.header("content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        if heard.body.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        heard.body.truncate(length);
    }
    Ok(heard)
}

fn joined(mut chunks: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(chunks) {
            Ok(httparse::Status::Complete((start, size))) => (start, size as usize),
            Ok(httparse::Status::Partial) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => return Err(io::Error::other("a chunk has no size")),
        };
        if size == 0 {
            return Ok(body);
        }
        let end = start.saturating_add(size);
        let chunk = chunks.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2..).ok_or(io::ErrorKind::UnexpectedEof)?;
    }
}
