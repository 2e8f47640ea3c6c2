//! The status page as it leaves the daemon. What it does in a browser, `tests/browser` tries.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::old_leads;
use crate::agent::Place;
use crate::sim::http;

#[test]
fn the_page_comes_whole_and_under_a_strict_policy() {
    let mut place = Place::new("page");
    let ids = old_leads(&mut place.upstream(), 1);
    place.upstream().edit("Leads", ids[0], &[("Last_Name", "\"Moriarty\"")]);
    place.begin();
    let page = place.get("/");
    assert_eq!(page.status, 200);
    let header = |name: &str| page.header(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    let policy = header("content-security-policy");
    for part in [
        "default-src 'none'",
        "style-src 'sha256-",
        "script-src 'sha256-",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.split("; ").any(|held| held.starts_with(part)), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cache-control"), "no-store");
    let text = page.text();
    assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>"), "it is cut");
    assert!(!text.contains("Moriarty"), "a page for everybody tells of no record");
}

#[test]
fn page_and_metrics_are_for_those_who_may_read() {
    let mut place = Place::new("page-doors");
    place.begin();
    for target in ["/", "/metrics"] {
        let get = place.get(target);
        let head = head_of(&place, target);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        for (name, value) in get.headers.iter().filter(|(name, _)| name == "content-type") {
            assert!(head.to_lowercase().contains(&format!("{name}: {}", value.to_lowercase())));
        }
        for host in ["evil.example", "evil.example:8687", "127.0.0.1.evil.example"] {
            let refused = place.ask("GET", target, &[("Host", host)]);
            assert_eq!(refused.status, 421, "{target} as {host}");
        }
        assert_eq!(place.ask("POST", target, &[]).status, 405, "{target}");
        assert_eq!(place.get(&format!("{target}?x=1")).status, 400, "{target}");
        let stranger = http(place.callbacks, "GET", target, &[], b"").unwrap();
        assert_eq!(stranger.status, 404, "{target} is nothing for the internet");
    }
}

/// All that comes back when only the head is asked for.
fn head_of(place: &Place, target: &str) -> String {
    let mut stream = TcpStream::connect(place.local).unwrap();
    let request = format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard
}
