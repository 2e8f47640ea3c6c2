//! What became of webhooks' executions, and sending them again (facts §5.1).
//!
//! Neither the words of `status` nor the form of the times is documented: what counts is the
//! status that somebody answered with, and times that cannot be read are not there.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::BooksApi;
use super::verdict::unreadable;
use crate::mirror::books::histories::Execution;
use crate::mirror::record::RecordId;
use crate::mirror::time::UpstreamTime;
use crate::mirror::trouble::Trouble;
use crate::upstream::api::Query;
use crate::upstream::transport::{Body, Method, Request};

const PATH: &str = "settings/webhooks/histories";

/// Rows of a page: the most that lists of Books have (facts §5.5).
pub const ROWS: u32 = 200;

/// What executions can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// When it happened.
    EventTime,
    /// What happened.
    EventId,
    /// When it was told.
    NotifiedTime,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 3] = [Column::EventTime, Column::EventId, Column::NotifiedTime];

    /// As upstream writes it.
    pub fn name(self) -> &'static str {
        match self {
            Column::EventTime => "event_time",
            Column::EventId => "event_id",
            Column::NotifiedTime => "notified_time",
        }
    }
}

/// Asks for a page of all executions, the last by this column first.
pub fn list(api: &BooksApi, sort: Column, page: u32) -> Request {
    let query = Query::default().with("page", page).with("per_page", ROWS);
    api.get(PATH, query.with("sort_column", sort.name()).with("sort_order", "D"))
}

/// Asks for all that is known of one.
pub fn show(api: &BooksApi, id: RecordId) -> Request {
    api.get(&format!("{PATH}/{id}"), Query::default())
}

/// Asks for one to be sent again.
pub fn resend(api: &BooksApi, id: RecordId) -> Request {
    api.request(Method::Post, &format!("{PATH}/{id}/resend"), Query::default(), Body::Empty)
}

/// Asks for these to be sent again.
pub fn resend_all(api: &BooksApi, ids: &[RecordId]) -> Request {
    let query = Query::default().with_list("history_ids", ids);
    api.request(Method::Post, &format!("{PATH}/bulkresend"), query, Body::Empty)
}

#[derive(Deserialize)]
struct Row {
    history_id: RecordId,
    #[serde(default, deserialize_with = "lenient_id")]
    webhook_url_id: Option<RecordId>,
    #[serde(default, deserialize_with = "lenient_id")]
    entity_id: Option<RecordId>,
    webhook_url: Option<String>,
    #[serde(default)]
    response_code: Value,
    last_execution_time: Option<String>,
    history_time: Option<String>,
}

/// An id, where there is one: records that are no single one have an empty text in its place.
fn lenient_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RecordId>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Reads a page of executions, and whether more follow.
pub fn parse(text: &str) -> Result<(Vec<Execution>, bool), Trouble> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        histories: Vec<Row>,
        #[serde(default)]
        page_context: PageContext,
    }
    let list: List = serde_json::from_str(text).map_err(|error| unreadable("histories", &error))?;
    Ok((list.histories.into_iter().map(Row::read).collect(), list.page_context.has_more_page))
}

/// What a list says of its pages.
#[derive(Deserialize, Default)]
pub(super) struct PageContext {
    #[serde(default)]
    pub(super) has_more_page: bool,
}

impl Row {
    fn read(self) -> Execution {
        let times = [&self.last_execution_time, &self.history_time];
        let times = times.map(|time| time.as_deref().and_then(UpstreamTime::parse));
        let code = match &self.response_code {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        Execution {
            id: self.history_id,
            webhook: self.webhook_url_id,
            url: self.webhook_url,
            record: self.entity_id,
            has_succeeded: code.is_some_and(|code| (200..300).contains(&code)),
            first: times.into_iter().flatten().min(),
            last: times.into_iter().flatten().max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_as_upstream_shows_them() {
        let text = r#"{"code":0,"message":"success","histories":[
            {"history_id":"460000000045001","webhook_url_id":"460000000040001",
             "webhook_name":"kiosk","entity_type":"invoice","entity_id":"460000000028085",
             "response_code":503,"status":"failed","retry_count":5,"next_retry_time":"",
             "last_execution_time":"2026-11-21T10:00:09+0530",
             "history_time":"2026-11-21T10:00:00+0530","webhook_url":"https://kiosk.example/x"},
            {"history_id":7,"webhook_url_id":"","entity_id":"","response_code":"200"},
            {"history_id":"8","history_time":"21 Nov 2026"}],
            "page_context":{"page":1,"has_more_page":true}}"#;
        let (rows, more) = parse(text).unwrap();
        assert!(more);
        let time = |text| UpstreamTime::parse(text);
        let first = &rows[0];
        assert_eq!(first.first, time("2026-11-21T04:30:00Z"));
        assert_eq!(first.last, time("2026-11-21T04:30:09Z"));
        assert_eq!(first.record, Some(RecordId::new(460_000_000_028_085)));
        assert_eq!(first.webhook, Some(RecordId::new(460_000_000_040_001)));
        assert_eq!(
            rows.iter().map(|row| row.has_succeeded).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert_eq!((rows[1].webhook, rows[1].record), (None, None));
        assert_eq!((rows[2].first, rows[2].last), (None, None));
        assert_eq!(parse(r#"{"code":0}"#).unwrap(), (Vec::new(), false));
    }
}
