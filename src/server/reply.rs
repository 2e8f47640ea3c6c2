//! One reply: a status, headers, a whole body.
//!
//! Whoever answers says what is meant; framing, `Connection` and the bytes on the wire are the
//! gate's. A header value cannot end its line, whatever went into it.

use serde_json::{Value, json};

use super::again::Again;
use crate::store::Durable;

/// A reply to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    again: Option<Again>,
}

impl Reply {
    /// A reply that carries JSON, written already.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let headers = vec![("Content-Type", "application/json;charset=UTF-8".to_owned())];
        Reply { status, headers, body: body.into(), again: None }
    }

    /// A reply without a body.
    pub fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), again: None }
    }

    /// A reply that carries text for a person or a scraper, of the given media type.
    pub fn text(status: u16, media_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        let reply = Reply { body: body.into(), ..Reply::empty(status) };
        reply.with("Content-Type", media_type)
    }

    /// An error in the shape of upstream's own (facts §4.10), so that its SDKs understand it.
    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::detailed(status, code, json!({}), message)
    }

    /// The same with what a program can know of it, as an object.
    pub fn detailed(status: u16, code: &str, details: Value, message: &str) -> Reply {
        let body = json!({"code": code, "details": details, "message": message, "status": "error"});
        Reply::json(status, body.to_string())
    }

    /// The acknowledgement of a callback. It cannot be built before the callback is on disk.
    pub fn accepted(_on_disk: Durable) -> Reply {
        Reply::json(200, r#"{"status":"accepted"}"#)
    }

    /// The same reply with one more header. Characters that could end the line, or that are not
    /// ASCII, become spaces: what is quoted in a header may come from a stranger.
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Reply {
        let mut value: String = value.into();
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            value = value.chars().map(|c| if (' '..='~').contains(&c) { c } else { ' ' }).collect();
        }
        self.headers.push((header, value));
        self
    }

    /// The same reply, after which the same is to be asked again.
    pub fn again(self, again: Again) -> Reply {
        Reply { again: Some(again), ..self }
    }

    /// Whether the same is to be asked again, and when.
    pub fn asks_again(&self) -> Option<Again> {
        self.again
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers in order.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The headers and the body, for whoever sends them.
    pub(super) fn into_parts(self) -> (Vec<(&'static str, String)>, Vec<u8>) {
        (self.headers, self.body)
    }
}

/// The phrase that goes with a status; empty, which HTTP allows, for one that we do not send.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_value_cannot_split_the_reply() {
        let reply = Reply::empty(204).with("Location", "/a\r\nSet-Cookie: b\0é~");
        assert_eq!(reply.headers(), [("Location", "/a  Set-Cookie: b  ~".to_owned())]);
    }

    #[test]
    fn an_error_has_upstreams_shape() {
        let reply = Reply::error(400, "INVALID_DATA", "no \"such\" field");
        assert_eq!(reply.status(), 400);
        let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
        let expected = json!({"code": "INVALID_DATA", "details": {},
            "message": "no \"such\" field", "status": "error"});
        assert_eq!(body, expected);
    }
}
