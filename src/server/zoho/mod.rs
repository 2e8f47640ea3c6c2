//! Reads in upstream's own shape, so that code written for its REST API needs only another base
//! address.
//!
//! `record` one by its id · `list` a page of a module · `search` what meets a condition · `deleted`
//! what is gone · `count` how many there are. `page` says which part of a list is wanted, `pick`
//! finds it, `kinds` says which fields are e-mails, `scans` keeps those who have to look through a
//! whole module from blocking the others, `halves` has two of them share the work, `refusal` says
//! no as upstream says it.
//!
//! Every version from v2 to v8 is answered alike. A reply is written from the stored text: a
//! record's JSON is not read again unless some of its fields are asked for.

mod count;
mod deleted;
mod halves;
mod kinds;
mod list;
mod page;
mod pick;
mod record;
mod refusal;
mod scans;
mod search;

use std::fmt::Write as _;

use crate::clock::Clock;
use crate::mirror::record::{Entry, FieldName, ModuleName, Record, RecordId};
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::version::ApiVersion;
use crate::store::{Store, StoreError, Stored};

use super::asked::Asked;
use super::board::Report;
use super::freshness;
use super::query::{BadParameter, Parameters};
use super::reply::Reply;

pub(super) use kinds::KindsKept;
pub(super) use page::{Order, Place, SortBy};
pub(super) use record::matches_tag;
pub(super) use refusal::{
    NoRead, READS, bad_parameter, method_not_allowed, not_mirrored, nothing_here,
};
pub(super) use scans::Scans;

/// Fields that one request may name: more than a module has. Upstream takes 50 (facts §4.2).
const FIELDS_LIMIT: usize = 500;
/// Bytes of a body around its records, mostly: it then grows in one piece.
const AROUND: usize = 512;

/// What reads answer from.
pub(super) struct Reads<'a> {
    pub(super) store: &'a Store,
    pub(super) report: &'a Report,
    pub(super) scans: &'a Scans,
    pub(super) kinds: &'a KindsKept,
    pub(super) clock: &'a dyn Clock,
    /// Our clock when the question came.
    pub(super) now: Tick,
}

/// Whether this is a version that upstream serves.
pub(super) fn is_version(text: &str) -> bool {
    ApiVersion::parse(text).is_some()
}

impl Reads<'_> {
    /// Answers what is asked of a module, which the configuration names, by the path behind it.
    pub(super) fn answer(
        &self,
        module: &ModuleName,
        path: &[&str],
        parameters: Parameters,
        asked: &Asked,
    ) -> Reply {
        let reply = match path {
            [] => self.list(module, parameters, asked),
            ["search"] => self.search(module, parameters),
            ["deleted"] => self.deleted(module, parameters, asked),
            ["actions", "count"] => self.count(module, parameters),
            [id] => self.record(module, id, parameters, asked),
            _ => return nothing_here(),
        };
        self.marked(reply.unwrap_or_else(Reply::from), module)
    }

    /// A reply about a module says how fresh it is.
    pub(super) fn marked(&self, reply: Reply, module: &ModuleName) -> Reply {
        let ledger = self.report.modules.get(module);
        let through = ledger.and_then(|ledger| ledger.complete_through);
        let through = through.map_or("none".to_owned(), |time| time.to_string());
        let reply = reply
            .with("Mirror-Complete-Through", through)
            .with("Mirror-Sequence", self.store.last_sequence().to_string());
        match freshness::age(ledger, self.report.upstream_now(self.now)) {
            Some(age) => reply.with("Age", age.as_secs().to_string()),
            None => reply,
        }
    }

    /// An entry; one that cannot be read is as good as none until it has been fetched again.
    pub(super) fn entry(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Option<Stored>, StoreError> {
        match self.store.entry(module, id) {
            Err(error @ StoreError::Unreadable { .. }) => {
                log::warn!("{error}");
                Ok(None)
            }
            read => read,
        }
    }

    fn live(&self, module: &ModuleName, id: RecordId) -> Result<Option<Record>, StoreError> {
        Ok(self.entry(module, id)?.and_then(|stored| match stored.entry {
            Entry::Live(record) => Some(record),
            Entry::Tombstone { .. } => None,
        }))
    }

    /// Whether no record of the module carries a modification time: upstream then knows neither
    /// `If-Modified-Since` nor an order by it.
    fn is_unstamped(&self, module: &ModuleName) -> bool {
        self.report.modules.get(module).is_some_and(|ledger| ledger.unstamped)
    }
}

/// `If-Modified-Since` as upstream has it: ISO 8601 with an offset (facts §4.3).
///
/// An HTTP date is refused, not understood: to HTTP it would mean "later than", to upstream it
/// means "at or later than", and whoever sends one expects the former.
fn since(asked: &Asked) -> Result<Option<UpstreamTime>, BadParameter> {
    let name = "If-Modified-Since";
    let Some(text) = asked.header("if-modified-since") else { return Ok(None) };
    let why = "is a time with an offset, like 2026-01-31T10:00:00+05:30";
    UpstreamTime::parse(text).map(Some).ok_or_else(|| BadParameter::new(name, why))
}

/// Whether a record with this stamp was modified since; one without a stamp may have been.
fn is_since(modified: Option<UpstreamTime>, since: Option<UpstreamTime>) -> bool {
    match (modified, since) {
        (Some(modified), Some(since)) => modified >= since,
        (None, _) | (_, None) => true,
    }
}

fn take_fields(parameters: &mut Parameters) -> Result<Option<Vec<FieldName>>, BadParameter> {
    parameters.take_list("fields", FIELDS_LIMIT, |name| FieldName::parse(name).ok())
}

/// Lists of upstream's leave converted leads out unless asked for; the mirror has them all, and
/// cannot tell them apart (facts §4.2).
fn take_converted(parameters: &mut Parameters) -> Result<(), BadParameter> {
    match parameters.take("converted").as_deref() {
        None | Some("both") => Ok(()),
        Some(_) => {
            let why = "is both, or left out: the mirror shows converted leads with the others";
            Err(BadParameter::new("converted", why))
        }
    }
}

/// The body of a reply that shows these records.
fn body(
    records: &[Record],
    fields: Option<&[FieldName]>,
    info: Option<serde_json::Value>,
) -> String {
    let size: usize = records.iter().map(|record| record.json().len() + 1).sum();
    let mut body = String::with_capacity(size + AROUND);
    body.push_str("{\"data\":[");
    for (number, record) in records.iter().enumerate() {
        if number > 0 {
            body.push(',');
        }
        match fields.map(|fields| record.select(fields)) {
            Some(Ok(json)) => body.push_str(&json),
            // A record was parsed before it was stored: its text is an object.
            Some(Err(_)) | None => body.push_str(record.json()),
        }
    }
    body.push(']');
    if let Some(info) = info {
        let _ = write!(body, ",\"info\":{info}");
    }
    body.push('}');
    body
}
