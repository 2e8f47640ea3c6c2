//! A sandbox: the agent as it is, with a simulated Zoho CRM in place of the real one.
//!
//! `cargo run --release --example sandbox` starts both in one process, prints what can be tried
//! from another terminal, and changes records upstream now and then, until Ctrl-C. It needs no
//! account, no network and no root, and leaves nothing behind unless it is asked to.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crmirror::config::Config;
use crmirror::error::Failure;
use crmirror::{daemon, logger};
use lexopt::prelude::{Long, Short};

#[path = "../it/sim/mod.rs"]
mod sim;

mod home;
#[path = "sandbox/invitation.rs"]
mod invitation;
#[path = "sandbox/story.rs"]
mod story;

use home::{Home, Wishes};
use sim::{Loopback, Manners, ORGANIZATION, RealClock, Upstream};
use story::Story;

const HELP: &str = "\
The agent against a simulated upstream, to try things out: no account, no network, no root.

Usage: cargo run --release --example sandbox -- [OPTIONS]

Options:
  --records N   records upstream at the start (default: 300; 10 to 100000)
  --seed N      the same seed makes the same records (default: 1)
  --keep DIR    keep configuration and mirror in DIR, and use what is there already
  --quiet       print what can be tried, but not each change
  --help

Ctrl-C ends it. RUST_LOG=debug shows more of the agent's log, on stderr.
";

/// The modules of `sim::data::plausible`.
const MODULES: [&str; 3] = ["Leads", "Contacts", "Deals"];
/// Invoices in Zoho Books: each is fetched by a call of its own, and calls are paced.
const INVOICES: usize = 5;
/// A function that says what it was given.
const FUNCTION: &str = "kiosk_checkin";
/// Short enough for a person to see a renewal.
const LIFETIME: &str = "5m";
const CATCH_UP_EVERY: &str = "5m";
/// Enough for a day of changes every few seconds, each with its fetch.
const CREDITS_PER_DAY: u32 = 100_000;

struct Options {
    seed: u64,
    records: usize,
    keep: Option<PathBuf>,
    quiet: bool,
}

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say(HELP.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sandbox: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    let usual = if options.quiet { "warn" } else { "info" };
    logger::start(Some(&std::env::var("RUST_LOG").unwrap_or(usual.to_owned())));
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sandbox: {failure}");
            failure.exit.into()
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::failed(format!("the sandbox has no home: {error}"));
    let upstream = Arc::new(Mutex::new(Upstream::new(Arc::new(RealClock))));
    sim::data::plausible(&mut home::lock(&upstream), options.seed, options.records);
    sim::data::invoices(&mut home::lock(&upstream), INVOICES);
    home::lock(&upstream).desk.context = Some(invitation::CONTEXT.to_owned());
    home::lock(&upstream).functions.add(FUNCTION);
    let loopback = Loopback::start(Arc::clone(&upstream));
    let name = format!("crmirror-sandbox-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let directory = options.keep.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
    let home = Home::at(&directory, options.keep.is_none());
    let mut home = home.map_err(broken)?;
    let used_before = home.store().exists();
    let wishes = Wishes {
        modules: &MODULES,
        lifetime: LIFETIME,
        catch_up_every: CATCH_UP_EVERY,
        credits_per_day: CREDITS_PER_DAY,
        socket: false,
        index: &[],
        books: Some(ORGANIZATION),
        platform: true,
        functions: &[FUNCTION],
        tls: false,
    };
    home.furnish(&loopback.origin(), &wishes).map_err(broken)?;
    let config = Config::load(&home.configuration())?;
    let delivery = loopback.deliver_to(home.callbacks, Manners::default());
    home.release();

    let stopping = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        let (home, loopback, delivery, stopping) = (&home, &loopback, &delivery, &stopping);
        let mut story = Story { upstream, home, loopback, delivery, stopping };
        scope.spawn(move || story.tell(options, used_before));
        let ended = daemon::run(&config);
        stopping.store(true, Ordering::SeqCst);
        ended
    });
    drop(home);
    if ended.is_ok() {
        say(match options.keep {
            Some(_) => "stopped; the directory is kept",
            None => "stopped; nothing is left behind",
        });
    }
    ended
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::ValueExt;
    let mut options = Options { seed: 1, records: 300, keep: None, quiet: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("records") => {
                options.records = parser.value()?.parse()?;
                if !(10..=100_000).contains(&options.records) {
                    return Err("--records takes a number from 10 to 100000".into());
                }
            }
            Long("keep") => options.keep = Some(parser.value()?.into()),
            Long("quiet") => options.quiet = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

/// Prints a text for a person; false when nobody reads any more.
fn say(text: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}
