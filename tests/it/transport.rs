//! The transport against an upstream that means harm: redirects, bombs, silence, and certificates
//! of others.
//!
//! `bomb` writes compressed bodies that grow.

mod bomb;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crmirror::secret::Secret;
use crmirror::upstream::transport::{
    Body, HttpsTransport, Method, Patience, REPLY_LIMIT, Reply, Request, Transport, TransportError,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Far more than what is waited for takes, far less than the transport's own limits.
const SOON: Duration = Duration::from_secs(10);

/// A server on loopback that does the same with every connection, after it has read a head. Its
/// thread ends with the test program.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, each) = (Arc::clone(&connections), Arc::new(each));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let each = Arc::clone(&each);
                thread::spawn(move || each(stream));
            }
        });
        Server { address, connections }
    }

    /// Answers each request with these bytes, and closes.
    pub(crate) fn answering(reply: impl Into<Vec<u8>>) -> Server {
        let reply = reply.into();
        Server::start(move |mut stream| {
            read_head(&mut stream);
            // Whoever has had enough goes away.
            let _ = stream.write_all(&reply);
        })
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn read_head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0; 1]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn ask(transport: &HttpsTransport, method: Method, url: &str) -> Result<Reply, TransportError> {
    let body = match method {
        Method::Get | Method::Delete => Body::Empty,
        Method::Post | Method::Put => Body::Json(Secret::new("{\"token\":\"S3CRET\"}".to_owned())),
    };
    let token = Some(Secret::new("T0KEN".to_owned()));
    transport.send(&Request { method, url: url.to_owned(), token, modified_since: None, body })
}

fn transport() -> HttpsTransport {
    HttpsTransport::new(None).unwrap()
}

#[test]
fn a_redirect_is_a_reply_and_nobody_else_hears_the_token() {
    let elsewhere = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for status in [301, 302, 303, 307, 308] {
        for method in [Method::Get, Method::Post, Method::Put, Method::Delete] {
            let to = format!("http://{}/crm/v2/Leads", elsewhere.address);
            let reply =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let here = Server::answering(reply);
            let url = format!("http://{}/crm/v2/Leads", here.address);
            let heard = ask(&transport(), method, &url).unwrap();
            assert_eq!((heard.status, here.count()), (status, 1), "{method:?}");
        }
    }
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn a_compressed_body_is_bounded_by_what_it_becomes() {
    let head = |length: usize| {
        let kind = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n";
        format!("{kind}Content-Length: {length}\r\n\r\n").into_bytes()
    };
    let send = |body: Vec<u8>| {
        let server = Server::answering([head(body.len()), body].concat());
        ask(&transport(), Method::Get, &format!("http://{}/", server.address))
    };
    let fits = send(bomb::zeros(REPLY_LIMIT)).unwrap();
    assert_eq!(fits.body.len(), REPLY_LIMIT, "what fits is taken, so that it is unpacked at all");
    let bomb = bomb::zeros(64 * REPLY_LIMIT);
    assert!(bomb.len() < REPLY_LIMIT / 2, "a gigabyte comes in {} bytes", bomb.len());
    let before = peak();
    let error = send(bomb).unwrap_err();
    assert!(matches!(&error, TransportError::Unreadable(why) if why.contains("16 MiB")), "{error}");
    // Other tests run beside this one; none of them needs so much.
    assert!(peak() < before + 32 * REPLY_LIMIT, "it was unpacked further than it may be kept");
}

/// The most memory that this program has taken so far, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_body_and_a_head_without_end_are_given_up() {
    let endless = |start: &'static str, more: &'static [u8]| {
        Server::start(move |mut stream| {
            read_head(&mut stream);
            let mut sent = stream.write_all(start.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(&more.repeat(1_000));
            }
        })
    };
    for (what, server) in [
        ("body", endless("HTTP/1.1 200 OK\r\n\r\n", b"xxxxxxxx")),
        ("headers", endless("HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n")),
        ("header", endless("HTTP/1.1 200 OK\r\nX-More: ", b"xxxxxxxx")),
    ] {
        let began = Instant::now();
        let error = ask(&transport(), Method::Get, &format!("http://{}/", server.address));
        let error = error.unwrap_err();
        // A line that fills the buffer is taken for the end of the connection.
        let given_up = matches!(error, TransportError::Unreadable(_))
            || matches!(&error, TransportError::Unreachable(why) if why == "Peer disconnected");
        assert!(given_up, "{what}: {error:?}");
        assert!(began.elapsed() < SOON, "{what}");
    }
}

#[test]
fn silence_and_drops_are_not_waited_out() {
    let short = Duration::from_millis(300);
    let silent = |head: &'static str| {
        Server::start(move |mut stream| {
            read_head(&mut stream);
            let mut sent = stream.write_all(head.as_bytes());
            // A byte now and then is no answer either.
            while sent.is_ok() && !head.is_empty() {
                thread::sleep(Duration::from_millis(20));
                sent = stream.write_all(b"x");
            }
            thread::sleep(SOON * 2);
        })
    };
    let given = Patience { answer: short, call: short * 2, ..Patience::default() };
    for (what, head) in [
        ("says nothing", ""),
        ("drips a head", "HTTP/1.1 200 OK\r\nX: "),
        ("drips a body", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    ] {
        let server = silent(head);
        let transport = HttpsTransport::with_patience(None, given).unwrap();
        let began = Instant::now();
        let url = format!("http://{}/", server.address);
        let error = ask(&transport, Method::Get, &url).unwrap_err();
        assert!(matches!(error, TransportError::TimedOut(_)), "{what}: {error:?}");
        assert!(began.elapsed() < SOON, "{what}");
    }
    // A handshake that does not come is waited for no longer than a connection.
    let server = Server::start(|_stream| thread::sleep(SOON * 2));
    let given = Patience { connect: short, ..Patience::default() };
    let transport = HttpsTransport::with_patience(None, given).unwrap();
    let began = Instant::now();
    let error = ask(&transport, Method::Get, &format!("https://{}/", server.address));
    assert!(matches!(error.unwrap_err(), TransportError::TimedOut(_)));
    assert!(began.elapsed() < SOON);
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

/// A server for `localhost`, with the certificate of this pair, which only whoever was told trusts.
pub(crate) fn by_tls(pair: &str) -> Server {
    let certificate = CertificateDer::from_pem_file(data(&format!("{pair}-cert.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(data(&format!("{pair}-key.pem"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    Server::start(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let head = read_head(&mut stream);
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        let _ = stream.write_all(reply.as_bytes()).and_then(|()| stream.flush());
    })
}

#[test]
fn only_the_built_in_roots_and_those_of_the_ca_file_are_trusted() {
    let server = by_tls("first");
    let url = format!("https://localhost:{}/", server.address.port());
    let with = |ca_file: Option<&str>| {
        let ca_file = ca_file.map(data);
        let transport = HttpsTransport::new(ca_file.as_deref()).unwrap();
        ask(&transport, Method::Get, &url)
    };
    for ca_file in [None, Some("second-cert.pem")] {
        let error = with(ca_file).unwrap_err();
        assert!(matches!(error, TransportError::Untrusted(_)), "{ca_file:?}: {error:?}");
    }
    let heard = with(Some("first-cert.pem")).unwrap();
    let head = String::from_utf8(heard.body).unwrap();
    assert!(head.contains("Zoho-oauthtoken T0KEN\r\n"), "{head}");
    // The certificate is for localhost, and an address is another name.
    let other = format!("https://{}/", server.address);
    let transport = HttpsTransport::new(Some(&data("first-cert.pem"))).unwrap();
    let error = ask(&transport, Method::Get, &other).unwrap_err();
    assert!(matches!(error, TransportError::Untrusted(_)), "{error:?}");
    assert!(HttpsTransport::new(Some(&data("first-key.pem"))).is_err(), "a key is no root");
}

#[test]
fn a_name_that_is_not_there_is_said_to_be_missing() {
    // Names under this one never exist (RFC 6761); without a network nothing is found either.
    let given = Patience { resolve: Duration::from_secs(5), ..Patience::default() };
    let transport = HttpsTransport::with_patience(None, given).unwrap();
    let error = ask(&transport, Method::Get, "https://nowhere.invalid/").unwrap_err();
    let known = match &error {
        TransportError::Unreachable(why) => why == "the name cannot be resolved",
        other => matches!(other, TransportError::TimedOut(_)),
    };
    assert!(known, "{error:?}");
}
