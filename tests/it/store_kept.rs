//! Stores that released formats wrote, kept in `data/`: this program opens a copy of each and reads
//! what is in it. And what this program writes has the format of the release before, or that could
//! not be put back.
//!
//! A new one is written with `UPDATE_GOLDEN=1 cargo test --test it store_kept` when the format is
//! given a new number. Those that are there are never written again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crmirror::mirror::credits::{Credits, Purpose};
use crmirror::mirror::criteria::terms_of_text;
use crmirror::mirror::inbox::{Arrival, Quarantined, Reason};
use crmirror::mirror::ledger::{Ledger, Position, Scan, ScanKind};
use crmirror::mirror::record::{ChangeKind, Entry, FieldName, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Order, Store, Write};

use crate::scratch::Scratch;
use crate::store_open::{bare, value_of};

/// The format that this program writes.
const FORMAT: u32 = 2;
/// Zeros that are left out rather than kept, in a row.
const ZEROS: usize = 32;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/stores")
}

fn at(seconds: i64) -> UpstreamTime {
    UpstreamTime::from_unix(1_750_000_000 + seconds)
}

/// Fills an empty store with something of every kind.
fn fill(store: &Store) {
    let module = |name| ModuleName::parse(name).unwrap();
    let live = |id: u64, json: &str| {
        let record = Record::parse(&format!("{{\"id\":\"{id}\",{json}}}")).unwrap();
        let (entry, change) = (Entry::Live(record), Some(ChangeKind::Upsert));
        Write { id: RecordId::new(id), entry, change }
    };
    let tombstone = |id| {
        let (entry, change) = (Entry::Tombstone { gone: at(5) }, Some(ChangeKind::Delete));
        Write { id: RecordId::new(id), entry, change }
    };
    let commit =
        |name, writes, ledger| Commit { writes, ledger, ..Commit::new(module(name), at(60)) };
    let proved = Ledger {
        records: 2,
        complete_through: Some(at(50)),
        last_catch_up: Some(at(51)),
        last_sweep: Some(at(10)),
        ..Ledger::default()
    };
    let leads = vec![
        live(4_876_876_000_000_623_001, "\"Last_Name\":\"Öz\",\"Amount\":12.50"),
        live(4_876_876_000_000_623_002, "\"Modified_Time\":\"2025-06-15T15:06:40+00:00\""),
        tombstone(7),
    ];
    store.commit(commit("Leads", leads, proved)).unwrap();
    let scan = Scan {
        kind: ScanKind::Sweep,
        started: at(70),
        since: at(40),
        shifted: false,
        proved: false,
        doubted: true,
        readings: 1,
        next: Position::ById { after: RecordId::new(9) },
        after: Some(RecordId::new(9)),
        seen: 3,
        stamped: true,
        narrow: false,
        missed: 1,
    };
    let ledger = Ledger { records: 1, scan: Some(scan), ..Ledger::default() };
    let set_aside = vec![Quarantined {
        module: module("Deals"),
        id: RecordId::new(5),
        why: "INVALID_DATA".to_owned(),
        since: at(9),
    }];
    let deals = commit("Deals", vec![live(9, "\"Stage\":null")], ledger);
    store.commit(Commit { set_aside, ..deals }).unwrap();
    let arrivals = [Reason::Touched, Reason::Deleted, Reason::Scanned]
        .map(|reason| Arrival::new(module("Leads"), RecordId::new(11), reason));
    let _durable = store.enqueue(&arrivals).unwrap();
    store.set_fields(&module("Deals"), &[FieldName::parse("Stage").unwrap()]).unwrap();
    let mut credits = Credits::new(2_500, store.spending().unwrap());
    credits.spend(3, Some(at(60)));
    store.set_spending(credits.spending()).unwrap();
}

/// Adds what the second format has beyond: records that are packed with a dictionary, and a
/// large one, which is kept in parts.
fn fill_more(store: &Store) {
    let module = ModuleName::parse("Notes").unwrap();
    let write = |id: u64| {
        let many = if id == 80 { 1_600_u64 } else { 0 };
        let large: String = (0..many).map(|n| format!("{:x}", n * n * 7_919)).collect();
        let json = format!(
            "{{\"id\":\"{id}\",\"Note_Title\":\"The {id}th note about the matter\",\
             \"Note_Content\":\"{large}\",\"Parent_Id\":null,\"$editable\":true,\
             \"Modified_Time\":\"2025-06-15T15:06:40+00:00\",\"$attachments\":null}}"
        );
        let entry = Entry::Live(Record::parse(&json).unwrap());
        Write { id: RecordId::new(id), entry, change: None }
    };
    store
        .commit(Commit { writes: (1..=80).map(write).collect(), ..Commit::new(module, at(80)) })
        .unwrap();
}

/// What [`fill_more`] added, as far as it is there.
fn notes(store: &Store) -> Vec<Record> {
    store.live_above(&ModuleName::parse("Notes").unwrap(), None, usize::MAX).unwrap()
}

/// Everything that the store says.
fn told(store: &Store) -> String {
    let mut told = String::new();
    for name in ["Leads", "Deals"] {
        let module = ModuleName::parse(name).unwrap();
        let ids = store.ids_between(&module, None, RecordId::new(u64::MAX), usize::MAX).unwrap();
        for id in ids.into_iter().chain([RecordId::new(7)]) {
            writeln!(told, "{name}/{id}: {:?}", store.entry(&module, id).unwrap()).unwrap();
        }
        let (ledger, fields) = (store.ledger(&module).unwrap(), store.fields(&module).unwrap());
        writeln!(told, "{name}: {ledger:?} {fields:?}").unwrap();
    }
    let (inbox, set_aside) = (store.inbox().unwrap(), store.quarantined().unwrap());
    let changes = store.changes(0, usize::MAX).unwrap();
    let credits = Credits::new(2_500, store.spending().unwrap());
    let spent = credits.spent(Some(at(61)));
    let may = credits.allow(Purpose::Channel, Some(at(61)));
    writeln!(told, "{inbox:?}\n{set_aside:?}\n{changes:?}\n{spent} {may}").unwrap();
    told
}

#[test]
fn stores_of_released_formats_are_read() {
    let (fresh, copy) = (Scratch::new("kept-fresh"), Scratch::new("kept-copy"));
    let (store, _) = Store::open(fresh.path()).unwrap();
    fill(&store);
    let expected = told(&store);
    fill_more(&store);
    let more = notes(&store);
    assert_eq!(more.len(), 80);
    assert!(expected.contains("Öz") && expected.contains("INVALID_DATA"), "{expected}");
    drop(store);
    let newest = kept().join(format!("format-{FORMAT}"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !newest.exists() {
        // Opened once more it has a snapshot of sled's, as after any start but the first.
        drop(Store::open(fresh.path()).unwrap());
        fs::create_dir_all(kept()).unwrap();
        fs::write(&newest, pack(fresh.path())).unwrap();
    }
    assert!(newest.exists(), "nobody kept a store of format {FORMAT}: run UPDATE_GOLDEN=1");
    for packed in fs::read_dir(kept()).unwrap() {
        let packed = packed.unwrap().path();
        let place = copy.path().join(packed.file_name().unwrap());
        unpack(&fs::read(&packed).unwrap(), &place);
        let (store, healings) = Store::open(&place).unwrap();
        assert_eq!(healings, [], "{}", packed.display());
        assert_eq!(told(&store), expected, "{}", packed.display());
        let has_more = !packed.ends_with("format-1");
        assert_eq!(notes(&store), if has_more { more.clone() } else { Vec::new() });
        fill(&store);
        fill_more(&store);
        assert_eq!(notes(&store), more, "an older one takes what it did not know");
        assert_eq!(store.quarantined_count(), 1, "it can be written too");
        let leads = ModuleName::parse("Leads").unwrap();
        store.set_indexes(&[(leads.clone(), vec![FieldName::parse("Last_Name").unwrap()])].into());
        while store.build_indexes(1).unwrap() {}
        let by_time = store.by_modified(&leads, None, None, Order::NewestFirst, 9).unwrap();
        let ids: Vec<u64> = by_time.unwrap().iter().map(|record| record.id().number()).collect();
        assert_eq!(ids, [4_876_876_000_000_623_002, 4_876_876_000_000_623_001], "indexes too");
        let (name, terms) = (FieldName::parse("Last_Name").unwrap(), terms_of_text("öz"));
        let named = store.with_terms(&leads, &name, &terms, None, 9).unwrap();
        assert_eq!(named, Some(vec![RecordId::new(4_876_876_000_000_623_001)]));
        drop(store);
        if has_more {
            let again = copy.path().join("again");
            unpack(&fs::read(&packed).unwrap(), &again);
            let db = bare(&again);
            let kinds = [b"d", b"p"].map(|kind| db.scan_prefix(kind).count());
            assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
        }
    }
}

#[test]
fn the_release_before_reads_what_this_one_writes() {
    let (fresh, copy) = (Scratch::new("kept-format"), Scratch::new("kept-before"));
    drop(Store::open(fresh.path()).unwrap());
    unpack(&fs::read(kept().join(format!("format-{FORMAT}"))).unwrap(), copy.path());
    assert_eq!(format_of(fresh.path()), format_of(copy.path()), "a binary could not go back");
}

/// What the store says of its format, byte by byte.
fn format_of(directory: &Path) -> Vec<u8> {
    value_of(directory, b"v")
}

/// The files of a directory, without the zeros that most of them are: name, length, and pieces.
fn pack(directory: &Path) -> Vec<u8> {
    let mut packed = Vec::new();
    let number = |packed: &mut Vec<u8>, number: usize| {
        packed.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    };
    for path in files(directory) {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
        if matches!(name.as_str(), "ballast" | "lock") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let pieces = pieces(&bytes);
        number(&mut packed, name.len());
        packed.extend_from_slice(name.as_bytes());
        number(&mut packed, bytes.len());
        number(&mut packed, pieces.len());
        for (at, piece) in pieces {
            number(&mut packed, at);
            number(&mut packed, piece.len());
            packed.extend_from_slice(piece);
        }
    }
    packed
}

fn unpack(mut packed: &[u8], directory: &Path) {
    fn take<'a>(packed: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = packed.split_at(count);
        *packed = rest;
        taken
    }
    let number =
        |packed: &mut &[u8]| u32::from_be_bytes(take(packed, 4).try_into().unwrap()) as usize;
    while !packed.is_empty() {
        let length = number(&mut packed);
        let name = String::from_utf8(take(&mut packed, length).to_vec()).unwrap();
        let mut bytes = vec![0; number(&mut packed)];
        for _ in 0..number(&mut packed) {
            let (at, length) = (number(&mut packed), number(&mut packed));
            bytes[at..at + length].copy_from_slice(take(&mut packed, length));
        }
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// The stretches between long rows of zeros.
fn pieces(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(skipped) = bytes[at..].iter().position(|byte| *byte != 0) {
        at += skipped;
        let end = bytes[at..]
            .windows(ZEROS)
            .position(|window| window.iter().all(|byte| *byte == 0))
            .map_or(bytes.len(), |length| at + length);
        pieces.push((at, &bytes[at..end]));
        at = end;
    }
    pieces
}

#[test]
fn what_is_packed_is_unpacked() {
    let (one, other) = (Scratch::new("packed"), Scratch::new("unpacked"));
    let bytes = [&[0; 100][..], b"a", &[0; 10], b"b", &[0; 90], b"c"].concat();
    fs::create_dir(one.path().join("in")).unwrap();
    fs::write(one.path().join("in/a"), &bytes).unwrap();
    fs::write(one.path().join("b"), []).unwrap();
    let packed = pack(one.path());
    assert!(packed.len() < 80, "{}", packed.len());
    unpack(&packed, other.path());
    assert_eq!(fs::read(other.path().join("in/a")).unwrap(), bytes);
    assert_eq!(files(other.path()).len(), 2);
}
