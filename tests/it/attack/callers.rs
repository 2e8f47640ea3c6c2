//! The good callers: they call all the time, each time over a new connection, and note how long
//! the answer took.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{PROMPT, PROMPT_ENOUGH, data};
use crate::agent::CALLBACK_PATH;
use crate::sim::{http, http_over};

/// Pause between two calls.
const PAUSE: Duration = Duration::from_millis(10);
/// Of so many calls one may be late, since this machine has other work.
const FEW: usize = 20;
/// What a caller waits for at most: it is noted, and judged later.
const PATIENCE: Duration = Duration::from_secs(15);

/// How callbacks come.
pub(super) enum Road {
    Plain,
    Tls(Arc<ClientConfig>),
}

impl Road {
    /// By TLS, to the first of the tests' certificates.
    pub(super) fn tls() -> Road {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data("first-cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Road::Tls(Arc::new(config))
    }

    /// Posts a callback; the status of the answer.
    pub(super) fn post(&self, address: SocketAddr, callback: &str) -> io::Result<u16> {
        let body = callback.as_bytes();
        let heard = match self {
            Road::Plain => http(address, "POST", CALLBACK_PATH, &[], body)?,
            Road::Tls(config) => {
                let name = "localhost".try_into().unwrap();
                let client = ClientConnection::new(Arc::clone(config), name).unwrap();
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let stream = StreamOwned::new(client, stream);
                http_over(stream, "localhost", "POST", CALLBACK_PATH, &[], body)?
            }
        };
        Ok(heard.status)
    }
}

/// Reads from the local interface; the status of the answer.
pub(super) fn read(address: SocketAddr, target: &str) -> io::Result<u16> {
    Ok(http(address, "GET", target, &[], b"")?.status)
}

/// What became of calls: each its time and its status, or why there is none.
pub(super) struct Calls(Vec<(Duration, Result<u16, String>)>);

impl Calls {
    /// Calls until it is over, and once at least.
    pub(super) fn until(over: &AtomicBool, call: impl Fn() -> io::Result<u16>) -> Calls {
        let mut calls = Vec::new();
        loop {
            let began = Instant::now();
            let outcome = call().map_err(|error| error.to_string());
            calls.push((began.elapsed(), outcome));
            if over.load(Ordering::Relaxed) {
                return Calls(calls);
            }
            thread::sleep(PAUSE);
        }
    }

    /// These and those.
    pub(super) fn and(mut self, others: Calls) -> Calls {
        self.0.extend(others.0);
        self
    }

    /// Every one must have been answered so and soon, nearly all promptly: an attack is shorter
    /// than a busy machine may make one call.
    pub(super) fn expect(&self, status: u16, attack: &str) {
        let bad: Vec<_> = self
            .0
            .iter()
            .filter(|(took, outcome)| *outcome != Ok(status) || *took > PROMPT_ENOUGH)
            .collect();
        let some = &bad[..bad.len().min(5)];
        assert!(bad.is_empty(), "{attack}: {} good calls of {self} failed: {some:?}", bad.len());
        let late = self.late();
        assert!(late * FEW <= self.0.len(), "{attack}: {late} good calls of {self} were late");
    }
}

impl Calls {
    fn late(&self) -> usize {
        self.0.iter().filter(|(took, _)| *took > PROMPT).count()
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<Duration> = self.0.iter().map(|(took, _)| *took).collect();
        times.sort_unstable();
        let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let late = self.late();
        let (count, middle, longest) = (times.len(), middle.as_millis(), longest.as_millis());
        write!(f, "{count} (p50 {middle} ms, max {longest} ms, {late} over 1 s)")
    }
}
