//! Power cuts: a run is recorded, the disk is put back to what a cut at any moment of it leaves,
//! and the store is opened from that. Every acknowledged id waits or was committed, no commit is
//! there in part, no index answers that lacks a record, and no start is refused.
//!
//! `CUTS=1000` makes a thousand cuts, `SEEDS=7..8` another run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crmirror::mirror::criteria::terms_of_text;
use crmirror::mirror::inbox::{Arrival, Reason};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, FieldName, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Healing, Order, Store, Write};

use crate::recorder::{self, Recording};
use crate::scratch::{Scratch, Seed, noise, seeds};

/// An id is acknowledged, and a number given to a change, when this much had been done.
struct Acknowledged {
    position: usize,
    ids: u64,
    given: u64,
}

#[test]
fn no_power_cut_takes_what_was_acknowledged_or_keeps_the_store_from_opening() {
    let cuts: usize = std::env::var("CUTS").map_or(60, |cuts| cuts.parse().unwrap());
    for seed in seeds(1) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let (recording, acknowledged) = recorded_run(&mut random);
        let (mut healed, begun) = (0, Instant::now());
        for number in 0..cuts {
            // Evenly over the run, each time somewhere else.
            let step = recording.len() / cuts.min(recording.len());
            let cut = (number * recording.len() / cuts + random.usize(..step.max(1)))
                .min(recording.len());
            let scratch = Scratch::new("power");
            recording.after_cut(cut, &mut random, scratch.path());
            let last = acknowledged.iter().rev().find(|ack| ack.position <= cut);
            let healings = check(scratch.path(), last.unwrap(), cut);
            healed += usize::from(!healings.is_empty());
        }
        println!(
            "{cuts} cuts in a run of {} operations, {healed} of them mended something, {:?}",
            recording.len(),
            begun.elapsed()
        );
    }
}

/// Some sessions of enqueuing and committing, with snapshots and stores made anew in between.
fn recorded_run(random: &mut fastrand::Rng) -> (Recording, Vec<Acknowledged>) {
    let scratch = Scratch::new("recorded");
    recorder::start(scratch.path());
    let mut acknowledged = vec![Acknowledged { position: 0, ids: 0, given: 0 }];
    let (mut ids, mut given) = (0, 0);
    for session in 0..6 {
        if session % 2 == 1 {
            fs::write(scratch.path().join("oversized"), "for a test").unwrap();
            fs::File::open(scratch.path()).unwrap().sync_all().unwrap();
        }
        let (store, healings) = Store::open(scratch.path()).unwrap();
        let compacted = healings.iter().all(|healing| matches!(healing, Healing::Compacted { .. }));
        assert!(compacted, "{healings:?}");
        // Half of the time nobody wants any.
        store.set_indexes(&if random.bool() { indexes() } else { BTreeMap::new() });
        for _ in 0..60 {
            match random.u8(..20) {
                0..9 => {
                    let many = random.u64(1..4);
                    let arrivals: Vec<_> = (ids..ids + many).map(arrival).collect();
                    let (_durable, _) = store.enqueue(&arrivals).unwrap();
                    ids += many;
                }
                9..11 => drop(store.build_indexes(random.usize(1..30)).unwrap()),
                11..19 => {
                    let waiting = store.inbox().unwrap();
                    for item in waiting.iter().take(random.usize(..4)) {
                        let commit = settling(item.arrival.id, item.sequence);
                        given = store.commit(commit).unwrap().last_sequence;
                    }
                }
                _ => drop(store.snapshot(UpstreamTime::EPOCH).unwrap()),
            }
            acknowledged.push(Acknowledged { position: recorder::position(), ids, given });
        }
    }
    (recorder::stop(), acknowledged)
}

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn indexes() -> BTreeMap<ModuleName, Vec<FieldName>> {
    [(module(), vec![FieldName::parse("text").unwrap()])].into()
}

fn arrival(id: u64) -> Arrival {
    Arrival::new(module(), RecordId::new(id), Reason::Touched)
}

fn record(id: u64) -> Record {
    let text = "upstream's own words; ".repeat(id as usize % 150);
    // Every seventh is so large that it is kept in parts.
    let large = if id % 7 == 0 { 9_000 } else { id as usize % 90 };
    let more = noise(id, large);
    Record::parse(&format!(r#"{{"id":"{id}","more":"{more}","text":"{text}"}}"#)).unwrap()
}

/// Settles the inbox item of a record, writes it, and says so in the ledger.
fn settling(id: RecordId, sequence: u64) -> Commit {
    let entry = Entry::Live(record(id.number()));
    Commit {
        writes: vec![Write { id, entry, change: Some(ChangeKind::Upsert) }],
        ledger: Ledger { records: id.number() + 1, ..Ledger::default() },
        settled: vec![sequence],
        ..Commit::new(module(), UpstreamTime::EPOCH)
    }
}

/// Ids are settled in order, so what is committed are the ids below a bound, wherever one looks.
/// A number that was given is not given again, and whoever saw a change that is gone is not taken
/// for one who has seen all.
fn check(directory: &Path, before: &Acknowledged, cut: usize) -> Vec<Healing> {
    let (store, healings) = Store::open(directory).unwrap();
    let said = format!("cut {cut}, {healings:?}");
    let committed = store.ledger(&module()).unwrap().records;
    let mirrored = store.live_above(&module(), None, usize::MAX).unwrap();
    assert_eq!(mirrored, (0..committed).map(record).collect::<Vec<_>>(), "{said}");
    assert!(store.last_sequence() >= before.given.max(committed), "{said}");
    let made_anew = healings.iter().any(|healing| !matches!(healing, Healing::Compacted { .. }));
    let kept = fs::read_to_string(directory.join("numbers"));
    let numbers = format!("{said}: {committed} of {}, {kept:?}", store.last_sequence());
    assert!(made_anew || store.knows(committed), "{numbers}");
    assert!((committed + 1..=before.given).all(|lost| !store.knows(lost)), "{said}");
    check_indexes(&store, &mirrored, &said);
    let waiting = store.inbox().unwrap();
    let waiting: Vec<_> = waiting.iter().map(|item| item.arrival.id.number()).collect();
    let end = committed + waiting.len() as u64;
    assert_eq!(waiting, (committed..end).collect::<Vec<_>>(), "{said}");
    let acknowledged = before.ids;
    assert!(end >= acknowledged, "{said}: {end} of {acknowledged} acknowledged");
    let (_durable, _) = store.enqueue(&[arrival(end)]).unwrap();
    assert!(!store.damaged(), "{said}");
    healings
}

/// Where an index answers, it knows every record; and what the cut left of it can be built upon.
fn check_indexes(store: &Store, mirrored: &[Record], said: &str) {
    let text = &indexes()[&module()][0];
    // An empty text has no terms.
    let last = mirrored.iter().map(Record::id).rfind(|id| id.number() % 150 > 0);
    let repeated = last.map_or(1, |id| id.number() as usize % 150);
    let sought = terms_of_text(&"upstream's own words; ".repeat(repeated));
    for built in [false, true] {
        if built {
            store.set_indexes(&indexes());
            while store.build_indexes(50).unwrap() {}
        }
        let all = store.by_modified(&module(), None, None, Order::OldestFirst, usize::MAX).unwrap();
        assert!(all.is_some() || !built, "{said}");
        assert!(all.is_none_or(|all| all == mirrored), "{said}");
        let found = store.with_terms(&module(), text, &sought, None, usize::MAX).unwrap();
        assert!(found.is_some() || !built, "{said}");
        assert!(found.is_none_or(|found| last.is_none_or(|id| found.contains(&id))), "{said}");
    }
}
