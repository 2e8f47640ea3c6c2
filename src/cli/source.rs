//! Where a command reads the mirror: from the running daemon, or from the store itself when none
//! runs. Both show the same, so that nobody need know which it was.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::daemon::open_store;
use crate::error::Failure;
use crate::mirror::books::entity::Entity;
use crate::mirror::record::{Entry, ModuleName, Record, RecordId};
use crate::mirror::scan::More;
use crate::store::{Explanation, Store, StoreError};
use crate::upstream::books;
use crate::upstream::records;
use crate::upstream::verdict::{Verdict, judge};

use super::client::{Daemon, refused};

/// Records that are read in one go.
const PAGE: usize = 200;

/// Where the mirror is read.
pub(super) enum Source {
    /// The daemon that runs.
    Daemon(Daemon),
    /// The store, which is ours for as long.
    Store(Store),
}

/// Refuses a module that the configuration does not name.
pub(super) fn is_mirrored(config: &Config, module: &ModuleName) -> Result<(), Failure> {
    if config.mirrored().any(|mirrored| mirrored == *module) {
        return Ok(());
    }
    let names: Vec<String> = config.mirrored().map(|module| module.to_string()).collect();
    Err(Failure::usage(format!("{module} is not mirrored; the modules are {}", names.join(", "))))
}

impl Source {
    /// The mirror of this configuration.
    pub(super) fn of(config: &Config) -> Result<Source, Failure> {
        let daemon = Daemon::of(config)?;
        match daemon.get("/healthz") {
            Some(_) => Ok(Source::Daemon(daemon)),
            None => Ok(Source::Store(open_store(&config.store)?)),
        }
    }

    /// The same, for what is asked of one module, which has to be mirrored.
    pub(super) fn of_module(config: &Config, module: &ModuleName) -> Result<Source, Failure> {
        is_mirrored(config, module)?;
        Source::of(config)
    }

    /// How many records the module has, as far as that is known.
    pub(super) fn count(&self, module: &ModuleName) -> Result<u64, Failure> {
        match self {
            Source::Daemon(daemon) => {
                let reply = daemon.get("/status").ok_or_else(|| daemon.absent())?;
                let status: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                Ok(status["modules"][module.as_str()]["records"].as_u64().unwrap_or(0))
            }
            Source::Store(store) => Ok(store.ledger(module).map_err(unreadable)?.records),
        }
    }

    /// How a record came to be here.
    pub(super) fn explain(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Explanation, Failure> {
        match self {
            Source::Daemon(daemon) => {
                let reply = daemon.get(&format!("/explain/{module}/{id}"));
                let reply = reply.ok_or_else(|| daemon.absent())?;
                match serde_json::from_slice(&reply.body) {
                    Ok(explanation) if reply.status == 200 => Ok(explanation),
                    Ok(_) | Err(_) => Err(refused(&reply)),
                }
            }
            Source::Store(store) => store.explain(module, id).map_err(unreadable),
        }
    }

    /// One record; `None` when it is not in the mirror.
    pub(super) fn record(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Option<Record>, Failure> {
        match self {
            Source::Daemon(daemon) => match Entity::of_plural(module.as_str()) {
                Some(entity) => ask_for_one_of_books(daemon, entity, id),
                None => {
                    let (records, _) = ask(daemon, &format!("/crm/v2/{module}/{id}"))?;
                    Ok(records.into_iter().next())
                }
            },
            Source::Store(store) => match store.entry(module, id).map_err(unreadable)? {
                Some(stored) => match stored.entry {
                    Entry::Live(record) => Ok(Some(record)),
                    Entry::Tombstone { .. } => Ok(None),
                },
                None => Ok(None),
            },
        }
    }

    /// Hands over each record of the module, the newest id first, for as long as it is wanted.
    pub(super) fn each(
        &self,
        module: &ModuleName,
        take: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), Failure> {
        let mut token = String::new();
        let mut below = None;
        loop {
            let (records, more) = match self {
                Source::Daemon(daemon) => match Entity::of_plural(module.as_str()) {
                    Some(entity) => ask_books(daemon, entity, below)?,
                    None => {
                        let target = format!("/crm/v2/{module}?per_page={PAGE}{token}");
                        ask(daemon, &target)?
                    }
                },
                Source::Store(store) => {
                    let records = store.live_below(module, below, PAGE).map_err(unreadable)?;
                    let more = if records.len() < PAGE { More::Last } else { More::Next };
                    (records, more)
                }
            };
            below = records.last().map(Record::id);
            if !records.into_iter().all(&mut *take) {
                return Ok(());
            }
            match more {
                More::Last => return Ok(()),
                More::Next => {}
                More::Token(next) => token = format!("&page_token={next}"),
            }
        }
    }
}

/// The records of a reply, and whether more follow.
fn ask(daemon: &Daemon, target: &str) -> Result<(Vec<Record>, More), Failure> {
    let reply = daemon.get(target).ok_or_else(|| daemon.absent())?;
    match judge(&reply) {
        Ok(verdict @ (Verdict::Content(_) | Verdict::Nothing)) => {
            records::parse(verdict).map_err(|trouble| Failure::failed(trouble.why()))
        }
        Err(_) => Err(refused(&reply)),
    }
}

/// One record of Books; `None` when it is not in the mirror.
fn ask_for_one_of_books(
    daemon: &Daemon,
    entity: Entity,
    id: RecordId,
) -> Result<Option<Record>, Failure> {
    let target = format!("/books/v3/{}/{id}", entity.plural());
    let reply = daemon.get(&target).ok_or_else(|| daemon.absent())?;
    let verdict = books::verdict::judge(&reply).map_err(|_| refused(&reply))?;
    books::records::parse_one(verdict, entity).map_err(|trouble| Failure::failed(trouble.why()))
}

/// The records of Books with ids below this one, the newest first, and whether more follow.
fn ask_books(
    daemon: &Daemon,
    entity: Entity,
    below: Option<RecordId>,
) -> Result<(Vec<Record>, More), Failure> {
    let below = below.map(|id| format!("&below={id}")).unwrap_or_default();
    let target = format!("/books/v3/{}?per_page={PAGE}{below}", entity.plural());
    let reply = daemon.get(&target).ok_or_else(|| daemon.absent())?;
    let verdict = books::verdict::judge(&reply).map_err(|_| refused(&reply))?;
    let page = books::records::parse_records(verdict, entity);
    let (records, more) = page.map_err(|trouble| Failure::failed(trouble.why()))?;
    Ok((records, if more { More::Next } else { More::Last }))
}

fn unreadable(error: StoreError) -> Failure {
    Failure::failed(error.to_string())
}

/// The fields of a record, their values as upstream wrote them.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// The record's fields.
pub(super) fn fields_of(record: &Record) -> Fields {
    serde_json::from_str(record.json()).unwrap_or_default()
}
