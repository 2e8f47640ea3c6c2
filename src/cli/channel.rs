//! `crmirror channel`: show it as upstream sees it, renew it now, close it.
//!
//! A running daemon is asked to renew or close, since it alone knows which tokens it accepts; where
//! none runs, a heart is started for as long as it takes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::daemon::open_store;
use crate::error::Failure;
use crate::heart::{Heart, Turn};
use crate::identity::Identity;
use crate::mirror::channel::Row;
use crate::mirror::planner::Input;
use crate::mirror::record::ChannelId;
use crate::server::board::Board;
use crate::upstream::transport::HttpsTransport;

use super::args::ChannelCommand;
use super::asker::{self, Asker};
use super::client::{Daemon, refused};
use super::table::Table;
use super::{give_back, print, terminal_width};

/// How long a running daemon may take to do what it was asked for: one call that times out, and a
/// second that does not.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is asked whether it has.
const EVERY: Duration = Duration::from_millis(200);
/// Turns of a heart that renew or close a channel: a token, the action, and a look at it, with a
/// detour for a channel that upstream had forgotten.
const TURNS_LIMIT: usize = 20;

/// Does what is wanted with the channel.
pub(super) fn run(config: &Config, command: ChannelCommand, json: bool) -> Result<(), Failure> {
    if config.channel.is_none() {
        let message = "the configuration has no [channel]: crmirror only pulls, there is none";
        return Err(Failure::failed(message));
    }
    match command {
        ChannelCommand::Show => show(config, json),
        ChannelCommand::Renew => change(config, Input::RenewalAsked, "renew", json),
        ChannelCommand::Close => change(config, Input::CloseAsked, "close", json),
    }
}

/// Closes the channel, by the running daemon or without one, and prints nothing.
pub(super) fn close(config: &Config) -> Result<(), Failure> {
    bring_about(config, Input::CloseAsked, "close").map(drop)
}

fn change(config: &Config, input: Input, action: &str, json: bool) -> Result<(), Failure> {
    let state = bring_about(config, input, action)?;
    match (json, action) {
        (true, _) => print(&format!("{state}\n")),
        (false, "close") => print("the channel is closed\n"),
        (false, _) => {
            let expires = state["expires"].as_str().unwrap_or("-");
            print(&format!("the channel is open until {expires}\n"))
        }
    }
}

/// Has it done by whoever can; the channel's state then.
fn bring_about(config: &Config, input: Input, action: &str) -> Result<Value, Failure> {
    let daemon = Daemon::of(config)?;
    match daemon.get("/status") {
        Some(before) => ask_daemon(&daemon, &state_of(&before.body), action),
        None => {
            let done = do_it_here(config, input, action);
            give_back(&config.store);
            done
        }
    }
}

fn ask_daemon(daemon: &Daemon, before: &Value, action: &str) -> Result<Value, Failure> {
    let clock = DeviceClock;
    let asked_at = clock.tick();
    let reply = daemon.post(&format!("/channel?action={action}")).ok_or_else(|| daemon.absent())?;
    if reply.status != 202 {
        return Err(refused(&reply));
    }
    while clock.tick().since(asked_at) < PATIENCE {
        thread::sleep(EVERY);
        let now = daemon.get("/status").ok_or_else(|| daemon.absent())?;
        let now = state_of(&now.body);
        if is_done(action, &now, before["renewals"].as_u64().unwrap_or_default()) {
            return Ok(now);
        }
    }
    Err(Failure::unavailable("upstream has not confirmed it yet; crmirror status says why"))
}

fn do_it_here(config: &Config, input: Input, action: &str) -> Result<Value, Failure> {
    let store = open_store(&config.store)?;
    let (credentials, _) = Credentials::load(&config.upstream.credentials)?;
    credentials.require_refresh_token(&config.upstream.credentials)?;
    let identity = asker::identity(config)?;
    let board = Arc::new(Board::default());
    let transport = Arc::new(transport(config)?);
    let clock = Arc::new(DeviceClock);
    let heart =
        Heart::new(config, credentials, transport, clock, store, identity, Arc::clone(&board));
    let mut heart = heart.map_err(|error| Failure::failed(error.to_string()))?;
    heart.hear(input);
    for _ in 0..TURNS_LIMIT {
        let turn = heart.turn().map_err(|error| Failure::failed(error.to_string()))?;
        let report = board.report();
        let state = json!({
            "state": report.channel.state, "id": report.channel.id,
            "expires": report.channel.expires, "renewals": report.channel.renewals,
        });
        if is_done(action, &state, 0) {
            return Ok(state);
        }
        if let Turn::WaitUntil(_) = turn {
            break;
        }
    }
    let report = board.report();
    if report.platform.as_ref().is_some_and(|platform| platform.is_removed()) {
        let why = "the extension is removed: the channel stays closed until it is back";
        return Err(Failure::failed(why));
    }
    let why = report.last_error.as_deref().unwrap_or("upstream did not confirm it");
    Err(match report.upstream {
        "online" => Failure::failed(why),
        _ => Failure::unavailable(why),
    })
}

fn is_done(action: &str, state: &Value, renewals_before: u64) -> bool {
    let renewals = state["renewals"].as_u64().unwrap_or_default();
    match action {
        "close" => state["state"] == "none",
        _ => state["state"] == "open" && renewals > renewals_before,
    }
}

fn state_of(status: &[u8]) -> Value {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    status["channel"].clone()
}

fn show(config: &Config, json: bool) -> Result<(), Failure> {
    let mut asker = Asker::open(config)?;
    let id = id_of(config, &asker.identity)
        .ok_or_else(|| Failure::failed("no channel was opened yet; crmirror run opens it"))?;
    let rows = asker.ask(|line| line.channel_rows(id))?;
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.channel == id).collect();
    print(&if json { as_json(id, &rows) } else { as_table(id, &rows) })
}

/// The id of our channel, if there is one yet.
pub(super) fn id_of(config: &Config, identity: &Identity) -> Option<ChannelId> {
    let configured = config.channel.as_ref().and_then(|channel| channel.id);
    configured.or(identity.channel().map(|channel| channel.id))
}

/// Everything of a row but its token.
fn as_json(id: ChannelId, rows: &[Row]) -> String {
    let state = if rows.is_empty() { "absent" } else { "open" };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "module": row.module, "events": row.events, "notify_url": row.notify_url,
                "related_actions": row.related_actions, "expires": row.expires,
            })
        })
        .collect();
    format!("{}\n", json!({ "id": id, "state": state, "modules": rows }))
}

fn as_table(id: ChannelId, rows: &[Row]) -> String {
    if rows.is_empty() {
        return format!("upstream does not have the channel {id}\n");
    }
    let mut table = Table::new(["module", "open until", "events", "notify_url"]);
    for row in rows {
        let cells = [
            row.module.as_ref().map_or("-".to_owned(), ToString::to_string),
            row.expires.map_or("-".to_owned(), |time| time.to_string()),
            row.events.join(" "),
            row.notify_url.clone().unwrap_or_default(),
        ];
        table.push(cells.iter().map(String::as_str));
    }
    format!("channel {id}\n{}", table.render(terminal_width()))
}

fn transport(config: &Config) -> Result<HttpsTransport, Failure> {
    HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))
}
