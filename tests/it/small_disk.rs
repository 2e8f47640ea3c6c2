//! A full disk: writing stops before the store fails, reading goes on, and nothing is lost.

use std::fs;
use std::path::Path;

use crmirror::mirror::inbox::{Arrival, Reason};
use crmirror::mirror::record::{Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, EnqueueError, Healing, Store, StoreError, Write};

use crate::scratch::Scratch;

fn module() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

fn arrival(id: u64) -> Arrival {
    Arrival::new(module(), RecordId::new(id), Reason::Touched)
}

/// Writes a record and settles inbox items.
fn commit(id: u64, settled: Vec<u64>) -> Commit {
    let text = "0".repeat(4_000);
    let record = Record::parse(&format!(r#"{{"id":"{id}","text":"{text}"}}"#)).unwrap();
    let entry = Entry::Live(record);
    Commit {
        writes: vec![Write { id: RecordId::new(id), entry, change: None }],
        settled,
        ..Commit::new(module(), UpstreamTime::EPOCH)
    }
}

/// Does the work of a test on a disk of 160 MiB. The test, whose full name this is, runs itself
/// again in a name space where it may mount one. Where the system does not allow that, it says so
/// and proves nothing.
pub(crate) fn with_a_small_disk(name: &str, work: impl FnOnce(&Path)) {
    if let Ok(disk) = std::env::var("SMALL_DISK") {
        return work(Path::new(&disk));
    }
    let scratch = Scratch::new("small-disk");
    let mount = "mount -t tmpfs -o size=160m none \"$SMALL_DISK\"";
    let unshare = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).env("SMALL_DISK", scratch.path());
        command
    };
    if !unshare(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system lets nobody mount a small disk");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!("{mount} && exec '{}' --exact {name} --nocapture", program.display());
    let output = unshare(&script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{said}");
}

#[test]
fn a_full_disk_stops_writing_not_reading_and_loses_nothing() {
    let name = "small_disk::a_full_disk_stops_writing_not_reading_and_loses_nothing";
    with_a_small_disk(name, on_a_small_disk);
}

fn on_a_small_disk(disk: &Path) {
    let (store, _) = Store::open(disk).unwrap();
    let room = store.room();
    assert!(!room.low, "{room:?}");
    assert!(disk.join("ballast").exists());
    let filler = disk.join("filler");
    fs::write(&filler, vec![1; room.free as usize - (17 << 20)]).unwrap();
    let mut acknowledged = 0;
    let refused = (0..100_000).find_map(|number| {
        match store.enqueue(&[arrival(number)]) {
            Ok((_durable, items)) => {
                acknowledged += 1;
                // Keeps the inbox from being what is full.
                let committed = store.commit(commit(number, vec![items[0].sequence]));
                committed.err().map(EnqueueError::from)
            }
            Err(error) => Some(error),
        }
    });
    assert!(matches!(refused, Some(EnqueueError::NoRoom { .. })), "{refused:?}");
    assert!(!store.has_failed() && store.room().low);
    let refused = store.commit(commit(0, Vec::new()));
    assert!(matches!(refused, Err(StoreError::NoRoom { .. })), "{refused:?}");
    let mirrored = || store.live_above(&module(), None, usize::MAX).unwrap().len() as u64;
    assert!(mirrored() + store.waiting() >= acknowledged && acknowledged > 0, "reads go on");
    let _durable = store.flush().unwrap();

    // To the brim, by somebody else. A store that is opened then gives up its reserve.
    let brim = disk.join("brim");
    let _ = fs::write(&brim, vec![1; 100 << 20]);
    assert_eq!(store.room().free, 0);
    assert!(matches!(store.enqueue(&[arrival(0)]), Err(EnqueueError::NoRoom { .. })));
    let before = mirrored();
    drop(store);
    let (store, healings) = Store::open(disk).unwrap();
    let released = |healing: &Healing| matches!(healing, Healing::BallastReleased { .. });
    assert!(healings.iter().any(released), "{healings:?}");
    assert_eq!(store.live_above(&module(), None, usize::MAX).unwrap().len() as u64, before);

    fs::remove_file(&filler).unwrap();
    fs::remove_file(&brim).unwrap();
    let (_durable, _) = store.enqueue(&[arrival(0)]).unwrap();
    store.maintain(UpstreamTime::EPOCH).unwrap();
    assert!(disk.join("ballast").exists(), "the reserve is taken back");
}
