//! Records as they are read: one by id, many by page, the deleted ones, the count (facts §4).

use std::time::Duration;

use serde_json::{Value, json};

use super::Upstream;
use super::clock::{Moment, stamp};
use super::model::{Bin, Module, Row};
use super::paging::{self, PAGE_LIMIT, Place, TOKEN_LIFE};
use super::route::Version;
use super::wire::{Answer, Asked};
use crmirror::mirror::time::UpstreamTime;

/// Fields of one call, from v3 on (facts §4.2).
const FIELDS_LIMIT: usize = 50;
/// Ids of one call (facts §4.2 knows no maximum for certain; version 1 had this one).
const IDS_LIMIT: usize = 100;

impl Upstream {
    /// `GET /crm/vN/{Module}`.
    pub(super) fn list(
        &mut self,
        version: Version,
        name: &str,
        asked: &Asked,
        now: Moment,
    ) -> Result<Answer, Answer> {
        asked.allow(&[
            "fields",
            "ids",
            "page",
            "per_page",
            "page_token",
            "sort_by",
            "sort_order",
            "converted",
        ])?;
        let module = self.model.module(name)?;
        let fields = fields(version, asked, true)?;
        let ids = ids(asked)?;
        self.faults.permit(name, ids.as_deref().unwrap_or_default())?;
        let per_page = asked.count("per_page", PAGE_LIMIT, PAGE_LIMIT)?;
        let order = Order::read(asked, module)?;
        let converted = Converted::read(asked)?;
        let since = since(asked)?.filter(|_| module.has_modified_time);
        let has_tokens = self.knobs.page_tokens_in_v2 || version.is_at_least(3);
        let place = paging::place(asked, per_page, has_tokens.then_some(&self.page_tokens), now)?;

        let exclusive = self.knobs.modified_since_exclusive;
        // What is asked for by name is not looked up in a list.
        let lag = if ids.is_some() { Duration::ZERO } else { self.knobs.lists_lag };
        let indexed = if lag.is_zero() { i64::MAX } else { now.unix() - lag.as_secs() as i64 };
        let shift = self.knobs.page_tokens_shift;
        // Of a walk through all of a large module, no more than the page is looked at.
        let (from, most) = match order.walked_to(&place, shift).filter(|_| since.is_none()) {
            Some(last) => (last + 1, per_page as usize + 1),
            None => (0, usize::MAX),
        };
        let mut rows: Vec<(i64, u64, &Row)> = module
            .listed(indexed, from)
            .filter(|(_, row)| since.is_none() || row.modified <= indexed)
            .filter(|(id, _)| ids.as_ref().is_none_or(|ids| ids.contains(id)))
            .filter(|(_, row)| converted.shows(row))
            .filter(|(_, row)| since.is_none_or(|since| is_since(row.modified, since, exclusive)))
            .take(most)
            .map(|(id, row)| (order.key(row), id, row))
            .collect();
        if rows.is_empty() {
            return Ok(Answer::empty(if since.is_some() { 304 } else { 204 }));
        }
        order.sort(&mut rows);
        let start = order.start(&rows, &place, shift);
        let page = &rows[start..rows.len().min(start + per_page as usize)];
        let Some(&(key, id, _)) = page.last() else { return Ok(Answer::empty(204)) };

        let offset = self.knobs.offset_minutes;
        let data: Vec<String> = page
            .iter()
            .map(|(_, id, row)| module.json(*id, row, false, fields.as_deref(), offset))
            .collect();
        let mut info = json!({
            "per_page": per_page,
            "count": page.len(),
            "page": place.skip / per_page + 1,
            "more_records": start + page.len() < rows.len(),
        });
        if has_tokens {
            let next = Place { skip: place.skip + page.len() as u64, after: Some((key, id)) };
            let more = start + page.len() < rows.len();
            let token = more.then(|| self.page_tokens.give(asked, next, now));
            order.show(&mut info);
            show_token(&mut info, token, &stamp(now.after(TOKEN_LIFE).unix(), offset));
        }
        Ok(Answer::raw(200, format!(r#"{{"data":[{}],"info":{info}}}"#, data.join(","))))
    }

    /// `GET /crm/vN/{Module}/{id}`: the only reply with subforms; 204 when there is none.
    pub(super) fn one(
        &self,
        version: Version,
        name: &str,
        id: &str,
        asked: &Asked,
    ) -> Result<Answer, Answer> {
        asked.allow(&["fields"])?;
        let module = self.model.module(name)?;
        let fields = fields(version, asked, false)?;
        let id: u64 = id.parse().map_err(|_| Answer::invalid_param("id"))?;
        self.faults.permit(name, &[id])?;
        let exclusive = self.knobs.modified_since_exclusive;
        let since = since(asked)?.filter(|_| module.has_modified_time);
        let Some(row) = module.rows.get(&id).filter(|row| !row.hidden) else {
            return Ok(Answer::empty(204));
        };
        if since.is_some_and(|since| !is_since(row.modified, since, exclusive)) {
            return Ok(Answer::empty(304));
        }
        let json = module.json(id, row, true, fields.as_deref(), self.knobs.offset_minutes);
        Ok(Answer::raw(200, format!(r#"{{"data":[{json}]}}"#)))
    }

    /// `GET /crm/vN/{Module}/deleted`, newest first.
    pub(super) fn deleted(&self, name: &str, asked: &Asked, now: Moment) -> Result<Answer, Answer> {
        asked.allow(&["type", "page", "per_page"])?;
        let module = self.model.module(name)?;
        self.faults.permit(name, &[])?;
        let wanted = match asked.param("type") {
            None | Some("all") => None,
            Some("recycle") => Some(Bin::Recycle),
            Some("permanent") => Some(Bin::Permanent),
            Some(_) => return Err(Answer::invalid_param("type")),
        };
        let page = asked.count("page", 1, u64::MAX)?;
        let per_page = asked.count("per_page", PAGE_LIMIT, PAGE_LIMIT)?;
        let since = since(asked)?;
        let exclusive = self.knobs.modified_since_exclusive;
        let lag = self.knobs.lists_lag;
        let indexed = if lag.is_zero() { i64::MAX } else { now.unix() - lag.as_secs() as i64 };
        let mut rows: Vec<_> = module
            .remembered(now)
            .filter(|(_, _, bin)| wanted.is_none_or(|wanted| *bin == wanted))
            .filter(|(_, gone, _)| gone.at.unix() <= indexed)
            .filter(|(_, gone, _)| since.is_none_or(|at| is_since(gone.at.unix(), at, exclusive)))
            .collect();
        if rows.is_empty() {
            return Ok(Answer::empty(if since.is_some() { 304 } else { 204 }));
        }
        rows.sort_by_key(|(id, gone, _)| std::cmp::Reverse((gone.at.unix(), *id)));
        let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let total = rows.len();
        let offset = self.knobs.offset_minutes;
        let shown: Vec<Value> = rows
            .into_iter()
            .skip(skip)
            .take(per_page as usize)
            .map(|(id, gone, bin)| {
                let by = json!({"name": "Ada Lovelace", "id": "6756839000000421001"});
                json!({
                    "id": id.to_string(),
                    "display_name": display_name(&gone.row),
                    "type": if bin == Bin::Recycle { "recycle" } else { "permanent" },
                    "deleted_by": by,
                    "created_by": Value::Null,
                    "deleted_time": stamp(gone.at.unix(), offset),
                })
            })
            .collect();
        if shown.is_empty() {
            return Ok(Answer::empty(204));
        }
        let more = skip + shown.len() < total;
        let info =
            json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
        Ok(Answer::json(200, &json!({"data": shown, "info": info})))
    }

    /// `GET /crm/vN/{Module}/actions/count`, of what a list shows by default, or a search finds.
    pub(super) fn count(&self, name: &str, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&["criteria", "email", "phone", "word"])?;
        let module = self.model.module(name)?;
        self.faults.permit(name, &[])?;
        let count = match asked.query.is_empty() {
            true => module.visible().filter(|(_, row)| Converted::No.shows(row)).count(),
            false => self.found(module, asked)?.len(),
        };
        Ok(Answer::json(200, &json!({"count": count})))
    }
}

/// In which order a list is shown; by id, the newest first, unless asked otherwise.
pub(super) struct Order {
    by: SortBy,
    descending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SortBy {
    Id,
    Created,
    Modified,
}

impl SortBy {
    fn name(self) -> &'static str {
        match self {
            SortBy::Id => "id",
            SortBy::Created => "Created_Time",
            SortBy::Modified => "Modified_Time",
        }
    }
}

impl Order {
    pub(super) fn read(asked: &Asked, module: &Module) -> Result<Order, Answer> {
        let by = match asked.param("sort_by") {
            None | Some("id") => SortBy::Id,
            Some("Created_Time") => SortBy::Created,
            Some("Modified_Time") if module.has_modified_time => SortBy::Modified,
            Some(_) => return Err(Answer::invalid_param("sort_by")),
        };
        let descending = match asked.param("sort_order") {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(Answer::invalid_param("sort_order")),
        };
        Ok(Order { by, descending })
    }

    pub(super) fn key(&self, row: &Row) -> i64 {
        match self.by {
            SortBy::Id => 0,
            SortBy::Created => row.created,
            SortBy::Modified => row.modified,
        }
    }

    /// The rows come in the order of ids.
    pub(super) fn sort(&self, rows: &mut [(i64, u64, &Row)]) {
        if self.by != SortBy::Id {
            rows.sort_unstable_by_key(|(key, id, _)| (*key, *id));
        }
        if self.descending {
            rows.reverse();
        }
    }

    pub(super) fn show(&self, info: &mut Value) {
        info["sort_by"] = json!(self.by.name());
        info["sort_order"] = json!(if self.descending { "desc" } else { "asc" });
    }

    /// The last id before the place, where the rows come in the order of ids from there on.
    fn walked_to(&self, place: &Place, shift: bool) -> Option<u64> {
        let walks = self.by == SortBy::Id && !self.descending && !shift;
        place.after.filter(|_| walks).map(|(_, id)| id)
    }

    fn start(&self, rows: &[(i64, u64, &Row)], place: &Place, shift: bool) -> usize {
        match place.after {
            Some(last) if !shift => rows.partition_point(|(key, id, _)| {
                if self.descending { (*key, *id) >= last } else { (*key, *id) <= last }
            }),
            _ => usize::try_from(place.skip).map_or(rows.len(), |skip| skip.min(rows.len())),
        }
    }
}

/// Whether converted leads are shown (facts §4.2).
pub(super) enum Converted {
    No,
    Yes,
    Both,
}

impl Converted {
    pub(super) fn read(asked: &Asked) -> Result<Converted, Answer> {
        match asked.param("converted") {
            None | Some("false") => Ok(Converted::No),
            Some("true") => Ok(Converted::Yes),
            Some("both") => Ok(Converted::Both),
            Some(_) => Err(Answer::invalid_param("converted")),
        }
    }

    pub(super) fn shows(&self, row: &Row) -> bool {
        match self {
            Converted::No => !row.converted,
            Converted::Yes => row.converted,
            Converted::Both => true,
        }
    }
}

pub(super) fn fields(
    version: Version,
    asked: &Asked,
    is_list: bool,
) -> Result<Option<Vec<&str>>, Answer> {
    let fields: Option<Vec<&str>> = asked.param("fields").map(|list| list.split(',').collect());
    if !version.is_at_least(3) {
        return Ok(fields);
    }
    match fields {
        None if is_list => {
            let details = json!({"param": "fields"});
            let message = "One of the expected parameter is missing";
            Err(Answer::refusal(400, "REQUIRED_PARAM_MISSING", details, message))
        }
        Some(fields) if fields.len() > FIELDS_LIMIT => Err(too_many("fields", FIELDS_LIMIT)),
        fields => Ok(fields),
    }
}

/// What a list says of itself where it knows page tokens.
fn show_token(info: &mut Value, token: Option<String>, ends: &str) {
    info["page_token_expiry"] = json!(token.as_ref().map(|_| ends));
    info["next_page_token"] = json!(token);
    info["previous_page_token"] = Value::Null;
    info["call"] = json!(false);
    info["email"] = json!(false);
}

fn ids(asked: &Asked) -> Result<Option<Vec<u64>>, Answer> {
    let Some(list) = asked.param("ids") else { return Ok(None) };
    let ids: Result<Vec<u64>, _> = list.split(',').map(str::parse).collect();
    match ids {
        Ok(ids) if ids.len() <= IDS_LIMIT => Ok(Some(ids)),
        Ok(_) => Err(too_many("ids", IDS_LIMIT)),
        Err(_) => Err(Answer::invalid_param("ids")),
    }
}

fn too_many(param: &str, limit: usize) -> Answer {
    let details = json!({"param": param, "limit": limit});
    Answer::refusal(400, "LIMIT_EXCEEDED", details, "You have exceeded the maximum limit")
}

/// `If-Modified-Since` is ISO 8601 with an offset; an HTTP date is not understood (facts §4.3).
fn since(asked: &Asked) -> Result<Option<i64>, Answer> {
    let Some(text) = asked.headers.get("if-modified-since") else { return Ok(None) };
    match UpstreamTime::parse(text) {
        Some(time) => Ok(Some(time.unix())),
        None => Err(Answer::invalid_param("If-Modified-Since")),
    }
}

fn is_since(stamp: i64, since: i64, exclusive: bool) -> bool {
    if exclusive { stamp > since } else { stamp >= since }
}

/// May be null (facts §4.4).
fn display_name(row: &Row) -> Value {
    let raw = ["Full_Name", "Last_Name", "Deal_Name"].iter().find_map(|name| row.values.get(*name));
    raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or(Value::Null)
}
