//! The store against a model: whatever is done to both, and however often the store is opened
//! anew, both say the same.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crmirror::mirror::inbox::{Arrival, InboxItem, Quarantined, Reason};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, FieldName, ModuleName, Record, RecordId};
use crmirror::mirror::road::{How, Reading};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{
    CHANGE_LIMIT, Change, Commit, EnqueueError, INBOX_LIMIT, QUARANTINE_LIMIT, Sight, Store,
    Stored, Walked, Write,
};

use crate::scratch::{Scratch, Seed, noise, seeds};

/// The ends, what sorts next to them, and bytes at which sled may split its pages.
const IDS: [u64; 12] = [
    0,
    1,
    2,
    255,
    256,
    4_876_876_000_000_623_001,
    4_876_876_000_000_623_002,
    0x04ff_ffff_ff00_0000,
    0x04ff_ffff_ff00_0001,
    0x0500_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

#[derive(Default)]
struct Model {
    entries: BTreeMap<(ModuleName, RecordId), Stored>,
    inbox: BTreeMap<u64, Arrival>,
    last_inbox: u64,
    changes: Vec<Change>,
    ledgers: BTreeMap<ModuleName, Ledger>,
    quarantined: BTreeMap<(ModuleName, RecordId), Quarantined>,
    fields: BTreeMap<ModuleName, Vec<FieldName>>,
}

impl Model {
    fn take_in(&mut self, arrivals: &[Arrival]) -> Vec<InboxItem> {
        let mut items = Vec::new();
        for arrival in arrivals.iter().cloned() {
            self.last_inbox += 1;
            self.inbox.insert(self.last_inbox, arrival.clone());
            items.push(InboxItem { sequence: self.last_inbox, arrival });
        }
        items
    }

    fn commit(&mut self, commit: &Commit) -> Vec<InboxItem> {
        let module = &commit.module;
        for Write { id, entry, change } in &commit.writes {
            let name = (module.clone(), *id);
            let last = self.changes.len() as u64;
            let sequence = match change {
                Some(kind) => {
                    let (module, time) = (module.clone(), commit.time);
                    let change = Change { sequence: last + 1, module, id: *id, kind: *kind, time };
                    self.changes.push(change);
                    last + 1
                }
                None => self.entries.get(&name).map_or(last, |stored| stored.sequence),
            };
            self.entries.insert(name, Stored { entry: entry.clone(), sequence });
        }
        self.ledgers.insert(module.clone(), commit.ledger.clone());
        self.inbox.retain(|sequence, _| !commit.settled.contains(sequence));
        self.quarantined.retain(|(of, id), _| of != module || !commit.released.contains(id));
        for record in &commit.set_aside {
            self.quarantined.insert((record.module.clone(), record.id), record.clone());
        }
        self.take_in(&commit.arrivals)
    }

    fn live(&self, module: &ModuleName) -> Vec<Record> {
        let of_module = self.entries.iter().filter(|((of, _), _)| of == module);
        let live = of_module.filter_map(|(_, stored)| match &stored.entry {
            Entry::Live(record) => Some(record.clone()),
            Entry::Tombstone { .. } => None,
        });
        live.collect()
    }

    fn check(&self, store: &Store, random: &mut fastrand::Rng) {
        for module in modules() {
            self.check_records(store, &module, random);
            let ledger = self.ledgers.get(&module).cloned().unwrap_or_default();
            assert_eq!(store.ledger(&module), Ok(ledger));
            assert_eq!(store.fields(&module), Ok(self.fields.get(&module).cloned()));
        }
        let inbox: Vec<_> = store.inbox().unwrap();
        let inbox: BTreeMap<_, _> =
            inbox.into_iter().map(|item| (item.sequence, item.arrival)).collect();
        assert_eq!(inbox, self.inbox);
        assert_eq!(store.waiting(), self.inbox.len() as u64);
        let quarantined: Vec<_> = self.quarantined.values().cloned().collect();
        assert_eq!(store.quarantined().unwrap(), quarantined);
        assert_eq!(store.quarantined_count(), quarantined.len() as u64);
        assert_eq!(store.last_sequence(), self.changes.len() as u64);
        let (since, limit) = (random.usize(..=self.changes.len()), random.usize(..20));
        let changes: Vec<_> = self.changes[since..].iter().take(limit).cloned().collect();
        assert_eq!(store.changes(since as u64, limit).unwrap(), changes);
        assert_eq!(store.unreadable(), 0);
    }

    fn check_records(&self, store: &Store, module: &ModuleName, random: &mut fastrand::Rng) {
        for id in IDS.map(RecordId::new) {
            let stored = self.entries.get(&(module.clone(), id)).cloned();
            assert_eq!(store.entry(module, id), Ok(stored));
        }
        let live = self.live(module);
        let limit = random.usize(..IDS.len() + 2);
        let bound = [None, Some(any_id(random))][random.usize(..2)];
        let above = live.iter().filter(|record| Some(record.id()) > bound);
        let above: Vec<_> = above.take(limit).cloned().collect();
        assert_eq!(store.live_above(module, bound, limit).unwrap(), above, "above {bound:?}");
        let below = |record: &&Record| bound.is_none_or(|bound| record.id() < bound);
        let below: Vec<_> = live.iter().rev().filter(below).take(limit).cloned().collect();
        assert_eq!(store.live_below(module, bound, limit).unwrap(), below, "below {bound:?}");
        let skipped = random.usize(..=limit);
        for (descending, all) in [(false, &above), (true, &below)] {
            let page = store.live_page(module, bound, descending, skipped, limit - skipped);
            let rest = &all[skipped.min(all.len())..];
            assert_eq!(page.unwrap(), rest, "{skipped} beyond {bound:?}");
        }
        let through = any_id(random);
        let within = |id: &RecordId| Some(*id) > bound && *id <= through;
        let ids: Vec<_> = live.iter().map(Record::id).filter(within).take(limit).collect();
        let found = store.ids_between(module, bound, through, limit).unwrap();
        assert_eq!(found, ids, "between {bound:?} and {through}");
        self.check_walk(store, module, limit + 1);
    }

    fn check_walk(&self, store: &Store, module: &ModuleName, slice: usize) {
        let (mut seen, mut below) = (Vec::new(), None);
        let mut look = |id, sight: Sight<'_>| {
            let shown = match sight {
                Sight::Live { json, modified } => {
                    (Some(String::from_utf8(json.to_vec()).unwrap()), modified)
                }
                Sight::Gone { at } => (None, Some(at)),
            };
            seen.push((id, shown));
            ControlFlow::Continue(())
        };
        while let Walked::Through(id) = store.look_below(module, below, slice, &mut look).unwrap() {
            below = Some(id);
        }
        let entries = self.entries.iter().rev().filter(|((of, _), _)| of == module);
        let entries = entries.map(|((_, id), stored)| match &stored.entry {
            Entry::Live(record) => (*id, (Some(record.json().to_owned()), record.modified())),
            Entry::Tombstone { gone } => (*id, (None, Some(*gone))),
        });
        assert_eq!(seen, entries.collect::<Vec<_>>(), "in slices of {slice}");
        let mut once = 0;
        let stopped = store.look_below(module, None, slice, &mut |_, _| {
            once += 1;
            ControlFlow::Break(())
        });
        let expected = if seen.is_empty() { Walked::End } else { Walked::Stopped };
        assert_eq!((stopped, once), (Ok(expected), seen.len().min(1)));
    }
}

fn modules() -> [ModuleName; 3] {
    ["Leads", "Leads_Old", "Deals"].map(|name| ModuleName::parse(name).unwrap())
}

fn any_id(random: &mut fastrand::Rng) -> RecordId {
    RecordId::new(IDS[random.usize(..IDS.len())])
}

fn some<T>(random: &mut fastrand::Rng, mut make: impl FnMut(&mut fastrand::Rng) -> T) -> Vec<T> {
    (0..random.usize(..4)).map(|_| make(random)).collect()
}

fn any_arrival(random: &mut fastrand::Rng) -> Arrival {
    let module = modules()[random.usize(..3)].clone();
    let reason = [Reason::Touched, Reason::Deleted, Reason::Scanned][random.usize(..3)];
    let heard = random.bool().then(|| UpstreamTime::from_unix(random.i64(0..4_000_000_000)));
    Arrival { heard, ..Arrival::new(module, any_id(random), reason) }
}

fn any_write(random: &mut fastrand::Rng) -> Write {
    let id = any_id(random);
    let time = UpstreamTime::from_unix(random.i64(0..4_000_000_000));
    let entry = match random.u8(..3) {
        0 => Entry::Tombstone { gone: time },
        1 => Entry::Live(Record::parse(&format!(r#"{{"id":"{id}","n":1.50}}"#)).unwrap()),
        _ => {
            let text = match random.u8(..4) {
                0 => noise(random.u64(..), random.usize(..20_000)),
                _ => "upstream's words ".repeat(random.usize(..200)),
            };
            let json = format!(r#"{{"Modified_Time":"{time}","id":"{id}","text":"{text}"}}"#);
            Entry::Live(Record::parse(&json).unwrap())
        }
    };
    let change = [None, Some(ChangeKind::Upsert), Some(ChangeKind::Delete)][random.usize(..3)];
    Write { id, entry, change }
}

fn any_commit(random: &mut fastrand::Rng) -> Commit {
    let module = modules()[random.usize(..3)].clone();
    let time = UpstreamTime::from_unix(random.i64(0..4_000_000_000));
    let why = "INVALID_DATA".to_owned();
    Commit {
        writes: some(random, any_write),
        ledger: Ledger {
            records: random.u64(..),
            complete_through: Some(time),
            ..Ledger::default()
        },
        settled: some(random, |random| random.u64(..100)),
        arrivals: some(random, any_arrival),
        set_aside: some(random, |random| Quarantined {
            module: module.clone(),
            id: any_id(random),
            why: why.clone(),
            since: time,
        }),
        released: some(random, any_id),
        how: How::Page(Reading::CatchUp),
        ..Commit::new(module, time)
    }
}

/// A commit of nothing.
fn empty(module: &ModuleName) -> Commit {
    Commit::new(module.clone(), UpstreamTime::EPOCH)
}

#[test]
fn the_store_says_what_the_model_says() {
    for seed in seeds(8) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("model");
        let mut store = Store::open(scratch.path()).unwrap().0;
        let mut model = Model::default();
        for _ in 0..80 {
            match random.u8(..10) {
                0..3 => {
                    let arrivals = some(&mut random, any_arrival);
                    let (_durable, items) = store.enqueue(&arrivals).unwrap();
                    assert_eq!(items, model.take_in(&arrivals));
                }
                3..8 => {
                    let commit = any_commit(&mut random);
                    let committed = store.commit(commit.clone()).unwrap();
                    assert_eq!(committed.arrived, model.commit(&commit));
                    assert_eq!(committed.last_sequence, model.changes.len() as u64);
                }
                8 => {
                    let module = modules()[random.usize(..3)].clone();
                    let fields = some(&mut random, |_| FieldName::parse("$approved").unwrap());
                    store.set_fields(&module, &fields).unwrap();
                    model.fields.insert(module, fields);
                }
                _ => {
                    drop(store);
                    let (opened, healings) = Store::open(scratch.path()).unwrap();
                    assert_eq!(healings, []);
                    store = opened;
                    model.last_inbox = model.inbox.keys().next_back().copied().unwrap_or(0);
                }
            }
            model.check(&store, &mut random);
        }
    }
}

#[test]
fn many_records_are_listed_in_order_from_both_ends() {
    let scratch = Scratch::new("many");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let module = &modules()[0];
    // Far apart, so that the pages of sled split at every byte of an id.
    let mut ids: Vec<_> = (0..5_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    for chunk in ids.chunks(500) {
        let write = |id: &u64| Write {
            id: RecordId::new(*id),
            entry: Entry::Live(Record::parse(&format!(r#"{{"id":"{id}"}}"#)).unwrap()),
            change: None,
        };
        store
            .commit(Commit { writes: chunk.iter().map(write).collect(), ..empty(module) })
            .unwrap();
    }
    ids.sort_unstable();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    loop {
        let page = store.live_above(module, up.last().copied(), 300).unwrap();
        up.extend(page.iter().map(Record::id));
        let page = store.live_below(module, down.last().copied(), 300).unwrap();
        down.extend(page.iter().map(Record::id));
        if page.len() < 300 {
            break;
        }
    }
    let ids: Vec<_> = ids.into_iter().map(RecordId::new).collect();
    assert_eq!(up, ids);
    down.reverse();
    assert_eq!(down, ids);
}

#[test]
fn threads_that_enqueue_together_lose_and_mix_nothing() {
    let scratch = Scratch::new("threads");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let items: Vec<Vec<InboxItem>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let store = store.clone();
                let mut random = fastrand::Rng::with_seed(thread);
                scope.spawn(move || {
                    let enqueue = |_| {
                        let arrivals = some(&mut random, any_arrival);
                        let (_durable, items) = store.enqueue(&arrivals).unwrap();
                        let sequences =
                            items.windows(2).all(|i| i[0].sequence + 1 == i[1].sequence);
                        assert!(sequences, "the numbers of one call are consecutive");
                        items
                    };
                    (0..20).flat_map(enqueue).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for of_thread in &items {
        assert!(of_thread.is_sorted_by_key(|item| item.sequence), "later calls get later numbers");
    }
    let mut all: Vec<_> = items.into_iter().flatten().collect();
    all.sort_by_key(|item| item.sequence);
    assert_eq!(store.waiting(), all.len() as u64);
    drop(store);
    let (store, _) = Store::open(scratch.path()).unwrap();
    assert_eq!(store.inbox().unwrap(), all);
}

#[test]
fn a_full_inbox_takes_nothing_more_until_something_leaves() {
    let scratch = Scratch::new("inbox");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let module = &modules()[0];
    let one = Arrival::new(module.clone(), RecordId::new(1), Reason::Touched);
    let (_durable, _) = store.enqueue(&vec![one.clone(); INBOX_LIMIT as usize - 1]).unwrap();
    let refused = store.enqueue(&[one.clone(), one.clone()]).map(|_| ());
    assert_eq!(refused, Err(EnqueueError::Full { waiting: INBOX_LIMIT - 1 }));
    assert_eq!(store.inbox().unwrap().len() as u64, INBOX_LIMIT - 1, "none of the two went in");
    store.commit(Commit { settled: vec![1, 1], ..empty(module) }).unwrap();
    let (_durable, items) = store.enqueue(&[one.clone(), one]).unwrap();
    assert_eq!(items.last().map(|item| item.sequence), Some(INBOX_LIMIT + 1));
}

#[test]
fn old_changes_and_old_quarantines_give_way() {
    let scratch = Scratch::new("limits");
    let (mut store, _) = Store::open(scratch.path()).unwrap();
    let module = &modules()[0];
    assert_eq!((store.oldest_change(), store.last_sequence()), (1, 0));
    let write = Write {
        id: RecordId::new(1),
        entry: Entry::Tombstone { gone: UpstreamTime::EPOCH },
        change: Some(ChangeKind::Delete),
    };
    for _ in 0..CHANGE_LIMIT / 5_000 + 1 {
        store.commit(Commit { writes: vec![write.clone(); 5_000], ..empty(module) }).unwrap();
    }
    let set_aside = (0..QUARANTINE_LIMIT as u64 + 10).map(|n| Quarantined {
        module: module.clone(),
        id: RecordId::new(n),
        why: "INVALID_DATA".into(),
        // The highest ids are the oldest.
        since: UpstreamTime::from_unix(1_000_000 - n as i64),
    });
    store.commit(Commit { set_aside: set_aside.collect(), ..empty(module) }).unwrap();
    for _ in 0..2 {
        assert_eq!((store.oldest_change(), store.last_sequence()), (5_001, CHANGE_LIMIT + 5_000));
        assert_eq!(store.changes(0, 1).unwrap()[0].sequence, 5_001);
        assert!(store.beginning() == 5_000 && store.knows(5_000) && !store.knows(4_999));
        assert!(store.knows(CHANGE_LIMIT + 5_000) && !store.knows(CHANGE_LIMIT + 5_001));
        assert_eq!(store.changes(CHANGE_LIMIT + 4_999, 9).unwrap().len(), 1);
        assert_eq!(store.changes(u64::MAX, 9).unwrap(), []);
        let quarantined = store.quarantined().unwrap();
        assert_eq!(quarantined.len(), QUARANTINE_LIMIT);
        assert!(quarantined.iter().all(|record| record.id.number() < QUARANTINE_LIMIT as u64));
        drop(store);
        store = Store::open(scratch.path()).unwrap().0;
    }
}
