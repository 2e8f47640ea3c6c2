//! A store from whatever lies on the disk: it opens, it says what it had to do, and it never gives
//! out what was not put in.

use std::fs;
use std::path::{Path, PathBuf};

use crmirror::mirror::inbox::{Arrival, Reason};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Damage, EnqueueError, Healing, OpenError, Store, StoreError, Write};

use crate::scratch::{Scratch, Seed, seeds};

const RECORDS: u64 = 300;

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn record(id: u64) -> Record {
    let text = "upstream's own words; ".repeat(id as usize % 40);
    Record::parse(&format!(r#"{{"id":"{id}","text":"{text}"}}"#)).unwrap()
}

fn proved(records: u64) -> Ledger {
    Ledger { records, complete_through: Some(UpstreamTime::EPOCH), ..Ledger::default() }
}

/// A store with records, an id waiting, and a snapshot of sled's.
fn filled(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let (store, _) = Store::open(scratch.path()).unwrap();
    for first in (0..RECORDS).step_by(50) {
        let write =
            |id| Write { id: RecordId::new(id), entry: Entry::Live(record(id)), change: None };
        let commit = Commit {
            writes: (first..first + 50).map(write).collect(),
            ledger: proved(first + 50),
            ..Commit::new(module(), UpstreamTime::EPOCH)
        };
        store.commit(commit).unwrap();
    }
    let arrival = Arrival::new(module(), RecordId::new(7), Reason::Touched);
    let (_durable, _) = store.enqueue(&[arrival]).unwrap();
    drop(store);
    drop(Store::open(scratch.path()).unwrap());
    scratch
}

fn snapshot(scratch: &Scratch) -> PathBuf {
    let entries = fs::read_dir(scratch.path().join("mirror.sled")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_snapshot = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == "snap");
    paths.find(is_snapshot).expect("sled writes a snapshot when it opens")
}

fn assert_whole(store: &Store) {
    let all = store.live_above(&module(), None, usize::MAX).unwrap();
    assert_eq!(all, (0..RECORDS).map(record).collect::<Vec<_>>());
    assert_eq!(store.inbox().unwrap().len(), 1);
}

fn assert_empty_and_usable(store: &Store) {
    assert_eq!(store.live_above(&module(), None, 9), Ok(Vec::new()));
    assert_eq!(store.ledger(&module()), Ok(Ledger::default()));
    let arrival = Arrival::new(module(), RecordId::new(9), Reason::Touched);
    let (_durable, items) = store.enqueue(&[arrival]).unwrap();
    assert_eq!(store.inbox(), Ok(items));
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let scratch = Scratch::new("in-use");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let clone = store.clone();
    drop(store);
    let error = Store::open(scratch.path()).err().unwrap();
    assert!(matches!(&error, OpenError::InUse { path } if path == scratch.path()), "{error}");
    assert!(error.to_string().contains("stop that first"), "{error}");
    drop(clone);
    let (_store, healings) = Store::open(scratch.path()).unwrap();
    assert_eq!(healings, []);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let scratch = Scratch::new("unwritable");
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = Store::open(&place).err().unwrap();
        assert!(matches!(&error, OpenError::Unwritable { path, .. } if *path == place), "{error}");
        assert!(error.to_string().ends_with("let [store] path name a directory"), "{error}");
    }
}

#[test]
fn only_the_owner_reads_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("mode");
    let directory = scratch.path().join("lib/crmirror");
    drop(Store::open(&directory).unwrap());
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_sled_makes_anew_is_removed_and_nothing_is_lost() {
    let half_made = |scratch: &Scratch| {
        let path = scratch.path().join("mirror.sled/snap.00000000000FFFFF.generating");
        fs::write(path, "").unwrap();
    };
    let flipped = |scratch: &Scratch| {
        let path = snapshot(scratch);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let emptied = |scratch: &Scratch| fs::write(snapshot(scratch), "").unwrap();
    let settings = |scratch: &Scratch| {
        fs::write(scratch.path().join("mirror.sled/conf"), "garbage".repeat(9)).unwrap();
    };
    let removed = |healing: &Healing| matches!(healing, Healing::HalfMadeSnapshot(_));
    let rebuilt = |healing: &Healing| matches!(healing, Healing::Rebuilt { .. });
    let unproved = Ledger { records: RECORDS, ..Ledger::default() };
    check("half-made", half_made, removed, &proved(RECORDS));
    check("flipped", flipped, rebuilt, &unproved);
    check("emptied", emptied, rebuilt, &unproved);
    check("settings", settings, rebuilt, &unproved);

    fn check(
        name: &str,
        harm: impl Fn(&Scratch),
        expected: impl Fn(&Healing) -> bool,
        ledger: &Ledger,
    ) {
        let scratch = filled(name);
        harm(&scratch);
        let (store, healings) = Store::open(scratch.path()).unwrap();
        assert!(healings.len() == 1 && expected(&healings[0]), "{name}: {healings:?}");
        assert_whole(&store);
        assert_eq!(store.ledger(&module()).as_ref(), Ok(ledger), "{name}");
        drop(store);
        assert_eq!(Store::open(scratch.path()).unwrap().1, [], "{name}: once is enough");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_set_aside() {
    let scratch = filled("garbage");
    let broken = scratch.path().join("mirror.sled.broken");
    for garbage in [&b"garbage"[..], &[0xa5; 700_000], &[0; 700_000], b""] {
        fs::write(scratch.path().join("mirror.sled/db"), garbage).unwrap();
        let (store, healings) = Store::open(scratch.path()).unwrap();
        assert!(
            matches!(&healings[..], [Healing::SetAside { to, .. }] if *to == broken),
            "{healings:?}"
        );
        assert!(broken.join("db").exists());
        assert_empty_and_usable(&store);
        drop(store);
        // Gives it a snapshot; without one, an empty log is a store that was never used.
        assert_eq!(Store::open(scratch.path()).unwrap().1, []);
    }
    let kept = fs::read_dir(scratch.path()).unwrap();
    let kept = kept.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("mirror.sled.")
    });
    assert_eq!(kept.count(), 1, "one broken store is kept, not each");
}

#[test]
fn a_store_of_a_newer_crmirror_is_left_alone() {
    let scratch = filled("newer");
    harm_value(scratch.path(), b"v", |value| value[0] = 3);
    for _ in 0..2 {
        let error = Store::open(scratch.path()).err().unwrap();
        assert!(matches!(error, OpenError::Newer { format: 3, .. }), "{error}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_caught_and_hides_no_other() {
    let scratch = filled("value");
    let key = |id: u64| [b"rLeads\0", &id.to_be_bytes()[..]].concat();
    harm_value(scratch.path(), &key(5), |value| *value.last_mut().unwrap() ^= 1);
    harm_value(scratch.path(), &key(6), |value| value.truncate(value.len() / 2));
    harm_value(scratch.path(), b"lLeads", |value| value.clear());
    harm_value(scratch.path(), b"i\0\0\0\0\0\0\0\x01", |value| value[9] ^= 1);
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert_eq!(healings, []);
    for id in [5, 6] {
        let unreadable =
            StoreError::Unreadable { key: format!("record Leads/{id}"), damage: Damage::Checksum };
        assert_eq!(store.entry(&module(), RecordId::new(id)), Err(unreadable));
    }
    let others: Vec<_> =
        (0..RECORDS).filter(|id| ![5, 6].contains(id)).map(RecordId::new).collect();
    let ids = store.ids_between(&module(), None, RecordId::new(RECORDS), usize::MAX).unwrap();
    assert_eq!(ids, others);
    assert_eq!(store.unreadable(), 2);
    assert_eq!(store.ledger(&module()), Ok(Ledger::default()), "the module is bootstrapped again");
    assert_eq!((store.inbox(), store.waiting()), (Ok(Vec::new()), 0));
    assert!(!store.has_failed());
}

pub(crate) fn harm_value(directory: &Path, key: &[u8], harm: impl Fn(&mut Vec<u8>)) {
    let db = bare(directory);
    let mut value = db.get(key).unwrap().expect("there is a value to harm").to_vec();
    harm(&mut value);
    db.insert(key, value).unwrap();
}

/// The value under a key, as sled has it.
pub(crate) fn value_of(directory: &Path, key: &[u8]) -> Vec<u8> {
    bare(directory).get(key).unwrap().expect("there is a value").to_vec()
}

/// A store that is not open, without our ways.
pub(crate) fn bare(directory: &Path) -> sled::Db {
    // sled's own threads may hold the files for a moment after the store was dropped.
    let path = directory.join("mirror.sled");
    let mut tries = (0..200).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        sled::open(&path)
    });
    tries.find_map(Result::ok).expect("the files are let go")
}

#[test]
fn a_store_that_failed_takes_nothing_more_and_is_made_anew_at_the_next_start() {
    let scratch = filled("failed");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let log = scratch.path().join("mirror.sled/db");
    let length = fs::metadata(&log).unwrap().len() as usize;
    fs::write(&log, vec![0xff; length]).unwrap();
    let left = store.live_above(&module(), None, usize::MAX).unwrap();
    assert!((left.len() as u64) < RECORDS, "what sled holds in memory can still be read");
    assert!(store.damaged());
    let arrival = Arrival::new(module(), RecordId::new(9), Reason::Touched);
    // sled may not touch a damaged page at once; sooner or later it does.
    let refused = (0..200).find_map(|_| store.enqueue(std::slice::from_ref(&arrival)).err());
    if let Some(refused) = refused {
        assert!(matches!(refused, EnqueueError::Store(StoreError::Failed { .. })), "{refused}");
        assert!(store.has_failed());
        assert!(store.flush().is_err());
        let waiting = store.waiting();
        assert!(store.enqueue(&[arrival]).is_err());
        assert_eq!(store.waiting(), waiting, "what was refused is not counted");
    }
    drop(store);
    let (_store, healings) = Store::open(scratch.path()).unwrap();
    assert_eq!(healings.len(), 1, "{healings:?}");
    drop(_store);
    assert_eq!(Store::open(scratch.path()).unwrap().1, [], "once is enough");
}

/// Whatever part of the log is damaged: the store opens, nothing wrong is read, and if it fails
/// while it is read, it does not fail in that way again and again.
#[test]
fn damage_anywhere_is_survived() {
    let origin = filled("damage-origin");
    let log = fs::read(origin.path().join("mirror.sled/db")).unwrap();
    for seed in seeds(20) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("damage");
        copy_store(origin.path(), scratch.path());
        let mut harmed = log.clone();
        for _ in 0..random.usize(1..5) {
            let start = random.usize(..harmed.len());
            let end = harmed.len().min(start + random.usize(1..6_000));
            match random.u8(..4) {
                0 => harmed[start..end].fill(0),
                1 => harmed[start..end].iter_mut().for_each(|byte| *byte = random.u8(..)),
                2 => harmed[start] ^= 1 << random.u8(..8),
                _ => harmed.truncate(harmed.len().max(1) - random.usize(..harmed.len() / 4)),
            }
        }
        fs::write(scratch.path().join("mirror.sled/db"), harmed).unwrap();
        let usable = (0..3).any(|_| {
            let (store, _) = Store::open(scratch.path()).unwrap();
            read_all(&store).is_ok()
        });
        assert!(usable, "it failed at each of three starts");
    }
}

fn copy_store(from: &Path, to: &Path) {
    fs::create_dir(to.join("mirror.sled")).unwrap();
    for entry in fs::read_dir(from.join("mirror.sled")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join("mirror.sled").join(entry.file_name())).unwrap();
        }
    }
}

fn read_all(store: &Store) -> Result<(), StoreError> {
    for live in store.live_above(&module(), None, usize::MAX)? {
        assert_eq!(live, record(live.id().number()), "what is read is what was written");
    }
    store.ledger(&module())?;
    store.inbox()?;
    let arrival = Arrival::new(module(), RecordId::new(9), Reason::Touched);
    match store.enqueue(&[arrival]) {
        Ok((_durable, _)) => Ok(()),
        Err(EnqueueError::Store(error)) => Err(error),
        Err(full) => panic!("{full}"),
    }
}
