//! Documents in the store: long texts that come back as they went in, whatever is done to the
//! store, and lie where a power cut cannot part them from the log.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crmirror::mirror::document::{DOCUMENT_LIMIT, Document, DocumentName};
use crmirror::mirror::record::ModuleName;
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Store, examine};

use crate::scratch::{Scratch, Seed, seeds};

fn at(seconds: i64) -> UpstreamTime {
    UpstreamTime::from_unix(1_750_000_000 + seconds)
}

fn names() -> Vec<DocumentName> {
    let modules = ["Leads", "Leads_Old", "Deals"].map(|name| ModuleName::parse(name).unwrap());
    DocumentName::all(&modules)
}

/// A text with what JSON escapes and what takes several bytes, of about this length.
fn text(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let letters: Vec<char> = "{}[]\"\\,: \naäß€😀".chars().collect();
    let mut text = String::new();
    while text.len() < length {
        text.push(letters[random.usize(..letters.len())]);
    }
    text
}

fn document(seed: u64, length: usize) -> Document {
    Document { read: at(seed as i64), status: 200, body: text(seed, length) }
}

#[test]
fn they_come_back_as_they_went_in_also_over_restarts_and_from_a_snapshot() {
    for seed in seeds(2) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("documents");
        let mut store = Store::open(scratch.path()).unwrap().0;
        let mut model: BTreeMap<DocumentName, Document> = BTreeMap::new();
        for round in 0..16 {
            let name = names()[random.usize(..names().len())].clone();
            match random.u8(..8) {
                0 => {
                    let denial = Document { read: at(round), status: 401, body: "{}".into() };
                    store.set_document(&name, &denial).unwrap();
                    model.insert(name, denial);
                }
                1 => {
                    let nothing = Document { read: at(round), status: 204, body: String::new() };
                    store.set_document(&name, &nothing).unwrap();
                    model.insert(name, nothing);
                }
                2..6 => {
                    let length = [10, 1 << 14, 200_000][random.usize(..3)];
                    let document = document(random.u64(..1 << 40), length);
                    store.set_document(&name, &document).unwrap();
                    model.insert(name, document);
                }
                6 => {
                    drop(store);
                    let (opened, healings) = Store::open(scratch.path()).unwrap();
                    assert_eq!(healings, []);
                    store = opened;
                }
                _ => {
                    let _ = store.flush().unwrap();
                    store.snapshot(at(round)).unwrap();
                    drop(store);
                    let log = scratch.path().join("mirror.sled/db");
                    fs::write(log, vec![0xa5; 700_000]).unwrap();
                    let (opened, healings) = Store::open(scratch.path()).unwrap();
                    assert_ne!(healings, [], "it was lost");
                    store = opened;
                }
            }
            for name in names() {
                assert_eq!(store.document(&name).unwrap(), model.get(&name).cloned(), "{name}");
            }
        }
        assert_eq!(store.unreadable(), 0);
        drop(store);
        let examined = examine(scratch.path(), false).unwrap();
        let parts = examined.kinds.iter().find(|kind| kind.kind == "parts of documents").unwrap();
        assert_eq!((parts.unreadable, parts.gaps), (0, 0));
        assert!(parts.good >= model.len() as u64 && examined.is_good(), "{examined:?}");
    }
}

#[test]
fn the_longest_lies_in_the_log_and_in_no_file_that_is_never_flushed() {
    let scratch = Scratch::new("long-document");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let longest = Document { body: "\"".repeat(DOCUMENT_LIMIT), ..document(1, 0) };
    for _ in 0..3 {
        store.set_document(&DocumentName::Modules, &longest).unwrap();
        let _ = store.flush().unwrap();
    }
    assert_eq!(store.document(&DocumentName::Modules).unwrap(), Some(longest));
    let aside = fs::read_dir(scratch.path().join("mirror.sled/blobs")).unwrap().count();
    assert_eq!(aside, 0, "sled keeps these without a flush");
}

#[test]
fn whoever_reads_while_one_is_replaced_reads_one_edition() {
    let scratch = Scratch::in_memory("replaced-document");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let editions: Vec<Document> = (0..4).map(|n| document(n, 100_000 + n as usize)).collect();
    store.set_document(&DocumentName::Org, &editions[0]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                store.set_document(&DocumentName::Org, &editions[round % 4]).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let read = store.document(&DocumentName::Org).unwrap();
            // None when it was replaced at each of three readings, which happens here alone.
            assert!(read.is_none_or(|read| editions.contains(&read)));
        }
    });
}
