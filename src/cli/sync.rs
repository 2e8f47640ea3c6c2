//! `crmirror sync`: asks the running daemon to catch up now, and waits for it where that is wanted.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::error::Failure;
use crate::mirror::record::ModuleName;
use crate::mirror::time::UpstreamTime;

use super::client::{Daemon, refused};
use super::print;
use super::source::is_mirrored;
use super::status::{ask, module_table};
use super::terminal_width;

/// How often the daemon is asked whether it has caught up.
const EVERY: Duration = Duration::from_millis(200);
/// How long upstream may be out of reach before nobody waits for it any more: one call that times
/// out, and a second that does not.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks the running daemon to catch up now.
pub(super) fn run(
    config: &Config,
    module: Option<&ModuleName>,
    sweep: bool,
    wait: bool,
    json: bool,
) -> Result<(), Failure> {
    if let Some(module) = module {
        is_mirrored(config, module)?;
    }
    let daemon = Daemon::of(config)?;
    let before = if wait { Some(ask(&daemon)?) } else { None };
    let asked = module.map(|module| format!("&module={module}")).unwrap_or_default();
    let reply = daemon.post(&format!("/sync?sweep={sweep}{asked}"));
    let reply = reply.ok_or_else(|| daemon.absent())?;
    if reply.status != 202 {
        return Err(refused(&reply));
    }
    let Some(before) = before else {
        return match json {
            true => print("{\"status\":\"accepted\"}\n"),
            false => print("asked for; crmirror status shows when it is done\n"),
        };
    };
    let after = until_done(&daemon, &before, module, sweep)?;
    let changes = sequence(&after).saturating_sub(sequence(&before));
    if json {
        return print(&format!("{}\n", json!({ "changes": changes, "modules": after["modules"] })));
    }
    let table = module_table(&after, module).render(terminal_width());
    print(&format!("{table}\ncaught up; changes that came in: {changes}\n"))
}

/// Waits until what was asked for is done; the status then.
fn until_done(
    daemon: &Daemon,
    before: &Value,
    module: Option<&ModuleName>,
    sweep: bool,
) -> Result<Value, Failure> {
    let mut online = DeviceClock.tick();
    // Where upstream has not told its time yet, whatever it tells is later.
    let mut asked_at = time(&before["upstream"]["time"]);
    loop {
        thread::sleep(EVERY);
        let status = ask(daemon)?;
        let now = time(&status["upstream"]["time"]);
        asked_at = asked_at.or(now);
        let of_it = |name: &str| module.is_none_or(|module| module.as_str() == name);
        let modules = status["modules"].as_object().into_iter().flatten();
        let mut wanted = modules.filter(|(name, _)| of_it(name));
        if asked_at.is_some() && wanted.all(|(_, module)| is_done(module, asked_at, sweep)) {
            return Ok(status);
        }
        if !status["credits"]["waiting_for_credits"].is_null() {
            let message = "the credits of the day are spent; catch_up.credits_per_day is the limit";
            return Err(Failure::unavailable(message));
        }
        let tick = DeviceClock.tick();
        if status["upstream"]["state"] == "online" {
            online = tick;
        } else if tick.since(online) > PATIENCE {
            let why = status["upstream"]["last_error"].as_str().unwrap_or("it does not answer");
            return Err(Failure::unavailable(format!("upstream cannot be reached: {why}")));
        }
    }
}

/// Whether what was asked for at this time has been done: what is proved says so, and nothing else.
fn is_done(module: &Value, asked_at: Option<UpstreamTime>, sweep: bool) -> bool {
    let proved = time(&module["complete_through"]) >= asked_at;
    let swept = !sweep || time(&module["last_sweep"]) >= asked_at;
    proved && swept && module["scan"].is_null()
}

fn time(value: &Value) -> Option<UpstreamTime> {
    UpstreamTime::parse(value.as_str()?)
}

fn sequence(status: &Value) -> u64 {
    status["sequence"].as_u64().unwrap_or(0)
}
