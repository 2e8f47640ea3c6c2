//! That the store stays small by itself: in memory after a look at everything, and on the disk
//! after much has come and gone.

use std::fs;
use std::ops::ControlFlow;

use crmirror::mirror::record::{Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Store, Write};

use crate::journeys::swell;
use crate::scratch::{Scratch, noise};

const RECORDS: u64 = 20_000;
const BATCH: u64 = 100;
/// Twice what sled's cache may hold, in all.
const RECORD_BYTES: usize = 1_600;
const HOUR: i64 = 3_600;

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

/// Bytes that this thread has read from files so far.
fn bytes_read() -> u64 {
    let said = fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = said.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    count.parse().unwrap()
}

/// Bytes that it takes from files to look at everything.
fn look_at_everything(store: &Store) -> u64 {
    let (before, mut seen) = (bytes_read(), 0);
    let mut look = |_, _: crmirror::store::Sight<'_>| {
        seen += 1;
        ControlFlow::Continue(())
    };
    store.look_below(&module(), None, RECORDS as usize + 1, &mut look).unwrap();
    assert_eq!(seen, RECORDS);
    bytes_read() - before
}

#[test]
fn what_a_look_at_everything_leaves_in_memory_is_let_go() {
    let scratch = Scratch::new("shed");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let write = |id: u64| {
        let text = format!(r#"{{"id":"{id}","Text":"{}"}}"#, noise(id, RECORD_BYTES));
        let entry = Entry::Live(Record::parse(&text).unwrap());
        Write { id: RecordId::new(id), entry, change: None }
    };
    for first in (1..=RECORDS).step_by(BATCH as usize) {
        let writes = (first..first + BATCH).map(write).collect();
        store.commit(Commit { writes, ..Commit::new(module(), UpstreamTime::EPOCH) }).unwrap();
    }
    let _durable = store.flush().unwrap();
    drop(store);
    let (store, _) = Store::open(scratch.path()).unwrap();
    let first = look_at_everything(&store);
    assert!(first > RECORDS * RECORD_BYTES as u64, "{first}");
    let again = look_at_everything(&store);
    assert!(again < first / 8, "{again} of {first}: sled keeps to its cache by itself");
    store.shed().unwrap();
    let after = look_at_everything(&store);
    println!("{first} bytes for a look at everything, {again} for the second, then {after}");
    assert!(after > first / 4, "{after} of {first}: the rest is still in memory");
}

#[test]
fn a_store_that_swells_is_looked_at_within_the_hour() {
    let scratch = Scratch::new("swelling");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let look = |seconds| {
        let done = store.maintain(UpstreamTime::from_unix(seconds)).unwrap();
        (done.snapshot.is_some(), done.wants_compaction)
    };
    assert_eq!(look(0), (true, false));
    assert_eq!(look(2 * HOUR), (false, false), "it has not grown");
    swell(&store);
    assert_eq!(look(HOUR - 1), (false, false), "so soon it is not to start anew");
    assert_eq!(look(HOUR), (true, true));
    assert_eq!(look(9 * HOUR), (false, true), "it has not grown since");
}
