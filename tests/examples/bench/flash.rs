//! What is written for each change of a record: one at a time, as callbacks announce them, and
//! many at once, as a catch-up finds them; with and without an index that changes with them.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Table};
use super::home::lock;
use super::lag::{APART, announce};
use super::machine::Disk;
use super::reads::RECORD_BYTES;
use super::wire::{Wire, post};

/// Changes that are announced one at a time.
const SINGLE: usize = 200;
/// Between two looks at how far a catch-up has come, whose answers are counted as written too.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A catch-up that has not seen everything by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// KiB for each change, by one repetition.
struct Cost {
    handed: f64,
    written: f64,
}

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let columns = ["1.5 KB a record", "wchar KiB", "times", "spread", "disk KiB", "times"];
    let title = "Written for each change (wchar: what the agent hands to the kernel, also as \
                 replies; disk: by anybody)";
    let mut table = Table::new(title, &columns);
    for (name, index) in [("no index", &[][..]), ("its phone is indexed", &["Phone"][..])] {
        let (mut stage, ids) = Stage::full(bench, bench.records, RECORD_BYTES, index)?;
        let (mut alone, mut bulk) = (Vec::new(), Vec::new());
        thread::sleep(bench.settle);
        for _ in 0..bench.repetitions {
            alone.push(cost(bench, &mut stage, SINGLE, |stage| one_at_a_time(stage, &ids))?);
            bulk.push(cost(bench, &mut stage, ids.len(), |stage| at_once(stage, &ids))?);
        }
        table.row(row(&format!("one at a time, {name}"), &alone));
        table.row(row(&format!("{} at once, {name}", ids.len()), &bulk));
        stage.stop()?;
    }
    Ok(table)
}

fn row(name: &str, costs: &[Cost]) -> Vec<String> {
    let times = |kib: f64| kib * 1024.0 / RECORD_BYTES as f64;
    let handed = Figure::of(costs, |cost| times(cost.handed));
    vec![
        name.to_owned(),
        Figure::of(costs, |cost| cost.handed).median(),
        handed.median(),
        handed.spread(),
        Figure::of(costs, |cost| cost.written).median(),
        Figure::of(costs, |cost| times(cost.written)).median(),
    ]
}

/// What is written until the store has flushed all of it.
fn cost(
    bench: &Bench,
    stage: &mut Stage,
    changes: usize,
    make: impl FnOnce(&mut Stage) -> io::Result<()>,
) -> io::Result<Cost> {
    let disk = Disk::of(&bench.directory);
    let (handed, written) = (stage.usage()?.handed, disk.written());
    make(stage)?;
    thread::sleep(bench.settle);
    let each = |kib: f64| kib / changes as f64;
    let (handed, written) = (stage.usage()?.handed - handed, disk.written() - written);
    Ok(Cost { handed: each(handed), written: each(written) })
}

fn one_at_a_time(stage: &mut Stage, ids: &[u64]) -> io::Result<()> {
    let mut caller = Wire::connect(stage.home.callbacks)?;
    for _ in 0..SINGLE {
        let id = ids[fastrand::usize(..ids.len())];
        announce(stage, &mut caller, id, &format!("\"{:016x}\"", fastrand::u64(..)))?;
        thread::sleep(APART);
    }
    Ok(())
}

/// Edits everything without a callback, and has it found.
pub(crate) fn at_once(stage: &Stage, ids: &[u64]) -> io::Result<()> {
    let wanted = sequence(stage)? + ids.len() as u64;
    edit(stage, ids);
    let status = Wire::connect(stage.home.local)?.ask(&post("/sync?module=Leads", "", false))?;
    if status != 202 {
        return Err(io::Error::other(format!("/sync answers {status}")));
    }
    wait_for_sequence(stage, wanted, LOOK_EVERY)
}

/// Edits records without a callback.
pub(crate) fn edit(stage: &Stage, ids: &[u64]) {
    let mut upstream = lock(&stage.upstream);
    for &id in ids {
        upstream.edit("Leads", id, &[("Phone", &format!("\"{:016x}\"", fastrand::u64(..)))]);
    }
    drop(upstream.take_callbacks());
}

/// Waits until the agent has made so many changes.
pub(crate) fn wait_for_sequence(
    stage: &Stage,
    wanted: u64,
    look_every: Duration,
) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while sequence(stage)? < wanted {
        if Instant::now() > until {
            return Err(io::Error::other("the catch-up does not find what was changed"));
        }
        thread::sleep(look_every);
    }
    Ok(())
}

/// The number of the agent's newest change.
pub(crate) fn sequence(stage: &Stage) -> io::Result<u64> {
    let status = stage.status()?;
    status["sequence"].as_u64().ok_or_else(|| io::Error::other("/status has no sequence"))
}
