//! `crmirror changes`: what changed in the mirror, a line each; with `--follow` what changes next.
//!
//! It is told by the running daemon, or read in the store when none runs, which then has nothing to
//! follow. Lines are printed as they come, and none is kept: there may be a hundred thousand.

use std::io::{self, ErrorKind, Write as _};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::aside;
use crate::config::Config;
use crate::daemon::open_store;
use crate::error::Failure;
use crate::server::feed;
use crate::store::{Change, StoreError};
use crate::upstream::transport::{Patience, Reply};

use super::args::Changes;
use super::client::{Daemon, refused};
use super::give_back;
use super::source::is_mirrored;
use super::table::printable;

/// Changes of one answer.
const PAGE: usize = 1_000;
/// How long one answer may be waited for. The daemon sees at once when we go.
const WAIT: Duration = Duration::from_secs(50);
/// Between two tries while no daemon answers: a restart takes a second or two.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows changes.
pub(super) fn run(config: &Config, wanted: &Changes, json: bool) -> Result<(), Failure> {
    if let Some(module) = &wanted.module {
        if !config.told().contains(module) {
            is_mirrored(config, module)?;
        }
    }
    let patience = Patience::default();
    let longer =
        Patience { call: patience.call + WAIT, answer: patience.answer + WAIT, ..patience };
    let daemon = Daemon::with_patience(config, longer)?;
    match daemon.get("/status") {
        Some(status) => {
            if wanted.follow {
                end_when_asked()?;
            }
            from_daemon(&daemon, &status, wanted, json)
        }
        None if wanted.follow => Err(daemon.absent()),
        None => {
            let shown = from_store(config, wanted, json);
            give_back(&config.store);
            shown
        }
    }
}

/// Who follows has all that was wanted whenever it ends.
fn end_when_asked() -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("signals cannot be received: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let ending = move || {
        if signals.forever().next().is_some() {
            std::process::exit(0);
        }
    };
    let spawned = aside::spawn(thread::Builder::new().name("signals".into()), ending);
    spawned.map(|_| ()).map_err(failed)
}

/// An answer of the daemon.
#[derive(Deserialize)]
struct Page {
    changes: Vec<Box<RawValue>>,
    last_sequence: u64,
}

fn from_daemon(
    daemon: &Daemon,
    status: &Reply,
    wanted: &Changes,
    json: bool,
) -> Result<(), Failure> {
    let foreign = || Failure::failed("what answers there is not crmirror; see local.listen");
    let status: Value = match status.status {
        200 => serde_json::from_slice(&status.body).map_err(|_| foreign())?,
        _ => return Err(refused(status)),
    };
    // Sequences of a store that was made anew are not those that were told here.
    let generation = status["generation"].as_str().ok_or_else(foreign)?;
    let module = wanted.module.as_ref().map(|module| format!("&module={module}"));
    let wait = if wanted.follow { WAIT.as_secs() } else { 0 };
    let usual = format!("/changes?limit={PAGE}&wait={wait}&generation={generation}");
    let usual = usual + &module.unwrap_or_default();
    let mut since = wanted.since;
    let mut is_away = false;
    loop {
        let from = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let reply = match daemon.get(&format!("{usual}{from}")) {
            Some(reply) if reply.status == 200 => reply,
            reply if wanted.follow && reply.as_ref().is_none_or(|reply| reply.status == 503) => {
                if !std::mem::replace(&mut is_away, true) {
                    let why = reply.map_or_else(|| daemon.absent(), |reply| refused(&reply));
                    eprintln!("crmirror: {why}; trying again");
                }
                thread::sleep(PAUSE);
                continue;
            }
            Some(reply) => return Err(refused(&reply)),
            None => return Err(daemon.absent()),
        };
        is_away = false;
        let page: Page = serde_json::from_slice(&reply.body).map_err(|_| foreign())?;
        for change in &page.changes {
            if !show(change.get(), json)? {
                return Ok(());
            }
        }
        if !wanted.follow && since == Some(page.last_sequence) {
            return Ok(());
        }
        since = Some(page.last_sequence);
    }
}

fn from_store(config: &Config, wanted: &Changes, json: bool) -> Result<(), Failure> {
    let (store, told) = (open_store(&config.store)?, config.told());
    let mut since = wanted.since.unwrap_or_else(|| store.beginning());
    if !store.knows(since) {
        return Err(Failure::failed(format!(
            "changes after {since} are not kept, or it is of another store: the oldest is {}",
            store.beginning() + 1
        )));
    }
    let failed = |error: StoreError| Failure::failed(error.to_string());
    loop {
        let changes = store.changes(since, PAGE).map_err(failed)?;
        let Some(last) = changes.last() else { return Ok(()) };
        since = last.sequence;
        let is_wanted = |change: &&Change| match &wanted.module {
            Some(module) => *module == change.module,
            None => told.contains(&change.module),
        };
        for change in changes.iter().filter(is_wanted) {
            if !show(&feed::to_json(change, None), json)? {
                return Ok(());
            }
        }
    }
}

/// Prints a change; whether somebody still reads.
fn show(change: &str, json: bool) -> Result<bool, Failure> {
    let line = if json { change.to_owned() } else { described(change) };
    let mut out = io::stdout().lock();
    match out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("the result cannot be printed: {error}"))),
    }
}

/// A change for a person.
fn described(change: &str) -> String {
    let change: Value = serde_json::from_str(change).unwrap_or_default();
    let text = |name: &str| change[name].as_str().unwrap_or("-").to_owned();
    let (kind, sequence) = (text("kind"), change["sequence"].as_u64().unwrap_or_default());
    let line = format!("{sequence:>8}  {}  {kind:<6}  ", text("time"));
    printable(&format!("{line}{}/{}", text("module"), text("id")))
}
