//! Indexes against a look at every record: whatever is committed, trimmed, configured and crashed,
//! an index that answers says the same, and one that might not keeps silent.

mod anew;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crmirror::mirror::criteria::{Criteria, terms_of_record, terms_of_text};
use crmirror::mirror::record::{ChangeKind, Entry, FieldName, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Index, Order, Phase, Store, Write, examine};

use crate::scratch::{Scratch, Seed, seeds};

/// So few that records meet often.
const IDS: u64 = 40;
/// Beside the first two, which are indexed now and then.
const FIELDS: [&str; 3] = ["Email", "Phone", "City"];
const VALUES: [&str; 9] =
    ["\"a@b.c\"", "\"A@B.C\"", "7", "7.0", "null", "[]", "[\"x\",\"7\"]", "true", "{\"id\":\"7\"}"];
const TEXTS: [&str; 6] = ["a@b.c", "7", "x", "true", "7.00", "nobody"];

fn modules() -> [ModuleName; 2] {
    ["Leads", "Leads_Old"].map(|name| ModuleName::parse(name).unwrap())
}

fn field(name: &str) -> FieldName {
    FieldName::parse(name).unwrap()
}

fn at(seconds: i64) -> UpstreamTime {
    UpstreamTime::from_unix(seconds)
}

/// Before 1970, around it, and the ends; some of them often.
fn any_time(random: &mut fastrand::Rng) -> UpstreamTime {
    at([i64::MIN, -1, 0, 1, 255, 256, 1_750_000_000, i64::MAX][random.usize(..8)])
}

fn any_record(random: &mut fastrand::Rng, id: u64) -> Record {
    let mut json = format!("{{\"id\":\"{id}\"");
    for name in FIELDS {
        if random.u8(..4) > 0 {
            json += &format!(",\"{name}\":{}", VALUES[random.usize(..VALUES.len())]);
        }
    }
    if random.u8(..5) > 0 {
        json += &format!(",\"Modified_Time\":\"{}\"", any_time(random));
    }
    Record::parse(&(json + "}")).unwrap()
}

fn any_write(random: &mut fastrand::Rng) -> Write {
    let id = random.u64(..IDS);
    let (entry, kind) = if random.u8(..3) == 0 {
        (Entry::Tombstone { gone: any_time(random) }, ChangeKind::Delete)
    } else {
        (Entry::Live(any_record(random, id)), ChangeKind::Upsert)
    };
    Write { id: RecordId::new(id), entry, change: random.bool().then_some(kind) }
}

fn commit(module: &ModuleName, writes: Vec<Write>) -> Commit {
    Commit { writes, ..Commit::new(module.clone(), at(9)) }
}

fn any_commit(random: &mut fastrand::Rng) -> Commit {
    let writes = (0..random.usize(..8)).map(|_| any_write(random)).collect();
    commit(&modules()[random.usize(..2)], writes)
}

/// Any modules, each with any of the fields.
fn any_wish(random: &mut fastrand::Rng) -> BTreeMap<ModuleName, Vec<FieldName>> {
    let fields = |random: &mut fastrand::Rng| {
        FIELDS[..2].iter().filter(|_| random.bool()).map(|name| field(name)).collect()
    };
    modules()
        .into_iter()
        .filter_map(|module| (random.u8(..5) > 0).then(|| (module, fields(random))))
        .collect()
}

/// The index of times and those of these fields, for both modules.
fn wish(fields: &[&str]) -> BTreeMap<ModuleName, Vec<FieldName>> {
    let fields: Vec<FieldName> = fields.iter().map(|name| field(name)).collect();
    modules().into_iter().map(|module| (module, fields.clone())).collect()
}

fn build(store: &Store) {
    while store.build_indexes(7).unwrap() {}
}

fn is_whole(store: &Store, module: &ModuleName, index: &Index) -> bool {
    store.indexes(module).contains(&(index.clone(), Phase::Whole))
}

/// Compares what the indexes of a store say with what its records say.
fn check(store: &Store, random: &mut fastrand::Rng) {
    for module in modules() {
        let mut live = store.live_above(&module, None, usize::MAX).unwrap();
        check_fields(store, &module, &live, random);
        let (limit, since) = (random.usize(..20), random.bool().then(|| any_time(random)));
        let after = random.bool().then(|| (any_time(random), RecordId::new(random.u64(..IDS))));
        let whole = is_whole(store, &module, &Index::Times);

        let stamped = random.u8(..3) > 0;
        let place = |record: &Record| (record.modified(), record.id());
        let after_it = after.map(|(time, id)| (stamped.then_some(time), id));
        live.retain(|record| since.is_none() || record.modified() >= since);
        live.sort_by_key(place);
        let oldest = live.iter().filter(|r| after_it.is_none_or(|after| place(r) > after));
        let newest = live.iter().rev().filter(|r| after_it.is_none_or(|after| place(r) < after));
        let found = store.by_modified(&module, since, after_it, Order::OldestFirst, limit).unwrap();
        assert_eq!(
            found,
            whole.then(|| oldest.take(limit).cloned().collect()),
            "after {after_it:?}"
        );
        let found = store.by_modified(&module, since, after_it, Order::NewestFirst, limit).unwrap();
        assert_eq!(
            found,
            whole.then(|| newest.take(limit).cloned().collect()),
            "after {after_it:?}"
        );

        let mut gone: Vec<(UpstreamTime, RecordId)> = (0..IDS)
            .filter_map(|id| match store.entry(&module, RecordId::new(id)).unwrap()?.entry {
                Entry::Tombstone { gone } => Some((gone, RecordId::new(id))),
                Entry::Live(_) => None,
            })
            .collect();
        gone.sort_unstable_by(|one, other| other.cmp(one));
        gone.retain(|(time, _)| since.is_none_or(|since| *time >= since));
        gone.retain(|place| after.is_none_or(|after| *place < after));
        let gone = gone.into_iter().map(|(time, id)| (id, time)).take(limit).collect();
        let found = store.gone_since(&module, since, after, limit).unwrap();
        assert_eq!(found, whole.then_some(gone));
    }
}

fn check_fields(store: &Store, module: &ModuleName, live: &[Record], random: &mut fastrand::Rng) {
    for name in FIELDS {
        let name = field(name);
        let whole = is_whole(store, module, &Index::Field(name.clone()));
        assert_eq!(store.is_indexed(module, &name), whole);
        let (sought, limit) =
            (terms_of_text(TEXTS[random.usize(..TEXTS.len())]), random.usize(..9));
        let after = random.bool().then(|| RecordId::new(random.u64(..IDS)));
        let has = |record: &&Record| {
            let shown = terms_of_record(record, std::slice::from_ref(&name)).remove(0);
            Some(record.id()) > after && !shown.is_disjoint(&sought)
        };
        let expected: Vec<_> = live.iter().filter(has).map(Record::id).take(limit).collect();
        let found = store.with_terms(module, &name, &sought, after, limit).unwrap();
        assert_eq!(found, whole.then_some(expected), "{module}.{name} after {after:?}");
    }
    let text = format!("((Email:equals:{})or(Phone:in:7,x))", TEXTS[random.usize(..TEXTS.len())]);
    let criteria = Criteria::parse(&text).unwrap();
    let Some(lookup) = criteria.lookup(|field| store.is_indexed(module, field)) else { return };
    let found = store.candidates(module, &lookup, None, usize::MAX).unwrap().unwrap();
    let judged = |record: &&Record| found.contains(&record.id()) && criteria.matches(record);
    let matching = live.iter().filter(|record| criteria.matches(record));
    assert_eq!(live.iter().filter(judged).count(), matching.count(), "{text}");
}

/// What a process that is killed now leaves behind.
fn as_killed(store: &Path, name: &str) -> Scratch {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            // Space in reserve says nothing.
            if path.is_dir() {
                copy(&path, &to);
            } else if !path.ends_with("ballast") {
                fs::copy(&path, &to).unwrap();
            }
        }
    }
    let scratch = Scratch::new(name);
    copy(store, scratch.path());
    scratch
}

#[test]
fn indexes_say_what_the_records_say() {
    let mut answered = 0;
    for seed in seeds(12) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("index-model");
        let mut store = Store::open(scratch.path()).unwrap().0;
        for _ in 0..120 {
            match random.u8(..20) {
                0..9 => drop(store.commit(any_commit(&mut random)).unwrap()),
                9 => {
                    let module = &modules()[random.usize(..2)];
                    store.trim_tombstones(module, any_time(&mut random), 25).unwrap();
                }
                10 => store.set_indexes(&any_wish(&mut random)),
                11..16 => drop(store.build_indexes(random.usize(1..12)).unwrap()),
                16 => build(&store),
                17 => {
                    store.flush().map(drop).unwrap();
                    let left = as_killed(scratch.path(), "index-killed");
                    let (killed, _) = Store::open(left.path()).unwrap();
                    check(&killed, &mut random);
                    killed.set_indexes(&wish(&["Email", "Phone"]));
                    build(&killed);
                    check(&killed, &mut random);
                }
                _ => {
                    drop(store);
                    let (opened, healings) = Store::open(scratch.path()).unwrap();
                    assert_eq!(healings, []);
                    store = opened;
                    if random.bool() {
                        store.set_indexes(&any_wish(&mut random));
                    }
                }
            }
            check(&store, &mut random);
            answered += modules().iter().map(|module| store.indexes(module).len()).sum::<usize>();
        }
        store.set_indexes(&wish(&["Email", "Phone"]));
        build(&store);
        let expected = entries(&store);
        drop(store);
        assert_eq!(index_keys(&scratch), expected, "entries are left behind");
    }
    assert!(answered > 1_000, "hardly anything was indexed");
}

/// How many keys the indexes of two fields have, with a list of them for each module.
fn entries(store: &Store) -> usize {
    let fields = ["Email", "Phone"].map(field);
    let mut count = 0;
    for module in modules() {
        count += 1;
        for id in (0..IDS).map(RecordId::new) {
            let stored = store.entry(&module, id).unwrap();
            count += usize::from(stored.is_some());
            if let Some(Entry::Live(record)) = stored.map(|stored| stored.entry) {
                count += terms_of_record(&record, &fields).iter().map(BTreeSet::len).sum::<usize>();
            }
        }
    }
    count
}

/// A store with records and whole indexes of two fields.
fn filled(name: &str, random: &mut fastrand::Rng) -> Scratch {
    let scratch = Scratch::new(name);
    let (store, _) = Store::open(scratch.path()).unwrap();
    (0..20).for_each(|_| drop(store.commit(any_commit(random)).unwrap()));
    store.set_indexes(&wish(&["Email", "Phone"]));
    build(&store);
    assert_answers(&store, random);
    drop(store);
    scratch
}

#[track_caller]
fn assert_answers(store: &Store, random: &mut fastrand::Rng) {
    for module in modules() {
        let phases = store.indexes(&module);
        assert_eq!(phases.len(), 3, "{phases:?}");
        assert!(phases.iter().all(|(_, phase)| *phase == Phase::Whole), "{phases:?}");
    }
    (0..20).for_each(|_| check(store, random));
}

#[track_caller]
fn assert_silent(store: &Store) {
    for module in modules() {
        let phases = store.indexes(&module);
        assert!(phases.iter().all(|(_, phase)| *phase != Phase::Whole), "{phases:?}");
        let sought = terms_of_text("7");
        let field = field("Email");
        assert_eq!(store.with_terms(&module, &field, &sought, None, 9).unwrap(), None);
        assert_eq!(store.by_modified(&module, None, None, Order::OldestFirst, 9).unwrap(), None);
        assert_eq!(store.gone_since(&module, None, None, 9).unwrap(), None);
    }
}

/// Keys of indexes in a store that is closed.
fn index_keys(scratch: &Scratch) -> usize {
    let keys = examine(scratch.path(), false).unwrap().kinds;
    let of_indexes = keys.iter().filter(|counted| counted.kind.contains("index"));
    of_indexes.map(|counted| usize::try_from(counted.good).unwrap()).sum()
}

#[test]
fn what_is_wanted_no_longer_goes() {
    let mut random = fastrand::Rng::with_seed(2);
    let scratch = filled("index-removed", &mut random);
    let (store, _) = Store::open(scratch.path()).unwrap();
    assert!(!store.build_indexes(1).unwrap(), "nobody said what is wanted");
    let [leads, old] = modules();
    store.set_indexes(&[(leads.clone(), vec![field("Email")])].into());
    build(&store);
    let times_and_email = [Index::Times, Index::Field(field("Email"))];
    assert_eq!(store.indexes(&leads), times_and_email.map(|index| (index, Phase::Whole)));
    assert_eq!(store.indexes(&old), []);
    store.set_indexes(&BTreeMap::new());
    build(&store);
    drop(store);
    assert_eq!(index_keys(&scratch), 0);
    let (store, _) = Store::open(scratch.path()).unwrap();
    assert_eq!(store.indexes(&leads), []);
}

#[test]
fn a_commit_in_the_midst_of_a_build_is_in_the_index() {
    let scratch = Scratch::new("index-midst");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let [leads, _] = modules();
    let live = |id: u64, email: &str| {
        let record = Record::parse(&format!(r#"{{"id":"{id}","Email":"{email}"}}"#)).unwrap();
        let change = Some(ChangeKind::Upsert);
        Write { id: RecordId::new(id), entry: Entry::Live(record), change }
    };
    store.commit(commit(&leads, (0..100).map(|id| live(id, "old")).collect())).unwrap();
    store.set_indexes(&[(leads.clone(), vec![field("Email")])].into());
    let building = |(_, phase): &(Index, Phase)| *phase == Phase::Building;
    while store.indexes(&leads).iter().filter(|index| building(index)).count() < 2 {
        assert!(store.build_indexes(10).unwrap());
    }
    assert!(store.build_indexes(10).unwrap());
    // One that has been added, one that has not, and one that is new.
    let writes = [5, 50, 1_000].map(|id| live(id, "new"));
    store.commit(commit(&leads, writes.into())).unwrap();
    assert!(!store.is_indexed(&leads, &field("Email")));
    build(&store);
    let ids = |text: &str| -> BTreeSet<u64> {
        let email = field("Email");
        let found = store.with_terms(&leads, &email, &terms_of_text(text), None, 200).unwrap();
        found.unwrap().iter().map(|id| id.number()).collect()
    };
    assert_eq!(ids("new"), [5, 50, 1_000].into());
    assert_eq!(ids("old"), (0..100).filter(|id| *id != 5 && *id != 50).collect());
}

/// Readers that go on while records change never see what no record said, and a record that stays
/// as it is stays found.
#[test]
fn readers_are_not_misled_by_writers() {
    let scratch = Scratch::in_memory("index-readers");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let [leads, _] = modules();
    let live = |id: u64, second: i64| {
        let json = format!(r#"{{"Modified_Time":"{}","City":"here","id":"{id}"}}"#, at(second));
        let entry = Entry::Live(Record::parse(&json).unwrap());
        Write { id: RecordId::new(id), entry, change: Some(ChangeKind::Upsert) }
    };
    let all = (0..200).map(|id| live(id, 1_000 + i64::try_from(id).unwrap())).collect();
    store.commit(commit(&leads, all)).unwrap();
    store.set_indexes(&[(leads.clone(), vec![field("City")])].into());
    build(&store);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..300_i64 {
                // Even ids move; odd ones stay.
                let id = u64::try_from(round % 100).unwrap() * 2;
                store.commit(commit(&leads, vec![live(id, 5_000 + round)])).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let found = store.by_modified(&leads, None, None, Order::NewestFirst, 500).unwrap();
            let found = found.expect("the index is whole");
            let odd: Vec<u64> =
                found.iter().map(|r| r.id().number()).filter(|id| id % 2 == 1).collect();
            assert_eq!(odd, (0..200).rev().filter(|id| id % 2 == 1).collect::<Vec<u64>>());
            let places: Vec<_> = found.iter().map(Record::modified).collect();
            assert!(places.is_sorted_by(|one, other| one >= other));
            let sought = terms_of_text("here");
            let named = store.with_terms(&leads, &field("City"), &sought, None, 500).unwrap();
            assert_eq!(named.unwrap().len(), 200, "what they are found by does not change");
        }
    });
}
