//! TLS with a client that others have written: curl, where it is installed.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{data, quoted};
use crate::agent::{CALLBACK_PATH, Place};

/// curl could not verify who answers.
const NOT_VERIFIED: i32 = 60;

/// Posts a callback to `name`, which leads to this place; curl's exit code, and the status.
fn post(place: &Place, name: &str, root: &str, more: &[&str]) -> (i32, String) {
    let body = place.callback("update", &[1]).to_string();
    let (ip, port) = (place.callbacks.ip(), place.callbacks.port());
    let mut curl = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--max-time", "20", "--data-binary", "@-"])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--resolve", &format!("{name}:{port}:{ip}")])
        .arg("--cacert")
        .arg(data(root))
        .args(more)
        .arg(format!("https://{name}:{port}{CALLBACK_PATH}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended before it read anything.
    let _ = curl.stdin.take().unwrap().write_all(body.as_bytes());
    let ended = curl.wait_with_output().unwrap();
    (ended.status.code().unwrap_or(-1), String::from_utf8(ended.stdout).unwrap())
}

fn is_installed() -> bool {
    let found = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: curl is not installed");
    }
    found
}

/// Replaces the pair of a place as certbot does.
fn put(place: &Place, pair: &str) {
    for kind in ["cert", "key"] {
        let new = place.path("new");
        fs::copy(data(&format!("{pair}-{kind}.pem")), &new).unwrap();
        fs::rename(&new, place.path(kind)).unwrap();
    }
}

#[test]
fn curl_is_served_by_a_certificate_that_it_can_verify() {
    if !is_installed() {
        return;
    }
    let mut place = Place::new("curl");
    put(&place, "first");
    let (cert, key) = (quoted(&place.path("cert")), quoted(&place.path("key")));
    place.set("callbacks.tls_cert", &cert).set("callbacks.tls_key", &key);
    place.begin();
    let ok = (0, "200".to_owned());
    let (not_verified, old) = ((NOT_VERIFIED, "000".to_owned()), ["--tlsv1.1", "--tls-max", "1.1"]);

    for version in ["1.2", "1.3"] {
        let exactly = [&format!("--tlsv{version}"), "--tls-max", version];
        assert_eq!(post(&place, "localhost", "first-cert.pem", &exactly), ok, "TLS {version}");
    }
    let (code, heard) = post(&place, "localhost", "first-cert.pem", &old);
    assert!(code != 0 && heard == "000", "TLS 1.1: {code} {heard}");
    assert_eq!(post(&place, "kiosk.example", "first-cert.pem", &[]), not_verified, "another name");
    assert_eq!(post(&place, "localhost", "second-cert.pem", &[]), not_verified, "another root");

    put(&place, "second");
    place.signal(Signal::HUP);
    place.until("the new certificate is in use", |place| {
        (post(place, "localhost", "second-cert.pem", &[]) == ok).then_some(())
    });
    assert_eq!(post(&place, "localhost", "first-cert.pem", &[]), not_verified, "the old one");

    fs::write(place.path("key"), "no key").unwrap();
    place.signal(Signal::HUP);
    place.until_printed("the old certificate stays in use");
    assert_eq!(post(&place, "localhost", "second-cert.pem", &[]), ok, "the old one is kept");

    put(&place, "expired");
    place.signal(Signal::HUP);
    place.until("the expired certificate is in use", |place| {
        (post(place, "localhost", "second-cert.pem", &[]) == not_verified).then_some(())
    });
    assert_eq!(post(&place, "localhost", "expired-cert.pem", &[]), not_verified, "expired");
    let trusting = post(&place, "localhost", "expired-cert.pem", &["--insecure"]);
    assert_eq!(trusting, ok, "it is for the caller to mind");
}
