//! How fast a module is mirrored the first time, and how fast what changed while the agent was
//! away. Each page is on disk before the next is asked for, so that nothing is left to be written
//! when the time is taken; it begins with the agent's process.

use std::io;
use std::time::{Duration, Instant};

use super::Bench;
use super::agent::Stage;
use super::drain::Floors;
use super::figures::{Figure, Table};
use super::flash;
use super::home::lock;
use super::machine::Usage;
use super::sim::{Clock, RealClock, Upstream, VirtualClock, lifelike, stamp};

const RECORD_BYTES: usize = 1_500;
const PAGE: usize = 200;
/// Records that are bootstrapped from an upstream that takes its time: 20 pages.
const SLOW_RECORDS: usize = 20 * PAGE;
/// How long a reply takes from Zoho, seen from afar.
const SLOW: Duration = Duration::from_millis(300);
/// Between two looks at how far a catch-up has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const COLUMNS: [&str; 8] = [
    "1.5 KB a record",
    "records/s",
    "spread",
    "agent's time / this",
    "spread",
    "PSS MiB",
    "peak RSS MiB",
    "MiB handed over",
];

/// How long it took, in seconds, and at least takes.
struct Run {
    took: f64,
    floors: Floors,
    usage: Usage,
}

pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let mut table = Table::new("Bootstrap", &COLUMNS);
    let (many, mut runs) = (bench.many(), Vec::new());
    for _ in 0..bench.repetitions {
        let mut stage = fill(bench, many)?;
        let floors = Floors::measure(bench, &stage, None, many)?;
        let took = bootstrap(&mut stage)?;
        runs.push(Run { took, floors, usage: stage.usage()? });
        stage.stop()?;
    }
    beside_floors(&mut table, &many.to_string(), many, &runs);
    from_afar(bench, &mut table)?;
    Ok(table)
}

/// What is changed while the agent is away, in a story whose time is upstream's own.
pub(crate) fn catch_up(bench: &Bench) -> io::Result<Table> {
    // Not of as many as there can be: the simulator looks through all of them for every page.
    let records = bench.records;
    let mut table = Table::new("Catch-up", &COLUMNS);
    let clock = VirtualClock::starting(RealClock.now());
    let mut ids = Vec::new();
    let mut stage = Stage::new(bench, |upstream| {
        *upstream = Upstream::new(clock.clone());
        ids = lifelike::leads(upstream, "Leads", records, RECORD_BYTES);
    })?;
    stage.start()?;
    stage.wait_until_ready()?;
    // An import stamps all it changes alike, and a list in the order of stamps may stop short in
    // the middle of a second: such a second is asked for in another way.
    let stories = [("one a second", Duration::from_secs(1)), ("in one second", Duration::ZERO)];
    for (name, apart) in stories {
        let mut runs = Vec::new();
        for _ in 0..bench.repetitions {
            let wanted = flash::sequence(&stage)? + records as u64;
            stage.stop()?;
            clock.advance(Duration::from_secs(60));
            let since = stamp(clock.now().unix(), 0);
            for id in &ids {
                flash::edit(&stage, &[*id]);
                clock.advance(apart);
            }
            let floors = Floors::measure(bench, &stage, Some(&since), records)?;
            let began = Instant::now();
            stage.start()?;
            flash::wait_for_sequence(&stage, wanted, LOOK_EVERY)?;
            let took = began.elapsed().as_secs_f64();
            runs.push(Run { took, floors, usage: stage.usage()? });
        }
        beside_floors(&mut table, &format!("{records}, changed {name}"), records, &runs);
    }
    stage.stop()?;
    Ok(table)
}

/// The same where the network is the limit: what is added to it is the agent's.
fn from_afar(bench: &Bench, table: &mut Table) -> io::Result<()> {
    let mut runs = Vec::new();
    for _ in 0..bench.repetitions {
        let mut stage = fill(bench, SLOW_RECORDS)?;
        stage.loopback.latency(SLOW);
        let took = bootstrap(&mut stage)?;
        let (requests, _) = lock(&stage.upstream).call_count();
        runs.push((took, requests as f64 * SLOW.as_secs_f64()));
        stage.stop()?;
    }
    let pages = (SLOW_RECORDS / PAGE) as f64 * SLOW.as_secs_f64();
    let row = |name: String, floor: &dyn Fn(&(f64, f64)) -> f64| {
        let rate = Figure::of(&runs, |run| SLOW_RECORDS as f64 / floor(run));
        let times = Figure::of(&runs, |run| run.0 / floor(run));
        vec![name, rate.median(), rate.spread(), times.median(), times.spread()]
    };
    table.row(row(format!("{SLOW_RECORDS}, from an upstream {SLOW:?} away"), &|run| run.0));
    table.row(row(format!("floor: its pages, {SLOW:?} each"), &|_| pages));
    table.row(row(format!("floor: its requests, {SLOW:?} each"), &|run| run.1));
    Ok(())
}

fn beside_floors(table: &mut Table, name: &str, records: usize, runs: &[Run]) {
    let row = |name: &str, floor: fn(&Run) -> f64| {
        let rate = Figure::of(runs, |run| records as f64 / floor(run));
        let times = Figure::of(runs, |run| run.took / floor(run));
        vec![name.to_owned(), rate.median(), rate.spread(), times.median(), times.spread()]
    };
    let mut agent = row(name, |run| run.took);
    agent.extend([
        Figure::of(runs, |run| run.usage.pss).median(),
        Figure::of(runs, |run| run.usage.peak).median(),
        Figure::of(runs, |run| run.usage.handed / 1024.0).median(),
    ]);
    table.row(agent);
    table.row(row("floor: pages read and parsed", |run| run.floors.parsed));
    table.row(row("floor: and an fdatasync for each", |run| run.floors.kept));
}

/// Seconds from the start of the agent's process until everything is mirrored.
fn bootstrap(stage: &mut Stage) -> io::Result<f64> {
    let began = Instant::now();
    stage.start()?;
    stage.wait_until_ready()?;
    Ok(began.elapsed().as_secs_f64())
}

pub(crate) fn fill(bench: &Bench, records: usize) -> io::Result<Stage> {
    Stage::new(bench, |upstream| drop(lifelike::leads(upstream, "Leads", records, RECORD_BYTES)))
}
