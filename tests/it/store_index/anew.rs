//! Indexes of a store that was made anew, harmed, or written by another release: none is believed
//! that may lack a record.

use std::fs;

use crmirror::mirror::criteria::{terms_of_record, terms_of_text};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ModuleName, Record};
use crmirror::store::{Healing, Order, Phase, Store};

use super::{
    any_commit, any_write, assert_answers, assert_silent, at, build, check, commit, field, filled,
    index_keys, modules, wish,
};
use crate::scratch::{Scratch, Seed, seeds};

/// What is done to a store, and what the next start says of it.
type Way<'a> = (&'a dyn Fn(&Scratch), fn(&Healing) -> bool);

#[test]
fn a_store_made_anew_builds_its_indexes_anew() {
    let mut random = fastrand::Rng::with_seed(1);
    let condemn = |scratch: &Scratch| fs::write(scratch.path().join("condemned"), "x").unwrap();
    let compact = |scratch: &Scratch| fs::write(scratch.path().join("oversized"), "x").unwrap();
    let lose = |scratch: &Scratch| {
        let (store, _) = Store::open(scratch.path()).unwrap();
        store.snapshot(at(1)).unwrap();
        drop(store);
        fs::write(scratch.path().join("mirror.sled/db"), vec![0xa5; 700_000]).unwrap();
    };
    let ways: [Way<'_>; 3] = [
        (&condemn, |healing| matches!(healing, Healing::Salvaged { unreadable: 0, .. })),
        (&compact, |healing| matches!(healing, Healing::Compacted { .. })),
        (&lose, |healing| matches!(healing, Healing::Restored { .. })),
    ];
    for (harm, expected) in ways {
        let scratch = filled("index-anew", &mut random);
        assert!(index_keys(&scratch) > 60);
        harm(&scratch);
        let (store, healings) = Store::open(scratch.path()).unwrap();
        assert!(healings.len() == 1 && expected(&healings[0]), "{healings:?}");
        assert_silent(&store);
        drop(store);
        assert_eq!(index_keys(&scratch), 0);
        let (store, _) = Store::open(scratch.path()).unwrap();
        store.set_indexes(&wish(&["Email", "Phone"]));
        build(&store);
        assert_answers(&store, &mut random);
    }
}

/// A page of the log is lost: the store may be mended in place, be made anew, or not notice yet.
#[test]
fn a_damaged_store_has_no_index_that_lies() {
    let mut mended = 0;
    for seed in seeds(25) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = filled("index-harmed", &mut random);
        // Gives it a snapshot of sled's, as any start but the first does.
        drop(Store::open(scratch.path()).unwrap());
        let log = scratch.path().join("mirror.sled/db");
        let mut bytes = fs::read(&log).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = random.usize(..used);
        bytes[at..(at + 100).min(used)].fill(0xa5);
        fs::write(&log, bytes).unwrap();
        if random.bool() {
            // Without it sled reads its log up to the harm, and takes that for the end.
            let snapshots = fs::read_dir(scratch.path().join("mirror.sled")).unwrap();
            let snapshots = snapshots.map(|entry| entry.unwrap().path());
            snapshots
                .filter(|path| path.to_string_lossy().contains("snap."))
                .for_each(|path| fs::remove_file(path).unwrap());
        }
        let (store, healings) = Store::open(scratch.path()).unwrap();
        mended += usize::from(!healings.is_empty());
        check_what_answers(&store);
        store.set_indexes(&wish(&["Email", "Phone"]));
        build(&store);
        check_what_answers(&store);
        drop(store);
        let (store, healings) = Store::open(scratch.path()).unwrap();
        mended += usize::from(!healings.is_empty());
        store.set_indexes(&wish(&["Email", "Phone"]));
        build(&store);
        check_what_answers(&store);
        assert!(store.is_indexed(&modules()[0], &field("Email")), "it was made anew");
    }
    assert!(mended > 0, "the harm never was one");
}

/// Where an index answers, it has all records that can be read.
fn check_what_answers(store: &Store) {
    for module in modules() {
        let mut live = store.live_above(&module, None, usize::MAX).unwrap();
        for name in ["Email", "Phone"].map(field) {
            let sought = terms_of_text("7");
            let found = store.with_terms(&module, &name, &sought, None, usize::MAX).unwrap();
            let shown = |record: &Record| terms_of_record(record, std::slice::from_ref(&name));
            let mut missed = live.iter().filter(|record| {
                found.as_ref().is_some_and(|found| !found.contains(&record.id()))
                    && !shown(record)[0].is_disjoint(&sought)
            });
            assert_eq!(missed.next(), None);
        }
        live.sort_by_key(|record| (record.modified(), record.id()));
        let found = store.by_modified(&module, None, None, Order::OldestFirst, usize::MAX).unwrap();
        assert!(found.is_none_or(|found| found == live), "{module}");
    }
}

/// The release before knows no indexes. Whoever puts it back for a while, and then this one again,
/// is not to be answered from indexes that it did not keep up.
#[test]
fn what_another_release_wrote_is_indexed_anew() {
    let mut random = fastrand::Rng::with_seed(3);
    let scratch = filled("index-older", &mut random);
    let [leads, _] = modules();
    let (store, _) = Store::open(scratch.path()).unwrap();
    assert_answers(&store, &mut random);
    drop(store);
    let record =
        Record::parse(r#"{"id":"3","Email":"nobody","Modified_Time":"2026-01-01T00:00:00Z"}"#);
    write_as_the_release_before(&scratch, &leads, &record.unwrap());
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert_eq!(healings, []);
    assert!(store.indexes(&leads).iter().all(|(_, phase)| *phase == Phase::Emptying));
    (0..20).for_each(|_| check(&store, &mut random));
    // A commit of ours in between does not make up for what was missed.
    store.commit(any_commit(&mut random)).unwrap();
    store.commit(commit(&leads, vec![any_write(&mut random)])).unwrap();
    drop(store);
    let (store, _) = Store::open(scratch.path()).unwrap();
    (0..20).for_each(|_| check(&store, &mut random));
    store.set_indexes(&wish(&["Email", "Phone"]));
    build(&store);
    assert_answers(&store, &mut random);
}

/// Writes a record and a ledger as a commit of the release before does: without a mark.
fn write_as_the_release_before(scratch: &Scratch, module: &ModuleName, record: &Record) {
    let seal = |key: &[u8], kind: u8, content: &[u8]| {
        let mut sum = crc32fast::Hasher::new();
        [&(key.len() as u64).to_be_bytes()[..], key, &[1, kind], content]
            .iter()
            .for_each(|part| sum.update(part));
        [&[1, kind][..], &sum.finalize().to_be_bytes(), content].concat()
    };
    let name = module.as_str().as_bytes();
    let mut tries = (0..200).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        sled::open(scratch.path().join("mirror.sled"))
    });
    let db = tries.find_map(Result::ok).expect("the files are let go");
    let key = [b"r", name, &[0], &record.id().number().to_be_bytes()].concat();
    let modified = record.modified().unwrap().unix().to_be_bytes();
    let content = [&9_u64.to_be_bytes()[..], &modified, record.json().as_bytes()].concat();
    db.insert(&key, seal(&key, 1, &content)).unwrap();
    let key = [b"l", name].concat();
    let ledger = serde_json::to_vec(&Ledger::default()).unwrap();
    db.insert(&key, seal(&key, 3, &ledger)).unwrap();
    db.flush().unwrap();
}
