//! How many callbacks are acknowledged, each on disk before it is, while what they name is fetched
//! and committed at the same time.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::Bench;
use super::agent::Stage;
use super::figures::{Figure, Sample, Table};
use super::home::{CALLBACK_PATH, lock};
use super::load::Load;
use super::machine::Disk;
use super::wire::{Door, post};

const RECORDS: usize = 2_000;
const RECORD_BYTES: usize = 500;
/// About what a callback adds to the log.
const FLOOR_BYTES: usize = 200;

struct Repetition {
    sample: Sample,
    flushes: f64,
    written: f64,
}

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let (mut stage, ids) = Stage::full(bench, RECORDS, RECORD_BYTES, &[])?;
    let bodies = announced(&stage, &ids);
    let columns = ["callers", "acks/s", "spread", "p50 ms", "p99 ms", "flushes/ack", "KiB/ack"];
    let mut table =
        Table::new("Callbacks acknowledged (flushes and KiB: of the whole disk)", &columns);
    for kept in [true, false] {
        let requests: Vec<Vec<u8>> =
            bodies.iter().map(|body| post(CALLBACK_PATH, body, !kept)).collect();
        for callers in [1, 8, 64] {
            let door = Door::Network(stage.home.callbacks);
            let load = Load { kept, ..Load::new(door, &requests, callers, bench.span) };
            let mut repetitions = Vec::new();
            for _ in 0..bench.repetitions {
                repetitions.push(repeat(bench, &mut stage, &load)?);
            }
            let how = if kept { "kept alive" } else { "a connection each" };
            table.row(row(&format!("{callers}, {how}"), &repetitions));
        }
    }
    let floors: io::Result<Vec<Repetition>> =
        (0..bench.repetitions).map(|_| floor(bench)).collect();
    table.row(row("floor: append, fdatasync", &floors?));
    stage.stop()?;
    Ok(table)
}

/// Edits these records; the bodies of the callbacks that say so.
pub(crate) fn announced(stage: &Stage, ids: &[u64]) -> Vec<String> {
    let mut upstream = lock(&stage.upstream);
    for &id in ids {
        upstream.edit("Leads", id, &[("Phone", "\"1\"")]);
    }
    upstream.take_callbacks().into_iter().map(|callback| callback.body).collect()
}

fn row(name: &str, repetitions: &[Repetition]) -> Vec<String> {
    let figure = |measure: fn(&Repetition) -> f64| Figure::of(repetitions, measure);
    let rate = figure(|each| each.sample.per_second());
    vec![
        name.to_owned(),
        rate.median(),
        rate.spread(),
        figure(|each| each.sample.percentile(50)).median(),
        figure(|each| each.sample.percentile(99)).median(),
        figure(|each| each.flushes / each.sample.count() as f64).median(),
        figure(|each| each.written / each.sample.count() as f64).median(),
    ]
}

fn repeat(bench: &Bench, stage: &mut Stage, load: &Load<'_>) -> io::Result<Repetition> {
    let disk = Disk::of(&bench.directory);
    let (flushes, written) = (disk.flushes(), disk.written());
    let sample = load.run()?;
    let flushes = disk.flushes() - flushes;
    stage.wait_until_settled()?;
    // The fetching that follows is part of what a callback costs.
    let written = disk.written() - written;
    Ok(Repetition { sample, flushes, written })
}

/// What the disk does when nothing else is done.
fn floor(bench: &Bench) -> io::Result<Repetition> {
    let disk = Disk::of(&bench.directory);
    let path = bench.directory.join("floor");
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
    std::fs::remove_file(&path)?;
    Ok(Repetition { sample, flushes, written })
}
