//! Whether readers slow the acknowledgement of callbacks: the same callers alone, and while others
//! read.
//!
//! Readers who never rest take their share of the processor whoever answers them: they run here, as
//! the callers do. What they leave to the callbacks when a bare tiny_http answers them, in this
//! process and not in the agent, says how much of a loss is that.

use std::io;
use std::thread;
use std::time::Duration;

use super::Bench;
use super::acks::announced;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::floor::Floor;
use super::home::CALLBACK_PATH;
use super::load::Load;
use super::reads::RECORD_BYTES;
use super::wire::{Door, get, post};

const CALLERS: usize = 8;
const READERS: usize = 8;
/// Records whose changes are announced.
const CHANGED: usize = 2_000;
/// Between two reads of a reader who rests: 8 of them ask 400 times a second.
const REST: Duration = Duration::from_millis(20);

/// Callbacks, and the reads beside them, if there were any.
type Pair = (Sample, Option<Sample>);

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, bench.many(), RECORD_BYTES, &[])?;
    let bodies = announced(&stage, &ids[ids.len() - CHANGED..]);
    let callbacks: Vec<Vec<u8>> =
        bodies.iter().map(|body| post(CALLBACK_PATH, body, false)).collect();
    let by_id: Vec<Vec<u8>> = ids.iter().map(|id| get(&format!("/crm/v2/Leads/{id}"))).collect();
    let calls = Load::new(Door::Network(stage.home.callbacks), &callbacks, CALLERS, bench.span);
    let local = Door::Network(stage.home.local);
    let floor = Floor::constant(vec![b'x'; RECORD_BYTES])?;
    let reads = |door: &Door| Load::new(door.clone(), &by_id, READERS, bench.span);
    let resting = |door: &Door| Load { pause: REST, ..reads(door) };
    let kinds = [
        ("alone".to_owned(), None),
        (format!("{READERS} readers, {REST:?} between two reads"), Some(resting(&local))),
        ("floor: the same at a bare tiny_http".to_owned(), Some(resting(&floor.door))),
        (format!("{READERS} readers without a rest"), Some(reads(&local))),
        ("floor: the same at a bare tiny_http".to_owned(), Some(reads(&floor.door))),
    ];
    let mut repetitions: Vec<Vec<Pair>> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.repetitions {
        for ((_, reads), pairs) in kinds.iter().zip(&mut repetitions) {
            pairs.push(together(&calls, reads.as_ref())?);
            stage.wait_until_settled()?;
        }
    }
    let columns =
        ["8 callers, kept alive", "acks/s", "of alone", "spread", "p99 ms", "reads/s", "p99 ms"];
    let mut table = Table::new("Callbacks acknowledged while others read by id", &columns);
    for ((name, _), pairs) in kinds.iter().zip(&repetitions) {
        table.row(row(name, pairs, &repetitions[0]));
    }
    stage.stop()?;
    Ok(table)
}

fn together(calls: &Load<'_>, reads: Option<&Load<'_>>) -> io::Result<Pair> {
    thread::scope(|scope| {
        let reading = reads.map(|reads| scope.spawn(|| reads.run()));
        let called = calls.run()?;
        let read = reading.map(|reading| reading.join().expect("a reader does not panic"));
        Ok((called, read.transpose()?))
    })
}

/// Each repetition is compared with the one alone that came just before it.
fn row(name: &str, pairs: &[Pair], alone: &[Pair]) -> Vec<String> {
    let both: Vec<_> = pairs.iter().zip(alone).collect();
    let share = Figure::of(&both, |((with, _), (alone, _))| with.per_second() / alone.per_second());
    let read = |measure: fn(&Sample) -> f64| {
        Figure::of(pairs, |(_, read)| read.as_ref().map_or(f64::NAN, measure)).median()
    };
    vec![
        name.to_owned(),
        Figure::of(pairs, |(called, _)| called.per_second()).median(),
        share.median(),
        share.spread(),
        Figure::of(pairs, |(called, _)| called.percentile(99)).median(),
        read(Sample::per_second),
        read(|read| read.percentile(99)),
    ]
}
