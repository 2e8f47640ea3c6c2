//! The callback listener before strangers: who stands in front of it, and by which certificate it
//! is known.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::agent::{CALLBACK_PATH, PATIENCE, Place};
use crate::gate::tls::{connect_over, data};
use crate::sim::http;

/// More than one address may have, fewer than all may have together.
const MANY: usize = 100;

/// A port that is free on every address of this machine.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Has the callback listener take callers from everywhere.
fn listen_everywhere(place: &mut Place) {
    let port = free_port();
    place.callbacks = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    place.set("callbacks.listen", &format!("\"0.0.0.0:{port}\""));
}

/// Gives the place a certificate, replaced as certbot does.
fn certify(place: &Place, cert: &str, key: &str) {
    for (from, to) in [(cert, "cert.pem"), (key, "key.pem")] {
        fs::copy(data(from), place.path("new")).unwrap();
        fs::set_permissions(place.path("new"), Permissions::from_mode(0o600)).unwrap();
        fs::rename(place.path("new"), place.path(to)).unwrap();
    }
}

fn with_certificate(place: &mut Place) {
    certify(place, "first-cert.pem", "first-key.pem");
    place.set("callbacks.tls_cert", "\"cert.pem\"").set("callbacks.tls_key", "\"key.pem\"");
}

/// How many of many connections of one address are let stay.
fn staying(address: SocketAddr) -> usize {
    let all: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Whoever is sent away is so within moments of his coming.
    thread::sleep(Duration::from_millis(500));
    let stays = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    all.iter().filter(|stream| stays(stream)).count()
}

#[test]
fn all_callers_of_a_proxy_come_from_one_address() {
    // On a loopback address, with and without TLS, and behind a proxy elsewhere.
    let mut place = Place::new("one-address");
    place.start();
    assert_eq!(staying(place.callbacks), MANY);
    place.stop();
    with_certificate(&mut place);
    place.start();
    assert_eq!(staying(place.callbacks), MANY);
    place.stop();
    listen_everywhere(&mut place);
    place.set("callbacks.behind_proxy", "true").start();
    assert_eq!(staying(place.callbacks), MANY);
    place.stop();
    // And strangers, each for himself.
    place.set("callbacks.behind_proxy", "false").start();
    let stay = staying(place.callbacks);
    assert!((1..MANY).contains(&stay), "{stay} of one address");
}

#[test]
fn who_called_is_taken_from_the_proxy_only_where_there_is_one() {
    let forged = |place: &Place| {
        let headers = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7")];
        let body = br#"{"channel_id":1,"token":"x","module":"Leads","ids":[1],
            "operation":"update","resource_uri":"x"}"#;
        let heard = http(place.callbacks, "POST", CALLBACK_PATH, &headers, body);
        assert_eq!(heard.unwrap().status, 403);
    };
    let mut place = Place::new("forwarded");
    place.begin();
    forged(&place);
    place.until_printed(" is refused");
    assert!(place.printed().contains("a callback from 127."), "{}", place.printed());
    assert!(!place.printed().contains("203.0.113.7"), "anybody can write that");
    place.stop();
    place.set("callbacks.behind_proxy", "true").begin();
    forged(&place);
    place.until_printed("a callback from 203.0.113.7 through 127.");
    assert!(!place.printed().contains("6.6.6.6"), "that was said by a stranger");
}

/// Posts what is no callback by TLS, trusting only this certificate; whether it was answered.
fn is_known_by(place: &Place, root: &str) -> bool {
    let stream = TcpStream::connect(place.callbacks).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = connect_over(stream, root, &rustls::version::TLS13);
    let request = format!("POST {CALLBACK_PATH} HTTP/1.0\r\nContent-Length: 1\r\n\r\n[");
    let mut reply = String::new();
    let sent = stream.write_all(request.as_bytes());
    let _ = sent.and_then(|()| stream.read_to_string(&mut reply));
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 400 "), "{reply}");
    !reply.is_empty()
}

/// How often the log says so.
fn told(place: &Place, what: &str) -> usize {
    place.printed().matches(what).count()
}

#[test]
fn a_renewed_certificate_is_taken_up_by_a_signal_and_a_bad_one_is_told_once() {
    let mut place = Place::new("renewal");
    with_certificate(&mut place);
    place.begin();
    assert!(is_known_by(&place, "first-cert.pem"));
    assert_eq!(told(&place, "other users can read it"), 0);

    certify(&place, "second-cert.pem", "first-key.pem");
    place.signal(Signal::HUP);
    place.until("it is told", |place| {
        (told(place, "the old certificate stays in use") == 1).then_some(())
    });
    // Longer than the files are left alone without a signal.
    thread::sleep(Duration::from_secs(6));
    assert!(is_known_by(&place, "first-cert.pem"));
    assert_eq!(told(&place, "the old certificate stays in use"), 1, "{}", place.printed());

    certify(&place, "second-cert.pem", "second-key.pem");
    place.signal(Signal::HUP);
    place.until("it is in use", |place| is_known_by(place, "second-cert.pem").then_some(()));
    assert!(!is_known_by(&place, "first-cert.pem"));

    // Without a signal it takes a little longer.
    certify(&place, "first-cert.pem", "first-key.pem");
    place.until("it is in use", |place| is_known_by(place, "first-cert.pem").then_some(()));
    let status = place.stop();
    assert_eq!(status.0, Some(0));
}

#[test]
fn a_pair_that_does_not_fit_is_found_by_check() {
    let mut place = Place::new("check-pair");
    with_certificate(&mut place);
    assert_eq!(place.run(&["check"]).code, 0);
    certify(&place, "first-cert.pem", "second-key.pem");
    let ended = place.run(&["check"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("not usable as certificate"), "{ended:?}");
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let mut place = Place::new("open-key");
    with_certificate(&mut place);
    let key = place.path("key.pem");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let expected = format!("{}: other users can read it (mode 0644)", key.display());
    let ended = place.run(&["check"]);
    assert!(ended.code == 0 && ended.err.contains(&expected), "{ended:?}");
    place.start();
    place.until_printed(&expected);
}

#[test]
fn what_the_daemon_holds_is_in_no_core_dump() {
    let mut place = Place::new("dump");
    place.start();
    let process = Path::new("/proc").join(place.pid().as_raw_nonzero().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let parts: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(parts[4..6], ["0", "0"], "{core}");
    // What cannot be dumped belongs to root, whoever runs it; to root everything does.
    let owner = fs::metadata(&process).unwrap().uid();
    assert_eq!(owner, 0, "the process can be dumped");
}
