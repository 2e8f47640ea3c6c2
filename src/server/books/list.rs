//! A page of an entity's records, whole ones: Books' own lists leave line items out.

use std::fmt::Write as _;

use serde_json::json;

use crate::mirror::books::entity::Entity;
use crate::mirror::record::{Record, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::server::query::{BadParameter, Parameters};
use crate::server::reply::Reply;
use crate::server::zoho::{NoRead, Order, Place, Reads, SortBy};

/// Rows of a page, unless the asker says otherwise, and at most (facts §5.5).
const PAGE_LIMIT: usize = 200;
/// Rows that page numbers reach: each page counts those before it.
const REACH: usize = 100_000;
/// The one order beside that of ids, and the one filter.
const BY_TIME: &str = "last_modified_time";
/// Bytes of a body around its records, mostly.
const AROUND: usize = 512;

/// `GET /books/v3/{entities}`: the newest id first unless asked otherwise; an empty list when there
/// are none.
///
/// `below` is ours: the rows behind that id, whatever comes and goes meanwhile.
pub(super) fn list(
    reads: &Reads<'_>,
    entity: Entity,
    mut parameters: Parameters,
) -> Result<Reply, NoRead> {
    let below = parameters.take("below").map(|id| id.parse::<RecordId>());
    let below = below.transpose().map_err(|_| BadParameter::new("below", "is a record's id"))?;
    let page = parameters.take_number("page", 1..=REACH)?;
    let per_page = parameters.take_number("per_page", 1..=PAGE_LIMIT)?.unwrap_or(PAGE_LIMIT);
    take_filter(&mut parameters)?;
    let order = take_order(&mut parameters, entity)?;
    let since = take_since(&mut parameters)?;
    parameters.finish()?;
    let is_by_id = order.by == SortBy::Id && order.descending && since.is_none();
    if below.is_some() && (page.is_some() || !is_by_id) {
        let why = "goes with no page, no other order and no filter";
        return Err(BadParameter::new("below", why).into());
    }
    let page = page.unwrap_or(1);
    if page.saturating_mul(per_page) > REACH {
        let why = format!("reaches {REACH} rows: go on by below, with the last id that you have");
        return Err(BadParameter::new("page", why).into());
    }
    let module = entity.module();
    let (records, more) = match below {
        Some(_) => {
            let mut records = reads.store.live_below(&module, below, per_page + 1)?;
            let more = records.len() > per_page;
            records.truncate(per_page);
            (records, more)
        }
        None => {
            let place = Place::numbered(order, page, per_page);
            let rows = reads.rows(&module, &place, since)?;
            rows.map_or((Vec::new(), false), |(records, more_after)| {
                (records, more_after.is_some())
            })
        }
    };
    let context = json!({
        "page": page,
        "per_page": per_page,
        "has_more_page": more,
        "sort_column": if order.by == SortBy::Modified { BY_TIME } else { entity.id_key() },
        "sort_order": if order.descending { "D" } else { "A" },
    });
    Ok(Reply::json(200, body(entity, &records, &context)))
}

/// The mirror shows what is inactive with the others, as this filter asks for.
fn take_filter(parameters: &mut Parameters) -> Result<(), BadParameter> {
    match parameters.take("filter_by").as_deref() {
        None | Some("Status.All") => Ok(()),
        Some(_) => Err(BadParameter::new("filter_by", "is Status.All, or left out")),
    }
}

fn take_order(parameters: &mut Parameters, entity: Entity) -> Result<Order, BadParameter> {
    let by = match parameters.take("sort_column").as_deref() {
        None => SortBy::Id,
        Some(BY_TIME) => SortBy::Modified,
        Some(column) if column == entity.id_key() => SortBy::Id,
        Some(_) => {
            let why = format!("is {BY_TIME} or {}", entity.id_key());
            return Err(BadParameter::new("sort_column", why));
        }
    };
    let descending = match parameters.take("sort_order").as_deref() {
        None | Some("D") => true,
        Some("A") => false,
        Some(_) => return Err(BadParameter::new("sort_order", "is A or D")),
    };
    Ok(Order { by, descending })
}

fn take_since(parameters: &mut Parameters) -> Result<Option<UpstreamTime>, BadParameter> {
    let Some(text) = parameters.take(BY_TIME) else { return Ok(None) };
    let why = "is a time with an offset, like 2026-01-31T10:00:00+0530, its + written %2B";
    UpstreamTime::parse(&text).map(Some).ok_or_else(|| BadParameter::new(BY_TIME, why))
}

fn body(entity: Entity, records: &[Record], context: &serde_json::Value) -> String {
    let size: usize = records.iter().map(|record| record.json().len() + 1).sum();
    let mut body = String::with_capacity(size + AROUND);
    let _ = write!(body, r#"{{"code":0,"message":"success","{}":["#, entity.plural());
    for (number, record) in records.iter().enumerate() {
        if number > 0 {
            body.push(',');
        }
        body.push_str(record.json());
    }
    let _ = write!(body, r#"],"page_context":{context}}}"#);
    body
}
