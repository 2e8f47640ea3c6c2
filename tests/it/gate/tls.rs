//! TLS at the gate, with the self-signed pairs of `tests/it/data`, whose keys are public.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crmirror::server::gate::{Gate, GateError, Limits, Listener, Reason, TlsFiles};
use crmirror::server::hall::Hall;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::{House, PATIENCE, read_reply, respond, status};

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

/// A pair of files in a directory of their own, to be replaced.
struct Pair {
    directory: PathBuf,
    files: TlsFiles,
}

impl Pair {
    fn new(test: &str) -> Pair {
        let name = format!("crmirror-tls-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let files = TlsFiles { cert: directory.join("cert"), key: directory.join("key") };
        let pair = Pair { directory, files };
        pair.put("first-cert.pem", "first-key.pem");
        pair
    }

    /// Replaces both files as certbot does.
    fn put(&self, cert: &str, key: &str) {
        for (from, to) in [(cert, &self.files.cert), (key, &self.files.key)] {
            let new = self.directory.join("new");
            fs::copy(data(from), &new).unwrap();
            fs::rename(&new, to).unwrap();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A connection by TLS that trusts only the given certificate.
fn connect(
    house: &House,
    root: &str,
    version: &'static SupportedProtocolVersion,
) -> StreamOwned<ClientConnection, TcpStream> {
    connect_over(house.connect(), root, version)
}

/// The same over a connection that is there already.
pub(crate) fn connect_over(
    stream: TcpStream,
    root: &str,
    version: &'static SupportedProtocolVersion,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data(root)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(client, stream)
}

/// Asks by TLS; the reply, unless the handshake fails.
fn ask(house: &House, root: &str, version: &'static SupportedProtocolVersion) -> Option<String> {
    let mut stream = connect(house, root, version);
    let request = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab";
    stream.write_all(request).and_then(|()| stream.flush()).ok()?;
    Some(read_reply(&mut stream))
}

fn is_served_with(house: &House, root: &str) -> bool {
    ask(house, root, &rustls::version::TLS13).is_some()
}

#[test]
fn both_versions_of_tls_are_served() {
    let pair = Pair::new("versions");
    let house = House::open_with(Limits::default(), Some(pair.files.clone()));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let reply = ask(&house, "first-cert.pem", version).unwrap();
        assert!(reply.ends_with("POST /a tls - [ab]"), "{reply}");
    }
}

#[test]
fn what_is_no_handshake_is_shut() {
    let pair = Pair::new("garbage");
    let limits = Limits { handshake: Duration::from_millis(150), ..Limits::default() };
    let house = House::open_with(limits, Some(pair.files.clone()));
    let plain = house.exchange_bytes(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "nothing is answered in the clear");
    house.exchange_bytes(&[0xff; 4096]);
    let half_open = house.exchange_bytes(b"\x16\x03\x01\x02\x00\x01\x00");
    assert_eq!(half_open, b"", "a handshake that stops is shut at its deadline");
    assert_eq!(house.refused(Reason::Handshake), 3);
    assert!(is_served_with(&house, "first-cert.pem"));
}

#[test]
fn a_new_pair_is_used_when_told_and_a_bad_one_is_not() {
    let pair = Pair::new("reload");
    let limits = Limits { certificates_every: Duration::from_secs(3600), ..Limits::default() };
    let house = House::open_with(limits, Some(pair.files.clone()));
    pair.put("second-cert.pem", "first-key.pem");
    let error = house.gate.reload().unwrap_err().to_string();
    assert!(error.starts_with(pair.files.cert.to_str().unwrap()), "{error}");
    assert!(is_served_with(&house, "first-cert.pem"), "the old pair stays in use");
    pair.put("second-cert.pem", "second-key.pem");
    assert!(is_served_with(&house, "first-cert.pem"), "the files are not looked at so soon");
    house.gate.reload().unwrap();
    assert!(is_served_with(&house, "second-cert.pem"));
    assert!(!is_served_with(&house, "first-cert.pem"));
}

#[test]
fn a_new_pair_is_found_without_being_told() {
    let pair = Pair::new("renewal");
    let limits = Limits { certificates_every: Duration::from_millis(20), ..Limits::default() };
    let house = House::open_with(limits, Some(pair.files.clone()));
    pair.put("second-cert.pem", "second-key.pem");
    let start = Instant::now();
    while !is_served_with(&house, "second-cert.pem") {
        assert!(start.elapsed() < PATIENCE, "the new pair was not found");
    }
    fs::write(&pair.files.key, "no key").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_served_with(&house, "second-cert.pem"), "a bad new pair changes nothing");
    fs::remove_file(&pair.files.key).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_served_with(&house, "second-cert.pem"), "nor does a missing one");
}

#[test]
fn a_gate_does_not_open_with_a_bad_pair() {
    let hall = Hall::open(1, Arc::new(respond)).unwrap();
    let check = |cert: &str, key: &str, named: &str| {
        let listener = Listener::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
        let files = TlsFiles { cert: data(cert), key: data(key) };
        let error = Gate::open(listener, Some(files), Limits::default(), &hall).err().unwrap();
        assert!(matches!(error, GateError::Certificate { .. } | GateError::Key { .. }));
        let text = error.to_string();
        assert!(text.starts_with(data(named).to_str().unwrap()), "{text}");
    };
    check("first-cert.pem", "second-key.pem", "first-cert.pem");
    check("first-key.pem", "first-key.pem", "first-key.pem");
    check("first-cert.pem", "first-cert.pem", "first-cert.pem");
    check("missing.pem", "first-key.pem", "missing.pem");
    check("first-cert.pem", "missing.pem", "missing.pem");
}

impl House {
    /// As `exchange`, for what need not be text.
    fn exchange_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        reply
    }
}

#[test]
fn large_replies_cross_tls_whole() {
    let pair = Pair::new("large");
    let house = House::open_with(Limits::default(), Some(pair.files.clone()));
    let mut stream = connect(&house, "first-cert.pem", &rustls::version::TLS13);
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let reply = read_reply(&mut stream);
    assert_eq!(status(&reply), 200);
    assert_eq!(reply.split("\r\n\r\n").nth(1).map(str::len), Some(3 << 20));
}
