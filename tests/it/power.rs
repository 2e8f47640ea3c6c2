//! Power cuts: a run is recorded, the disk is put back to what a cut at any moment of it leaves,
//! and the store is opened from that. Every acknowledged id waits or was committed, no commit is
//! there in part, and no start is refused.
//!
//! `CUTS=1000` makes a thousand cuts, `SEEDS=7..8` another run.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crmirror::mirror::inbox::{Arrival, Reason};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Healing, Store, Write};

use crate::recorder::{self, Recording};
use crate::scratch::{Scratch, Seed, seeds};

/// An id is acknowledged when this much had been done.
struct Acknowledged {
    position: usize,
    ids: u64,
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
            let healings = check(scratch.path(), last.map_or(0, |ack| ack.ids), cut);
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
    let mut acknowledged = vec![Acknowledged { position: 0, ids: 0 }];
    let mut ids = 0;
    for session in 0..6 {
        if session % 2 == 1 {
            fs::write(scratch.path().join("oversized"), "for a test").unwrap();
            fs::File::open(scratch.path()).unwrap().sync_all().unwrap();
        }
        let (store, healings) = Store::open(scratch.path()).unwrap();
        let compacted = healings.iter().all(|healing| matches!(healing, Healing::Compacted { .. }));
        assert!(compacted, "{healings:?}");
        for _ in 0..60 {
            match random.u8(..20) {
                0..9 => {
                    let many = random.u64(1..4);
                    let arrivals: Vec<_> = (ids..ids + many).map(arrival).collect();
                    let (_durable, _) = store.enqueue(&arrivals).unwrap();
                    ids += many;
                    acknowledged.push(Acknowledged { position: recorder::position(), ids });
                }
                9..19 => {
                    let waiting = store.inbox().unwrap();
                    for item in waiting.iter().take(random.usize(..4)) {
                        store.commit(settling(item.arrival.id, item.sequence)).unwrap();
                    }
                }
                _ => drop(store.snapshot(UpstreamTime::EPOCH).unwrap()),
            }
        }
    }
    (recorder::stop(), acknowledged)
}

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn arrival(id: u64) -> Arrival {
    Arrival { module: module(), id: RecordId::new(id), reason: Reason::Touched }
}

fn record(id: u64) -> Record {
    let text = "upstream's own words; ".repeat(id as usize % 150);
    Record::parse(&format!(r#"{{"id":"{id}","text":"{text}"}}"#)).unwrap()
}

/// Settles the inbox item of a record, writes it, and says so in the ledger.
fn settling(id: RecordId, sequence: u64) -> Commit {
    let entry = Entry::Live(record(id.number()));
    Commit {
        module: module(),
        time: UpstreamTime::EPOCH,
        writes: vec![Write { id, entry, change: Some(ChangeKind::Upsert) }],
        ledger: Ledger { records: id.number() + 1, ..Ledger::default() },
        settled: vec![sequence],
        arrivals: Vec::new(),
        set_aside: Vec::new(),
        released: Vec::new(),
    }
}

/// Ids are settled in order, so what is committed are the ids below a bound, wherever one looks.
fn check(directory: &Path, acknowledged: u64, cut: usize) -> Vec<Healing> {
    let (store, healings) = Store::open(directory).unwrap();
    let said = format!("cut {cut}, {healings:?}");
    let committed = store.ledger(&module()).unwrap().records;
    let mirrored = store.live_above(&module(), None, usize::MAX).unwrap();
    assert_eq!(mirrored, (0..committed).map(record).collect::<Vec<_>>(), "{said}");
    assert_eq!(store.last_sequence(), committed, "{said}");
    let waiting = store.inbox().unwrap();
    let waiting: Vec<_> = waiting.iter().map(|item| item.arrival.id.number()).collect();
    let end = committed + waiting.len() as u64;
    assert_eq!(waiting, (committed..end).collect::<Vec<_>>(), "{said}");
    assert!(end >= acknowledged, "{said}: {end} of {acknowledged} acknowledged");
    let (_durable, _) = store.enqueue(&[arrival(end)]).unwrap();
    assert!(!store.damaged(), "{said}");
    healings
}
