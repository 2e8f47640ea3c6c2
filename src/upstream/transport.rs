//! One request to upstream, one reply: the only file that names ureq.
//!
//! A [`Transport`] does no more than carry. It decides nothing about retries, reads no status and
//! follows no redirect; it bounds what a reply may cost and says in one enum what went wrong.

pub mod call;
mod names;

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use self::names::{Missing, Names};
use crate::mirror::time::UpstreamTime;
use crate::secret::Secret;

/// Largest body of a reply, counted after decompression: a page of 200 records with long texts is
/// below 8 MiB, and a gzip bomb must not fill a small device's memory.
pub const REPLY_LIMIT: usize = 16 << 20;

/// Carries a request to upstream and brings the reply.
pub trait Transport: Send + Sync {
    /// Sends the request and reads the reply whole. A status of 4xx or 5xx is a reply, not an
    /// error.
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
    /// A form, and the `HASH` that proves it to be ours (facts §6).
    Signed {
        /// The form.
        form: Secret,
        /// The header.
        hash: String,
    },
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
                "the certificate is not trusted: {why}; is there a proxy between? add its \
                 authority as upstream.ca_file"
            ),
            TransportError::WrongClock(why) => {
                write!(f, "{why}; the device's clock is wrong, most likely: set the time")
            }
            TransportError::Unreadable(why) => write!(f, "unreadable reply: {why}"),
        }
    }
}

impl std::error::Error for TransportError {}

/// How long a call may take. The heart waits for it, so that nothing in it goes without an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For all of it, name resolution and body included.
    pub call: Duration,
    /// For the name.
    pub resolve: Duration,
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the first word of the reply.
    pub answer: Duration,
}

impl Default for Patience {
    /// Made for a poor radio link.
    fn default() -> Patience {
        Patience {
            // The longest page at two megabits a second.
            call: Duration::from_secs(60),
            // The system's resolver asks twice, 5 seconds each.
            resolve: Duration::from_secs(10),
            // It is there by then or not at all.
            connect: Duration::from_secs(15),
            // A search of upstream's over a large module takes some seconds.
            answer: Duration::from_secs(30),
        }
    }
}

/// Buffers of a connection, in and out: ureq's own 128 KiB each are much for a small device.
const BUFFER: usize = 16 << 10;

/// There are no addresses behind a name.
const UNKNOWN_NAME: &str = "the name cannot be resolved";

/// The transport over HTTPS.
pub struct HttpsTransport {
    /// One agent for each set of roots. ureq takes either its built-in roots or given ones; a
    /// server that the first set does not know is tried with the next, before anything was sent.
    agents: Vec<ureq::Agent>,
}

impl HttpsTransport {
    /// A transport that trusts the built-in roots, and those of `ca_file` besides.
    pub fn new(ca_file: Option<&Path>) -> Result<HttpsTransport, CaFileError> {
        HttpsTransport::with_patience(ca_file, Patience::default())
    }

    /// The same with other limits of time.
    pub fn with_patience(
        ca_file: Option<&Path>,
        patience: Patience,
    ) -> Result<HttpsTransport, CaFileError> {
        let mut agents = vec![agent(RootCerts::WebPki, patience)];
        if let Some(path) = ca_file {
            let roots = read_roots(path).map_err(|why| CaFileError { path: path.into(), why })?;
            agents.push(agent(RootCerts::new_with_certs(&roots), patience));
        }
        Ok(HttpsTransport { agents })
    }
}

/// A `ca_file` that cannot be used.
#[derive(Debug)]
pub struct CaFileError {
    path: std::path::PathBuf,
    why: String,
}

impl fmt::Display for CaFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}: {}; upstream.ca_file is to hold certificates in PEM form", self.why)
    }
}

impl std::error::Error for CaFileError {}

fn read_roots(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = Vec::new();
    for item in parse_pem(&pem) {
        match item.map_err(|error| error.to_string())? {
            PemItem::Certificate(certificate) => roots.push(certificate),
            _ => return Err("it holds something else than certificates".into()),
        }
    }
    if roots.is_empty() { Err("it holds no certificate".into()) } else { Ok(roots) }
}

fn agent(roots: RootCerts, patience: Patience) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would carry our token to whoever it names.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // The environment of a device's service must not decide where secrets go.
        .proxy(None)
        .timeout_global(Some(patience.call))
        .timeout_resolve(Some(patience.resolve))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_idle_connections(2)
        .user_agent(concat!("crmirror/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    ureq::Agent::with_parts(config, DefaultConnector::default(), Names::of_the_system())
}

/// The addresses behind `name`, which carries a port, found as for a call; for those who want to
/// know what stands in a call's way.
pub fn look_up(name: &str, patience: Duration) -> Result<Vec<SocketAddr>, TransportError> {
    match Names::of_the_system().look_up(name.to_owned(), patience) {
        Ok(addresses) => Ok(addresses),
        Err(Missing::Unknown) => Err(TransportError::Unreachable(UNKNOWN_NAME.into())),
        Err(Missing::Late) => Err(TransportError::TimedOut("the resolver says nothing".into())),
        Err(Missing::NoThread(error)) => Err(TransportError::Unreachable(error.to_string())),
    }
}

impl Transport for HttpsTransport {
    fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let mut last = None;
        for agent in &self.agents {
            match send(agent, request) {
                Err(error @ TransportError::Untrusted(_)) => last = Some(error),
                result => return result,
            }
        }
        Err(last.expect("there is at least one agent"))
    }
}

fn send(agent: &ureq::Agent, request: &Request) -> Result<Reply, TransportError> {
    let result = match (request.method, &request.body) {
        (Method::Get, _) => with_headers(agent.get(&request.url), request).call(),
        (Method::Delete, _) => with_headers(agent.delete(&request.url), request).call(),
        (Method::Post, body) => send_body(agent.post(&request.url), request, body),
        (Method::Put, body) => send_body(agent.put(&request.url), request, body),
    };
    read(result.map_err(error)?)
}

fn with_headers<B>(
    mut builder: ureq::RequestBuilder<B>,
    request: &Request,
) -> ureq::RequestBuilder<B> {
    if let Some(token) = &request.token {
        let value = format!("Zoho-oauthtoken {}", token.reveal());
        builder = builder.header("Authorization", value);
    }
    if let Some(time) = request.modified_since {
        builder = builder.header("If-Modified-Since", time.to_string());
    }
    builder
}

fn send_body(
    builder: ureq::RequestBuilder<ureq::typestate::WithBody>,
    request: &Request,
    body: &Body,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let builder = with_headers(builder, request);
    match body {
        Body::Empty => builder.send_empty(),
        Body::Json(text) => builder.content_type("application/json").send(text.reveal()),
        Body::Form(text) => {
            builder.content_type("application/x-www-form-urlencoded").send(text.reveal())
        }
        Body::Signed { form, hash } => {
            let builder = builder.header("HASH", hash);
            builder.content_type("application/x-www-form-urlencoded").send(form.reveal())
        }
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Reply, TransportError> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let date = header("date").and_then(UpstreamTime::parse_http_date);
    let retry_after = header("retry-after").and_then(|value| pause(value, date));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    // The reader is beyond the decoder: this bounds what a compressed body becomes.
    let mut reader = response.body_mut().as_reader().take(REPLY_LIMIT as u64 + 1);
    reader.read_to_end(&mut body).map_err(|cause| error(cause.into()))?;
    if body.len() > REPLY_LIMIT {
        let why = format!("it is larger than {} MiB", REPLY_LIMIT >> 20);
        return Err(TransportError::Unreadable(why));
    }
    Ok(Reply { status, date, retry_after, body })
}

/// Reads a `Retry-After`: seconds, or a date, held against the date of the same reply.
fn pause(value: &str, date: Option<UpstreamTime>) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(UpstreamTime::parse_http_date(value.trim())?.since(date?)),
    }
}

fn error(error: ureq::Error) -> TransportError {
    match &error {
        ureq::Error::Timeout(_) => TransportError::TimedOut(error.to_string()),
        ureq::Error::Rustls(cause) => tls_error(cause),
        ureq::Error::Io(cause) => {
            match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(cause) => tls_error(cause),
                None => TransportError::Unreachable(cause.to_string()),
            }
        }
        ureq::Error::HostNotFound => TransportError::Unreachable(UNKNOWN_NAME.into()),
        ureq::Error::ConnectionFailed => {
            TransportError::Unreachable("the connection cannot be made".into())
        }
        ureq::Error::Protocol(_) | ureq::Error::BodyExceedsLimit(_) => {
            TransportError::Unreadable(error.to_string())
        }
        _ => TransportError::Unreachable(error.to_string()),
    }
}

fn tls_error(error: &rustls::Error) -> TransportError {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match error {
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            TransportError::WrongClock("the certificate has expired".into())
        }
        rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
            TransportError::WrongClock("the certificate is not valid yet".into())
        }
        rustls::Error::InvalidCertificate(_) => TransportError::Untrusted(error.to_string()),
        _ => TransportError::Unreachable(format!("TLS: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let date = UpstreamTime::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        let check = |value: &str| pause(value, date).map(|pause| pause.as_secs());
        assert_eq!(check("0"), Some(0));
        assert_eq!(check(" 120 "), Some(120));
        assert_eq!(check("99999999999"), Some(99_999_999_999));
        assert_eq!(check("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(check("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(check("soon"), None);
        assert_eq!(pause("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
    }
}
