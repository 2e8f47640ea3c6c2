//! Reads in upstream's own shape, so that code written for its REST API needs only another base
//! address: one record, and a module's list.
//!
//! A reply is written from the stored text: a record's JSON is not read again unless some of its
//! fields are asked for.

use std::fmt::Write as _;

use crate::mirror::record::{Entry, FieldName, ModuleName, Record, RecordId};
use crate::mirror::version::ApiVersion;
use crate::store::{Store, StoreError, Stored};

use super::asked::Asked;
use super::board::Report;
use super::query::{BadParameter, Parameters};
use super::reply::Reply;

/// Records of a page, as upstream has it (facts §4.2).
const PAGE_LIMIT: usize = 200;
/// Records that page numbers reach, as upstream has it; beyond them there are page tokens.
const NUMBERED_LIMIT: usize = 2_000;
/// Ids that one request may name: twice what upstream's clients usually send.
const IDS_LIMIT: usize = 100;
/// Fields that one request may name: more than a module has.
const FIELDS_LIMIT: usize = 500;

/// What reads answer from.
pub(super) struct Reads<'a> {
    pub(super) store: &'a Store,
    pub(super) report: &'a Report,
}

/// Why a read gives no content.
pub(super) enum NoRead {
    Bad(BadParameter),
    Later(&'static str),
    TooFar,
    Store(StoreError),
}

impl From<BadParameter> for NoRead {
    fn from(bad: BadParameter) -> NoRead {
        NoRead::Bad(bad)
    }
}

impl From<StoreError> for NoRead {
    fn from(error: StoreError) -> NoRead {
        NoRead::Store(error)
    }
}

impl From<NoRead> for Reply {
    fn from(no: NoRead) -> Reply {
        match no {
            NoRead::Bad(bad) => bad_parameter(&bad),
            NoRead::Later(what) => not_yet(what),
            NoRead::TooFar => Reply::json(
                400,
                r#"{"code":"DISCRETE_PAGINATION_LIMIT_EXCEEDED","details":{"limit":2000},"message":"You can only get the first 2000 records without using page_token param","status":"error"}"#,
            ),
            NoRead::Store(error) => {
                log::error!("a read failed: {error}");
                Reply::error(500, "INTERNAL_ERROR", "the mirror cannot be read; see the log")
            }
        }
    }
}

/// The refusal of a parameter, with its name.
pub(super) fn bad_parameter(bad: &BadParameter) -> Reply {
    let body = serde_json::json!({
        "code": "INVALID_DATA",
        "details": { "api_name": bad.name },
        "message": format!("the parameter '{}' {}", bad.name, bad.why),
        "status": "error",
    });
    Reply::json(400, body.to_string())
}

/// The honest answer to what this release does not do.
pub(super) fn not_yet(what: &str) -> Reply {
    Reply::error(501, "NOT_IMPLEMENTED", &format!("{what} is not there yet in this release"))
}

/// Whether this is a version that upstream serves.
pub(super) fn is_version(text: &str) -> bool {
    ApiVersion::parse(text).is_some()
}

impl Reads<'_> {
    /// `GET /crm/v2/{Module}/{id}`
    pub(super) fn record(
        &self,
        module: &ModuleName,
        id: &str,
        mut parameters: Parameters,
        asked: &Asked,
    ) -> Result<Reply, NoRead> {
        let id: RecordId =
            id.parse().map_err(|_| BadParameter::new("id", "is not a record's id"))?;
        let fields = take_fields(&mut parameters)?;
        parameters.finish()?;
        if asked.header("if-modified-since").is_some() {
            return Err(NoRead::Later("If-Modified-Since"));
        }
        let Some(Stored { entry: Entry::Live(record), sequence }) = self.entry(module, id)? else {
            return Ok(self.marked(Reply::empty(204), module));
        };
        let tag = match &fields {
            None => format!("\"{sequence}\""),
            Some(names) => format!("\"{sequence}-{}\"", joined(names)),
        };
        if asked.header("if-none-match").is_some_and(|tags| matches_tag(tags, &tag)) {
            return Ok(self.marked(Reply::empty(304), module).with("ETag", tag));
        }
        let mut body = String::from("{\"data\":[");
        push_record(&mut body, &record, fields.as_deref());
        body.push_str("]}");
        Ok(self.marked(Reply::json(200, body), module).with("ETag", tag))
    }

    /// `GET /crm/v2/{Module}`
    pub(super) fn list(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
        asked: &Asked,
    ) -> Result<Reply, NoRead> {
        let fields = take_fields(&mut parameters)?;
        let ids = parameters.take_list("ids", IDS_LIMIT, |id| id.parse::<RecordId>().ok())?;
        let place = Place::take(&mut parameters)?;
        parameters.finish()?;
        if asked.header("if-modified-since").is_some() {
            return Err(NoRead::Later("If-Modified-Since"));
        }
        let (records, more) = match ids {
            Some(ids) => self.named(module, ids, &place)?,
            None => self.page(module, &place)?,
        };
        if records.is_empty() {
            return Ok(self.marked(Reply::empty(204), module));
        }
        let mut body = String::from("{\"data\":[");
        for (number, record) in records.iter().enumerate() {
            if number > 0 {
                body.push(',');
            }
            push_record(&mut body, record, fields.as_deref());
        }
        let last = records.last().filter(|_| more).map(Record::id);
        let _ = write!(body, "],\"info\":{}}}", place.info(records.len(), last));
        Ok(self.marked(Reply::json(200, body), module))
    }

    /// A reply about a module says how fresh it is.
    fn marked(&self, reply: Reply, module: &ModuleName) -> Reply {
        let ledger = self.report.modules.get(module);
        let through = ledger.and_then(|ledger| ledger.complete_through);
        let through = through.map_or("none".to_owned(), |time| time.to_string());
        reply
            .with("Mirror-Complete-Through", through)
            .with("Mirror-Sequence", self.store.last_sequence().to_string())
    }

    /// An entry; one that cannot be read is as good as none until it has been fetched again.
    fn entry(&self, module: &ModuleName, id: RecordId) -> Result<Option<Stored>, StoreError> {
        match self.store.entry(module, id) {
            Err(error @ StoreError::Unreadable { .. }) => {
                log::warn!("{error}");
                Ok(None)
            }
            read => read,
        }
    }

    /// The records of these ids, in the order of the list.
    fn named(
        &self,
        module: &ModuleName,
        mut ids: Vec<RecordId>,
        place: &Place,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        ids.sort_unstable();
        ids.dedup();
        if place.order == Order::Descending {
            ids.reverse();
        }
        let mut records = Vec::new();
        for id in ids {
            if let Some(Stored { entry: Entry::Live(record), .. }) = self.entry(module, id)? {
                records.push(record);
            }
        }
        let mut rest = records.split_off(place.skipped().min(records.len()));
        let more = rest.len() > place.per_page;
        rest.truncate(place.per_page);
        Ok((rest, more))
    }

    fn page(&self, module: &ModuleName, place: &Place) -> Result<(Vec<Record>, bool), StoreError> {
        let wanted = place.skipped() + place.per_page + 1;
        let records = match place.order {
            Order::Descending => self.store.live_below(module, place.from, wanted)?,
            Order::Ascending => self.store.live_above(module, place.from, wanted)?,
        };
        let more = records.len() == wanted;
        let page = records.into_iter().skip(place.skipped()).take(place.per_page);
        Ok((page.collect(), more))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Ascending,
    Descending,
}

/// Which part of a list is asked for.
#[derive(Debug)]
struct Place {
    order: Order,
    page: usize,
    per_page: usize,
    /// The last id of the page before, when a token says so.
    from: Option<RecordId>,
}

impl Place {
    /// Upstream lists by id, the newest first, unless asked otherwise (facts §4.2).
    fn take(parameters: &mut Parameters) -> Result<Place, NoRead> {
        let per_page = parameters.take_number("per_page", 1..=PAGE_LIMIT)?.unwrap_or(PAGE_LIMIT);
        let page = parameters.take_number("page", 1..=usize::MAX)?;
        match parameters.take("sort_by").as_deref() {
            None | Some("id") => {}
            Some("Created_Time" | "Modified_Time") => {
                return Err(NoRead::Later("sorting by another field than id"));
            }
            Some(_) => return Err(bad("sort_by", "is one of id, Created_Time, Modified_Time")),
        }
        let order = match parameters.take("sort_order").as_deref() {
            None | Some("desc") => Order::Descending,
            Some("asc") => Order::Ascending,
            Some(_) => return Err(bad("sort_order", "is asc or desc")),
        };
        match (parameters.take("page_token"), page) {
            (Some(_), Some(_)) => Err(bad("page_token", "does not go with page")),
            (Some(token), None) => Place::of_token(&token, order, per_page)
                .ok_or_else(|| bad("page_token", "is none that this list gave, in this order")),
            (None, page) => {
                let page = page.unwrap_or(1);
                if page.saturating_mul(per_page) > NUMBERED_LIMIT {
                    return Err(NoRead::TooFar);
                }
                Ok(Place { order, page, per_page, from: None })
            }
        }
    }

    fn of_token(token: &str, order: Order, per_page: usize) -> Option<Place> {
        let (letter, rest) = token.split_once('-')?;
        let (page, from) = rest.split_once('-')?;
        let place =
            Place { order, page: page.parse().ok()?, per_page, from: Some(from.parse().ok()?) };
        (letter == place.letter()).then_some(place)
    }

    fn letter(&self) -> &'static str {
        match self.order {
            Order::Ascending => "a",
            Order::Descending => "d",
        }
    }

    fn skipped(&self) -> usize {
        if self.from.is_some() { 0 } else { (self.page - 1) * self.per_page }
    }

    fn info(&self, count: usize, more_after: Option<RecordId>) -> serde_json::Value {
        let order = if self.order == Order::Ascending { "asc" } else { "desc" };
        let token = more_after.map(|id| format!("{}-{}-{id}", self.letter(), self.page + 1));
        serde_json::json!({
            "per_page": self.per_page, "count": count, "page": self.page,
            "more_records": more_after.is_some(), "sort_by": "id", "sort_order": order,
            "next_page_token": token, "previous_page_token": null, "page_token_expiry": null,
        })
    }
}

fn bad(name: &str, why: &str) -> NoRead {
    NoRead::Bad(BadParameter::new(name, why))
}

fn take_fields(parameters: &mut Parameters) -> Result<Option<Vec<FieldName>>, BadParameter> {
    parameters.take_list("fields", FIELDS_LIMIT, |name| FieldName::parse(name).ok())
}

fn push_record(body: &mut String, record: &Record, fields: Option<&[FieldName]>) {
    match fields.map(|fields| record.select(fields)) {
        Some(Ok(json)) => body.push_str(&json),
        // A record was parsed before it was stored: its text is an object.
        Some(Err(_)) | None => body.push_str(record.json()),
    }
}

fn joined(fields: &[FieldName]) -> String {
    fields.iter().map(FieldName::as_str).collect::<Vec<_>>().join(".")
}

fn matches_tag(tags: &str, tag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|candidate| bare(candidate) == tag)
}
