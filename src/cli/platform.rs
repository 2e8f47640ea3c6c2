//! `crmirror platform`: what the platform told of our extension, and calls that Desk makes for it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{Config, Platform};
use crate::credentials::Credentials;
use crate::daemon::open_store;
use crate::error::Failure;
use crate::identity::context::ContextFile;
use crate::mirror::gather::Gather;
use crate::mirror::platform::Recorded;
use crate::mirror::platform::invoke::Invocation;
use crate::mirror::record::{ModuleName, Record};
use crate::store::EVENTS_KEPT_LIMIT;
use crate::upstream::desk::{self, Extension};
use crate::upstream::transport::{HttpsTransport, Transport};
use crate::upstream::verdict::no_reply;

use super::args::PlatformCommand;
use super::client::{Daemon, refused};
use super::login::failure;
use super::table::Table;
use super::{give_back, print, terminal_width};

/// Changes of one answer.
const PAGE: usize = 1_000;

/// Does what is wanted.
pub(super) fn run(config: &Config, command: PlatformCommand, json: bool) -> Result<(), Failure> {
    let platform = config.platform.as_ref().ok_or_else(|| {
        Failure::failed("the configuration has no [platform]: nothing of it is kept")
    })?;
    match command {
        PlatformCommand::Events => events(config, json),
        PlatformCommand::Invoke(call) => invoke(config, platform, &call),
    }
}

/// Shows the events that are kept, the oldest first.
fn events(config: &Config, json: bool) -> Result<(), Failure> {
    let daemon = Daemon::of(config)?;
    let records = match daemon.get("/healthz") {
        Some(_) => from_daemon(&daemon)?,
        None => {
            let read = from_store(config);
            give_back(&config.store);
            read?
        }
    };
    if json {
        let lines: Vec<String> =
            records.values().map(|record| format!("{}\n", record.json())).collect();
        return print(&lines.concat());
    }
    let mut table = Table::new(["number", "time", "event", "organisation"]);
    for (number, record) in &records {
        let Some(Recorded { event, org, time }) = Recorded::of(record) else { continue };
        let (number, time) = (number.to_string(), time.to_string());
        table.push([number.as_str(), &time, event.as_str(), org.as_str()]);
    }
    print(&table.render(terminal_width()))
}

/// The records by their numbers.
type Records = BTreeMap<u64, Record>;

fn from_daemon(daemon: &Daemon) -> Result<Records, Failure> {
    let foreign = || Failure::failed("what answers there is not crmirror; see local.listen");
    let usual = format!("/changes?module=$platform&include=record&limit={PAGE}");
    let (mut records, mut since) = (Records::new(), None);
    loop {
        let from = since.map(|since: u64| format!("&since={since}")).unwrap_or_default();
        let reply = daemon.get(&format!("{usual}{from}")).ok_or_else(|| daemon.absent())?;
        if reply.status != 200 {
            return Err(refused(&reply));
        }
        let page: Value = serde_json::from_slice(&reply.body).map_err(|_| foreign())?;
        for change in page["changes"].as_array().into_iter().flatten() {
            let record = change.get("record").map(|record| Record::parse(&record.to_string()));
            if let Some(Ok(record)) = record {
                records.insert(record.id().number(), record);
            }
        }
        let last = page["last_sequence"].as_u64().ok_or_else(foreign)?;
        if since.replace(last) == Some(last) {
            return Ok(records);
        }
    }
}

fn from_store(config: &Config) -> Result<Records, Failure> {
    let store = open_store(&config.store)?;
    let kept = store.live_page(&ModuleName::platform(), None, false, 0, EVENTS_KEPT_LIMIT as usize);
    let kept = kept.map_err(|error| Failure::failed(error.to_string()))?;
    Ok(kept.into_iter().map(|record| (record.id().number(), record)).gather())
}

/// Has Desk make the call, and prints what was answered.
fn invoke(config: &Config, platform: &Platform, call: &Invocation) -> Result<(), Failure> {
    let file = &config.upstream.credentials;
    let (credentials, _) = Credentials::load(file)?;
    let secret = credentials.require_platform_secret(file)?;
    let desk = platform.desk.as_ref().ok_or_else(|| {
        Failure::configuration(
            "where Desk is cannot be told by upstream.accounts: set platform.desk",
        )
    })?;
    let context = ContextFile::of(&config.store).load();
    let context =
        context.map_err(|error| Failure::failed(error.to_string()))?.ok_or_else(|| {
            Failure::failed(
                "the platform has told nothing yet: its first callback brings the context",
            )
        })?;
    let org = platform.org_id.as_ref().unwrap_or(&context.org);
    let extension = Extension { org, security_context: &context.security_context, secret };
    let transport = HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let reply = transport.send(&desk::invoke(desk, &extension, call)).map_err(no_reply);
    let answer = reply.and_then(|reply| desk::parse(&reply)).map_err(failure)?;
    print(&format!("{answer}\n"))
}
