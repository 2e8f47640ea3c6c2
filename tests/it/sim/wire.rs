//! What goes over the wire, without a wire: a request as upstream reads it, a reply as it writes
//! it, and the ways in which no reply comes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A request as upstream sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The query, decoded, in the order sent.
    pub query: Vec<(String, String)>,
    /// Headers under lower-case names.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A request for `target`, a path with or without a query.
    pub fn new(method: &str, target: &str) -> Asked {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    /// The request with this header.
    pub fn header(mut self, name: &str, value: &str) -> Asked {
        self.headers.insert(name.to_ascii_lowercase(), value.to_owned());
        self
    }

    /// The request with this body.
    pub fn body(mut self, body: &str) -> Asked {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// The request with this access token.
    pub fn token(self, token: &str) -> Asked {
        self.header("authorization", &format!("Zoho-oauthtoken {token}"))
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Refuses every parameter that is not named here, and every repeated one: a client must not
    /// be able to send nonsense unnoticed.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), Answer> {
        for (at, (key, _)) in self.query.iter().enumerate() {
            let again = self.query[..at].iter().any(|(earlier, _)| earlier == key);
            if again || !names.contains(&key.as_str()) {
                return Err(Answer::invalid_param(key));
            }
        }
        Ok(())
    }

    /// The parameter as a number from 1 to `limit`.
    pub(super) fn count(&self, name: &str, default: u64, limit: u64) -> Result<u64, Answer> {
        let Some(text) = self.param(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=limit).contains(number));
        number.ok_or_else(|| Answer::invalid_param(name))
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names as written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn typed(status: u16, media: &str, body: String) -> Answer {
        let headers = vec![("Content-Type".to_owned(), media.to_owned())];
        Answer { status, headers, body: body.into_bytes() }
    }

    pub(super) fn json(status: u16, body: &Value) -> Answer {
        Answer::raw(status, body.to_string())
    }

    /// A JSON body that is a text already, so that digits stay as they are.
    pub(super) fn raw(status: u16, body: String) -> Answer {
        Answer::typed(status, "application/json;charset=utf-8", body)
    }

    /// An error as upstream words it (facts §4.10).
    pub(super) fn refusal(status: u16, code: &str, details: Value, message: &str) -> Answer {
        let body = json!({"code": code, "details": details, "message": message, "status": "error"});
        Answer::json(status, &body)
    }

    pub(super) fn invalid_param(name: &str) -> Answer {
        let details = json!({"param": name});
        Answer::refusal(400, "INVALID_DATA", details, "the parameter is not valid here")
    }

    pub(super) fn invalid_token() -> Answer {
        Answer::refusal(401, "INVALID_TOKEN", json!({}), "invalid oauth token")
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(not UTF-8)")
    }

    /// The body as JSON; null when it is not. Big numbers lose digits here: compare texts instead.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Why no reply comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// Nothing comes; whether the request took effect is not known.
    TimedOut,
    /// The connection breaks.
    Reset,
    /// There is no way to upstream at all.
    Unreachable,
    /// The certificate is not valid at the device's time. In process only: loopback has no TLS.
    WrongClock,
}
