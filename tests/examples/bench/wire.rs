//! A client that costs little: one connection, requests as ready bytes, one buffer for replies.
//! It reads what the agent, the simulator and tiny_http write, and no more of HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Far more than any reply takes on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at once: a page of 200 records is some of these.
const PIECE: usize = 64 << 10;

/// Where something listens.
#[derive(Clone)]
pub(crate) enum Door {
    Network(SocketAddr),
    Socket(PathBuf),
    Tls(SocketAddr, Arc<ClientConfig>),
    /// A tiny_http without anything before it.
    Bare(SocketAddr),
}

impl Door {
    /// By TLS, to who shows this certificate; each connection begins with a handshake in full.
    pub(crate) fn tls(address: SocketAddr, certificate: &Path) -> io::Result<Door> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Door::Tls(address, Arc::new(config)))
    }
}

trait Stream: Read + Write + Send {}

impl Stream for TcpStream {}
impl Stream for UnixStream {}
impl Stream for StreamOwned<ClientConnection, TcpStream> {}

/// A connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    bytes: Vec<u8>,
    filled: usize,
    body: std::ops::Range<usize>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Wire> {
        Wire::open(&Door::Network(address))
    }

    pub(crate) fn open(door: &Door) -> io::Result<Wire> {
        let stream: Box<dyn Stream> = match door {
            Door::Network(address) | Door::Bare(address) => Box::new(dial(*address)?),
            Door::Tls(address, config) => {
                let name = "localhost".try_into().map_err(io::Error::other)?;
                let client = ClientConnection::new(Arc::clone(config), name);
                Box::new(StreamOwned::new(client.map_err(io::Error::other)?, dial(*address)?))
            }
            Door::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Wire { stream, bytes: vec![0; PIECE], filled: 0, body: 0..0 })
    }

    /// Sends a request and reads its reply whole; the status.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request)?;
        self.filled = 0;
        let (status, head, length) = loop {
            self.read_more()?;
            if let Some(found) = parse_head(&self.bytes[..self.filled])? {
                break found;
            }
        };
        self.body = head..head + length;
        while self.filled < self.body.end {
            self.read_more()?;
        }
        Ok(status)
    }

    /// The head of the last reply.
    pub(crate) fn head(&self) -> &[u8] {
        &self.bytes[..self.body.start]
    }

    /// The body of the last reply.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    fn read_more(&mut self) -> io::Result<()> {
        if self.filled == self.bytes.len() {
            self.bytes.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.bytes[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Status, length of the head and of the body; `None` while the head is not whole.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut reply = httparse::Response::new(&mut headers);
    let head = match reply.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let mut length = 0;
    for header in reply.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(io::Error::other)?;
            length = text.parse().map_err(io::Error::other)?;
        }
    }
    Ok(Some((reply.code.unwrap_or(0), head, length)))
}

/// A request without a body.
pub(crate) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// A request that sends JSON; `close` asks for the connection to be closed after it.
pub(crate) fn post(target: &str, body: &str, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{connection}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
