//! Records that are packed with dictionaries and kept in parts: they come back as they went in,
//! sled keeps all of them in its log, and what is lost of them is fetched again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{
    Commit, Damage, Healing, Shape, Sight, Store, StoreError, Terms, Write, examine, import,
    write_seed,
};

use crate::scratch::{Scratch, Seed, noise, seeds};
use crate::sim::lifelike::Lifelike;
use crate::store_open::bare;

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn record(id: u64, fields: &str) -> Record {
    Record::parse(&format!(r#"{{"id":"{id}"{fields}}}"#)).unwrap()
}

fn lifelike(lifelike: &mut Lifelike, id: u64, bytes: usize) -> Record {
    let fields = lifelike.lead(bytes);
    let fields: String = fields.iter().map(|(name, raw)| format!(",\"{name}\":{raw}")).collect();
    record(id, &fields)
}

/// A record that cannot be packed to much less than this.
fn large(id: u64, seed: u64, bytes: usize) -> Record {
    record(id, &format!(r#","text":"{}""#, noise(seed, bytes)))
}

fn live(record: Record) -> Write {
    Write { id: record.id(), entry: Entry::Live(record), change: None }
}

fn commit(writes: Vec<Write>) -> Commit {
    Commit { writes, ..Commit::new(module(), UpstreamTime::EPOCH) }
}

fn open(directory: &Path) -> Store {
    let (store, healings) = Store::open(directory).unwrap();
    assert_eq!(healings, []);
    store
}

fn all(store: &Store) -> Vec<Record> {
    store.live_above(&module(), None, usize::MAX).unwrap()
}

/// Values whose keys begin with this letter.
fn count_of(directory: &Path, kind: u8) -> usize {
    bare(directory).scan_prefix([kind]).count()
}

/// sled keeps pages that are too large for its log in files of their own.
fn assert_no_file_beside_the_log(directory: &Path) {
    let blobs = directory.join("mirror.sled/blobs");
    let files: Vec<_> = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, Vec::<std::path::PathBuf>::new());
}

/// All ways to read give the same.
fn check(store: &Store, model: &BTreeMap<u64, Record>) {
    let expected: Vec<Record> = model.values().cloned().collect();
    assert_eq!(all(store), expected);
    let ids = store.ids_between(&module(), None, RecordId::new(u64::MAX), usize::MAX).unwrap();
    assert_eq!(ids, expected.iter().map(Record::id).collect::<Vec<_>>());
    let mut seen = Vec::new();
    let mut look = |id, sight: Sight<'_>| {
        if let Sight::Live { modified, json } = sight {
            let json = std::str::from_utf8(json).unwrap();
            seen.push(Record::from_parts(id, modified, json.into()));
        }
        ControlFlow::Continue(())
    };
    store.look_below(&module(), None, 10_000, &mut look).unwrap();
    seen.reverse();
    assert_eq!(seen, expected);
    for record in &expected {
        let stored = store.entry(&module(), record.id()).unwrap().unwrap();
        assert_eq!(stored.entry, Entry::Live(record.clone()));
    }
    assert_eq!((store.unreadable(), store.damaged()), (0, false));
}

#[test]
fn records_of_any_size_come_back_and_stay_in_the_log() {
    for seed in seeds(2) {
        let _seed = Seed(seed);
        let scratch = Scratch::new("large");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model: BTreeMap<u64, Record> = BTreeMap::new();
        let mut store = open(scratch.path());
        for round in 0..40 {
            let mut writes = Vec::new();
            for _ in 0..random.usize(1..40) {
                let id = random.u64(1..200);
                if random.u8(..8) == 0 {
                    model.remove(&id);
                    let entry = Entry::Tombstone { gone: UpstreamTime::EPOCH };
                    writes.push(Write { id: RecordId::new(id), entry, change: None });
                    continue;
                }
                let bytes = [500, 7_500, 60 << 10][random.usize(..3)];
                let record = large(id, random.u64(..), random.usize(1..bytes));
                model.insert(id, record.clone());
                writes.push(live(record));
            }
            store.commit(commit(writes)).unwrap();
            if round % 10 == 9 {
                check(&store, &model);
                drop(store);
                assert_no_file_beside_the_log(scratch.path());
                store = open(scratch.path());
            }
        }
        check(&store, &model);
        drop(store);
        let found = examine(scratch.path(), false).unwrap();
        assert!(found.is_good() && found.kinds[0].good >= model.len() as u64, "{found:?}");
        assert!(count_of(scratch.path(), b'p') > 0);

        let store = open(scratch.path());
        let small: Vec<Write> = model.keys().map(|id| live(record(*id, ""))).collect();
        store.commit(commit(small)).unwrap();
        drop(store);
        assert_eq!(count_of(scratch.path(), b'p'), 0, "no part outlives its record");
    }
}

/// A store with large and small records, and a snapshot of it.
fn filled(directory: &Path) -> BTreeMap<u64, Record> {
    let store = open(directory);
    let mut leads = Lifelike::new(3);
    let one = |id: u64| match id % 5 {
        0 => large(id, id, 100 * id as usize),
        _ => lifelike(&mut leads, id, 1_500),
    };
    let model: BTreeMap<u64, Record> = (1..=200).zip((1..=200).map(one)).collect();
    let change = Some(ChangeKind::Upsert);
    let told = |write: Write| Write { change, ..write };
    store.commit(commit(model.values().cloned().map(live).map(told).collect())).unwrap();
    // A long list of changes, which is no record.
    let gone = |id: u64| Write {
        id: RecordId::new(u64::MAX - id),
        entry: Entry::Tombstone { gone: UpstreamTime::EPOCH },
        change,
    };
    store.commit(commit((0..200).map(gone).collect())).unwrap();
    store.snapshot(UpstreamTime::from_unix(100)).unwrap();
    model
}

#[test]
fn they_go_along_into_every_new_store() {
    let scratch = Scratch::new("carried");
    let (first, second) = (scratch.path().join("first"), scratch.path().join("second"));
    let model = filled(&first);
    let shape = Shape { organization: None, fields: None, whole_records: false };
    let terms = Terms {
        accounts: "https://accounts.zoho.com".to_owned(),
        api_version: "v2".to_owned(),
        modules: [(module(), shape)].into(),
    };
    let seed = scratch.path().join("seed");
    let mut out = fs::File::create(&seed).unwrap();
    write_seed(&first, terms.clone(), &mut out, &mut |_, _| {}).unwrap();
    let imported = || import(&second, &seed, &terms, true);
    (0..500).find_map(|_| imported().ok()).expect("the lock is let go");
    let store = open(&second);
    check(&store, &model);
    assert_eq!(store.changes(0, usize::MAX).unwrap().len(), 400);
    let again = large(1, 1, 90_000);
    store.commit(commit(vec![live(again.clone())])).unwrap();
    assert_eq!(store.entry(&module(), again.id()).unwrap().unwrap().entry, Entry::Live(again));
    drop(store);
    assert_no_file_beside_the_log(&second);
    let found = examine(&second, false).unwrap();
    assert!(found.is_good(), "{found:?}");

    fs::write(first.join("oversized"), "for a test").unwrap();
    let (store, healings) = Store::open(&first).unwrap();
    assert!(matches!(healings[..], [Healing::Compacted { .. }]), "{healings:?}");
    check(&store, &model);
    drop(store);
    assert_no_file_beside_the_log(&first);

    fs::write(first.join("mirror.sled/db"), vec![0; 600_000]).unwrap();
    let (store, healings) = Store::open(&first).unwrap();
    assert!(matches!(healings[..], [Healing::Restored { .. }]), "{healings:?}");
    check(&store, &model);
}

#[test]
fn a_snapshot_has_the_dictionaries_that_were_made_while_it_was_taken() {
    let scratch = Scratch::new("late");
    let store = open(scratch.path());
    let (stop, mut leads) = (AtomicBool::new(false), Lifelike::new(8));
    let page = |start: u64, leads: &mut Lifelike| {
        commit((start..start + 50).map(|id| live(lifelike(leads, id, 1_500))).collect())
    };
    for start in 0..20 {
        store.commit(page(1 + start * 50, &mut leads)).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Each round has fields of its own: it takes a new dictionary.
                let fields = |id: u64| {
                    let field = |n: u64| format!(",\"R{round}_{n:x}\":\"{:x}\"", id % 7 * n * n);
                    (0..60).map(field).collect::<String>()
                };
                let writes = (1..=1_000).map(|id| live(record(id, &fields(id))));
                store.commit(commit(writes.collect())).unwrap();
            }
        });
        for at in 0..6 {
            let report = store.snapshot(UpstreamTime::from_unix(at)).unwrap();
            assert_eq!(report.unreadable, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(store);
    fs::write(scratch.path().join("mirror.sled/db"), vec![0; 600_000]).unwrap();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(healings[..], [Healing::Restored { .. }]), "{healings:?}");
    assert_eq!((all(&store).len(), store.unreadable()), (1_000, 0));
}

#[test]
fn what_lost_its_dictionary_or_a_part_is_missed_and_fetched_again() {
    let scratch = Scratch::new("lost");
    let model = filled(scratch.path());
    let listed = |store: &Store| {
        store.ids_between(&module(), None, RecordId::new(u64::MAX), usize::MAX).unwrap().len()
    };
    for (kind, damage) in [(b'p', Damage::Parts), (b'd', Damage::Dictionary)] {
        let db = bare(scratch.path());
        let key = db.scan_prefix([kind]).keys().next().unwrap().unwrap();
        db.remove(&key).unwrap();
        drop(db);
        let store = open(scratch.path());
        let found = all(&store).len();
        assert!(found < model.len() && listed(&store) == found, "{damage:?}: {found}");
        let unreadable = model.values().filter(|record| {
            let entry = store.entry(&module(), record.id());
            matches!(entry, Err(StoreError::Unreadable { damage: why, .. }) if why == damage)
        });
        assert_eq!(unreadable.count(), model.len() - found, "{damage:?}");
        store.commit(commit(model.values().cloned().map(live).collect())).unwrap();
        assert_eq!(all(&store), model.values().cloned().collect::<Vec<_>>());
        drop(store);
        assert!(examine(scratch.path(), false).unwrap().is_good());
    }
}

#[test]
fn a_dictionary_that_is_broken_is_forgotten_and_another_made() {
    let scratch = Scratch::new("broken-dictionary");
    let model = filled(scratch.path());
    let db = bare(scratch.path());
    let (key, value) = db.scan_prefix(b"d").next().unwrap().unwrap();
    let mut harmed = value.to_vec();
    harmed[40] ^= 1;
    db.insert(key, harmed).unwrap();
    drop(db);
    let store = open(scratch.path());
    assert!(all(&store).len() < model.len());
    store.commit(commit(model.values().cloned().map(live).collect())).unwrap();
    assert_eq!(all(&store), model.values().cloned().collect::<Vec<_>>());
    drop(store);
    assert_eq!(count_of(scratch.path(), b'd'), 1);
    check(&open(scratch.path()), &model);
}

#[test]
fn records_become_small_and_dictionaries_stay_few() {
    let scratch = Scratch::new("small");
    let store = open(scratch.path());
    let mut leads = Lifelike::new(5);
    let model: BTreeMap<u64, Record> =
        (1..=2_000).map(|id| (id, lifelike(&mut leads, id, 1_500))).collect();
    let pages: Vec<Record> = model.values().cloned().collect();
    for page in pages.chunks(200) {
        store.commit(commit(page.iter().cloned().map(live).collect())).unwrap();
    }
    check(&store, &model);
    drop(store);
    let db = bare(scratch.path());
    let kept: usize = db.scan_prefix(b"r").values().map(|value| value.unwrap().len()).sum();
    drop(db);
    let texts: usize = model.values().map(|record| record.json().len()).sum();
    println!("{texts} bytes were packed to {kept}");
    assert!(kept * 5 < texts * 2, "{texts} bytes were packed to {kept}");
    assert_eq!(count_of(scratch.path(), b'd'), 1, "it goes on serving well");

    // Over and over they become others, whose fields have other names.
    let store = open(scratch.path());
    let mut last = Vec::new();
    for shape in 0..8_u64 {
        let fields = |id: u64| {
            let field = |n: u64| {
                format!(",\"Field_{:x}\":\"{:x}\"", (n + 1) * (shape + 1) * 7_919, id * n % 4_099)
            };
            (0..60).map(field).collect::<String>()
        };
        last = (1..=2_000).map(|id| record(id, &fields(id))).collect();
        for page in last.chunks(200) {
            store.commit(commit(page.iter().cloned().map(live).collect())).unwrap();
        }
    }
    drop(store);
    let dictionaries = count_of(scratch.path(), b'd');
    assert!((2..=4).contains(&dictionaries), "{dictionaries}");
    assert_eq!(all(&open(scratch.path())), last);
}

#[test]
fn whoever_reads_a_record_while_it_is_replaced_reads_one_of_both() {
    let scratch = Scratch::new("replaced");
    let store = open(scratch.path());
    let edition = |number: u64| large(7, number, [100, 9_000, 40_000][number as usize % 3]);
    store.commit(commit(vec![live(edition(0))])).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let stored = store.entry(&module(), RecordId::new(7)).unwrap().unwrap();
                let Entry::Live(record) = stored.entry else { panic!("it is never gone") };
                assert!(record.json().len() > 100);
                assert_eq!(all(&store).len(), 1);
                read += 1;
            }
            read
        });
        for number in 1..400 {
            store.commit(commit(vec![live(edition(number))])).unwrap();
            // As fast as upstream could never tell of it.
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        println!("read {} times", reader.join().unwrap());
    });
    assert_eq!(store.unreadable(), 0);
}
