//! Disk against data: the same records, updated over and over. What sled leaves lying about depends
//! on the updates, not on the records: so few of them and many are looked at.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Sight, Store, Write};

use crate::Bench;
use crate::figures::Table;
use crate::machine::Usage;
use crate::sim::lifelike::Lifelike;

/// Records that are updated: at 1.5 KB, 15 MB and 150 MB.
const RECORDS: [u64; 2] = [10_000, 100_000];
const RECORD_BYTES: usize = 1_500;
/// Updates of one commit: a full fetch.
const BATCH: usize = 50;
/// Rows of the table.
const LOOKS: usize = 10;

/// Updates records, so many times in all, and looks at the size of the store now and then.
pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let columns =
        ["records", "updates", "MB of data", "MB on disk", "times", "updates/s", "peak RSS MiB"];
    let title = format!("{} updates of records of 1.5 KB", bench.updates);
    let mut table = Table::new(title, &columns);
    for records in RECORDS {
        wear(bench, records, &mut table)?;
    }
    Ok(table)
}

fn wear(bench: &Bench, records: u64, table: &mut Table) -> io::Result<()> {
    let directory = bench.directory.join(format!("wear-{records}"));
    let (store, _) = Store::open(&directory).map_err(io::Error::other)?;
    let (mut dice, mut lifelike) = (fastrand::Rng::with_seed(1), Lifelike::new(1));
    // All of them once, in their order, as a bootstrap writes them.
    let mut first = 1..=records;
    let mut next = || first.next().unwrap_or_else(|| dice.u64(1..=records));
    for look in 1..=LOOKS {
        let began = Instant::now();
        for _ in 0..bench.updates / LOOKS / BATCH {
            update(&store, &mut lifelike, &mut next)?;
        }
        let _durable = store.flush().map_err(io::Error::other)?;
        let took = began.elapsed().as_secs_f64();
        let disk = store.size_on_disk().map_err(io::Error::other)?;
        let data = texts(&store, records)?;
        let rate = (bench.updates / LOOKS) as f64 / took;
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        table.row(vec![
            records.to_string(),
            (look * bench.updates / LOOKS).to_string(),
            megabytes(data),
            megabytes(disk),
            format!("{:.2}", disk as f64 / data as f64),
            format!("{rate:.0}"),
            format!("{:.0}", Usage::of(std::process::id())?.peak),
        ]);
    }
    Ok(())
}

/// Bytes of all records, as upstream wrote them.
fn texts(store: &Store, records: u64) -> io::Result<u64> {
    let mut bytes = 0;
    let mut look = |_, sight: Sight<'_>| {
        if let Sight::Live { json, .. } = sight {
            bytes += json.len() as u64;
        }
        ControlFlow::Continue(())
    };
    let module = ModuleName::parse("Leads").map_err(io::Error::other)?;
    store.look_below(&module, None, records as usize + 1, &mut look).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes some of the records, as a fetch does.
fn update(
    store: &Store,
    lifelike: &mut Lifelike,
    next: &mut impl FnMut() -> u64,
) -> io::Result<()> {
    let write = |_| {
        let id = next();
        let fields: String = (lifelike.lead(RECORD_BYTES).iter())
            .map(|(name, raw)| format!(",\"{name}\":{raw}"))
            .collect();
        let record = Record::parse(&format!(r#"{{"id":"{id}"{fields}}}"#));
        let entry = Entry::Live(record.map_err(io::Error::other)?);
        Ok(Write { id: RecordId::new(id), entry, change: Some(ChangeKind::Upsert) })
    };
    let commit = Commit {
        writes: (0..BATCH).map(write).collect::<io::Result<_>>()?,
        ..Commit::new(ModuleName::parse("Leads").map_err(io::Error::other)?, UpstreamTime::EPOCH)
    };
    store.commit(commit).map_err(io::Error::other)?;
    Ok(())
}
