//! What the agent takes when nothing happens: freshly bootstrapped, started again, after much has
//! been changed and read, and with a million records.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Store, Write};

use super::Bench;
use super::agent::{Stage, place};
use super::bootstrap::fill;
use super::figures::{Figure, Table};
use super::home::lock;
use super::machine::Usage;
use super::sim::lifelike;
use super::{drain, flash};

const FEW: usize = 300;
const SMALL_BYTES: usize = 200;
/// How often every record is updated.
const UPDATES: usize = 3;
/// Records of one commit: a page.
const BATCH: usize = 200;
/// How often the agent is given time to settle: the snapshot of the day can fall into it.
const SETTLINGS: usize = 8;
const COLUMNS: [&str; 12] = [
    "records",
    "first read ms",
    "PSS MiB",
    "RSS MiB",
    "peak MiB",
    "threads",
    "files",
    "wchar KiB/min",
    "write_bytes KiB/min",
    "CPU ms/min",
    "MB on disk",
    "times the text",
];

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let title = format!("At rest, for {:.0?}; the program: {}", bench.rest, program());
    let mut table = Table::new(title, &COLUMNS);
    let many = bench.many();
    let mut stage = fill(bench, FEW)?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, FEW.to_string())?);
    stage.stop()?;
    let mut stage = fill(bench, many)?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, format!("{many}, bootstrapped"))?);
    stage.stop()?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, format!("{many}, restarted"))?);
    change_and_read(&stage, many)?;
    table.row(resting(bench, &stage, format!("{many}, updated {UPDATES} times, read once"))?);
    stage.stop()?;
    let mut stage = full_of_small(bench, bench.small)?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, format!("{} of {SMALL_BYTES} bytes", bench.small))?);
    stage.stop()?;
    Ok(table)
}

/// The size of the program that was built beside this one.
fn program() -> String {
    // Examples have a directory of their own, below that of the programs.
    let path = place().ok().and_then(|examples| Some(examples.parent()?.join("crmirror")));
    match path.and_then(|path| fs::metadata(path).ok()) {
        Some(found) => format!("{} bytes", found.len()),
        None => "not built".to_owned(),
    }
}

fn resting(bench: &Bench, stage: &Stage, name: String) -> io::Result<Vec<String>> {
    come_to_rest(bench, stage)?;
    let before = stage.usage()?;
    thread::sleep(bench.rest);
    let after = stage.usage()?;
    let per_minute = |measure: fn(&Usage) -> f64| {
        (measure(&after) - measure(&before)) * 60.0 / bench.rest.as_secs_f64()
    };
    let disk = size_of(&stage.home.store())? as f64;
    let text: usize = lock(&stage.upstream).truth("Leads", false).values().map(String::len).sum();
    let figures = [
        stage.first_read.as_secs_f64() * 1_000.0,
        after.pss,
        after.rss,
        after.peak,
        after.threads,
        after.descriptors,
        per_minute(|usage| usage.handed),
        per_minute(|usage| usage.booked),
        per_minute(|usage| usage.busy),
        disk / 1e6,
        disk / text as f64,
    ];
    let figures = figures.into_iter().map(|value| Figure::of(&[value], |value| *value).median());
    Ok(std::iter::once(name).chain(figures).collect())
}

/// Waits until nothing is written for a while; what does not come to rest is measured as it is.
fn come_to_rest(bench: &Bench, stage: &Stage) -> io::Result<()> {
    for _ in 0..SETTLINGS {
        let before = stage.usage()?.handed;
        thread::sleep(bench.settle);
        if stage.usage()?.handed <= before {
            break;
        }
    }
    Ok(())
}

/// Has every record changed upstream and caught up, so many times, and reads each once.
fn change_and_read(stage: &Stage, records: usize) -> io::Result<()> {
    let ids = lock(&stage.upstream).ids("Leads");
    for _ in 0..UPDATES {
        flash::at_once(stage, &ids)?;
    }
    let rows = drain::read(stage.home.local, "/crm/v2/Leads?per_page=200", "", |_| Ok(()))?;
    match rows == records {
        true => Ok(()),
        false => Err(io::Error::other(format!("{rows} rows instead of {records}"))),
    }
}

/// An agent's store with small records, written as a bootstrap writes them. Not by a bootstrap: the
/// simulator looks through all it has for every page, and a million records would take it minutes.
fn full_of_small(bench: &Bench, records: usize) -> io::Result<Stage> {
    let stage = Stage::new(bench, |upstream| {
        drop(lifelike::leads(upstream, "Leads", records, SMALL_BYTES));
    })?;
    let module = ModuleName::parse("Leads").map_err(io::Error::other)?;
    let (now, truth) = {
        let upstream = lock(&stage.upstream);
        (UpstreamTime::from_unix(upstream.now().unix()), upstream.truth("Leads", false))
    };
    let (store, _) = Store::open(&stage.home.store()).map_err(io::Error::other)?;
    // Whoever writes goes on with an index that is whole; else the agent would build it at rest.
    store.set_indexes(&BTreeMap::from([(module.clone(), Vec::new())]));
    while store.build_indexes(BATCH).map_err(io::Error::other)? {}
    let mut truth = truth.into_iter();
    let mut written = 0;
    while written < records {
        let write = |(id, text): (u64, String)| {
            let entry = Entry::Live(Record::parse(&text).map_err(io::Error::other)?);
            Ok(Write { id: RecordId::new(id), entry, change: Some(ChangeKind::Upsert) })
        };
        let writes: Vec<Write> =
            truth.by_ref().take(BATCH).map(write).collect::<io::Result<_>>()?;
        written += writes.len();
        let ledger = Ledger {
            records: written as u64,
            complete_through: Some(now),
            last_catch_up: Some(now),
            last_sweep: Some(now),
            last_refresh: Some(now),
            ..Ledger::default()
        };
        let commit = Commit { writes, ledger, ..Commit::new(module.clone(), now) };
        store.commit(commit).map_err(io::Error::other)?;
    }
    let _durable = store.flush().map_err(io::Error::other)?;
    Ok(stage)
}

/// Bytes that a directory takes on the disk, with all that is in it.
fn size_of(directory: &Path) -> io::Result<u64> {
    fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let found = entry.metadata()?;
        let below = if found.is_dir() { size_of(&entry.path())? } else { 0 };
        Ok(sum + found.blocks() * 512 + below)
    })
}
