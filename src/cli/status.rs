//! `crmirror status`: how the running daemon stands, what is wrong, and what to do about it.

use serde_json::Value;

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::record::ModuleName;

use super::client::{Daemon, refused};
use super::table::{Table, printable};
use super::{print, terminal_width};

/// Shows how the running daemon stands.
pub(super) fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let status = ask(&Daemon::of(config)?)?;
    if json {
        return print(&format!("{status}\n"));
    }
    print(&describe(&status))
}

/// The status of the running daemon.
pub(super) fn ask(daemon: &Daemon) -> Result<Value, Failure> {
    let reply = daemon.get("/status").ok_or_else(|| daemon.absent())?;
    if reply.status != 200 {
        return Err(refused(&reply));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|_| Failure::failed("what answers there is not crmirror; see local.listen"))
}

/// The modules and what is proved of them; only one of them, if it is named.
pub(super) fn module_table(status: &Value, only: Option<&ModuleName>) -> Table {
    let mut table = Table::new(["module", "records", "complete through", "last catch-up"]);
    for (name, module) in status["modules"].as_object().into_iter().flatten() {
        if only.is_some_and(|only| only.as_str() != name) {
            continue;
        }
        let cells = [
            name.clone(),
            text(&module["records"]),
            text(&module["complete_through"]),
            text(&module["last_catch_up"]),
        ];
        table.push(cells.iter().map(String::as_str));
    }
    table
}

fn describe(status: &Value) -> String {
    let (upstream, channel) = (&status["upstream"], &status["channel"]);
    let (inbox, callbacks) = (&status["inbox"], &status["callbacks"]);
    let uptime = status["uptime_seconds"].as_u64().unwrap_or_default();
    let mut lines = vec![
        format!("crmirror {}, up {}", text(&status["version"]), duration(uptime)),
        format!("upstream   {}", text(&upstream["state"])),
    ];
    match channel["state"].as_str() {
        Some("open") => {
            lines.push(format!("channel    open until {}", text(&channel["expires"])));
            lines.push(format!("           renewed at {}", text(&channel["renew_at"])));
        }
        _ => lines.push(format!("channel    {}", text(&channel["state"]))),
    }
    lines.push(format!(
        "inbox      {} waiting, {} set aside",
        inbox["waiting"], inbox["quarantined"]
    ));
    lines.push(format!(
        "callbacks  {} accepted ({} repeated), {} refused",
        callbacks["accepted"], callbacks["duplicate"], callbacks["refused"]
    ));
    if let Some(last) = status["platform"]["last_event"].as_str() {
        let time = text(&status["platform"]["last_event_time"]);
        lines.push(format!(
            "platform   {}, last {last} at {time}",
            text(&status["platform"]["state"])
        ));
    }
    let outbox = &status["outbox"];
    if outbox.is_object() {
        let [waiting, sent, failed] = ["waiting", "sent", "failed"].map(|name| text(&outbox[name]));
        lines.push(format!("outbox     {waiting} waiting, {sent} sent, {failed} failed"));
    }
    let credits = &status["credits"];
    lines.push(format!("credits    {} of {} today", credits["spent_today"], credits["ceiling"]));
    let books = &status["books"];
    if books.is_object() {
        lines.push(format!(
            "books      {} of {} calls today",
            books["calls_today"], books["ceiling"]
        ));
    }
    lines.extend(webhooks(books));
    lines.push(String::new());
    lines.push(module_table(status, None).render(terminal_width()));
    for (what, to_do) in troubles(status) {
        lines.push(format!("! {}\n  {to_do}\n", printable(&what)));
    }
    lines.join("\n")
}

/// Our webhooks at Books, if any are declared.
fn webhooks(books: &Value) -> Option<String> {
    let webhooks = books["webhooks"].as_object()?;
    let each = webhooks.iter().map(|(name, webhook)| format!("{name} {}", text(&webhook["state"])));
    let (each, histories) = (each.collect::<Vec<_>>().join(", "), &books["histories"]);
    Some(format!(
        "webhooks   {}; {} callbacks asked for again",
        printable(&each),
        histories["resent"]
    ))
}

/// What it means that the extension is removed, if it is.
fn removal(state: &str) -> Option<(String, &'static str)> {
    let what = match state {
        "uninstalled" => "the extension is uninstalled: the channel is closed, nothing is fetched",
        "wiped" => "the extension is uninstalled, and all was erased",
        _ => return None,
    };
    Some((what.into(), "it goes on when the extension is installed or authorised again"))
}

/// What is wrong with what stands beside CRM: the extension, Books, functions.
fn with_neighbours(status: &Value) -> Vec<(String, &'static str)> {
    let state = status["platform"]["state"].as_str().unwrap_or_default();
    let mut troubles: Vec<_> = removal(state).into_iter().collect();
    for (name, webhook) in status["books"]["webhooks"].as_object().into_iter().flatten() {
        if webhook["state"] == "denied" {
            let what = format!("Books denies the webhook {name}");
            troubles.push((what, "the log says why; catch-ups go on meanwhile"));
        }
    }
    if status["books"]["waiting_for_calls"] == true {
        troubles.push((
            "the calls of Books of the day are made: it waits".into(),
            "raise books.calls_per_day, if the organization's plan has more",
        ));
    }
    if let Some(why) = status["outbox"]["trouble"].as_str() {
        let to_do = "they go on by themselves; crmirror outbox list shows them";
        troubles.push((format!("calls to functions wait: {why}"), to_do));
    }
    troubles
}

/// What is wrong, each with what to do.
fn troubles(status: &Value) -> Vec<(String, &'static str)> {
    let mut troubles = Vec::new();
    let state = |of: &str| status[of]["state"].as_str().unwrap_or_default().to_owned();
    let error = &status["upstream"]["last_error"];
    let why = error.as_str().map(|why| format!(": {why}")).unwrap_or_default();
    match state("upstream").as_str() {
        "online" if error.is_string() => {
            troubles
                .push((format!("upstream{why}"), "it is tried again; crmirror doctor tells more"));
        }
        "offline" => troubles.push((
            format!("upstream cannot be reached{why}"),
            "reads go on, callbacks are kept; crmirror doctor finds where the way ends",
        )),
        "denied" => troubles.push((
            format!("upstream denies us a token{why}"),
            "crmirror login, then systemctl restart crmirror",
        )),
        _ => {}
    }
    match state("channel").as_str() {
        "absent" => troubles.push((
            "the channel is not open".into(),
            "it is opened as soon as upstream lets us; catch-ups go on meanwhile",
        )),
        "denied" => troubles.push((
            "upstream denies the channel".into(),
            "crmirror doctor says why; catch-ups go on meanwhile",
        )),
        _ => {}
    }
    troubles.extend(with_neighbours(status));
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let set_aside = count(&status["inbox"]["quarantined"]);
    if set_aside > 0 {
        troubles.push((
            format!("set aside, since upstream denies them: {set_aside}"),
            "the log names them; crmirror explain MODULE ID says why",
        ));
    }
    if status["store"]["low"] == true {
        let to_do = "free some space: nothing is written until then";
        troubles.push(("the disk is full: callbacks are turned away".into(), to_do));
    }
    let unreadable = count(&status["store"]["unreadable"]);
    if unreadable > 0 {
        troubles.push((
            format!("{unreadable} values of the store cannot be read"),
            "systemctl restart crmirror mends it; check the disk",
        ));
    }
    if let Some(what) = status["credits"]["waiting_for_credits"].as_str() {
        troubles.push((
            format!("the credits of the day are spent: {what} waits"),
            "raise catch_up.credits_per_day, if the organisation has more",
        ));
    }
    for (name, module) in status["modules"].as_object().into_iter().flatten() {
        if module["complete_through"].is_null() {
            // A scan of Books does not tell how far it is, but its records do.
            let rows = count(&module["scan"]["rows"]).max(count(&module["records"]));
            let what = format!("{name} is not complete yet: {rows} rows read");
            troubles.push((what, "its bootstrap goes on by itself"));
        }
    }
    troubles
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
