//! The device's own clock is wrong, at the start or by a jump: nothing depends on it.
//!
//! The real clock of the process is changed by libfaketime (Debian: faketime), and the clock that
//! goes on while a device sleeps is left alone, as on a board without a battery. Where the library
//! is not there, this says so and tries nothing.

use std::path::PathBuf;

use serde_json::Value;

use super::{at_once, old_leads};
use crate::agent::Place;

/// Where Debian has the library for what this is built for.
fn library() -> Option<PathBuf> {
    let ours = |place: &std::fs::DirEntry| {
        let name = place.file_name();
        name.as_encoded_bytes().starts_with(std::env::consts::ARCH.as_bytes())
    };
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten().filter(ours);
    let of_threads = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    let found = of_threads.into_iter().find(|library| library.exists());
    if found.is_none() {
        eprintln!("skipped: libfaketime is not here");
    }
    found
}

/// A device whose clock shows what is written here, in libfaketime's words.
fn place(name: &str, library: &std::path::Path, clock: &str) -> Place {
    let mut place = Place::new(name);
    set(&place, clock);
    let shown = place.path("clock").display().to_string();
    place.environment("FAKETIME_TIMESTAMP_FILE", &shown);
    place.environment("FAKETIME_NO_CACHE", "1");
    place.environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    place.environment("LD_PRELOAD", &library.display().to_string());
    place
}

fn set(place: &Place, clock: &str) {
    std::fs::write(place.path("clock"), format!("{clock}\n")).unwrap();
}

/// A change that a callback tells of, one that nobody tells of, and one more start.
fn goes_on(place: &mut Place, id: u64, mark: &str) {
    let (told, untold) = (format!("\"told {mark}\""), format!("\"untold {mark}\""));
    place.upstream().edit("Leads", id, &[("Phone", &told)]);
    place.carry();
    place.until_reads("Leads", id, "Phone", &told);
    place.upstream().edit("Leads", id, &[("Phone", &untold)]);
    drop(place.upstream().take_callbacks());
    assert_eq!(place.run(&["sync"]).code, 0);
    place.until_reads("Leads", id, "Phone", &untold);
    let status = place.status();
    assert_eq!(status["channel"]["state"], "open", "{status}");
    assert!(status["channel"]["renewals"].as_u64() <= Some(2), "a storm: {status}");
    assert_eq!(place.upstream().live_channels().len(), 1);
}

/// Reads are answered and callbacks are kept; the rest comes with the network.
fn starts_without_a_network(place: &mut Place, ids: &[u64]) {
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"meanwhile\"")]);
    let body = place.upstream().take_callbacks().remove(0).body;
    place.upstream().faults.offline(true);
    place.start();
    assert_eq!(place.record("Leads", ids[1]).unwrap()["Last_Name"], "\"Lead 0001\"");
    assert_eq!(place.post(&body), 200, "kept, though upstream is not there");
    assert_eq!(place.get("/readyz").status, 200);
    place.upstream().faults.offline(false);
    assert_eq!(place.run(&["sync"]).code, 0);
    place.until_reads("Leads", ids[0], "Phone", "\"meanwhile\"");
    place.ready();
}

#[test]
fn it_may_be_decades_off_at_the_start() {
    let Some(library) = library() else { return };
    let clocks = [
        "1970-01-01 00:00:30",
        "2016-02-29 12:00:00",
        "2038-01-19 03:14:08",
        "2099-12-31 23:59:59",
    ];
    at_once(&clocks, |clock| {
        let mut place = place(&format!("clock-{}", &clock[..4]), &library, &format!("@{clock}"));
        let ids = old_leads(&mut place.upstream(), 3);
        place.begin();
        goes_on(&mut place, ids[1], "at first");
        let doctor = place.run(&["doctor", "--json"]);
        let findings: Value = serde_json::from_str(&doctor.out).unwrap();
        let findings = findings["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == "clock").unwrap();
        assert_eq!(found["state"], "fail", "the clock is not wrong at all: {found}");
        place.kill();
        starts_without_a_network(&mut place, &ids);
        goes_on(&mut place, ids[2], "after a kill");
        assert_eq!(place.records("Leads"), place.truth("Leads", false), "{clock}");
    });
}

#[test]
fn it_may_jump_by_days_and_decades() {
    let Some(library) = library() else { return };
    let mut place = place("clock-jumps", &library, "+0");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    for jump in ["+1d", "-1d", "+12y", "-50y", "+0"] {
        set(&place, jump);
        goes_on(&mut place, ids[1], jump);
    }
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}
