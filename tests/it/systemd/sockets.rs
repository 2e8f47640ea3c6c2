//! Sockets that systemd passes: they win over the configuration, outlive the daemon, and let in
//! nobody whom the configuration keeps out.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::stand_in::StandIn;
use crate::agent::{CALLBACK_PATH, Place};
use crate::journeys::{bloat, old_leads};
use crate::sim::http_over;

/// Listens for both kinds, has the place's daemon get them, and has the configuration name others.
pub(super) fn hand_both(place: &mut Place) {
    let callbacks = TcpListener::bind(place.callbacks).unwrap();
    let local = TcpListener::bind(place.local).unwrap();
    place.hand("callbacks", callbacks).hand("local", local);
    let elsewhere = |address: std::net::SocketAddr, port| format!("\"{}:{port}\"", address.ip());
    let (callbacks, local) = (elsewhere(place.callbacks, 19_001), elsewhere(place.local, 19_002));
    place.set("callbacks.listen", &callbacks).set("local.listen", &local);
}

#[test]
fn passed_sockets_win_over_configured_addresses() {
    let mut place = Place::new("sockets");
    let ids = old_leads(&mut place.upstream(), 2);
    hand_both(&mut place);
    place.begin();
    for port in [19_001, 19_002] {
        assert!(TcpStream::connect((place.local.ip(), port)).is_err());
    }
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    assert!(place.printed().contains("callbacks.listen = "), "{}", place.printed());

    // Whoever calls while no daemon runs waits for the next.
    place.stop();
    let mut early = TcpStream::connect(place.local).unwrap();
    place.launch();
    let address = place.local.to_string();
    let heard = http_over(&mut early, &address, "GET", "/healthz", &[], b"").unwrap();
    assert_eq!(heard.status, 200);
}

#[test]
fn a_unix_socket_is_passed_to_local_programs() {
    let mut place = Place::new("sockets-unix");
    let ids = old_leads(&mut place.upstream(), 2);
    let path = place.path("s");
    place.hand("local", UnixListener::bind(&path).unwrap());
    place.begin();
    let target = format!("/crm/v2/Leads/{}", ids[0]);
    let ask = |host: &str, target: &str| {
        http_over(UnixStream::connect(&path).unwrap(), host, "GET", target, &[], b"").unwrap()
    };
    assert_eq!(ask("a", &target).status, 200);
    // It was not made by the daemon, and is not its own to remove.
    let (code, took) = place.stop();
    assert_eq!(code, Some(0));
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    place.begin();
    assert_eq!(ask("a", &target).status, 200);
}

#[test]
fn sockets_for_another_process_are_none() {
    let mut place = Place::new("sockets-foreign");
    // What a shell that systemd started would leave in the environment of its children.
    place.environment("LISTEN_FDS", "2").environment("LISTEN_PID", "1");
    place.environment("LISTEN_FDNAMES", "callbacks:local");
    place.begin();
    assert_eq!(place.get("/healthz").status, 200);
}

#[test]
fn a_socket_without_a_meaning_is_a_wrong_configuration() {
    let check = |name: &'static str, socket: std::os::fd::OwnedFd, message: &str| {
        let mut place = Place::new("sockets-wrong");
        place.hand(name, socket).launch();
        let code = place.until("it ends", |place| place.ended()).code();
        assert_eq!(code, Some(78), "{message}");
        place.until_printed(message);
    };
    let tcp = |address: &str| TcpListener::bind(address).unwrap().into();
    let scratch = crate::scratch::Scratch::new("s");
    let unix = UnixListener::bind(scratch.path().join("s")).unwrap();
    let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
    check("callbacks", unix.into(), "a Unix socket for callbacks");
    check("local", datagrams.into(), "no stream socket as 'local'");
    // What the configuration forbids, no unit file allows.
    check("callbacks", tcp("0.0.0.0:0"), "which other machines reach, and there is no TLS");
    check("local", tcp("0.0.0.0:0"), "and readers are not asked who they are");
}

#[test]
fn sockets_are_told_by_name_then_by_port() {
    let listen = |address: &dyn Fn(&Place) -> std::net::SocketAddr, place: &Place| {
        TcpListener::bind(address(place)).unwrap()
    };
    let (callbacks, local) = (&|place: &Place| place.callbacks, &|place: &Place| place.local);
    for names in [["", ""], ["unknown", "unknown"], ["crmirror.socket", "crmirror-local.socket"]] {
        let mut place = Place::new("sockets-named");
        let (for_callbacks, for_reads) = (listen(callbacks, &place), listen(local, &place));
        place.hand(names[0], for_callbacks).hand(names[1], for_reads);
        place.begin();
        assert_eq!(place.post("{}"), 400, "{names:?}");
    }

    // One that is alone is for callbacks, wherever it listens.
    let mut place = Place::new("sockets-alone");
    let alone = listen(callbacks, &place);
    place.set("callbacks.listen", "\"127.0.0.1:19003\"").hand("", alone).begin();
    assert_eq!(place.post("{}"), 400);

    let mut place = Place::new("sockets-nameless");
    let (one, other) = (listen(callbacks, &place), TcpListener::bind("127.0.0.1:0").unwrap());
    place.hand("", one).hand("who", other).launch();
    assert_eq!(place.until("it ends", |place| place.ended()).code(), Some(78));
    place.until_printed("a socket that is named 'who'");
}

#[test]
fn without_a_channel_a_socket_for_callbacks_is_warned_of() {
    let mut place = Place::new("sockets-idle");
    place.without("channel").without("callbacks");
    place.hand("callbacks", TcpListener::bind("127.0.0.1:0").unwrap());
    place.begin();
    place.until_printed("systemd listens for callbacks, and there is no [channel]");
}

#[test]
fn a_daemon_that_starts_anew_keeps_what_it_was_passed() {
    let systemd = StandIn::nowhere("anew");
    let mut place = Place::new("sockets-anew");
    place.environment("NOTIFY_SOCKET", systemd.name());
    place.environment("WATCHDOG_USEC", "60000000").environment("WATCHDOG_PID", "$$");
    let ids = old_leads(&mut place.upstream(), 3);
    bloat(&place.path("store"));
    hand_both(&mut place);
    place.launch();
    systemd.until("it has started anew", |systemd| systemd.count("READY=1") == 2);
    let heard = systemd.heard();
    let at = |line: &str| heard.iter().position(|heard| heard == line).unwrap();
    let more_time = at("WATCHDOG_USEC=900000000");
    assert!(at("READY=1") < at("RELOADING=1") && at("RELOADING=1") < more_time, "{heard:?}");
    let usual = heard.iter().rposition(|line| line == "WATCHDOG_USEC=60000000");
    assert!(usual > Some(more_time), "{heard:?}");
    assert_eq!(systemd.count("STOPPING=1"), 0, "it is one service all the time");
    place.ready();
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    let callbacks = place.upstream().take_callbacks();
    assert!(!callbacks.is_empty());
    for callback in callbacks {
        let stream = TcpStream::connect(place.callbacks).unwrap();
        let body = callback.body.as_bytes();
        let heard = http_over(stream, "h", "POST", CALLBACK_PATH, &[], body).unwrap();
        assert_eq!(heard.status, 200);
    }
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    let pings = systemd.count("WATCHDOG=1");
    assert!(pings >= 2, "one run and the next: {pings}");
    assert_eq!(place.stop().0, Some(0), "it is the process that was started first");
}
