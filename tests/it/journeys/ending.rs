//! SIGTERM ends the daemon within two seconds, with 0, whatever is in hand.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place};
use crate::sim::{Aim, Fault, data};

const LIMIT: Duration = Duration::from_secs(2);

fn ends_well(place: &mut Place, what: &str) {
    let (code, took) = place.stop();
    println!("{what}: ended after {} ms", took.as_millis());
    assert_eq!(code, Some(0), "{what}");
    assert!(took < LIMIT, "{what}: {took:?}");
    assert!(!place.printed().contains("panicked"), "{}", place.printed());
}

#[test]
fn it_ends_at_once_when_asked() {
    let mut place = Place::new("ending");
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    ends_well(&mut place, "with nothing to do");

    // An upstream call hangs.
    place.begin();
    place.upstream().faults.script(100, Aim::path("/crm/"), Fault::TimeOutBefore);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    let asked = place.upstream().call_count().0;
    place.until("the call hangs", |place| (place.upstream().call_count().0 >= asked).then_some(()));
    ends_well(&mut place, "while upstream hangs");
    place.upstream().faults.calm();

    // The very first call hangs.
    place.upstream().faults.script(100, Aim::anything(), Fault::TimeOutBefore);
    place.start();
    ends_well(&mut place, "while the first call hangs");
    place.upstream().faults.calm();

    place.begin();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    place.signal(rustix::process::Signal::HUP);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(place.get("/healthz").status, 200, "SIGHUP ends nothing");
    place.signal(rustix::process::Signal::INT);
    place.until("SIGINT ends it", |place| place.run(&["status"]).code.eq(&69).then_some(()));
}

#[test]
fn a_signal_during_the_start_is_no_failure() {
    let mut place = Place::new("ending-early");
    old_leads(&mut place.upstream(), 2);
    place.begin();
    place.stop();
    for round in 0..15 {
        place.launch();
        thread::sleep(Duration::from_millis(5 + 4 * round));
        let (code, took) = place.stop();
        // None: it came before anything could be asked to end politely.
        assert!(matches!(code, None | Some(0)), "round {round}: {code:?}");
        assert!(took < LIMIT, "round {round}: {took:?}");
    }
    place.begin();
}

#[test]
fn guests_who_dawdle_do_not_hold_it_up() {
    let mut place = Place::new("dawdlers");
    let socket = place.path("s");
    place.set("local.socket", &format!("\"{}\"", socket.display()));
    place.begin();
    let mut guests: Vec<TcpStream> = Vec::new();
    for address in [place.callbacks, place.local] {
        for said in [
            String::new(),
            "GET /status HTTP/1.1\r\n".to_owned(),
            "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            format!("POST {CALLBACK_PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{{"),
        ] {
            let mut guest = TcpStream::connect(address).unwrap();
            guest.write_all(said.as_bytes()).unwrap();
            guests.push(guest);
        }
    }
    let mut guest = UnixStream::connect(&socket).unwrap();
    guest.write_all(b"GET /sta").unwrap();
    thread::sleep(Duration::from_millis(50));
    ends_well(&mut place, "with dawdling guests");
    place.begin();
    ends_well(&mut place, "after a start over the old socket");
}

#[test]
fn it_ends_in_the_midst_of_a_bootstrap_and_goes_on_later() {
    let mut place = Place::new("ending-bootstrap");
    data::bulky(&mut place.upstream(), "Leads", 1_000, 400);
    place.loopback.latency(Duration::from_millis(100));
    place.start();
    place.until("a page is committed", |place| {
        place.status()["modules"]["Leads"]["scan"]["rows"].as_u64().filter(|rows| *rows > 0)
    });
    ends_well(&mut place, "in the midst of a bootstrap");
    place.loopback.latency(Duration::ZERO);
    place.begin();
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}
