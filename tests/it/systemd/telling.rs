//! What the daemon tells systemd, and when; and how it logs into the journal.

use std::net::TcpStream;
use std::time::Duration;

use super::stand_in::StandIn;
use crate::agent::Place;
use crate::journeys::old_leads;
use crate::sim::data;

/// A place whose daemons tell this stand-in how they are.
fn place(name: &str, systemd: &StandIn) -> Place {
    let mut place = Place::new(name);
    place.environment("NOTIFY_SOCKET", systemd.name());
    place
}

#[test]
fn it_is_ready_when_its_doors_are_open_and_not_before() {
    for abstractly in [false, true] {
        let scratch = crate::scratch::Scratch::new("n");
        let systemd = match abstractly {
            false => StandIn::at(&scratch.path().join("notify")),
            true => StandIn::nowhere("ready"),
        };
        let mut place = place("telling-ready", &systemd);
        old_leads(&mut place.upstream(), 2);
        for round in 1..=3 {
            assert!(TcpStream::connect(place.local).is_err());
            place.launch();
            systemd.until("it is ready", |systemd| systemd.count("READY=1") == round);
            // No waiting here: whoever comes now is let in.
            TcpStream::connect(place.callbacks).unwrap();
            assert_eq!(place.get("/healthz").status, 200);
            let (code, _) = place.stop();
            assert_eq!(code, Some(0));
            assert_eq!(systemd.count("STOPPING=1"), round);
        }
    }
}

#[test]
fn its_line_of_status_is_true_and_current() {
    let systemd = StandIn::nowhere("status");
    let mut place = place("telling-status", &systemd);
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    systemd.until("all is well", |systemd| {
        let status = systemd.status();
        status.starts_with("online; channel open until 20")
            && status.contains("; 2 records; complete through 20")
            && status.ends_with("; 0 waiting")
    });
    place.upstream().faults.offline(true);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    systemd.until("it waits", |systemd| {
        let status = systemd.status();
        status.starts_with("offline: ") && status.ends_with("; 1 waiting")
    });

    // A start without a network: reads are answered, and nothing is said that is not so.
    place.stop();
    let ready = systemd.count("READY=1");
    place.launch();
    systemd.until("it is ready", |systemd| systemd.count("READY=1") > ready);
    assert!(place.record("Leads", ids[0]).is_some());
    systemd.until("it says so", |systemd| {
        let status = systemd.status();
        status.starts_with("offline") && status.ends_with("; 1 waiting")
    });
    place.upstream().faults.offline(false);
    assert!(systemd.heard().iter().all(|line| line.len() < 400));
}

#[test]
fn what_ends_it_is_its_last_line_of_status() {
    let systemd = StandIn::nowhere("end");
    let mut place = place("telling-end", &systemd);
    place.start();
    systemd.until("it runs", |systemd| systemd.status().starts_with("online"));
    place.stop();
    systemd.settle();
    assert_eq!(systemd.status(), "stopping");

    let other = std::net::TcpListener::bind(place.local).unwrap();
    place.launch();
    place.until("it has ended", |place| place.ended());
    systemd.settle();
    let status = systemd.status();
    assert!(status.starts_with(&format!("cannot listen on {}: ", place.local)), "{status}");
    drop(other);
}

#[test]
fn what_upstream_says_is_told_as_a_line_and_as_nothing_else() {
    let systemd = StandIn::nowhere("lines");
    let ours = crmirror::systemd::Systemd::at(Some(systemd.name()), None);
    ours.status("offline: a\nREADY=1\r\nMAINPID=1; 0 waiting");
    systemd.settle();
    assert_eq!(systemd.status(), "offline: a READY=1  MAINPID=1; 0 waiting");
    assert_eq!(systemd.count("READY=1"), 0);
}

#[test]
fn a_reload_is_told_from_its_begin_to_its_end() {
    let systemd = StandIn::nowhere("reload");
    let mut place = place("telling-reload", &systemd);
    place.start();
    systemd.until("it is ready", |systemd| systemd.count("READY=1") == 1);
    place.signal(rustix::process::Signal::HUP);
    systemd.until("it is ready again", |systemd| systemd.count("READY=1") == 2);
    let heard = systemd.heard();
    let at = |line: &str| heard.iter().rposition(|heard| heard == line);
    assert!(at("RELOADING=1") < at("READY=1"), "{heard:?}");
}

#[test]
fn the_watchdog_hears_of_it_at_half_of_its_time() {
    let systemd = StandIn::nowhere("watchdog");
    let mut place = place("telling-watchdog", &systemd);
    place.environment("WATCHDOG_USEC", "1000000").environment("WATCHDOG_PID", "$$");
    place.start();
    let before = systemd.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_secs(3));
    let count = systemd.count("WATCHDOG=1") - before;
    assert!((4..=12).contains(&count), "{count} in 3 seconds");
    // A process that stands still says nothing.
    place.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_millis(200));
    let before = systemd.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(systemd.count("WATCHDOG=1"), before);
    place.kill();

    // The variable is for another process.
    place.environment("WATCHDOG_PID", "1").start();
    let before = systemd.count("WATCHDOG=1");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(systemd.count("WATCHDOG=1"), before);
}

#[test]
fn the_journal_gets_priorities_and_few_lines() {
    let mut place = Place::new("telling-journal");
    old_leads(&mut place.upstream(), 2);
    // What systemd sets is the device and the inode of the stderr that it gives.
    place.environment("JOURNAL_STREAM", "$(stat -L -c %d:%i /proc/self/fd/2)");
    place.begin();
    place.stop();
    let printed = place.printed();
    assert!(printed.contains("<6>crmirror "), "{printed}");
    assert!(printed.lines().all(|line| line.starts_with('<')), "{printed}");
    assert!(!printed.contains("info:"), "{printed}");
    assert!(printed.lines().count() <= 10, "{printed}");

    place.set("catch_up.every", "\"soon\"");
    let ended = place.run(&["run"]);
    assert_eq!(ended.code, 78);
    assert!(ended.err.lines().all(|line| line.starts_with("<3>")), "{}", ended.err);

    // Whoever has the variable and another stderr is not in the journal.
    place.environment("JOURNAL_STREAM", "1:2");
    let ended = place.run(&["run"]);
    assert!(ended.err.starts_with("crmirror: "), "{}", ended.err);
}

#[test]
fn a_long_bootstrap_is_told_of_now_and_then() {
    let mut place = Place::new("telling-bootstrap");
    data::bulky(&mut place.upstream(), "Leads", 9_000, 100);
    place.loopback.latency(Duration::from_millis(900));
    place.start();
    // The first line comes after half a minute, the bootstrap's end after more than that.
    let told = place.until_for(Duration::from_secs(90), "a line", |place| {
        let printed = place.printed();
        let found = printed.lines().find(|line| line.starts_with("info: bootstrap of Leads: "));
        found.map(str::to_owned)
    });
    for part in [" records, ", " pages, ", "/s, ", " of 2,500 credits"] {
        assert!(told.contains(part), "{}", told);
    }
}
