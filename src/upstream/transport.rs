//! One request to upstream, one reply: the only file that names ureq.
//!
//! A [`Transport`] does no more than carry. It decides nothing about retries, reads no status and
//! follows no redirect; it bounds what a reply may cost and says in one enum what went wrong.

use std::fmt;
use std::time::Duration;

use crate::mirror::time::UpstreamTime;
use crate::secret::Secret;

/// Largest body of a reply, counted after decompression: a page of 200 records with long texts is
/// below 8 MiB, and a gzip bomb must not fill a small device's memory.
pub const REPLY_LIMIT: usize = 16 << 20;

/// Carries a request to upstream and brings the reply.
pub trait Transport: Send + Sync {
    /// Sends the request and reads the reply whole. A status of 4xx or 5xx is a reply, not an error.
    fn send(&self, request: &Request) -> Result<Reply, TransportError>;
}

/// An HTTP method that upstream is called with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Opens a channel, asks for a token, runs a query.
    Post,
    /// Replaces a channel.
    Put,
    /// Closes a channel.
    Delete,
}

/// One request to upstream. `Debug` shows no secret: the token and forms are [`Secret`]s.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address with its query.
    pub url: String,
    /// Sent as `Authorization: Zoho-oauthtoken …` (facts §3.1).
    pub token: Option<Secret>,
    /// Sent as `If-Modified-Since` in upstream's own form, ISO 8601 (facts §4.3).
    pub modified_since: Option<UpstreamTime>,
    /// What is sent with it.
    pub body: Body,
}

/// What is sent with a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON; secret, since channels carry their token in it.
    Json(Secret),
    /// `application/x-www-form-urlencoded`; secret, since it carries credentials.
    Form(Secret),
}

/// One reply of upstream.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Upstream's clock, from the `Date` header.
    pub date: Option<UpstreamTime>,
    /// How long upstream asks us to wait, from `Retry-After` in either of its forms.
    pub retry_after: Option<Duration>,
    /// The body, decompressed, at most [`REPLY_LIMIT`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Clone, Debug)]
pub enum TransportError {
    /// The name could not be resolved, the connection not made, or it broke.
    Unreachable(String),
    /// Nothing came in time.
    TimedOut(String),
    /// The TLS handshake failed: not upstream's certificate.
    Untrusted(String),
    /// The certificate is not valid yet, or no longer: the device's clock is wrong, most likely.
    WrongClock(String),
    /// The reply is larger than [`REPLY_LIMIT`], or not HTTP.
    Unreadable(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::Unreachable(why) => write!(f, "unreachable: {why}"),
            TransportError::TimedOut(why) => write!(f, "no answer in time: {why}"),
            TransportError::Untrusted(why) => write!(
                f,
                "the certificate is not trusted: {why}; is there a proxy between? add its authority \
                 as upstream.ca_file"
            ),
            TransportError::WrongClock(why) => {
                write!(f, "{why}; the device's clock is wrong, most likely: set the time")
            }
            TransportError::Unreadable(why) => write!(f, "unreadable reply: {why}"),
        }
    }
}

impl std::error::Error for TransportError {}
