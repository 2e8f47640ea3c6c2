//! `crmirror outbox`: shows calls that were left in the running daemon's outbox, has one tried
//! again, withdraws one.

use serde_json::{Value, json};

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::outbox::{CallId, Standing};
use crate::upstream::transport::Reply;

use super::args::OutboxCommand;
use super::client::{Daemon, refused};
use super::table::{Table, printable};
use super::{print, terminal_width};

/// Calls that are asked for in one go.
const PAGE: usize = 200;

/// Does what is wanted with calls.
pub(super) fn run(config: &Config, command: &OutboxCommand, json: bool) -> Result<(), Failure> {
    let daemon = Daemon::of(config)?;
    match command {
        OutboxCommand::List { state, limit } => list(&daemon, *state, *limit, json),
        OutboxCommand::Show(id) => {
            let reply = daemon.get(&format!("/outbox/{id}")).ok_or_else(|| daemon.absent())?;
            show(*id, &reply, json)
        }
        OutboxCommand::Retry(id) => {
            let reply = daemon.post(&format!("/outbox/{id}/retry"));
            done(*id, &reply.ok_or_else(|| daemon.absent())?, 202, "waiting", json)
        }
        OutboxCommand::Drop(id) => {
            let there = daemon.get(&format!("/outbox/{id}")).ok_or_else(|| daemon.absent())?;
            if there.status == 204 {
                return Err(absent(*id));
            }
            let reply = daemon.delete(&format!("/outbox/{id}")).ok_or_else(|| daemon.absent())?;
            done(*id, &reply, 204, "withdrawn", json)
        }
    }
}

fn list(daemon: &Daemon, state: Option<Standing>, limit: usize, json: bool) -> Result<(), Failure> {
    let state = state.map(|state| format!("&state={}", state.as_str())).unwrap_or_default();
    let mut table = Table::new(["id", "function", "state", "attempts", "accepted", "why"]);
    let (mut after, mut shown) = (String::new(), 0);
    while shown < limit {
        let target = format!("/outbox?limit={}{state}{after}", PAGE.min(limit - shown));
        let reply = daemon.get(&target).ok_or_else(|| daemon.absent())?;
        if reply.status != 200 {
            return Err(refused(&reply));
        }
        let page: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        for call in page["calls"].as_array().into_iter().flatten() {
            shown += 1;
            if json {
                print(&format!("{call}\n"))?;
                continue;
            }
            let cells = ["id", "function", "state", "attempts", "accepted", "why"];
            let cells = cells.map(|name| text(&call[name]));
            table.push(cells.iter().map(String::as_str));
        }
        match page["info"]["last"].as_str() {
            Some(last) if page["info"]["more_records"] == true => after = format!("&after={last}"),
            Some(_) | None => break,
        }
    }
    if json { Ok(()) } else { print(&table.render(terminal_width())) }
}

fn show(id: CallId, reply: &Reply, json: bool) -> Result<(), Failure> {
    match reply.status {
        200 => {}
        204 => return Err(absent(id)),
        _ => return Err(refused(reply)),
    }
    if json {
        return print(&format!("{}\n", String::from_utf8_lossy(&reply.body)));
    }
    let call: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let mut lines = String::new();
    for (name, value) in call.as_object().into_iter().flatten() {
        if !value.is_null() {
            lines.push_str(&format!("{name:16} {}\n", printable(&text(value))));
        }
    }
    print(&lines)
}

fn done(id: CallId, reply: &Reply, good: u16, now: &str, json: bool) -> Result<(), Failure> {
    match reply.status {
        status if status == good => {}
        204 => return Err(absent(id)),
        _ => return Err(refused(reply)),
    }
    if json {
        return print(&format!("{}\n", json!({ "id": id.to_string(), "state": now })));
    }
    print(&format!("{id} is {now}\n"))
}

fn absent(id: CallId) -> Failure {
    Failure::failed(format!("there is no call {id}; see crmirror outbox list"))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
