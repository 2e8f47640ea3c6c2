//! Seeds, without a network: what is taken over and what stays behind, what is damaged and refused,
//! and what is told of a record whose change is no longer kept.

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crmirror::mirror::inbox::{Arrival, Quarantined, Reason};
use crmirror::mirror::ledger::{Ledger, Position, Scan, ScanKind};
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::road::{How, Reading, Road};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{
    self, Commit, Imported, OpenError, SeedError, Shape, Store, Terms, Write, write_seed,
};

use crate::agent::PATIENCE;
use crate::scratch::{Scratch, noise, seeds};
use crate::small_disk::with_a_small_disk;

fn module(name: &str) -> ModuleName {
    ModuleName::parse(name).unwrap()
}

fn at(seconds: i64) -> UpstreamTime {
    UpstreamTime::from_unix(seconds)
}

fn live(id: u64, text: &str) -> Write {
    let record = Record::parse(&format!("{{\"id\":\"{id}\",\"Last_Name\":\"{text}\"}}")).unwrap();
    let entry = Entry::Live(record);
    Write { id: RecordId::new(id), entry, change: Some(ChangeKind::Upsert) }
}

fn commit(name: &str, writes: Vec<Write>) -> Commit {
    let scan = Scan { next: Position::Page(3), ..Scan::whole(ScanKind::Sweep, None, at(90)) };
    Commit {
        ledger: Ledger {
            records: writes.len() as u64,
            complete_through: Some(at(70)),
            missed: 3,
            scan: Some(scan),
            ..Ledger::default()
        },
        writes,
        arrivals: vec![Arrival::new(module(name), RecordId::new(99), Reason::Scanned)],
        set_aside: vec![Quarantined {
            module: module(name),
            id: RecordId::new(98),
            why: "NO_PERMISSION".to_owned(),
            since: at(60),
        }],
        how: How::Page(Reading::CatchUp),
        ..Commit::new(module(name), at(80))
    }
}

fn terms(modules: &[&str]) -> Terms {
    let shape = Shape { fields: None, whole_records: false, organization: None };
    Terms {
        accounts: "https://accounts.zoho.com".to_owned(),
        api_version: "v2".to_owned(),
        modules: modules.iter().map(|name| (module(name), shape.clone())).collect(),
    }
}

/// Tries until the lock is free: another test may be between its fork and its exec, and the child
/// holds a copy of it for that long.
fn patiently<T: Debug>(mut attempt: impl FnMut() -> Result<T, SeedError>) -> Result<T, SeedError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(SeedError::Open(OpenError::InUse { .. })) if began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn open(place: &Path) -> Store {
    let mut opened = None;
    patiently(|| {
        opened = Some(Store::open(place)?);
        Ok(())
    })
    .unwrap();
    let (store, healings) = opened.unwrap();
    assert!(healings.is_empty(), "{healings:?}");
    store
}

fn import(place: &Path, seed: &Path, terms: &Terms, replace: bool) -> Result<Imported, SeedError> {
    patiently(|| store::import(place, seed, terms, replace))
}

/// A seed of two modules, the last change being one of `Deals`.
fn seed(scratch: &Scratch) -> std::path::PathBuf {
    let store = open(&scratch.path().join("first"));
    let leads = (1..40).map(|id| live(id, &"x".repeat(id as usize * 9))).collect();
    store.commit(commit("Leads", leads)).unwrap();
    store.commit(commit("Deals", vec![live(7, "a"), live(8, "b")])).unwrap();
    store.snapshot(at(100)).unwrap();
    drop(store);
    let path = scratch.path().join("seed");
    let mut out = fs::File::create(&path).unwrap();
    let both = terms(&["Leads", "Deals"]);
    write_seed(&scratch.path().join("first"), both, &mut out, &mut |_, _| {}).unwrap();
    path
}

#[test]
fn what_was_true_of_upstream_is_taken_over_and_nothing_else() {
    let scratch = Scratch::in_memory("seed");
    let path = seed(&scratch);
    let place = scratch.path().join("second");
    let imported = import(&place, &path, &terms(&["Leads"]), false).unwrap();
    assert_eq!(imported.let_go, [module("Deals")]);
    assert_eq!((imported.unproved, imported.replaced), (vec![], None));

    let store = open(&place);
    let ids = |name| store.ids_between(&module(name), None, RecordId::new(100), 100).unwrap().len();
    assert_eq!((ids("Leads"), ids("Deals")), (39, 0));
    let ledger = store.ledger(&module("Leads")).unwrap();
    let proved = Ledger { records: 39, complete_through: Some(at(70)), ..Ledger::default() };
    assert_eq!(ledger, proved, "the proof, no scan, nothing counted");
    assert_eq!(store.ledger(&module("Deals")).unwrap(), Ledger::default());
    assert_eq!((store.inbox().unwrap(), store.waiting()), (vec![], 0));
    let set_aside: Vec<ModuleName> =
        store.quarantined().unwrap().into_iter().map(|record| record.module).collect();
    assert_eq!(set_aside, [module("Leads")], "else nothing says that it is not proved");

    // Numbers go on after those of the other device, and none is given out again.
    assert_eq!((store.last_sequence(), store.changes(0, 100).unwrap().len()), (41, 39));
    assert!(store.changes(39, 100).unwrap().is_empty());
    let explained = store.explain(&module("Leads"), RecordId::new(7)).unwrap();
    let road = explained.change.unwrap().road;
    assert_eq!(road, Some(Road::Seed { taken: at(100) }));
    let mut next = commit("Leads", vec![live(7, "news")]);
    next.arrivals.clear();
    assert_eq!(store.commit(next).unwrap().last_sequence, 42);
    drop(store);
    let store = open(&place);
    assert_eq!(store.last_sequence(), 42);
}

#[test]
fn a_crash_between_two_renames_leads_to_one_store_or_the_other() {
    let scratch = Scratch::in_memory("seed-swap");
    let path = seed(&scratch);
    let place = scratch.path().join("second");
    let old = |place: &Path| {
        let store = open(place);
        store.commit(commit("Leads", vec![live(1, "old")])).unwrap();
        store.snapshot(at(5)).unwrap();
    };
    let count = || {
        let store = open(&place);
        let ids = store.ids_between(&module("Leads"), None, RecordId::new(100), 100).unwrap();
        (ids.len(), place.join("replaced/snapshots").exists())
    };
    // After so many of the renames: the old store, its snapshots, the new store.
    for (renames, expected) in [(0, (1, false)), (1, (39, true)), (2, (39, true)), (3, (39, true))]
    {
        let _ = fs::remove_dir_all(&place);
        old(&place);
        import(&place, &path, &terms(&["Leads"]), true).unwrap();
        // Back to where a crash could have come.
        let at = |name: &str| place.join(name);
        fs::write(at("replacing"), "x").unwrap();
        let back = |from: &str, to: &str| fs::rename(at(from), at(to)).unwrap();
        if renames < 3 {
            back("replaced/snapshots", "snapshots");
        }
        back("replaced/mirror.sled", "mirror.sled.old");
        if renames < 2 {
            back("mirror.sled", "mirror.sled.new");
        }
        if renames < 1 {
            back("mirror.sled.old", "mirror.sled");
        }
        assert_eq!(count(), expected, "after {renames} renames");
        assert_eq!(at("replaced/mirror.sled").exists(), renames > 0);
        assert!(!at("replacing").exists() && !at("mirror.sled.old").exists());
        assert_eq!(count(), expected, "and once more");
    }
}

/// Whether importing is refused and leaves nothing behind.
fn is_refused(bytes: &[u8], scratch: &Scratch) -> bool {
    let (path, place) = (scratch.path().join("bad"), scratch.path().join("never"));
    fs::write(&path, bytes).unwrap();
    let refused = import(&place, &path, &terms(&["Leads"]), false);
    matches!(refused, Err(SeedError::Unreadable(..))) && !place.exists()
}

#[test]
fn a_disk_without_room_for_it_is_left_as_it_was() {
    let name = "store_seed::a_disk_without_room_for_it_is_left_as_it_was";
    with_a_small_disk(name, |disk| {
        let scratch = Scratch::in_memory("seed-large");
        let store = open(&scratch.path().join("first"));
        // Three quarters of the disk, as a store.
        for batch in 0..40_u64 {
            let write = |id| live(batch * 1_000 + id, &noise(id, 1_000));
            store.commit(commit("Leads", (1..1_000_u64).map(write).collect())).unwrap();
        }
        store.snapshot(at(100)).unwrap();
        drop(store);
        let path = scratch.path().join("seed");
        let mut out = fs::File::create(&path).unwrap();
        let terms = terms(&["Leads"]);
        write_seed(&scratch.path().join("first"), terms.clone(), &mut out, &mut |_, _| {}).unwrap();
        let place = disk.join("second");
        drop(open(&place));
        let refused = import(&place, &path, &terms, false);
        assert!(matches!(refused, Err(SeedError::NoRoom { .. })), "{refused:?}");
        let store = open(&place);
        assert_eq!(store.last_sequence(), 0);
    });
}

#[test]
fn a_seed_that_is_not_whole_is_refused_before_anything_is_written() {
    let scratch = Scratch::in_memory("seed-bad");
    let good = fs::read(seed(&scratch)).unwrap();
    println!("a seed of {} bytes", good.len());
    for bad in [&b""[..], b"x", b"crm-seed", &good[1..], &[&good[..], b"x"].concat()] {
        assert!(is_refused(bad, &scratch));
    }
    // The head and the foot to the last bit.
    for place in (0..24).chain(good.len() - 32..good.len()) {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[place] ^= 1 << bit;
            assert!(is_refused(&flipped, &scratch), "bit {bit} of byte {place}");
        }
    }
    for seed in seeds(150) {
        let mut random = fastrand::Rng::with_seed(seed);
        let place = random.usize(..good.len());
        let mut flipped = good.clone();
        flipped[place] ^= 1 << random.u8(..8);
        assert!(is_refused(&flipped, &scratch), "seed {seed}: a bit of byte {place}");
        assert!(is_refused(&good[..place], &scratch), "seed {seed}: cut at {place}");
    }
}

#[test]
fn a_change_that_is_no_longer_kept_is_told_as_such() {
    let scratch = Scratch::in_memory("explain-old");
    let store = open(scratch.path());
    store.commit(commit("Leads", vec![live(1, "old")])).unwrap();
    let fresh = store.explain(&module("Leads"), RecordId::new(1)).unwrap();
    assert_eq!(fresh.change.unwrap().road, Some(Road::Page(Reading::CatchUp)));
    for _ in 0..21 {
        let mut many = commit("Leads", vec![live(2, "new"); 5_000]);
        many.arrivals.clear();
        store.commit(many).unwrap();
    }
    let explained = store.explain(&module("Leads"), RecordId::new(1)).unwrap();
    assert_eq!((explained.sequence, explained.change), (Some(1), None));
    assert!(explained.oldest_change > 1, "{explained:?}");
    let set_aside = store.explain(&module("Leads"), RecordId::new(98)).unwrap();
    assert_eq!(set_aside.set_aside.unwrap().why, "NO_PERMISSION");
    let waits = store.explain(&module("Leads"), RecordId::new(99)).unwrap();
    assert_eq!(waits.waiting.len(), 1);
}
