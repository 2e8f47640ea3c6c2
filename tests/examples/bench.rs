//! Measurements: what the agent does in a second, how soon, and what it takes. Not tests: nothing
//! here fails for being slow.
//!
//! `cargo run --release --example bench [-- OPTIONS] [WORKLOAD…]`. The agent runs as a process of
//! its own; upstream is the simulator of the tests, which answers at once. Floors are measured
//! beside, so that a figure tells what is the machine's and what is ours.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::{Long, Short, Value};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "../it/sim/mod.rs"]
mod sim;

#[path = "bench/acks.rs"]
mod acks;
#[path = "bench/agent.rs"]
mod agent;
#[path = "bench/beside.rs"]
mod beside;
#[path = "bench/bootstrap.rs"]
mod bootstrap;
#[path = "bench/drain.rs"]
mod drain;
#[path = "bench/feed.rs"]
mod feed;
#[path = "bench/figures.rs"]
mod figures;
#[path = "bench/flash.rs"]
mod flash;
#[path = "bench/floor.rs"]
mod floor;
mod home;
#[path = "bench/lag.rs"]
mod lag;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/reads.rs"]
mod reads;
#[path = "bench/rest.rs"]
mod rest;
#[path = "../it/scratch.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod scratch;
#[path = "bench/wear.rs"]
mod wear;
#[path = "bench/wire.rs"]
mod wire;

/// The world of the convergence tests, whose time is virtual, for what takes a day.
#[path = "bench"]
#[allow(dead_code, clippy::unwrap_used)]
mod converge {
    #[path = "../../it/converge/agent.rs"]
    mod agent;
    #[path = "day.rs"]
    pub(crate) mod day;
    #[path = "../../it/converge/device.rs"]
    mod device;
    #[path = "../../it/converge/people.rs"]
    mod people;
    #[path = "../../it/converge/post.rs"]
    mod post;
    #[path = "../../it/converge/world.rs"]
    mod world;
}

use figures::Table;

const HELP: &str = "\
Measures the agent against a simulated upstream; half an hour for all.

Usage: cargo run --release --example bench -- [--quick] [WORKLOAD...]

Workloads:
  acks        callbacks acknowledged per second, at 1, 8 and 64 callers, beside a bare tiny_http
  lag         from a callback's answer until the change can be read
  feed        from a callback's answer until readers of /changes have it, 1, 8 and 32 of them
  reads       reads and searches per second of 100,000 records, by 1, 8 and 32 readers
  beside      whether readers slow the acknowledgement of callbacks
  bootstrap   records per second the first time a module is mirrored
  catch-up    records per second that changed while the agent was away
  rest        memory, disk, threads and writes when nothing happens, up to a million records;
              some minutes
  day         what a quiet day costs upstream and the card
  flash       bytes written for each change, alone and among many
  wear        disk against data, while the same records are updated; some minutes for a million
In short: ack is acks, fresh is lag and feed, read is reads.

Options:
  --quick     one short repetition of each, for a first look
  --dir DIR   measure in DIR instead of beside the program: another disk has other figures
  --help

Each figure is the median of three repetitions; the spread is from the least to the greatest.
";

/// A workload's name and what it does.
type Workload = (&'static str, fn(&Bench) -> io::Result<Table>);

const WORKLOADS: [Workload; 11] = [
    ("acks", acks::run),
    ("lag", lag::run),
    ("feed", feed::run),
    ("reads", reads::run),
    ("beside", beside::run),
    ("bootstrap", bootstrap::run),
    ("catch-up", bootstrap::catch_up),
    ("rest", rest::run),
    ("day", converge::day::run),
    ("flash", flash::run),
    ("wear", wear::run),
];

/// Other words for workloads.
const WORDS: [(&str, &str); 4] =
    [("ack", "acks"), ("fresh", "lag"), ("fresh", "feed"), ("read", "reads")];

/// How much is measured, and where.
struct Bench {
    directory: PathBuf,
    repetitions: usize,
    /// How long a repetition puts its load on.
    span: Duration,
    /// Changes that one repetition of `lag` follows.
    rounds: usize,
    /// Records that are bootstrapped.
    records: usize,
    /// Small records of a mirror that has very many.
    small: usize,
    /// Updates of the same records.
    updates: usize,
    /// How long the agent is left alone before it is watched at rest: the store's own flushes,
    /// every 5 s, bring to disk what the start left over, the last of it after 10 s.
    settle: Duration,
    /// How long the agent is watched at rest.
    rest: Duration,
}

impl Bench {
    fn whole(directory: PathBuf) -> Bench {
        let span = Duration::from_millis(700);
        let (settle, rest) = (Duration::from_secs(11), Duration::from_secs(6));
        Bench {
            directory,
            repetitions: 3,
            span,
            rounds: 100,
            records: 20_000,
            small: 1_000_000,
            updates: 1_000_000,
            settle,
            rest,
        }
    }

    /// Records of a mirror that is full: 100,000, when nobody is in a hurry.
    fn many(&self) -> usize {
        self.records * 5
    }

    fn quick(self) -> Bench {
        let (span, rest) = (Duration::from_millis(300), Duration::from_secs(2));
        let (records, small, updates) = (4_000, 40_000, 50_000);
        Bench { repetitions: 1, span, rounds: 50, records, small, updates, rest, ..self }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(first), Some(config)) = (arguments.next(), arguments.next()) {
        if first == agent::ARGUMENT {
            return agent::be(&config);
        }
    }
    let done = match parse(lexopt::Parser::from_env()) {
        Ok(Some((bench, chosen))) => measure(&bench, &chosen),
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("bench: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<(Bench, Vec<Workload>)>, lexopt::Error> {
    let (mut quick, mut directory, mut chosen) = (false, None, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => quick = true,
            Long("dir") => directory = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => return Ok(None),
            Value(word) => {
                let means = |name| {
                    let is_short = |(short, long): &(&str, &str)| word == *short && name == *long;
                    word == name || WORDS.iter().any(is_short)
                };
                let before = chosen.len();
                chosen.extend(WORKLOADS.iter().filter(|(name, _)| means(*name)));
                if chosen.len() == before {
                    return Err("there is no such workload".into());
                }
            }
            _ => return Err(argument.unexpected()),
        }
    }
    if chosen.is_empty() {
        chosen.extend(WORKLOADS);
    }
    let beside = || agent::place().map_err(|error| lexopt::Error::from(error.to_string()));
    let bench = Bench::whole(directory.map_or_else(beside, Ok)?);
    Ok(Some((if quick { bench.quick() } else { bench }, chosen)))
}

fn measure(bench: &Bench, chosen: &[Workload]) -> io::Result<()> {
    let name = format!("bench-{}", std::process::id());
    let directory = bench.directory.canonicalize()?.join(name);
    std::fs::create_dir(&directory)?;
    let removed = directory.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = std::fs::remove_dir_all(&removed);
            std::process::exit(130);
        }
    });
    println!("{}\n", machine::facts(&directory));
    let bench = Bench { directory: directory.clone(), ..*bench };
    let began = Instant::now();
    let done = chosen.iter().try_for_each(|(_, run)| {
        println!("{}", run(&bench)?);
        Ok(())
    });
    std::fs::remove_dir_all(&directory)?;
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    done
}
