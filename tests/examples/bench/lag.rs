//! How soon a change can be read after its callback was answered, with an upstream that answers
//! at once.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::home::{CALLBACK_PATH, lock};
use super::wire::{Wire, get, post};

const RECORDS: usize = 500;
const RECORD_BYTES: usize = 500;
const BURST: usize = 200;
/// Longer than what comes after a fetch gathers for the next: each change is fetched at once.
pub(crate) const APART: Duration = Duration::from_millis(40);
/// A change that is not readable by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, RECORDS, RECORD_BYTES, &[])?;
    let columns = ["from the answer until readable", "p50 ms", "spread", "p99 ms", "fetches"];
    let mut table = Table::new("A change becomes readable", &columns);
    let kinds = [
        ("one now and then", bench.rounds, 1, APART),
        ("one upon the other", bench.rounds, 1, Duration::ZERO),
        ("200 callbacks in a burst", 1, BURST, Duration::ZERO),
    ];
    for (name, rounds, count, apart) in kinds {
        let mut repetitions = Vec::new();
        for _ in 0..bench.repetitions {
            repetitions.push(repeat(&mut stage, &ids, rounds, count, apart)?);
        }
        let p50 = Figure::of(&repetitions, |(sample, _)| sample.percentile(50));
        table.row(vec![
            name.to_owned(),
            p50.median(),
            p50.spread(),
            Figure::of(&repetitions, |(sample, _)| sample.percentile(99)).median(),
            Figure::of(&repetitions, |(_, fetches)| *fetches).median(),
        ]);
    }
    stage.stop()?;
    Ok(table)
}

/// Edits `count` records at once, `rounds` times, so far `apart`. Also returns how many requests
/// upstream got.
pub(crate) fn repeat(
    stage: &mut Stage,
    ids: &[u64],
    rounds: usize,
    count: usize,
    apart: Duration,
) -> io::Result<(Sample, f64)> {
    let mut caller = Wire::connect(stage.home.callbacks)?;
    let mut reader = Wire::connect(stage.home.local)?;
    let (calls, _) = lock(&stage.upstream).call_count();
    let (mut latencies, began) = (Vec::new(), Instant::now());
    for _ in 0..rounds {
        let first = fastrand::usize(..=ids.len() - count);
        let mark = format!("\"mark {:016x}\"", fastrand::u64(..));
        let mut answered = Vec::new();
        for &id in &ids[first..first + count] {
            answered.push((id, announce(stage, &mut caller, id, &mark)?));
        }
        for (id, answered) in answered {
            let request = get(&format!("/crm/v2/Leads/{id}"));
            while reader.ask(&request)? != 200 || !shows(reader.body(), &mark) {
                if answered.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!("the change of {id} never came")));
                }
            }
            latencies.push(answered.elapsed());
        }
        thread::sleep(apart);
    }
    let fetches = lock(&stage.upstream).call_count().0 - calls;
    Ok((Sample::new(latencies, began.elapsed()), fetches as f64))
}

/// Edits the phone of a record and delivers the callback; when that was answered.
pub(crate) fn announce(
    stage: &Stage,
    caller: &mut Wire,
    id: u64,
    phone: &str,
) -> io::Result<Instant> {
    let callbacks = {
        let mut upstream = lock(&stage.upstream);
        upstream.edit("Leads", id, &[("Phone", phone)]);
        upstream.take_callbacks()
    };
    for callback in callbacks {
        let status = caller.ask(&post(CALLBACK_PATH, &callback.body, false))?;
        if status != 200 {
            return Err(io::Error::other(format!("a callback was answered {status}")));
        }
    }
    Ok(Instant::now())
}

fn shows(body: &[u8], mark: &str) -> bool {
    body.windows(mark.len()).any(|window| window == mark.as_bytes())
}
