//! Records and lists of Books: requests, and what their replies show.
//!
//! Builders and parsers; nothing here sends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::BooksApi;
use super::verdict::Verdict;
use crate::mirror::books::entity::Entity;
use crate::mirror::books::scan::Look;
use crate::mirror::record::{Record, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::mirror::trouble::Trouble;
use crate::upstream::api::Query;
use crate::upstream::transport::Request;

/// Rows of a page: the most that Books serves (facts §5.5).
pub const PAGE_ROWS: usize = 200;
/// The order that shows what was modified last.
const BY_TIME: &str = "last_modified_time";
/// The key of the modification time.
const MODIFIED: &str = "last_modified_time";

/// Asks for one record whole: lists lack line items.
pub fn by_id(books: &BooksApi, entity: Entity, id: RecordId) -> Request {
    books.get(&format!("{}/{id}", entity.plural()), Query::default())
}

/// Asks for one row, whichever comes first: whether the entity can be read at all.
pub fn glance(books: &BooksApi, entity: Entity) -> Request {
    books.get(entity.plural(), Query::default().with("page", 1).with("per_page", 1))
}

/// Asks for a page of a list; `from` is the earliest modification that a filter is to show.
pub fn page(
    books: &BooksApi,
    entity: Entity,
    look: Look,
    from: UpstreamTime,
    number: u32,
) -> Request {
    let query = Query::default().with("page", number).with("per_page", PAGE_ROWS);
    // Without it, what was made inactive is left out (facts §5.5).
    let query = match entity.plural() {
        "contacts" | "items" => query.with("filter_by", "Status.All"),
        _ => query,
    };
    let query = match look {
        Look::Whole => query,
        Look::Sorted => query.with("sort_column", BY_TIME).with("sort_order", "D"),
        Look::Filtered => query.with(MODIFIED, books_time(from)),
    };
    books.get(entity.plural(), query)
}

/// The form that Books itself writes: no colon in the offset.
fn books_time(time: UpstreamTime) -> String {
    time.to_string().replace("+00:00", "+0000")
}

/// Reads the record of a reply; `None` when upstream does not know it.
pub fn parse_one(verdict: Verdict<'_>, entity: Entity) -> Result<Option<Record>, Trouble> {
    let Verdict::Content(text) = verdict else { return Ok(None) };
    let body = members(text)?;
    let record = body.get(entity.around_one()).ok_or_else(|| lacks(entity.around_one()))?;
    parse_record(record.get(), entity).map(Some)
}

/// Reads a record as Books writes it.
pub fn parse_record(json: &str, entity: Entity) -> Result<Record, Trouble> {
    Record::parse_by(json, entity.id_key(), MODIFIED).map_err(|error| odd(&error))
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its rows, in order: ids and stamps.
    pub rows: Vec<(RecordId, Option<UpstreamTime>)>,
    /// Whether more pages follow.
    pub more: bool,
    /// Whether the list says that what was modified last comes first, and does it.
    pub is_by_time: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    has_more_page: Option<bool>,
    sort_column: Option<String>,
    sort_order: Option<String>,
}

impl Context {
    fn more(&self) -> Result<bool, Trouble> {
        self.has_more_page.ok_or_else(|| lacks("has_more_page"))
    }
}

/// Reads a page of a list as far as it concerns a scan.
pub fn parse_page(verdict: Verdict<'_>, entity: Entity) -> Result<Listed, Trouble> {
    let (records, context) = parse_list(verdict, entity)?;
    let listed: Vec<_> = records.iter().map(|row| (row.id(), row.modified())).collect();
    let more = context.more()?;
    if more && listed.is_empty() {
        return Err(odd(&"it is empty, and more is to follow"));
    }
    let says = context.sort_column.as_deref() == Some(BY_TIME)
        && context.sort_order.as_deref() == Some("D");
    let falls = listed.iter().all(|(_, modified)| modified.is_some())
        && listed.windows(2).all(|pair| pair[0].1 >= pair[1].1);
    Ok(Listed { rows: listed, more, is_by_time: says && falls })
}

/// Reads the records of a list, and whether more follow.
pub fn parse_records(verdict: Verdict<'_>, entity: Entity) -> Result<(Vec<Record>, bool), Trouble> {
    let (records, context) = parse_list(verdict, entity)?;
    Ok((records, context.more()?))
}

fn parse_list(verdict: Verdict<'_>, entity: Entity) -> Result<(Vec<Record>, Context), Trouble> {
    let Verdict::Content(text) = verdict else {
        return Err(odd(&"a list cannot be unknown"));
    };
    let body = members(text)?;
    let rows = body.get(entity.plural()).ok_or_else(|| lacks(entity.plural()))?;
    let rows: Vec<&RawValue> = serde_json::from_str(rows.get()).map_err(|error| odd(&error))?;
    let records: Result<Vec<Record>, Trouble> =
        rows.iter().map(|row| parse_record(row.get(), entity)).collect();
    let context = body.get("page_context").ok_or_else(|| lacks("page_context"))?;
    Ok((records?, parse_context(context.get())?))
}

/// Books documents it as an object, and shows it as a list of one here and there.
fn parse_context(json: &str) -> Result<Context, Trouble> {
    if json.trim_start().starts_with('[') {
        let mut list: Vec<Context> = serde_json::from_str(json).map_err(|error| odd(&error))?;
        return Ok(list.pop().unwrap_or_default());
    }
    serde_json::from_str(json).map_err(|error| odd(&error))
}

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn members(text: &str) -> Result<Members<'_>, Trouble> {
    #[derive(Deserialize)]
    struct Body<'a>(#[serde(borrow)] Members<'a>);
    let Body(members) = serde_json::from_str(text).map_err(|error| odd(&error))?;
    Ok(members)
}

fn lacks(name: &str) -> Trouble {
    odd(&format!("it has no {name}"))
}

fn odd(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Failed { after: None, why: format!("the answer of Books cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::origin::Origin;
    use crate::mirror::version::ApiVersion;
    use crate::secret::Secret;
    use crate::upstream::api::Api;

    fn books() -> BooksApi {
        let api = Api {
            origin: Origin::parse("https://www.zohoapis.in").unwrap(),
            version: ApiVersion::parse("v8").unwrap(),
            token: Secret::new("t".into()),
        };
        BooksApi { api, organization: "10234695".into() }
    }

    fn entity(name: &str) -> Entity {
        Entity::parse(name).unwrap()
    }

    #[test]
    fn each_request_names_the_organization() {
        let from = UpstreamTime::from_unix(1_800_000_000);
        let check = |request: Request, expected: &str| {
            assert_eq!(request.url, format!("https://www.zohoapis.in/books/v3/{expected}"));
        };
        let id = RecordId::new(u64::MAX);
        let one = "invoices/18446744073709551615?organization_id=10234695";
        check(by_id(&books(), entity("invoice"), id), one);
        let of = |name, look| page(&books(), entity(name), look, from, 2);
        let all = "invoices?page=2&per_page=200&organization_id=10234695";
        check(of("invoice", Look::Whole), all);
        let sorted = "contacts?page=2&per_page=200&filter_by=Status.All\
                      &sort_column=last_modified_time&sort_order=D&organization_id=10234695";
        check(of("contact", Look::Sorted), sorted);
        let filtered = "bills?page=2&per_page=200\
                        &last_modified_time=2027-01-15T08%3A00%3A00%2B0000\
                        &organization_id=10234695";
        check(of("bill", Look::Filtered), filtered);
    }

    #[test]
    fn a_record_is_kept_as_it_was_written() {
        let text = r#"{"code":0,"message":"success","payment":{"payment_id":"9007199254740993",
            "amount":1.500,"last_modified_time":"2026-03-06T10:15:30+0530","invoices":[]}}"#;
        let verdict = Verdict::Content(text);
        let record = parse_one(verdict, entity("customerpayment")).unwrap().unwrap();
        assert_eq!(record.id(), RecordId::new(9_007_199_254_740_993));
        assert_eq!(record.modified(), UpstreamTime::parse("2026-03-06T04:45:30Z"));
        assert!(record.json().contains(r#""amount":1.500"#));
        assert!(parse_one(verdict, entity("invoice")).is_err(), "another record");
        assert_eq!(parse_one(Verdict::Unknown, entity("invoice")).unwrap(), None);
    }

    #[test]
    fn an_order_is_believed_when_it_is_said_and_seen() {
        let read = |stamps: [&str; 2], context: &str| {
            let row = |(id, at): (usize, &&str)| {
                format!(r#"{{"contact_id":"{id}","last_modified_time":"{at}"}}"#)
            };
            let rows: Vec<String> = stamps.iter().enumerate().map(row).collect();
            let rows = rows.join(",");
            let text = format!(r#"{{"contacts":[{rows}],"page_context":{context}}}"#);
            parse_page(Verdict::Content(&text), entity("contact"))
        };
        let falling = ["2026-03-06T10:15:30+0530", "2026-03-06T10:15:29+0530"];
        let rising = ["2026-03-06T10:15:29+0530", "2026-03-06T10:15:30+0530"];
        let said = r#"{"has_more_page":true,"sort_column":"last_modified_time","sort_order":"D"}"#;
        let page = read(falling, said).unwrap();
        assert!(page.is_by_time && page.more && page.rows.len() == 2);
        assert!(!read(rising, said).unwrap().is_by_time);
        assert!(!read(["", falling[1]], said).unwrap().is_by_time, "a row without a stamp");
        let other = r#"[{"has_more_page":false,"sort_column":"contact_name","sort_order":"D"}]"#;
        let page = read(falling, other).unwrap();
        assert!(!page.is_by_time && !page.more);
        assert!(read(falling, "{}").is_err(), "it does not say whether more follows");
        let empty = r#"{"contacts":[],"page_context":{"has_more_page":true}}"#;
        assert!(parse_page(Verdict::Content(empty), entity("contact")).is_err());
    }
}
