//! Who may read the mirror, by which door, and that nobody's reading holds up another's.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Heard, http, http_over};

const TOKEN: &str = "a-token-of-32-visible-characters";

fn ask(place: &Place, method: &str, target: &str, headers: &[(&str, &str)]) -> Heard {
    http(place.local, method, target, headers, b"").unwrap()
}

#[test]
fn with_a_token_file_readers_show_the_token() {
    let mut place = Place::new("reader-token");
    let ids = old_leads(&mut place.upstream(), 1);
    let socket = place.path("mirror.sock");
    place.set("local.socket", &format!("\"{}\"", socket.display()));
    place.set("local.allow_origins", "[\"http://kiosk.local\"]").guard(TOKEN).begin();
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    let by = |shown: &str| ask(&place, "GET", &one, &[("Authorization", shown)]);
    for good in [format!("Bearer {TOKEN}"), format!("zoho-oauthtoken  {TOKEN}")] {
        assert_eq!(by(&good).status, 200, "{good}");
    }
    for bad in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a-token-of-32-visible-character",
        "Bearer a-token-of-32-visible-characters-and-more",
        &format!("Basic {TOKEN}"),
        TOKEN,
    ] {
        let heard = by(bad);
        assert_eq!((heard.status, &heard.value()["code"]), (401, &"INVALID_TOKEN".into()), "{bad}");
        assert_eq!(heard.header("www-authenticate"), Some("Bearer realm=\"crmirror\""));
    }
    for target in ["/status", "/readyz", "/crm/v2/Leads", "/nowhere", "/healthz?x=1", "/metrics"] {
        assert_eq!(ask(&place, "GET", target, &[]).status, 401, "{target}");
    }
    for target in ["/sync", "/channel?action=close"] {
        assert_eq!(ask(&place, "POST", target, &[]).status, 401, "{target}");
    }
    assert_eq!(ask(&place, "GET", "/healthz", &[]).status, 200, "health is everybody's");
    assert_eq!(ask(&place, "GET", "/", &[]).status, 200, "the page asks for the token");
    // By the token, whatever name the device was reached under; without it, none.
    let host = [("Host", "kiosk-7.lan:8687")];
    assert_eq!(place.ask("GET", &one, &host).status, 200);
    assert_eq!(ask(&place, "GET", &one, &host).status, 401);
    // The socket's permissions are its guard.
    let stream = UnixStream::connect(&socket).unwrap();
    assert_eq!(http_over(stream, "localhost", "GET", &one, &[], b"").unwrap().status, 200);
    // The commands show it by themselves.
    let id = ids[0].to_string();
    for command in [&["status"][..], &["get", "Leads", &id], &["sync"], &["list", "Leads"]] {
        assert_eq!(place.run(command).code, 0, "{command:?}");
    }
    assert_eq!(place.run(&["channel", "renew"]).code, 0);
}

#[test]
fn only_a_place_with_a_token_is_read_by_other_machines() {
    let mut place = Place::new("other-machines");
    let ids = old_leads(&mut place.upstream(), 1);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    place.local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    place.set("local.listen", &format!("\"0.0.0.0:{port}\""));
    assert_eq!(place.run(&["run"]).code, 78);
    place.guard(TOKEN).begin();
    place.until_printed("whoever can listen in between");
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    assert_eq!(place.run(&["get", "Leads", &ids[0].to_string()]).code, 0);
    // The address that this machine is reached at, if it is reached at all.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let Ok(()) = probe.connect((Ipv4Addr::new(192, 0, 2, 1), 9)) else { return };
    place.local = SocketAddr::new(probe.local_addr().unwrap().ip(), port);
    assert_eq!(ask(&place, "GET", &one, &[]).status, 401);
    assert_eq!(place.get(&one).status, 200);
}

#[test]
fn a_token_file_that_is_no_good_is_told_of() {
    let mut place = Place::new("token-file");
    place.guard(TOKEN);
    let file = place.path("reader-token");
    let check = |place: &Place, expected: &str| {
        for command in [["run"], ["status"], ["check"]] {
            let ended = place.run(&command);
            assert_eq!(ended.code, 78, "{ended:?}");
            let start = format!("crmirror: {}: {expected}", file.display());
            assert!(ended.err.contains(&start), "{ended:?}");
        }
    };
    fs::write(&file, "sh0rt\n").unwrap();
    check(&place, "a token of fewer than 16 characters can be guessed; make one: openssl rand");
    assert!(!place.printed().contains("sh0rt"));
    fs::write(&file, format!("{TOKEN} {TOKEN}")).unwrap();
    check(&place, "not one word of visible ASCII; make it: openssl rand -hex 32 > ");
    fs::write(&file, "x".repeat(1 << 20)).unwrap();
    check(&place, "not one word of visible ASCII");
    fs::remove_file(&file).unwrap();
    check(&place, "no such file; make it: umask 077; openssl rand -hex 32 > ");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    place.start();
    let expected = format!("{}: other users can read it (mode 0644)", file.display());
    place.until_printed(&expected);
}

#[test]
fn the_socket_is_open_to_whom_the_configuration_says() {
    let mut place = Place::new("socket-mode");
    let socket = place.path("mirror.sock");
    place.set("local.socket", &format!("\"{}\"", socket.display()));
    let own = fs::metadata(place.path("")).unwrap().gid();
    // Only root may give a file to a group that it is not in.
    let other = if rustix::process::geteuid().is_root() { 1 } else { own };
    let look = |place: &mut Place| {
        place.start();
        let file = fs::metadata(&socket).unwrap();
        place.stop();
        (file.mode() & 0o777, file.gid())
    };
    assert_eq!(look(&mut place), (0o660, own));
    place.set("local.socket_mode", "\"0600\"");
    assert_eq!(look(&mut place), (0o600, own), "a socket of the last run is replaced");
    place.set("local.socket_mode", "\"666\"").set("local.socket_group", &format!("\"{other}\""));
    assert_eq!(look(&mut place), (0o666, other));
    place.set("local.socket_group", "\"nobody-is-here\"");
    let ended = place.run(&["run"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("/etc/group has no group nobody-is-here"), "{ended:?}");
}

#[test]
fn a_page_elsewhere_reads_nothing_and_one_that_may_is_told_so() {
    let mut place = Place::new("pages");
    let ids = old_leads(&mut place.upstream(), 1);
    place.set("local.allow_origins", "[\"http://kiosk.local\"]").begin();
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    let asks = [
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization,if-modified-since"),
    ];
    for guarded in [false, true] {
        if guarded {
            place.stop();
            place.guard(TOKEN).begin();
        }
        let page = |origin| {
            let headers = [&asks[..], &[("Origin", origin)]].concat();
            ask(&place, "OPTIONS", &one, &headers)
        };
        let allowed = page("http://kiosk.local");
        assert_eq!(allowed.status, 204, "{guarded}");
        let header = |name: &str| allowed.header(name).unwrap_or_default().to_lowercase();
        assert_eq!(header("access-control-allow-origin"), "http://kiosk.local");
        assert!(header("access-control-allow-methods").contains("get"));
        for name in ["authorization", "if-modified-since", "if-none-match"] {
            assert!(header("access-control-allow-headers").contains(name), "{name}");
        }
        assert_eq!(allowed.header("access-control-allow-credentials"), None);
        for origin in ["http://evil.example", "null", "http://kiosk.local.evil.example", ""] {
            let refused = page(origin);
            assert!(matches!(refused.status, 401 | 405), "{origin}: {}", refused.status);
            let reply = place.ask("GET", &one, &[("Origin", origin)]);
            for heard in [refused, reply] {
                assert_eq!(heard.header("access-control-allow-origin"), None, "{origin}");
                assert_eq!(heard.header("vary"), Some("Origin"), "{origin}");
            }
        }
        let read = place.ask("GET", &one, &[("Origin", "http://kiosk.local")]);
        assert_eq!(read.header("access-control-allow-origin"), Some("http://kiosk.local"));
        let exposed = read.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("Mirror-Complete-Through"), "{exposed}");
    }
}

/// More than there are workers, and so few that their replies are held beside others.
const DEAF: usize = 9;

#[test]
fn those_who_do_not_read_their_replies_hold_up_nobody() {
    let mut place = Place::new("deaf");
    let ids = old_leads(&mut place.upstream(), 200);
    // A page that is large, but not more than all readers together may hold.
    let long = format!("\"{}\"", "x".repeat(5_000));
    place.upstream().mass_update("Leads", &ids, &[("Description", &long)]);
    place.begin();
    let page = "/crm/v2/Leads?per_page=200";
    assert!(place.get(page).body.len() > 250_000);
    // Each asks for more than the kernel keeps for him, and reads none of it: more of them than
    // there are workers.
    let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(40);
    let deaf: Vec<TcpStream> = (0..DEAF)
        .map(|_| {
            let mut stream = TcpStream::connect(place.local).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    for number in 0..20 {
        let began = Instant::now();
        assert_eq!(place.get("/healthz").status, 200);
        let heard = place.get(page);
        assert_eq!(heard.status, 200, "{}", String::from_utf8_lossy(&heard.body));
        let text = number.to_string();
        place.upstream().edit("Leads", ids[0], &[("Phone", &text)]);
        place.carry();
        place.until_reads("Leads", ids[0], "Phone", &text);
        assert!(began.elapsed() < Duration::from_secs(5), "round {number}: {:?}", began.elapsed());
    }
    let stuck = deaf.iter().filter(|stream| is_stuck(stream)).count();
    assert_eq!(stuck, deaf.len(), "they were meant to be waited for all the while");
}

/// Whether the other end waits to send: this end's queue is not empty, and the connection open.
fn is_stuck(stream: &TcpStream) -> bool {
    stream.peek(&mut [0; 1]).is_ok_and(|count| count > 0)
        && stream.take_error().is_ok_and(|error| error.is_none())
}
