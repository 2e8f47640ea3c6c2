//! How many callbacks are acknowledged, each on disk before it is, while what they name is fetched
//! and committed at the same time; beside a bare tiny_http that keeps the same requests, flushing
//! once for all that wait, and does no more. The two are asked in turn.
//!
//! Flushes are counted for the whole disk, so those of others are among them: the last row, which
//! flushes once for each, shows how many.

use std::fs::{OpenOptions, remove_file};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::floor::Floor;
use super::home::{CALLBACK_PATH, lock, test_data};
use super::load::Load;
use super::machine::Disk;
use super::wire::{Door, post};

const RECORDS: usize = 2_000;
const RECORD_BYTES: usize = 500;
/// About what a callback adds to the log.
const FLOOR_BYTES: usize = 200;
/// How many call at once, and whether they keep their connections.
const PLAIN: [(usize, bool); 6] =
    [(1, true), (8, true), (64, true), (1, false), (8, false), (64, false)];
/// The same by TLS.
const BY_TLS: [(usize, bool); 2] = [(64, true), (8, false)];

struct Repetition {
    sample: Sample,
    flushes: f64,
    written: f64,
}

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, RECORDS, RECORD_BYTES, &[])?;
    let columns = [
        "callers",
        "acks/s",
        "spread",
        "of floor",
        "spread",
        "p50 ms",
        "p99 ms",
        "times floor's",
        "flushes/ack",
        "KiB/ack",
    ];
    let mut table =
        Table::new("Callbacks acknowledged (flushes and KiB: of the whole disk)", &columns);
    let door = Door::Network(stage.home.callbacks);
    for (callers, kept) in PLAIN {
        compare(bench, &mut stage, &ids, &mut table, (&door, callers, kept))?;
    }
    stage.stop()?;
    stage.tls = true;
    stage.start()?;
    stage.wait_until_ready()?;
    let door = Door::tls(stage.home.callbacks, &test_data("first-cert.pem"))?;
    for (callers, kept) in BY_TLS {
        compare(bench, &mut stage, &ids, &mut table, (&door, callers, kept))?;
    }
    stage.stop()?;
    let lone: io::Result<Vec<Repetition>> = (0..bench.repetitions).map(|_| lone(bench)).collect();
    table.row(row("floor: append, fdatasync", &lone?, None));
    Ok(table)
}

/// Rows of the agent, and of the floor asked in turn with it.
fn compare(
    bench: &Bench,
    stage: &mut Stage,
    ids: &[u64],
    table: &mut Table,
    (door, callers, kept): (&Door, usize, bool),
) -> io::Result<()> {
    let bodies = announced(stage, ids);
    let requests: Vec<Vec<u8>> =
        bodies.iter().map(|body| post(CALLBACK_PATH, body, !kept)).collect();
    let load = Load { kept, ..Load::new(door.clone(), &requests, callers, bench.span) };
    let path = bench.directory.join("floor");
    let floor = Floor::durable(&path)?;
    let bare = Load { door: floor.door.clone(), ..load };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.repetitions {
        // The fetching that follows is part of what a callback costs.
        ours.push(repeat(bench, &load, || stage.wait_until_settled())?);
        theirs.push(repeat(bench, &bare, || Ok(()))?);
    }
    let tls = if matches!(door, Door::Tls(..)) { ", TLS" } else { "" };
    let how = if kept { "kept alive" } else { "a connection each" };
    table.row(row(&format!("{callers}, {how}{tls}"), &ours, Some(&theirs)));
    table.row(row("  floor: bare tiny_http, plain, shared fdatasync", &theirs, None));
    remove_file(path)
}

/// Edits these records; the bodies of the callbacks that say so.
pub(crate) fn announced(stage: &Stage, ids: &[u64]) -> Vec<String> {
    let mut upstream = lock(&stage.upstream);
    for &id in ids {
        upstream.edit("Leads", id, &[("Phone", "\"1\"")]);
    }
    upstream.take_callbacks().into_iter().map(|callback| callback.body).collect()
}

/// Each repetition is compared with that of the floor that came just after it.
fn row(name: &str, repetitions: &[Repetition], floor: Option<&[Repetition]>) -> Vec<String> {
    let figure = |measure: fn(&Repetition) -> f64| Figure::of(repetitions, measure);
    let both: Vec<_> = repetitions.iter().zip(floor.unwrap_or_default()).collect();
    let share = |measure: fn(&Sample) -> f64| {
        Figure::of(&both, |(ours, floor)| measure(&ours.sample) / measure(&floor.sample))
    };
    let (rate, of_floor) = (figure(|each| each.sample.per_second()), share(Sample::per_second));
    vec![
        name.to_owned(),
        rate.median(),
        rate.spread(),
        of_floor.median(),
        of_floor.spread(),
        figure(|each| each.sample.percentile(50)).median(),
        figure(|each| each.sample.percentile(99)).median(),
        share(|sample| sample.percentile(99)).median(),
        figure(|each| each.flushes / each.sample.count() as f64).median(),
        figure(|each| each.written / each.sample.count() as f64).median(),
    ]
}

/// Flushes are those until the last answer, what is written also what comes until `settled`.
fn repeat(
    bench: &Bench,
    load: &Load<'_>,
    settled: impl FnOnce() -> io::Result<()>,
) -> io::Result<Repetition> {
    let disk = Disk::of(&bench.directory);
    let (flushes, written) = (disk.flushes(), disk.written());
    let sample = load.run()?;
    let flushes = disk.flushes() - flushes;
    settled()?;
    Ok(Repetition { sample, flushes, written: disk.written() - written })
}

/// What the disk does when nothing else is done, and nothing is shared.
fn lone(bench: &Bench) -> io::Result<Repetition> {
    let disk = Disk::of(&bench.directory);
    let path = bench.directory.join("lone");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let (flushes, written) = (disk.flushes(), disk.written());
    let (mut latencies, began) = (Vec::new(), Instant::now());
    while began.elapsed() < bench.span.min(Duration::from_millis(500)) {
        let asked = Instant::now();
        file.write_all(&[b'x'; FLOOR_BYTES])?;
        file.sync_data()?;
        latencies.push(asked.elapsed());
    }
    let sample = Sample::new(latencies, began.elapsed());
    let (flushes, written) = (disk.flushes() - flushes, disk.written() - written);
    remove_file(&path)?;
    Ok(Repetition { sample, flushes, written })
}
