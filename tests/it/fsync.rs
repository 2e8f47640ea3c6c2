//! Proof that what is acknowledged is on disk: this program's own `fsync` and `fdatasync` stand
//! before the C library's, count and forward. For a watched file they also keep the content that
//! was made durable: what a power cut would leave of it.

// Defining and calling functions of the C library is unsafe, and is what this file is for.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use crmirror::mirror::inbox::{Arrival, Reason};
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Store, Write, file};

use crate::recorder;
use crate::scratch::{Scratch, Seed, seeds};

/// The files brought to disk, in order.
static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The durable content of watched files.
static WATCHED: Mutex<BTreeMap<PathBuf, Vec<u8>>> = Mutex::new(BTreeMap::new());

#[unsafe(no_mangle)]
extern "C" fn fsync(file: libc::c_int) -> libc::c_int {
    forward(file, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: libc::c_int) -> libc::c_int {
    forward(file, libc::SYS_fdatasync)
}

/// Files whose fsync does not come back yet.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static LET_GO: Condvar = Condvar::new();

/// A disk that stands still for one file, until this is dropped.
pub(crate) struct SlowDisk(PathBuf);

impl SlowDisk {
    pub(crate) fn of(path: &Path) -> SlowDisk {
        HELD.lock().unwrap().insert(path.to_owned());
        SlowDisk(path.to_owned())
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        LET_GO.notify_all();
    }
}

fn forward(file: libc::c_int, call: libc::c_long) -> libc::c_int {
    let path = fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
    drop(LET_GO.wait_while(HELD.lock().unwrap(), |held| held.contains(&path)).unwrap());
    // Held until the end, so that an older content never takes the place of a newer.
    let mut watched = WATCHED.lock().unwrap();
    // What was written before the call is durable after it; what comes while it runs may be not.
    let before = watched.contains_key(&path).then(|| fs::read(&path).unwrap());
    // SAFETY: a system call without pointers, on the caller's own file.
    let answer = recorder::syncing(&path, || unsafe { libc::syscall(call, file) as libc::c_int });
    if answer == 0 {
        if let Some(content) = before {
            watched.insert(path.clone(), content);
        }
        SYNCED.lock().unwrap().push(path);
    }
    answer
}

fn synced(path: &Path) -> usize {
    SYNCED.lock().unwrap().iter().filter(|synced| *synced == path).count()
}

fn arrival(id: u64) -> Arrival {
    let module = ModuleName::parse("Leads").unwrap();
    Arrival::new(module, RecordId::new(id), Reason::Touched)
}

#[test]
fn sync_file_range_never_reaches_the_kernel() {
    let scratch = Scratch::new("range");
    let path = scratch.path().join("file");
    let file = fs::File::create(&path).unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let call = |number| {
        // SAFETY: a call without pointers.
        let answer = unsafe { libc::sync_file_range(number, 0, 0, 0) };
        (answer, io::Error::last_os_error().raw_os_error())
    };
    assert_eq!(call(file.as_raw_fd()).0, 0);
    assert_eq!(synced(&path), 1, "its data is on disk");
    // The kernel's own call would say ESPIPE: so an error of a sync is told.
    assert_eq!(call(socket.as_raw_fd()), (-1, Some(libc::EINVAL)));
    assert_eq!(call(-1), (-1, Some(libc::ENOSYS)));
}

#[test]
fn nothing_is_enqueued_without_an_fsync() {
    let scratch = Scratch::new("fsync");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let log = scratch.path().join("mirror.sled/db");
    for id in 0..100 {
        let before = synced(&log);
        let (_durable, _) = store.enqueue(&[arrival(id)]).unwrap();
        assert!(synced(&log) > before, "enqueue {id} came back without an fsync");
    }
}

/// While one fsync runs, the arrivals of the others gather, and the next takes them all.
#[test]
fn those_who_enqueue_together_share_fsyncs() {
    const CALLERS: u64 = 8;
    let scratch = Scratch::new("shared");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let log = scratch.path().join("mirror.sled/db");
    let before = synced(&log);
    std::thread::scope(|scope| {
        // Nothing is synced while this is held: all have come before the first is done.
        let held = WATCHED.lock().unwrap();
        for id in 0..CALLERS {
            let store = &store;
            scope.spawn(move || drop(store.enqueue(&[arrival(id)]).unwrap()));
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(held);
    });
    let fsyncs = synced(&log) - before;
    assert!(fsyncs < CALLERS as usize, "{fsyncs} fsyncs for {CALLERS} that came together");
    assert_eq!(store.waiting(), CALLERS);
}

/// Cuts the power after every enqueue: only what an fsync has covered is left. Every acknowledged
/// id is either still waiting or settled by a commit that is there as a whole.
#[test]
fn a_power_cut_takes_nothing_acknowledged_and_no_part_of_a_commit() {
    for seed in seeds(3) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let scratch = Scratch::new("cut");
        let (store, _) = Store::open(scratch.path()).unwrap();
        let log = scratch.path().join("mirror.sled/db");
        let now = fs::read(&log).unwrap();
        WATCHED.lock().unwrap().insert(log.clone(), now);
        let mut acknowledged = 0;
        for _ in 0..30 {
            if random.bool() {
                let waiting = store.inbox().unwrap();
                for item in waiting.iter().take(random.usize(..4)) {
                    store.commit(settling(item.arrival.id, item.sequence)).unwrap();
                }
            } else {
                let many = random.u64(1..4);
                let arrivals: Vec<_> = (acknowledged..acknowledged + many).map(arrival).collect();
                let (_durable, _) = store.enqueue(&arrivals).unwrap();
                acknowledged += many;
            }
            let left = WATCHED.lock().unwrap()[&log].clone();
            check_after_cut(&scratch.path().join("mirror.sled/conf"), &left, acknowledged);
        }
    }
}

/// Settles the inbox item of record `id`, writes it, and says so in the ledger.
fn settling(id: RecordId, sequence: u64) -> Commit {
    let record = Record::parse(&format!(r#"{{"id":"{id}"}}"#)).unwrap();
    Commit {
        writes: vec![Write { id, entry: Entry::Live(record), change: Some(ChangeKind::Upsert) }],
        ledger: Ledger { records: id.number() + 1, ..Ledger::default() },
        settled: vec![sequence],
        ..Commit::new(ModuleName::parse("Leads").unwrap(), UpstreamTime::EPOCH)
    }
}

fn check_after_cut(settings: &Path, log: &[u8], acknowledged: u64) {
    let scratch = Scratch::new("after-cut");
    fs::create_dir(scratch.path().join("mirror.sled")).unwrap();
    fs::copy(settings, scratch.path().join("mirror.sled/conf")).unwrap();
    fs::write(scratch.path().join("mirror.sled/db"), log).unwrap();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert_eq!(healings, []);
    let module = ModuleName::parse("Leads").unwrap();
    // Ids are settled in order, so what is committed are the ids below a bound, wherever one looks.
    let committed = store.ledger(&module).unwrap().records;
    let ids = |range: std::ops::Range<u64>| range.map(RecordId::new).collect::<Vec<_>>();
    let mirrored = store.ids_between(&module, None, RecordId::new(u64::MAX), 1_000).unwrap();
    assert_eq!(mirrored, ids(0..committed));
    assert_eq!(store.last_sequence(), committed);
    let waiting: Vec<_> = store.inbox().unwrap().iter().map(|item| item.arrival.id).collect();
    assert_eq!(waiting, ids(committed..acknowledged));
}

#[test]
fn a_replaced_file_is_synced_before_it_takes_its_name_and_the_name_after() {
    let scratch = Scratch::new("replace");
    let path = scratch.path().join("identity.json");
    file::replace(&path, b"old", 0o600).unwrap();
    file::replace(&path, b"new", 0o640).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
    let names: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
    let log = SYNCED.lock().unwrap();
    let log: Vec<_> = log.iter().filter(|synced| synced.starts_with(scratch.path())).collect();
    let fresh = scratch.path().join(".identity.json.new");
    let directory = scratch.path().to_owned();
    assert_eq!(log, [&fresh, &directory, &fresh, &directory]);
}
