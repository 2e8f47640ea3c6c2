//! How fast a module is mirrored the first time, and what the agent takes then, busy and at rest.

use std::io;
use std::thread;
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Table};
use super::home::lock;
use super::machine::Usage;
use super::sim::lifelike;
use super::wire::Wire;

const RECORD_BYTES: usize = 1_500;
const SMALL: usize = 300;

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let columns =
        ["1.5 KB a record", "records/s", "spread", "PSS MiB", "peak RSS MiB", "MiB handed over"];
    let title = format!("Bootstrap of {} records", bench.records);
    let mut table = Table::new(title, &columns);
    let (mut runs, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..bench.repetitions {
        let mut stage = fill(bench, bench.records)?;
        floors.push(bench.records as f64 / walk(&stage)?);
        stage.start()?;
        let began = Instant::now();
        stage.wait_until_ready()?;
        let rate = bench.records as f64 / began.elapsed().as_secs_f64();
        runs.push((rate, stage.usage()?));
        stage.stop()?;
    }
    let rate = Figure::of(&runs, |(rate, _)| *rate);
    table.row(vec![
        "the agent".to_owned(),
        rate.median(),
        rate.spread(),
        Figure::of(&runs, |(_, usage)| usage.pss).median(),
        Figure::of(&runs, |(_, usage)| usage.peak).median(),
        Figure::of(&runs, |(_, usage)| usage.handed / 1024.0).median(),
    ]);
    let floor = Figure::of(&floors, |rate| *rate);
    table.row(vec!["floor: the simulator's pages".to_owned(), floor.median(), floor.spread()]);
    Ok(table)
}

/// The agent when nothing happens.
pub(crate) fn rest(bench: &Bench) -> io::Result<Table> {
    let columns = [
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
    ];
    let mut table = Table::new(format!("At rest, for {:.0?}", bench.rest), &columns);
    let many = bench.many();
    let mut stage = fill(bench, SMALL)?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, SMALL.to_string())?);
    stage.stop()?;
    let mut stage = fill(bench, many)?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, format!("{many}, bootstrapped"))?);
    stage.stop()?;
    stage.start()?;
    stage.wait_until_ready()?;
    table.row(resting(bench, &stage, format!("{many}, restarted"))?);
    stage.stop()?;
    Ok(table)
}

fn resting(bench: &Bench, stage: &Stage, name: String) -> io::Result<Vec<String>> {
    thread::sleep(bench.settle);
    let before = stage.usage()?;
    thread::sleep(bench.rest);
    let after = stage.usage()?;
    let per_minute = |measure: fn(&Usage) -> f64| {
        (measure(&after) - measure(&before)) * 60.0 / bench.rest.as_secs_f64()
    };
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
    ];
    let figures = figures.into_iter().map(|value| Figure::of(&[value], |value| *value).median());
    Ok(std::iter::once(name).chain(figures).collect())
}

fn fill(bench: &Bench, records: usize) -> io::Result<Stage> {
    Stage::new(bench, |upstream| drop(lifelike::leads(upstream, "Leads", records, RECORD_BYTES)))
}

/// Seconds that it takes to read all pages from the simulator and do nothing with them: whatever
/// the agent takes beyond is its own.
fn walk(stage: &Stage) -> io::Result<f64> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(rename = "data")]
        _data: IgnoredAny,
        info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        more_records: bool,
        next_page_token: Option<String>,
    }
    let token = lock(&stage.upstream).issue_token();
    let mut wire = Wire::connect(stage.loopback.addr())?;
    let (mut place, began) = ("page=1".to_owned(), Instant::now());
    loop {
        let request = format!(
            "GET /crm/v2/Leads?per_page=200&sort_by=id&sort_order=asc&{place} HTTP/1.1\r\n\
             Authorization: Zoho-oauthtoken {token}\r\n\r\n"
        );
        let status = wire.ask(request.as_bytes())?;
        if status != 200 {
            return Err(io::Error::other(format!("the simulator answers {status}")));
        }
        let page: Page = serde_json::from_slice(wire.body())?;
        match page.info {
            Info { more_records: true, next_page_token: Some(token) } => {
                place = format!("page_token={token}");
            }
            _ => return Ok(began.elapsed().as_secs_f64()),
        }
    }
}
