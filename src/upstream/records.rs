//! Reading records: by their names, page by page, the deleted ones, and one second by id.
//!
//! Builders of requests and parsers of replies; nothing here sends.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mirror::ledger::{Position, Scan};
use crate::mirror::record::{FieldName, ModuleName, Record, RecordId};
use crate::mirror::scan::{More, PageSeen};
use crate::mirror::time::UpstreamTime;
use crate::mirror::trouble::Trouble;

use super::api::{Api, Query};
use super::transport::{Body, Method, Request};
use super::verdict::Verdict;
use crate::secret::Secret;

/// Rows of a page: the most that upstream serves (facts §4.2).
pub const PAGE_ROWS: usize = 200;
/// Fields that a call may name (facts §4.2).
pub const FIELDS_A_CALL: usize = 50;

/// Which fields a module's records are read with, in passes of at most [`FIELDS_A_CALL`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passes {
    /// Whatever upstream shows, in one pass: before v3 nothing need be named.
    Everything,
    /// These, pass by pass; each pass has `Modified_Time`, by which passes are held together.
    Named(Vec<Vec<FieldName>>),
}

impl Passes {
    /// The passes for these fields.
    pub fn of(fields: &[FieldName]) -> Passes {
        let stamp = modified_time();
        let others: Vec<&FieldName> =
            fields.iter().filter(|name| **name != stamp && name.as_str() != "id").collect();
        let mut passes: Vec<Vec<FieldName>> = others
            .chunks(FIELDS_A_CALL - 1)
            .map(|chunk| chunk.iter().copied().cloned().chain([stamp.clone()]).collect())
            .collect();
        if passes.is_empty() {
            passes.push(vec![stamp]);
        }
        Passes::Named(passes)
    }

    /// The fields of each pass; `None` names none.
    pub fn each(&self) -> Vec<Option<&[FieldName]>> {
        match self {
            Passes::Everything => vec![None],
            Passes::Named(passes) => passes.iter().map(|pass| Some(pass.as_slice())).collect(),
        }
    }

    /// The fields that show whole records on a page, when one pass is enough; else those that show
    /// only whether a record changed.
    pub fn on_a_page(&self) -> Columns<'_> {
        match self {
            Passes::Everything => Columns::Whole(None),
            Passes::Named(passes) if passes.len() == 1 => Columns::Whole(Some(&passes[0])),
            Passes::Named(_) => Columns::Stamps,
        }
    }
}

/// What a page of a scan shows of each record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Columns<'a> {
    /// All that is mirrored of it.
    Whole(Option<&'a [FieldName]>),
    /// Its id and its modification time.
    Stamps,
}

fn modified_time() -> FieldName {
    FieldName::parse("Modified_Time").expect("it is an API name")
}

/// Asks for these records by their names. Those that upstream does not have are left out of its
/// reply.
pub fn by_ids(
    api: &Api,
    module: &ModuleName,
    ids: &[RecordId],
    fields: Option<&[FieldName]>,
) -> Request {
    let query = with_fields(Query::default().with_list("ids", ids), fields);
    api.get(api.module_url(module, "", &with_converted(query, module)))
}

/// Asks for one record whole, with subforms and multi-selects, which only this call shows
/// (facts §4.1).
pub fn by_id(
    api: &Api,
    module: &ModuleName,
    id: RecordId,
    fields: Option<&[FieldName]>,
) -> Request {
    let query = with_fields(Query::default(), fields);
    api.get(api.module_url(module, &format!("/{id}"), &query))
}

/// Asks how many records there are. It needs the scope ZohoSearch.securesearch.READ (facts §4.5).
pub fn count(api: &Api, module: &ModuleName) -> Request {
    api.get(api.module_url(module, "/actions/count", &Query::default()))
}

/// Asks for one record, whichever comes first: whether the module can be read at all.
pub fn glance(api: &Api, module: &ModuleName) -> Request {
    let query = with_fields(Query::default(), Some(&[modified_time()]));
    api.get(api.module_url(module, "", &query.with("per_page", 1)))
}

/// Asks for the page where the scan stands; `None` when it has read them all.
pub fn page(api: &Api, module: &ModuleName, scan: &Scan, columns: Columns<'_>) -> Option<Request> {
    let listed = |order_by: &str| {
        let query = match columns {
            Columns::Whole(fields) => with_fields(Query::default(), fields),
            Columns::Stamps => with_fields(Query::default(), Some(&[modified_time()])),
        };
        let query = query.with("per_page", PAGE_ROWS).with("sort_by", order_by);
        with_converted(query.with("sort_order", "asc"), module)
    };
    let get = |query: Query, since: Option<UpstreamTime>| {
        let request = api.get(api.module_url(module, "", &query));
        Request { modified_since: since, ..request }
    };
    Some(match &scan.next {
        Position::Page(page) => get(listed("id").with("page", page), None),
        Position::Token(token) => get(listed("id").with("page_token", token), None),
        Position::ById { after } => listed_by_id(api, module, scan, *after),
        Position::Modified { from, page } => {
            get(listed("Modified_Time").with("page", page), Some(*from))
        }
        Position::ModifiedToken { from, token, .. } => {
            get(listed("Modified_Time").with("page_token", token), Some(*from))
        }
        Position::Second { at, after, .. } => second(api, module, *at, *after),
        Position::Deleted { page, token } => {
            let query = Query::default().with("type", "all").with("per_page", PAGE_ROWS);
            let query = match token {
                Some(token) => query.with("page_token", token),
                None => query.with("page", page),
            };
            let request = api.get(api.module_url(module, "/deleted", &query));
            Request { modified_since: Some(scan.since), ..request }
        }
        Position::Settling => return None,
    })
}

/// Asks for the ids of what was modified in one second, by COQL, the only call that orders by id
/// within a time (facts §4.5). It needs the scope ZohoCRM.coql.READ.
fn second(api: &Api, module: &ModuleName, at: UpstreamTime, after: RecordId) -> Request {
    let query = format!(
        "select id, Modified_Time from {module} where Modified_Time = '{at}' and id > '{after}' \
         order by id asc limit 0, {PAGE_ROWS}"
    );
    coql(api, &query)
}

/// Asks for the ids behind this one, by COQL as well. It knows no bound on what it reaches.
fn listed_by_id(api: &Api, module: &ModuleName, scan: &Scan, after: RecordId) -> Request {
    let columns = if scan.stamped { "id, Modified_Time" } else { "id" };
    let query = format!(
        "select {columns} from {module} where id > '{after}' order by id asc limit 0, {PAGE_ROWS}"
    );
    coql(api, &query)
}

fn coql(api: &Api, query: &str) -> Request {
    let body = serde_json::json!({ "select_query": query }).to_string();
    api.request(Method::Post, api.url("coql", &Query::default()), Body::Json(Secret::new(body)))
}

fn with_fields(query: Query, fields: Option<&[FieldName]>) -> Query {
    match fields {
        Some(fields) => query.with_list("fields", fields),
        None => query,
    }
}

/// Converted leads are left out of lists unless asked for (facts §2.4, §4.2).
fn with_converted(query: Query, module: &ModuleName) -> Query {
    if module.as_str() == "Leads" { query.with("converted", "both") } else { query }
}

#[derive(Deserialize)]
struct ListBody<'a> {
    // Required: an answer without it does not say that there are no records.
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    info: Info,
}

#[derive(Deserialize, Default)]
struct Info {
    #[serde(default)]
    more_records: bool,
    #[serde(default)]
    next_page_token: Option<String>,
}

impl Info {
    fn more(self) -> More {
        match self.next_page_token.filter(|token| !token.is_empty()) {
            _ if !self.more_records => More::Last,
            Some(token) => More::Token(token),
            None => More::Next,
        }
    }
}

/// Reads the records of a reply, and whether more follow.
pub fn parse(verdict: Verdict<'_>) -> Result<(Vec<Record>, More), Trouble> {
    let Verdict::Content(text) = verdict else { return Ok((Vec::new(), More::Last)) };
    let body: ListBody<'_> = serde_json::from_str(text).map_err(|error| odd(&error))?;
    let records: Result<Vec<Record>, _> =
        body.data.iter().map(|row| Record::parse(row.get())).collect();
    Ok((records.map_err(|error| odd(&error))?, body.info.more()))
}

/// A row of the list of deleted records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Deleted {
    /// The record.
    pub id: RecordId,
    /// When it was deleted.
    #[serde(rename = "deleted_time")]
    pub time: Option<UpstreamTime>,
}

/// Reads a page of deleted records, and whether more follow.
pub fn parse_deleted(verdict: Verdict<'_>) -> Result<(Vec<Deleted>, More), Trouble> {
    let Verdict::Content(text) = verdict else { return Ok((Vec::new(), More::Last)) };
    let body: ListBody<'_> = serde_json::from_str(text).map_err(|error| odd(&error))?;
    let rows = body.data.iter().map(|row| serde_json::from_str(row.get()));
    Ok((rows.collect::<Result<_, _>>().map_err(|error| odd(&error))?, body.info.more()))
}

/// Reads a count.
pub fn parse_count(verdict: Verdict<'_>) -> Result<u64, Trouble> {
    #[derive(Deserialize)]
    struct CountBody {
        count: u64,
    }
    let Verdict::Content(text) = verdict else {
        return Err(odd(&"it is empty"));
    };
    let body: CountBody = serde_json::from_str(text).map_err(|error| odd(&error))?;
    Ok(body.count)
}

/// What a page of records showed, for the scan.
pub fn seen(records: &[Record], more: More) -> PageSeen {
    PageSeen {
        rows: records.len() as u64,
        last_id: records.iter().map(Record::id).max(),
        last_modified: records.iter().filter_map(Record::modified).max(),
        more,
        doubted: false,
    }
}

fn odd(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Failed { after: None, why: format!("the answer cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::ledger::ScanKind;
    use crate::mirror::origin::Origin;
    use crate::mirror::version::ApiVersion;

    fn api() -> Api {
        Api {
            origin: Origin::parse("https://www.zohoapis.eu").unwrap(),
            version: ApiVersion::parse("v8").unwrap(),
            token: Secret::new("t".into()),
        }
    }

    fn module(name: &str) -> ModuleName {
        ModuleName::parse(name).unwrap()
    }

    fn names(n: usize) -> Vec<FieldName> {
        (0..n).map(|i| FieldName::parse(&format!("F{i}")).unwrap()).collect()
    }

    #[test]
    fn records_are_asked_for_by_their_names() {
        let ids = [RecordId::new(1), RecordId::new(u64::MAX)];
        let request = by_ids(&api(), &module("Deals"), &ids, Some(&names(2)));
        let expected =
            "https://www.zohoapis.eu/crm/v8/Deals?ids=1,18446744073709551615&fields=F0,F1";
        assert_eq!(request.url, expected);
        let request = by_id(&api(), &module("Deals"), ids[0], None);
        assert_eq!(request.url, "https://www.zohoapis.eu/crm/v8/Deals/1");
        assert!(by_ids(&api(), &module("Leads"), &ids, None).url.ends_with("&converted=both"));
    }

    #[test]
    fn many_fields_go_in_passes_that_each_carry_the_stamp() {
        let mut fields = names(120);
        fields.push(modified_time());
        let passes = Passes::of(&fields);
        let each = passes.each();
        assert_eq!(each.iter().map(|pass| pass.unwrap().len()).collect::<Vec<_>>(), [50, 50, 23]);
        assert!(each.iter().all(|pass| pass.unwrap().contains(&modified_time())));
        assert_eq!(passes.on_a_page(), Columns::Stamps);
        assert!(matches!(Passes::of(&names(49)).on_a_page(), Columns::Whole(Some(_))));
    }

    #[test]
    fn each_position_of_a_scan_is_one_request() {
        let time = UpstreamTime::from_unix(1_800_000_000);
        let check = |next: Position, expected: &str, since: bool| {
            let scan = Scan { next, ..Scan::whole(ScanKind::Sweep, None, time) };
            let request = page(&api(), &module("Deals"), &scan, Columns::Whole(None)).unwrap();
            assert_eq!(request.url, format!("https://www.zohoapis.eu/crm/v8/{expected}"));
            assert_eq!(request.modified_since.is_some(), since);
        };
        let sorted = "Deals?per_page=200&sort_by=id&sort_order=asc";
        check(Position::Page(3), &format!("{sorted}&page=3"), false);
        check(Position::Token("a+b".into()), &format!("{sorted}&page_token=a%2Bb"), false);
        let sorted = "Deals?per_page=200&sort_by=Modified_Time&sort_order=asc";
        check(Position::Modified { from: time, page: 1 }, &format!("{sorted}&page=1"), true);
        let deleted = Position::Deleted { page: 2, token: None };
        check(deleted, "Deals/deleted?type=all&per_page=200&page=2", true);
        let scan = Scan { next: Position::Settling, ..Scan::whole(ScanKind::Sweep, None, time) };
        assert!(page(&api(), &module("Deals"), &scan, Columns::Stamps).is_none());
    }

    #[test]
    fn replies_are_read_with_what_follows_them() {
        let read =
            |text: &str| parse(Verdict::Content(text)).map(|(rows, more)| (rows.len(), more));
        assert_eq!(read(r#"{"data":[{"id":"1"}]}"#).unwrap(), (1, More::Last));
        let more = r#"{"data":[{"id":"1"}],"info":{"more_records":true}}"#;
        assert_eq!(read(more).unwrap(), (1, More::Next));
        let token = r#"{"data":[],"info":{"more_records":true,"next_page_token":"x"}}"#;
        assert_eq!(read(token).unwrap(), (0, More::Token("x".into())));
        for bad in
            [r#"{"data":[{"id":"#, r#"{"data":[{}]}"#, r#"{"data":{}}"#, r#"{"info":{}}"#, "{}"]
        {
            assert!(matches!(read(bad), Err(Trouble::Failed { .. })), "{bad}");
        }
        let deleted = r#"{"data":[{"deleted_by":null,"id":"7","type":"recycle"}]}"#;
        let rows = parse_deleted(Verdict::Content(deleted)).unwrap().0;
        assert_eq!(rows, [Deleted { id: RecordId::new(7), time: None }]);
        assert_eq!(parse_deleted(Verdict::Nothing).unwrap(), (vec![], More::Last));
    }
}
