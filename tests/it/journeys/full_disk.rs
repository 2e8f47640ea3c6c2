//! A disk that somebody else fills to the brim, while callbacks, fetches and catch-ups go on: the
//! daemon stays up, goes on being read, says what is the matter, turns callbacks away, loses none
//! that it acknowledged, and makes up for the others when there is space again.
//!
//! What is acknowledged here are changes of a formula, which no catch-up finds. What is made up for
//! are edits, which nothing announces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Fields, Place};
use crate::scratch::noise;
use crate::sim::{Aim, Fault, data, http};
use crate::small_disk::with_a_small_disk;

/// Longer than sled leaves what it holds in memory unwritten.
const LONG: Duration = Duration::from_secs(6);
/// For the others, which have taken their time.
const SHORT: Duration = Duration::from_secs(1);

/// Half of what an edited record has at most: a page of such records would be too large for sled's
/// log, if they were not kept in parts.
const SOME_SIZE: usize = 10_000;

/// How the disk gets full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fill {
    AtOnce,
    /// A mebibyte every few milliseconds.
    Slowly,
    /// At once, and free again, many times.
    ByTurns,
}

/// What takes the space of others.
struct Filler(PathBuf);

impl Filler {
    fn on(disk: &Path) -> Filler {
        Filler(disk.join("filler"))
    }

    /// Leaves nothing.
    fn fill(&self) {
        while self.grow(u64::MAX) {}
    }

    /// Takes so many bytes more, or what there is; whether there was anything.
    fn grow(&self, bytes: u64) -> bool {
        let file = File::options().create(true).append(true).open(&self.0).unwrap();
        let disk = statvfs(&self.0).unwrap();
        let bytes = bytes.min(disk.f_bavail * disk.f_frsize);
        let end = file.metadata().unwrap().len();
        if bytes > 0 {
            // It fails when somebody else takes some in between; there is less the next time.
            let _ = fallocate(&file, FallocateFlags::empty(), end, bytes);
        }
        bytes > 0
    }

    fn remove(&self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn filled_at_once() {
    let name = "journeys::full_disk::filled_at_once";
    with_a_small_disk(name, |disk| under_load(disk, Fill::AtOnce));
}

#[test]
fn filled_slowly() {
    let name = "journeys::full_disk::filled_slowly";
    with_a_small_disk(name, |disk| under_load(disk, Fill::Slowly));
}

#[test]
fn filled_and_freed_by_turns() {
    let name = "journeys::full_disk::filled_and_freed_by_turns";
    with_a_small_disk(name, |disk| under_load(disk, Fill::ByTurns));
}

#[test]
fn filled_in_the_midst_of_a_bootstrap() {
    let name = "journeys::full_disk::filled_in_the_midst_of_a_bootstrap";
    with_a_small_disk(name, |disk| {
        let mut place = place_on(disk);
        data::bulky(&mut place.upstream(), "Leads", 3_000, 2_000);
        place.loopback.latency(Duration::from_millis(40));
        place.start();
        place.until("some pages are committed", |place| {
            let rows = place.status()["modules"]["Leads"]["scan"]["rows"].as_u64();
            rows.filter(|rows| *rows >= 600)
        });
        let filler = Filler::on(disk);
        filler.fill();
        stays_up_while_full(&mut place, LONG);
        filler.remove();
        place.ready();
        assert_eq!(place.records("Leads"), place.truth("Leads", false));
        assert_eq!(place.ended(), None);
    });
}

fn place_on(disk: &Path) -> Place {
    let mut place = Place::new("full-disk");
    place.set("store.path", &format!("\"{}\"", disk.display()));
    place.set("catch_up.every", "\"1d\"").set("catch_up.sweep_every", "\"30d\"");
    place.set("catch_up.credits_per_day", "100000000");
    place
}

/// Callbacks pour in, and records of some size are edited that no callback announces.
fn under_load(disk: &Path, fill: Fill) {
    let mut place = place_on(disk);
    let touched = old_leads(&mut place.upstream(), 200);
    let edited = data::bulky(&mut place.upstream(), "Leads", 200, SOME_SIZE);
    place.begin();
    let made = place.callback("update", &[]);
    let load = Load { stop: AtomicBool::new(false), refused: AtomicU64::new(0) };
    let acknowledged: Mutex<BTreeMap<u64, u64>> = Mutex::default();
    let (upstream, address) = (place.shared_upstream(), place.callbacks);
    thread::scope(|scope| {
        for own in touched.chunks(touched.len() / 4) {
            let (made, upstream, acknowledged, load) =
                (made.clone(), Arc::clone(&upstream), &acknowledged, &load);
            scope.spawn(move || {
                let mut number = 0;
                while !load.stop.load(Ordering::Relaxed) {
                    number += 1;
                    let id = own[number as usize % own.len()];
                    let text = number.to_string();
                    upstream.lock().unwrap().touch_formula("Leads", id, "Score", &text);
                    match post(address, &made, id) {
                        200 => drop(acknowledged.lock().unwrap().insert(id, number)),
                        503 => drop(load.refused.fetch_add(1, Ordering::Relaxed)),
                        status => panic!("{status}"),
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let (edited, load) = (&edited, &load);
        scope.spawn(move || {
            let mut number = 0;
            while !load.stop.load(Ordering::Relaxed) {
                let phone = format!("\"{number} {}\"", noise(number as u64, SOME_SIZE));
                let id = edited[number % edited.len()];
                upstream.lock().unwrap().edit("Leads", id, &[("Phone", &phone)]);
                upstream.lock().unwrap().take_callbacks();
                number += 1;
                thread::sleep(Duration::from_millis(2));
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fill_up(&mut place, &Filler::on(disk), fill);
        }));
        load.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    let refused = load.refused.into_inner();
    let acknowledged = acknowledged.into_inner().unwrap();
    let records = acknowledged.len();
    println!("{fill:?}: {refused} callbacks turned away, those of {records} records acknowledged");
    assert!(refused > 0 && records > 0);
    makes_up(&mut place, &acknowledged);
}

/// What the callers share.
struct Load {
    stop: AtomicBool,
    refused: AtomicU64,
}

fn post(address: std::net::SocketAddr, made: &Value, id: u64) -> u16 {
    let mut body = made.clone();
    body["ids"] = json!([id.to_string()]);
    let body = body.to_string();
    http(address, "POST", CALLBACK_PATH, &[], body.as_bytes()).unwrap().status
}

fn fill_up(place: &mut Place, filler: &Filler, fill: Fill) {
    // Catch-ups go on all the time: they write most, and do not flush.
    let sync = |place: &Place| assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
    sync(place);
    thread::sleep(Duration::from_millis(300));
    sync(place);
    match fill {
        Fill::AtOnce => filler.fill(),
        Fill::Slowly => {
            while filler.grow(1 << 20) {
                sync(place);
                thread::sleep(Duration::from_millis(10));
            }
        }
        Fill::ByTurns => {
            for turn in 0..20 {
                filler.fill();
                thread::sleep(Duration::from_millis(40));
                filler.remove();
                sync(place);
                thread::sleep(Duration::from_millis(30 + 10 * (turn % 7)));
                assert_eq!(place.ended(), None, "turn {turn}");
            }
            filler.fill();
        }
    }
    sync(place);
    // The access token is to be renewed just now, and cannot be kept.
    place.upstream().faults.script(1, Aim::path("/crm/"), Fault::Unauthorised);
    stays_up_while_full(place, if fill == Fill::AtOnce { LONG } else { SHORT });
    filler.remove();
    place.until("callbacks are taken again", |place| {
        (place.get("/healthz").status == 200).then_some(())
    });
}

fn stays_up_while_full(place: &mut Place, long: Duration) {
    let began = Instant::now();
    while began.elapsed() < long {
        assert_eq!(place.ended(), None, "after {:?}", began.elapsed());
        assert_eq!(place.get("/healthz").status, 503);
        assert_eq!(place.get("/crm/v2/Leads?per_page=5").status, 200, "reads go on");
        let status = place.status();
        assert_eq!(status["store"]["low"], true, "{status}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn makes_up(place: &mut Place, acknowledged: &BTreeMap<u64, u64>) {
    let score = |fields: &Fields| fields.get("Score").map(|raw| raw.parse::<u64>().unwrap());
    let without = |mut records: BTreeMap<u64, Fields>| {
        records.values_mut().for_each(|fields| drop(fields.remove("Score")));
        records
    };
    let truth = without(place.truth("Leads", false));
    place.until("the gap is made up for", |place| {
        (without(place.records("Leads")) == truth).then_some(())
    });
    place.until_settled();
    let records = place.records("Leads");
    for (id, known) in acknowledged {
        let mirrored = score(&records[id]);
        assert!(mirrored >= Some(*known), "{id}: {mirrored:?} in the mirror, {known} acknowledged");
    }
    assert_eq!(place.ended(), None);
    let (code, _) = place.stop();
    assert_eq!(code, Some(0));
}
