//! The disk that the store is on: space, how long a write takes to be on it, and how worn it says
//! to be.
//!
//! The store itself is not touched here. What is written lies beside it, in a file of its own that
//! is gone afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, State, kernel_text, size, within};
use crate::cli::device_number;
use crate::clock::Clock;
use crate::store::Room;

/// Free space below which a store that grows, or a snapshot, may soon find none: twice what the
/// store and its reserve need to start.
const TIGHT: u64 = 160 << 20;
/// Writes that are measured: enough for a median, and 64 KiB of wear.
const WRITES: usize = 16;
/// Bytes of a write: a page of a card's own.
const WRITE: usize = 4 << 10;
/// How long all of them may take: a card that needs longer is broken.
const WRITES_LIMIT: Duration = Duration::from_secs(10);
/// A good card takes 5 to 20 ms. A callback waits for one or two writes.
const SLOW: Duration = Duration::from_millis(100);
/// Cards pause to clean up; callbacks wait that long, and upstream gives up at some time.
const SLOW_AT_WORST: Duration = Duration::from_secs(1);
/// Tenths of a life (JEDEC JESD84-B51, 7.4.99) from which a replacement should be at hand.
const WORN: u8 = 9;

/// The space on the store's disk, or on the one where the store will be.
pub(super) fn space(store: &Path) -> Finding {
    let there = store.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match Room::of(there) {
        Ok(room) => judge_space(room, store),
        Err(error) => {
            Finding::skipped("space", format!("{} does not tell: {error}", there.display()))
        }
    }
}

fn judge_space(room: Room, store: &Path) -> Finding {
    let says = format!("{} free for {}", size(room.free), store.display());
    let to_do =
        format!("free some: du -xh --max-depth=2 / | sort -h; {} is the mirror", store.display());
    match room {
        Room { low: true, .. } => {
            Finding::fail("space", format!("{says}: callbacks are turned away"), to_do)
        }
        Room { free: 0..TIGHT, .. } => Finding::warn("space", says, to_do),
        Room { .. } => Finding::ok("space", says),
    }
}

/// How long writes take to be on the disk.
pub(super) fn writes(store: &Path, clock: impl Clock + 'static) -> Finding {
    if !store.exists() {
        return Finding::skipped("writes", format!("{} is not there yet", store.display()));
    }
    if Room::of(store).is_ok_and(|room| room.low) {
        return Finding::skipped("writes", "the space that is left is not for trying");
    }
    let probe = Probe(store.join(".doctor"));
    match within(WRITES_LIMIT, move || probe.measure(&clock)) {
        Some(measured) => judge_writes(measured, store),
        None => Finding::fail(
            "writes",
            format!("{WRITES} small writes are not on the disk after {} s", WRITES_LIMIT.as_secs()),
            "replace the card",
        ),
    }
}

/// The file that is written, for as long as it is measured.
struct Probe(PathBuf);

impl Probe {
    /// How long each write took, `fdatasync` included.
    fn measure(&self, clock: &dyn Clock) -> io::Result<Vec<Duration>> {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
        // The first makes room for it, which is more than the store does each time.
        file.write_all(&[0; WRITE])?;
        file.sync_all()?;
        let mut took = Vec::new();
        for number in 0..WRITES {
            let before = clock.tick();
            file.write_all_at(&[number as u8 + 1; WRITE], 0)?;
            file.sync_data()?;
            took.push(clock.tick().since(before));
        }
        Ok(took)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn judge_writes(measured: io::Result<Vec<Duration>>, store: &Path) -> Finding {
    let store = store.display();
    let mut took = match measured {
        Ok(took) if !took.is_empty() => took,
        Ok(_) => return Finding::skipped("writes", "nothing was measured"),
        Err(error) => {
            let says = format!("{store} cannot be written to: {error}");
            let to_do = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    let why = format!("{store} belongs to another user; run doctor as that one");
                    return Finding::told("writes", State::Skipped, &why);
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "cards do so when they are worn out: see dmesg, and replace it"
                }
                _ => "see dmesg for what the disk says",
            };
            return Finding::fail("writes", says, to_do);
        }
    };
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    let says = format!("{} ms to be on the disk, {} ms at worst", millis(median), millis(worst));
    if median <= SLOW && worst <= SLOW_AT_WORST {
        return Finding::ok("writes", says);
    }
    Finding::warn(
        "writes",
        says,
        "callbacks wait for it: see what else writes, or use a better card",
    )
}

/// Milliseconds with the digits that tell something.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1_000.0;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

/// How worn the store's card says to be; `sys` is where the kernel has mounted it.
pub(super) fn card(sys: &Path, store: &Path) -> Finding {
    let there = store.ancestors().find_map(|path| fs::metadata(path).ok());
    let Some(disk) = there.and_then(|there| disk_of(sys, device_number(there.dev()))) else {
        return Finding::skipped("card", "the store's disk tells nothing of itself");
    };
    let read = |name: &str| kernel_text(&disk.join("device").join(name));
    let Some(lives) = read("life_time") else {
        return Finding::skipped("card", "the store's disk does not tell how worn it is");
    };
    judge_card(&lives, read("pre_eol_info").as_deref())
}

/// The whole disk that this device number is, or is a part of.
fn disk_of(sys: &Path, (major, minor): (u32, u32)) -> Option<PathBuf> {
    let block = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
    let part_or_whole = [block.clone(), block.parent()?.to_owned()];
    part_or_whole.into_iter().find(|path| path.join("device").exists())
}

/// `0x01 0x02`: the tenths of its life that each kind of a card's memory has spent, from 1 to 10,
/// 11 for all of it, 0 for unknown. `0x01`: of the reserve, 1 when it is there, 2 when four fifths
/// are used up, 3 when it is gone.
fn judge_card(lives: &str, reserve: Option<&str>) -> Finding {
    let number = |text: &str| u8::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let spent = lives.split_whitespace().filter_map(number).max().unwrap_or(0);
    let reserve = reserve.and_then(number).unwrap_or(0);
    let says = match spent {
        0 => "it does not tell how much of its life is spent".to_owned(),
        1..=10 => format!("{} to {} % of its life is spent", (spent - 1) * 10, spent * 10),
        11.. => "its life is spent".to_owned(),
    };
    match (reserve, spent) {
        (3.., _) => Finding::fail(
            "card",
            format!("{says}, and its reserve is gone"),
            "replace it now; the mirror can be fetched again, the credentials cannot",
        ),
        (2, _) => Finding::warn(
            "card",
            format!("{says}, and four fifths of its reserve"),
            "replace it soon",
        ),
        (_, WORN..) => Finding::warn("card", says, "replace it soon"),
        (0, 0) => Finding::skipped("card", says),
        (_, _) => Finding::ok("card", says),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, assert_finding as check};
    use super::*;

    #[test]
    fn space_is_judged_as_the_store_judges_it() {
        let judge = |free, low| judge_space(Room { free, low }, Path::new("/s"));
        check(&judge(29 << 30, false), State::Ok, "29 GiB free for /s");
        check(&judge(TIGHT - 1, false), State::Warn, "159 MiB free");
        check(&judge(9 << 20, true), State::Fail, "callbacks are turned away");
    }

    #[test]
    fn writes_are_judged_by_their_median_and_the_worst() {
        let judge = |millis: &[u64]| {
            let took = millis.iter().copied().map(Duration::from_millis).collect();
            judge_writes(Ok(took), Path::new("/s"))
        };
        check(&judge(&[4, 9, 900]), State::Ok, "9.0 ms to be on the disk, 900 ms at worst");
        check(&judge(&[1, 2, 1_001]), State::Warn, "1001 ms at worst");
        check(&judge(&[1, 101, 102]), State::Warn, "101 ms to be");
        check(&judge(&[]), State::Skipped, "nothing");
        let fail = |kind: io::ErrorKind| judge_writes(Err(kind.into()), Path::new("/s"));
        check(&fail(io::ErrorKind::ReadOnlyFilesystem), State::Fail, "worn out");
        check(&fail(io::ErrorKind::PermissionDenied), State::Skipped, "another user");
        check(&fail(io::ErrorKind::Other), State::Fail, "dmesg");
    }

    #[test]
    fn a_card_is_found_by_the_partition_on_it() {
        let card = "sys/devices/mmc0/block/mmcblk0";
        let tree = Tree::new(
            "card",
            &[
                (&format!("{card}/mmcblk0p2/partition"), "2\n"),
                ("sys/devices/mmc0/life_time", "0x02 0x01\n"),
                ("sys/devices/mmc0/pre_eol_info", "0x01\n"),
            ],
        );
        tree.link(&format!("{card}/device"), "../..");
        tree.link("sys/dev/block/179:2", "../../devices/mmc0/block/mmcblk0/mmcblk0p2");
        tree.link("sys/dev/block/179:0", "../../devices/mmc0/block/mmcblk0");
        for part in [0, 2] {
            let disk = disk_of(&tree.path("sys"), (179, part)).unwrap();
            assert_eq!(kernel_text(&disk.join("device/life_time")).unwrap(), "0x02 0x01");
        }
        assert_eq!(disk_of(&tree.path("sys"), (8, 1)), None);
        check(&super::card(&tree.path("sys"), &tree.path("sys")), State::Skipped, "nothing");
    }

    #[test]
    fn what_a_card_tells_is_understood() {
        let judge = |lives, reserve| judge_card(lives, Some(reserve));
        check(&judge("0x01 0x02", "0x01"), State::Ok, "10 to 20 % of its life");
        check(&judge("0x00 0x00", "0x00"), State::Skipped, "does not tell");
        check(&judge("0x00 0x00", "0x01"), State::Ok, "does not tell");
        check(&judge("0x09 0x01", "0x01"), State::Warn, "80 to 90 %");
        check(&judge("0x0b 0x01", "0x01"), State::Warn, "its life is spent");
        check(&judge("0x03 0x01", "0x02"), State::Warn, "four fifths");
        check(&judge("0x03 0x01", "0x03"), State::Fail, "replace it now");
        check(&judge_card("who knows", None), State::Skipped, "does not tell");
    }
}
