//! A store that a mass deletion left far too large is made anew without anybody's help.

use std::net::TcpStream;
use std::path::Path;

use crmirror::mirror::record::{Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Store, Write};

use super::old_leads;
use crate::agent::Place;
use crate::scratch::noise;
use crate::sim::http;

const BULK: u64 = 10_000;
const BATCH: usize = 100;

/// Writes something under each of so many ids.
fn write_all(store: &Store, entry: impl Fn(u64) -> Entry) {
    let ids: Vec<u64> = (1..=BULK).collect();
    for batch in ids.chunks(BATCH) {
        let writes =
            batch.iter().map(|&id| Write { id: RecordId::new(id), entry: entry(id), change: None });
        let commit = Commit {
            writes: writes.collect(),
            ..Commit::new(ModuleName::parse("Leads").unwrap(), UpstreamTime::EPOCH)
        };
        store.commit(commit).unwrap();
    }
    let _durable = store.flush().unwrap();
}

/// Leaves a store that is far too large.
pub(crate) fn bloat(path: &Path) {
    swell(&Store::open(path).unwrap().0);
}

/// Writes two hundred megabytes, and deletes them.
pub(crate) fn swell(store: &Store) {
    write_all(store, |id| {
        let text = noise(id, 20_000);
        let record = Record::parse(&format!(r#"{{"id":"{id}","Text":"{text}"}}"#)).unwrap();
        Entry::Live(record)
    });
    write_all(store, |_| Entry::Tombstone { gone: UpstreamTime::EPOCH });
}

#[test]
fn an_oversized_store_is_made_smaller_while_nobody_looks() {
    let mut place = Place::new("shrinking");
    let ids = old_leads(&mut place.upstream(), 3);
    let path = place.path("store");
    bloat(&path);
    let log = path.join("mirror.sled/db");
    let before = std::fs::metadata(&log).unwrap().len();
    assert!(before > 64 << 20, "{before}");
    place.begin();
    place.until("the store is small", |_| {
        let size = std::fs::metadata(&log).ok()?.len();
        (size < 16 << 20).then(|| println!("{before} bytes became {size}"))
    });
    place.until("it is ready again", |place| {
        let heard = http(place.local, "GET", "/readyz", &[], b"");
        heard.is_ok_and(|heard| heard.status == 200).then_some(())
    });
    place.until("callbacks are let in", |place| TcpStream::connect(place.callbacks).ok());
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    assert_eq!(place.stop().0, Some(0), "it is the process that was started first");
}
