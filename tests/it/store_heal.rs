//! A store that is damaged, too large, or on a full disk: nothing readable is thrown away, and
//! nothing is claimed that is not there.

use std::fs;
use std::path::{Path, PathBuf};

use crmirror::identity::Identity;
use crmirror::mirror::document::{Document, DocumentName};
use crmirror::mirror::inbox::{Arrival, Quarantined, Reason};
use crmirror::mirror::ledger::{Ledger, Scan, ScanKind};
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Healing, Store, TOMBSTONE_AGE, Write, examine};

use crate::scratch::{Scratch, Seed, seeds};
use crate::store_open::value_of;

const RECORDS: u64 = 3_000;
/// Records of one commit, whose changes are kept together.
const TOGETHER: u64 = 50;
const WAITING: u64 = 200;

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn at(seconds: i64) -> UpstreamTime {
    UpstreamTime::from_unix(seconds)
}

fn record(id: u64) -> Record {
    let text = "upstream's own words; ".repeat(id as usize % 60);
    Record::parse(&format!(r#"{{"id":"{id}","text":"{text}"}}"#)).unwrap()
}

fn live(id: u64) -> Write {
    let entry = Entry::Live(record(id));
    Write { id: RecordId::new(id), entry, change: Some(ChangeKind::Upsert) }
}

fn arrival(id: u64) -> Arrival {
    Arrival::new(module(), RecordId::new(id), Reason::Touched)
}

fn proved(records: u64) -> Ledger {
    let scan = Some(Scan::whole(ScanKind::Sweep, None, at(77)));
    Ledger { records, complete_through: Some(at(50)), scan, ..Ledger::default() }
}

fn commit(writes: Vec<Write>, records: u64) -> Commit {
    Commit { writes, ledger: proved(records), ..Commit::new(module(), at(60)) }
}

fn document() -> Document {
    Document { read: at(8), status: 200, body: r#"{"org":[{"zgid":"1"}]}"#.to_owned() }
}

/// A store with records, ids waiting, a document, and a record set aside.
fn filled(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let (store, _) = Store::open(scratch.path()).unwrap();
    for first in (0..RECORDS).step_by(TOGETHER as usize) {
        store
            .commit(commit((first..first + TOGETHER).map(live).collect(), first + TOGETHER))
            .unwrap();
    }
    let module = module();
    let why = "INVALID_DATA".to_owned();
    let set_aside = vec![Quarantined { module, id: RecordId::new(5), why, since: at(9) }];
    store.commit(Commit { set_aside, ..commit(Vec::new(), RECORDS) }).unwrap();
    store.set_document(&DocumentName::Org, &document()).unwrap();
    let arrivals: Vec<_> = (0..WAITING).map(arrival).collect();
    let (_durable, _) = store.enqueue(&arrivals).unwrap();
    drop(store);
    // Gives it a snapshot of sled's, as any start but the first does.
    drop(Store::open(scratch.path()).unwrap());
    scratch
}

fn assert_whole(store: &Store) {
    let all = store.live_above(&module(), None, usize::MAX).unwrap();
    assert_eq!(all, (0..RECORDS).map(record).collect::<Vec<_>>());
    assert!(store.last_sequence() >= RECORDS && store.knows(store.last_sequence()));
    assert_eq!(store.changes(0, usize::MAX).unwrap().len() as u64, RECORDS);
    assert_eq!(store.inbox().unwrap().len() as u64, WAITING);
    assert_eq!(store.quarantined().unwrap().len(), 1);
    assert_eq!(store.document(&DocumentName::Org).unwrap(), Some(document()));
    assert_eq!((store.unreadable(), store.damaged()), (0, false));
}

fn log(scratch: &Scratch) -> PathBuf {
    scratch.path().join("mirror.sled/db")
}

#[test]
fn the_newest_good_snapshot_takes_the_place_of_a_lost_store() {
    let scratch = filled("snapshot");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let first = store.snapshot(at(100)).unwrap();
    assert_eq!(first.entries, RECORDS + RECORDS / TOGETHER + WAITING + 5);
    let _ = store.snapshot(at(101)).unwrap();
    store.commit(commit(vec![live(RECORDS)], RECORDS + 1)).unwrap();
    let third = store.snapshot(at(102)).unwrap();
    let (generation, last) = (store.generation().to_owned(), store.last_sequence());
    drop(store);
    let kept = fs::read_dir(scratch.path().join("snapshots")).unwrap().count();
    assert_eq!(kept, 2, "the newest two are kept");

    let lost = || fs::write(log(&scratch), vec![0xa5; 700_000]).unwrap();
    lost();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Restored { .. }]), "{healings:?}");
    let restored = Ledger { scan: None, ..proved(RECORDS + 1) };
    assert_eq!(store.ledger(&module()), Ok(restored), "a catch-up goes on from there");
    assert!(store.entry(&module(), RecordId::new(RECORDS)).unwrap().is_some());
    // Whoever followed the changes cannot know what it has missed.
    assert_ne!(store.generation(), generation);
    assert!((0..=last).all(|since| !store.knows(since)) && store.knows(store.last_sequence()));
    drop(store);

    harm_byte(&third.path, 5_000);
    lost();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Restored { .. }]), "{healings:?}");
    assert_whole(&store);
    drop(store);
    assert_eq!(Store::open(scratch.path()).unwrap().1, [], "once is enough");

    fs::remove_dir_all(scratch.path().join("mirror.sled")).unwrap();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Restored { .. }]), "{healings:?}");
    assert_whole(&store);
}

/// Whatever was committed while the snapshot was taken: no record in it is older than its ledger
/// says, and no record has the sequence of a change that is missing.
#[test]
fn a_snapshot_taken_under_load_claims_no_more_than_it_holds() {
    let scratch = filled("under-load");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_i64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                // The ledger says which round every record is from.
                let text = |id| format!(r#"{{"id":"{id}","n":{round}}}"#);
                let entry = |id| Entry::Live(Record::parse(&text(id)).unwrap());
                let change = Some(ChangeKind::Upsert);
                let write = |id| Write { id: RecordId::new(id), entry: entry(id), change };
                let writes = [0, RECORDS / 2, RECORDS - 1].map(write).into();
                let ledger = Ledger { complete_through: Some(at(round)), ..proved(RECORDS) };
                store.commit(Commit { ledger, ..commit(writes, RECORDS) }).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        for now in 0..2 {
            store.snapshot(at(now)).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(store);
    fs::write(log(&scratch), "").unwrap();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Restored { .. }]), "{healings:?}");
    let complete = store.ledger(&module()).unwrap().complete_through.unwrap().unix();
    for id in [0, RECORDS / 2, RECORDS - 1] {
        let stored = store.entry(&module(), RecordId::new(id)).unwrap().unwrap();
        let Entry::Live(record) = stored.entry else { panic!("a record is live") };
        let round = record.json().split("\"n\":").nth(1).unwrap().trim_end_matches('}');
        assert!(round.parse::<i64>().unwrap() >= complete, "{round} of {complete}");
        assert!(stored.sequence <= store.last_sequence());
    }
}

#[test]
fn damaged_pages_hide_only_themselves_and_the_rest_is_carried_over() {
    let (mut kept, mut salvaged) = (0, 0);
    for seed in seeds(6) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = filled("pages");
        let length = fs::metadata(log(&scratch)).unwrap().len();
        for _ in 0..random.usize(1..4) {
            harm_byte(&log(&scratch), random.u64(..length));
        }
        let (store, first) = Store::open(scratch.path()).unwrap();
        let up = store.live_above(&module(), None, usize::MAX).unwrap();
        let mut down = store.live_below(&module(), None, usize::MAX).unwrap();
        down.reverse();
        assert_eq!(up, down, "what is read does not depend on the direction");
        assert!(up.iter().all(|found| *found == record(found.id().number())));
        let inbox = store.inbox().unwrap();
        let _ = store.changes(0, usize::MAX).unwrap();
        let damaged = store.damaged();
        drop(store);
        let (store, healings) = Store::open(scratch.path()).unwrap();
        assert_eq!(damaged, !healings.is_empty(), "{healings:?}");
        let after = store.live_above(&module(), None, usize::MAX).unwrap();
        assert_eq!(after, up, "nothing that was read is lost");
        assert_eq!(store.inbox().unwrap(), inbox);
        if !first.is_empty() || damaged {
            let ledger = store.ledger(&module()).unwrap();
            assert_eq!(ledger, Ledger { records: ledger.records, ..Ledger::default() });
            salvaged += 1;
        }
        kept += after.len() as u64;
        assert!(!store.damaged());
        drop(store);
        assert_eq!(Store::open(scratch.path()).unwrap().1, [], "once is enough");
    }
    println!("{salvaged} stores salvaged, {kept} records kept in all");
}

#[test]
fn what_a_damaged_page_hid_comes_from_the_snapshot() {
    let scratch = with_a_hidden_page(|| {
        let scratch = filled("filled-in");
        let (store, _) = Store::open(scratch.path()).unwrap();
        store.snapshot(at(1)).unwrap();
        scratch
    });
    let (store, first) = Store::open(scratch.path()).unwrap();
    let before = store.live_above(&module(), None, usize::MAX).unwrap();
    assert!(first.is_empty() && (before.len() as u64) < RECORDS, "{first:?} {}", before.len());
    assert!(store.damaged());
    drop(store);
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Salvaged { .. }]), "{healings:?}");
    assert_whole(&store);
    let unproved = Ledger { records: RECORDS, ..Ledger::default() };
    assert_eq!(store.ledger(&module()), Ok(unproved));
}

#[test]
fn a_store_is_compacted_whole_and_every_crash_on_the_way_leaves_a_good_one() {
    let store_at = |scratch: &Scratch, name: &str| scratch.path().join(name);
    let mark = |scratch: &Scratch| fs::write(store_at(scratch, "oversized"), "x").unwrap();
    let mv = |scratch: &Scratch, from: &str, to: &str| {
        fs::rename(store_at(scratch, from), store_at(scratch, to)).unwrap();
    };
    let copy = |scratch: &Scratch, to: &str| {
        fs::create_dir(store_at(scratch, to)).unwrap();
        for name in ["conf", "db"] {
            let from = store_at(scratch, "mirror.sled").join(name);
            fs::copy(from, store_at(scratch, to).join(name)).unwrap();
        }
    };
    let check = |name: &str, arrange: &dyn Fn(&Scratch), compacts: bool| {
        let scratch = filled(name);
        arrange(&scratch);
        let (store, healings) = Store::open(scratch.path()).unwrap();
        let compacted = matches!(&healings[..], [Healing::Compacted { .. }]);
        assert!(compacted == compacts && (compacts || healings.is_empty()), "{name} {healings:?}");
        assert_whole(&store);
        assert_eq!(store.ledger(&module()), Ok(proved(RECORDS)), "{name}");
        assert!(!store.wants_compaction());
        drop(store);
        for left in ["mirror.sled.new", "mirror.sled.old", "mirror.sled.broken", "oversized"] {
            assert!(!store_at(&scratch, left).exists(), "{name}: {left}");
        }
        assert_eq!(Store::open(scratch.path()).unwrap().1, [], "{name}: once is enough");
    };
    check("compact", &mark, true);
    check(
        "half-made",
        &|scratch| {
            mark(scratch);
            copy(scratch, "mirror.sled.new");
            fs::write(store_at(scratch, "mirror.sled.new/db"), "half").unwrap();
        },
        true,
    );
    check(
        "old-renamed",
        &|scratch| {
            mark(scratch);
            copy(scratch, "mirror.sled.new");
            mv(scratch, "mirror.sled", "mirror.sled.old");
        },
        false,
    );
    check(
        "new-renamed",
        &|scratch| {
            mark(scratch);
            copy(scratch, "mirror.sled.old");
        },
        false,
    );
    check("only-old", &|scratch| mv(scratch, "mirror.sled", "mirror.sled.old"), false);
    check("tidied", &|scratch| copy(scratch, "mirror.sled.old"), false);
}

#[test]
fn maintenance_is_due_once_a_day_of_upstreams() {
    let scratch = filled("maintain");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let taken = |seconds| store.maintain(at(seconds)).unwrap().snapshot.is_some();
    let day = 24 * 3_600;
    let moments = [0, 1, day - 1, day, day + 1, 9 * day, 5, 6];
    let expected = [true, false, false, true, false, true, true, false];
    assert_eq!(moments.map(taken), expected, "a snapshot from the future says nothing");
    assert!(!store.wants_compaction(), "it is small");
}

#[test]
fn old_tombstones_go_and_young_ones_stay() {
    let scratch = filled("tombstones");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let now = at(1_000_000_000);
    let age = TOMBSTONE_AGE.as_secs() as i64;
    let gone = |id: u64, gone| Write {
        id: RecordId::new(id),
        entry: Entry::Tombstone { gone },
        change: None,
    };
    let (old, young) = (at(now.unix() - age - 1), at(now.unix() - age));
    store.commit(commit((0..100).map(|id| gone(id, old)).collect(), RECORDS)).unwrap();
    store.commit(commit((100..200).map(|id| gone(id, young)).collect(), RECORDS)).unwrap();
    let removed: Vec<u64> = (0..RECORDS.div_ceil(64) + 1)
        .map(|_| store.trim_tombstones(&module(), now.before(TOMBSTONE_AGE), 64).unwrap())
        .collect();
    assert!(removed.iter().all(|removed| *removed <= 64), "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 100);
    for id in 0..200 {
        let stored = store.entry(&module(), RecordId::new(id)).unwrap();
        assert_eq!(stored.is_some(), id >= 100, "{id}");
    }
    assert_eq!(store.live_above(&module(), None, usize::MAX).unwrap().len() as u64, RECORDS - 200);
}

#[test]
fn fsck_counts_what_is_good_and_repairs_the_rest() {
    let scratch = with_a_hidden_page(|| {
        let scratch = filled("fsck");
        let found = examine(scratch.path(), false).unwrap();
        assert!(found.is_good(), "{found:?}");
        let goods: Vec<_> = found.kinds.iter().map(|kind| kind.good).collect();
        let others = [0, 1, 0, 2, 0, 1, 0, 0, 0, 0, 0, 1];
        assert_eq!(goods[..3], [RECORDS, RECORDS / TOGETHER, WAITING]);
        assert_eq!(goods[3..], others);
        scratch
    });
    let found = examine(scratch.path(), false).unwrap();
    assert!(!found.is_good() && found.kinds[0].gaps == 1, "{found:?}");
    assert!(!examine(scratch.path(), true).unwrap().is_good());
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(matches!(&healings[..], [Healing::Salvaged { .. }]), "{healings:?}");
    drop(store);
    assert!(examine(scratch.path(), false).unwrap().is_good());

    fs::write(log(&scratch), vec![0; 600_000]).unwrap();
    assert!(!examine(scratch.path(), false).unwrap().is_good(), "an empty store is not good");
    assert!(!examine(scratch.path(), true).unwrap().is_good());
    assert_eq!(Store::open(scratch.path()).unwrap().1.len(), 1);
    assert!(examine(scratch.path(), false).unwrap().is_good());
}

/// A store with a page that is damaged, and met only when it is read. Whether sled meets it when it
/// opens the store depends on where in its log the page has come to lie: then it is tried again.
fn with_a_hidden_page(make: impl Fn() -> Scratch) -> Scratch {
    let hidden = (0..20).find_map(|_| {
        let scratch = make();
        harm_record(&scratch, 1_599);
        let found = examine(scratch.path(), false).unwrap();
        found.trouble.is_none().then_some(scratch)
    });
    hidden.expect("sled met it each time when it opened the store")
}

/// Flips a bit in every copy of a record that the log holds.
fn harm_record(scratch: &Scratch, id: u64) {
    let key = [b"rLeads\0", &id.to_be_bytes()[..]].concat();
    let needle = value_of(scratch.path(), &key);
    let mut bytes = fs::read(log(scratch)).unwrap();
    let found: Vec<_> = (0..bytes.len() - needle.len())
        .filter(|start| bytes[*start..].starts_with(&needle))
        .collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|start| bytes[start] ^= 1);
    fs::write(log(scratch), bytes).unwrap();
}

fn harm_byte(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Any file of the state directory, flipped, cut or removed: the store opens, and takes an arrival;
/// and the identity does not keep the daemon from starting.
#[test]
fn no_harm_to_any_file_keeps_a_store_from_opening() {
    let origin = filled("harm-origin");
    let (store, _) = Store::open(origin.path()).unwrap();
    store.snapshot(at(1)).unwrap();
    store.commit(commit(vec![live(RECORDS)], RECORDS + 1)).unwrap();
    store.snapshot(at(2)).unwrap();
    drop(store);
    Identity::open(origin.path()).unwrap().settle_channel(None).unwrap();
    let _ = fs::remove_file(origin.path().join("ballast"));
    fs::write(origin.path().join("ballast"), "some").unwrap();
    let files = files_below(origin.path());
    assert!(files.len() >= 8, "{files:?}");
    let mut worst = RECORDS;
    for seed in seeds(24) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("harm");
        for file in &files {
            let to = scratch.path().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(origin.path().join(file), to).unwrap();
        }
        let file = &files[seed as usize % files.len()];
        let path = scratch.path().join(file);
        let length = fs::metadata(&path).unwrap().len();
        let said = match random.u8(..4) {
            0 => fs::remove_file(&path).map(|()| "removed"),
            1 => fs::write(&path, &fs::read(&path).unwrap()[..random.usize(..=length as usize)])
                .map(|()| "cut"),
            _ if length == 0 => fs::write(&path, "x").map(|()| "grown"),
            _ => {
                harm_byte(&path, random.u64(..length));
                Ok("flipped")
            }
        };
        let said = format!("{} {}", file.display(), said.unwrap());
        for _ in 0..2 {
            let (store, healings) = Store::open(scratch.path()).expect(&said);
            let left = store.live_above(&module(), None, usize::MAX).expect(&said);
            let live = |found: &Record| *found == record(found.id().number());
            assert!(left.iter().all(live), "{said}");
            worst = worst.min(left.len() as u64);
            store.inbox().expect(&said);
            let (_durable, _) = store.enqueue(&[arrival(1)]).expect(&said);
            drop((store, healings));
        }
        let mut identity = Identity::open(scratch.path()).expect(&said);
        identity.settle_channel(None).expect(&said);
    }
    println!("at worst {worst} of {RECORDS} records are left");
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}
