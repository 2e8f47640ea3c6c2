//! How many reads and searches of a full mirror are answered, beside what tiny_http does when it
//! has nothing to do.

use std::io;

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::floor::Floor;
use super::load::Load;
use super::wire::{Door, Wire, get};

pub(crate) const RECORD_BYTES: usize = 1_500;
/// Different requests of a kind, spread over the module.
const REQUESTS: usize = 2_000;
/// Pages that are turned.
const PAGES: usize = 50;
/// How many read at once.
const READERS: [usize; 3] = [1, 8, 32];
/// A search without an index takes so much longer that it is given more time.
const SCANS_SPAN: u32 = 3;

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, bench.many(), RECORD_BYTES, &["Serial"])?;
    let local = Door::Network(stage.home.local);
    let some = |target: &dyn Fn(usize) -> String| -> Vec<Vec<u8>> {
        (0..REQUESTS).map(|_| get(&target(fastrand::usize(..ids.len())))).collect()
    };
    let by_id = some(&|number| format!("/crm/v2/Leads/{}", ids[number]));
    let pages: Vec<Vec<u8>> =
        (1..=10).map(|page| get(&format!("/crm/v2/Leads?per_page=200&page={page}"))).collect();
    let beyond = beyond(&local)?;
    let search = "/crm/v2/Leads/search?criteria=";
    let indexed = some(&|number| format!("{search}(Serial:equals:S-{number:07})"));
    let scans = some(&|number| format!("{search}(Serial:contains:{number:07})"));
    look(&local, &indexed[0], b"Mirror-Search: index")?;
    look(&local, &scans[0], b"Mirror-Search: scan")?;
    let record = Floor::constant(look(&local, &by_id[0], b"")?)?;
    let page = Floor::constant(look(&local, &pages[0], b"")?)?;

    let columns = ["readers, kept alive", "answers/s", "spread", "p50 ms", "p99 ms"];
    let title = format!("Reads of {} records of 1.5 KB", ids.len());
    let mut table = Table::new(title, &columns);
    let socket = Door::Socket(stage.home.socket());
    let kinds = [
        ("by id", &local, &by_id),
        ("by id, Unix socket", &socket, &by_id),
        ("floor: bare tiny_http, one record", &record.door, &by_id),
        ("page of 200, the first ten", &local, &pages),
        ("page of 200, by page tokens", &local, &beyond),
        ("floor: bare tiny_http, one page", &page.door, &pages),
        ("search, indexed", &local, &indexed),
        ("search, looking at all", &local, &scans),
    ];
    for readers in READERS {
        let mut samples: Vec<Vec<Sample>> = kinds.iter().map(|_| Vec::new()).collect();
        for _ in 0..bench.repetitions {
            for ((_, door, requests), samples) in kinds.iter().zip(&mut samples) {
                let patient = *requests == &scans;
                let span = if patient { bench.span * SCANS_SPAN } else { bench.span };
                let load = Load::new((*door).clone(), requests, readers, span);
                samples.push(Load { patient, ..load }.run()?);
            }
        }
        for ((name, _, _), samples) in kinds.iter().zip(&samples) {
            table.row(row(&format!("{readers}, {name}"), samples));
        }
    }
    stage.stop()?;
    Ok(table)
}

/// Requests of the pages that page tokens lead to, from the first on.
fn beyond(door: &Door) -> io::Result<Vec<Vec<u8>>> {
    let (mut wire, mut requests) = (Wire::open(door)?, Vec::new());
    let mut request = get("/crm/v2/Leads?per_page=200");
    while requests.len() < PAGES {
        wire.ask(&request)?;
        let page: serde_json::Value = serde_json::from_slice(wire.body())?;
        let Some(token) = page["info"]["next_page_token"].as_str() else { break };
        request = get(&format!("/crm/v2/Leads?per_page=200&page_token={token}"));
        requests.push(request.clone());
    }
    Ok(requests)
}

fn row(name: &str, samples: &[Sample]) -> Vec<String> {
    let rate = Figure::of(samples, Sample::per_second);
    vec![
        name.to_owned(),
        rate.median(),
        rate.spread(),
        Figure::of(samples, |sample| sample.percentile(50)).median(),
        Figure::of(samples, |sample| sample.percentile(99)).median(),
    ]
}

/// The body of a reply whose head has to have this in it: what was not done as it should be is
/// not measured as if it had been.
fn look(door: &Door, request: &[u8], expected: &[u8]) -> io::Result<Vec<u8>> {
    let mut wire = Wire::open(door)?;
    let status = wire.ask(request)?;
    let is_there =
        expected.is_empty() || wire.head().windows(expected.len()).any(|part| part == expected);
    if status != 200 || !is_there {
        let head = String::from_utf8_lossy(wire.head()).into_owned();
        return Err(io::Error::other(format!("not answered as it should be: {head}")));
    }
    Ok(wire.body().to_vec())
}
