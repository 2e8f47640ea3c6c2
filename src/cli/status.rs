//! `crmirror status` and `crmirror sync`.

use serde_json::Value;

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::record::ModuleName;

use super::client::{Daemon, refused};
use super::table::Table;
use super::{print, terminal_width};

/// Shows how the running daemon stands.
pub(super) fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let daemon = Daemon::of(config)?;
    let reply = daemon.get("/status").ok_or_else(|| daemon.absent())?;
    if reply.status != 200 {
        return Err(refused(&reply));
    }
    let status: Value = serde_json::from_slice(&reply.body)
        .map_err(|_| Failure::failed("what answers there is not crmirror; see local.listen"))?;
    if json {
        return print(&format!("{status}\n"));
    }
    print(&describe(&status))
}

/// Asks the running daemon to catch up now.
pub(super) fn sync(
    config: &Config,
    module: Option<&ModuleName>,
    sweep: bool,
    json: bool,
) -> Result<(), Failure> {
    let daemon = Daemon::of(config)?;
    let module = module.map(|module| format!("&module={module}")).unwrap_or_default();
    let reply = daemon.post(&format!("/sync?sweep={sweep}{module}"));
    let reply = reply.ok_or_else(|| daemon.absent())?;
    match (reply.status, json) {
        (202, true) => print("{\"status\":\"accepted\"}\n"),
        (202, false) => print("asked for; crmirror status shows when it is done\n"),
        _ => Err(refused(&reply)),
    }
}

fn describe(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let (upstream, channel) = (&status["upstream"], &status["channel"]);
    let (inbox, callbacks) = (&status["inbox"], &status["callbacks"]);
    let uptime = status["uptime_seconds"].as_u64().unwrap_or_default();
    let mut lines = vec![
        format!("crmirror {}, up {}", text(&status["version"]), duration(uptime)),
        format!("upstream   {}", text(&upstream["state"])),
    ];
    if let Some(error) = upstream["last_error"].as_str() {
        lines.push(format!("           {error}"));
    }
    lines.push(match channel["state"].as_str() {
        Some("open") => format!(
            "channel    open until {}, renewed at {}",
            text(&channel["expires"]),
            text(&channel["renew_at"])
        ),
        _ => format!("channel    {}", text(&channel["state"])),
    });
    lines.push(format!(
        "inbox      {} waiting, {} set aside",
        inbox["waiting"], inbox["quarantined"]
    ));
    lines.push(format!(
        "callbacks  {} accepted ({} repeated), {} refused",
        callbacks["accepted"], callbacks["duplicate"], callbacks["refused"]
    ));
    let credits = &status["credits"];
    lines.push(format!("credits    {} of {} today", credits["spent_today"], credits["ceiling"]));
    let mut table = Table::new(["module", "records", "complete through", "last catch-up"]);
    for (name, module) in status["modules"].as_object().into_iter().flatten() {
        let cells = [
            name.clone(),
            text(&module["records"]),
            text(&module["complete_through"]),
            text(&module["last_catch_up"]),
        ];
        table.push(cells.iter().map(String::as_str));
    }
    format!("{}\n\n{}", lines.join("\n"), table.render(terminal_width()))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
