//! `POST /crm/vN/coql`: as much of the query language as paging by time and id needs (facts §4.5).
//!
//! `select id, … from M where C [and C …] [order by F [asc|desc]] [limit [a,] b]`, where C compares
//! `id`, `Created_Time` or `Modified_Time` with `=`, `<`, `<=`, `>`, `>=`; brackets around
//! conditions are read over. Everything else is an error, `SYNTAX_ERROR`.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::Upstream;
use super::model::Row;
use super::route::Version;
use super::wire::{Answer, Asked};
use crmirror::mirror::time::UpstreamTime;

/// Rows of one call.
const LIMIT_V2: u64 = 200;
const LIMIT_V8: u64 = 2_000;
/// Fields of one call: few in v2, many in v8.
const FIELDS_V2: usize = 50;
const FIELDS_V8: usize = 500;

impl Upstream {
    pub(super) fn coql(&self, version: Version, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&[])?;
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        let text = body["select_query"].as_str().ok_or_else(|| syntax("select_query"))?;
        let query = Query::parse(text).map_err(|near| syntax(&near))?;
        let module = self.model.module(&query.module)?;
        self.faults.permit(&query.module, &[])?;
        let (rows_limit, fields_limit) =
            if version.is_at_least(8) { (LIMIT_V8, FIELDS_V8) } else { (LIMIT_V2, FIELDS_V2) };
        let limit = query.limit.unwrap_or(LIMIT_V2);
        if limit > rows_limit || query.fields.len() > fields_limit {
            let details = json!({"limit": rows_limit, "fields": fields_limit});
            let message = "You have exceeded the maximum limit";
            return Err(Answer::refusal(400, "LIMIT_EXCEEDED", details, message));
        }
        let mut rows: Vec<(u64, &Row)> = module
            .visible()
            .filter(|(id, row)| query.conditions.iter().all(|condition| condition.holds(*id, row)))
            .collect();
        rows.sort_by_key(|&(id, row)| (query.order.of(id, row), id));
        if query.descending {
            rows.reverse();
        }
        let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
        let total = rows.len();
        let fields: Vec<&str> = query.fields.iter().map(String::as_str).collect();
        let shown: Vec<String> = rows
            .into_iter()
            .skip(skip)
            .take(limit as usize)
            .map(|(id, row)| {
                let row = Row { values: bare_lookups(row), ..row.clone() };
                module.json(id, &row, false, Some(&fields), self.knobs.offset_minutes)
            })
            .collect();
        if shown.is_empty() {
            return Ok(Answer::empty(204));
        }
        let more = skip + shown.len() < total;
        let info = json!({"count": shown.len(), "more_records": more});
        Ok(Answer::raw(200, format!(r#"{{"data":[{}],"info":{info}}}"#, shown.join(","))))
    }
}

/// Lookups show nothing but their id here.
fn bare_lookups(row: &Row) -> std::collections::BTreeMap<String, String> {
    let bare = |raw: &String| {
        let lookup: Option<Value> =
            raw.starts_with('{').then(|| serde_json::from_str(raw).ok()).flatten();
        let id = lookup.and_then(|lookup| lookup.get("id").cloned());
        id.map_or_else(|| raw.clone(), |id| json!({"id": id}).to_string())
    };
    row.values.iter().map(|(name, raw)| (name.clone(), bare(raw))).collect()
}

fn syntax(near: &str) -> Answer {
    let details = json!({"near": near});
    Answer::refusal(400, "SYNTAX_ERROR", details, "error occurred while parsing the query")
}

struct Query {
    fields: Vec<String>,
    module: String,
    conditions: Vec<Condition>,
    order: Key,
    descending: bool,
    skip: u64,
    limit: Option<u64>,
}

struct Condition {
    key: Key,
    allowed: &'static [Ordering],
    value: i128,
}

#[derive(Clone, Copy)]
enum Key {
    Id,
    Created,
    Modified,
}

impl Condition {
    fn holds(&self, id: u64, row: &Row) -> bool {
        self.allowed.contains(&self.key.of(id, row).cmp(&self.value))
    }
}

impl Key {
    fn of(self, id: u64, row: &Row) -> i128 {
        match self {
            Key::Id => id.into(),
            Key::Created => row.created.into(),
            Key::Modified => row.modified.into(),
        }
    }
}

impl Query {
    fn parse(text: &str) -> Result<Query, String> {
        let mut words = Words::of(text)?;
        words.expect("select")?;
        let mut fields = vec![words.next()?];
        while words.skip(",") {
            fields.push(words.next()?);
        }
        words.expect("from")?;
        let module = words.next()?;
        words.expect("where")?;
        let mut conditions = vec![words.condition()?];
        while words.skip("and") {
            conditions.push(words.condition()?);
        }
        words.brackets(")");
        let (mut order, mut descending) = (Key::Id, false);
        if words.skip("order") {
            words.expect("by")?;
            order = words.key()?;
            descending = !words.skip("asc") && words.skip("desc");
        }
        let (mut skip, mut limit) = (0, None);
        if words.skip("limit") {
            let first = words.number()?;
            match words.skip(",") {
                true => (skip, limit) = (first, Some(words.number()?)),
                false => limit = Some(first),
            }
        }
        match words.next() {
            Ok(left) => Err(left),
            Err(_) => Ok(Query { fields, module, conditions, order, descending, skip, limit }),
        }
    }
}

/// The words of a query, in reverse, so that the next one is the last.
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Result<Words, String> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\'' => 2 + rest[1..].find('\'').ok_or("an open quote")?,
                '(' | ')' | ',' | '=' => 1,
                '<' | '>' => 1 + usize::from(rest[1..].starts_with('=')),
                _ => rest
                    .find(|c: char| c.is_whitespace() || "()',=<>".contains(c))
                    .unwrap_or(rest.len()),
            };
            words.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
        words.reverse();
        Ok(Words(words))
    }

    fn next(&mut self) -> Result<String, String> {
        self.0.pop().ok_or_else(|| "the end".to_owned())
    }

    fn skip(&mut self, word: &str) -> bool {
        let is_next = self.0.last().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if is_next {
            self.0.pop();
        }
        is_next
    }

    fn brackets(&mut self, bracket: &str) {
        while self.skip(bracket) {}
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.skip(word) { Ok(()) } else { Err(self.next().unwrap_or_default()) }
    }

    fn number(&mut self) -> Result<u64, String> {
        let word = self.next()?;
        word.parse().map_err(|_| word)
    }

    fn key(&mut self) -> Result<Key, String> {
        match self.next()?.as_str() {
            "id" => Ok(Key::Id),
            "Created_Time" => Ok(Key::Created),
            "Modified_Time" => Ok(Key::Modified),
            other => Err(other.to_owned()),
        }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        self.brackets("(");
        let key = self.key()?;
        let allowed: &[Ordering] = match self.next()?.as_str() {
            "=" => &[Ordering::Equal],
            "<" => &[Ordering::Less],
            "<=" => &[Ordering::Less, Ordering::Equal],
            ">" => &[Ordering::Greater],
            ">=" => &[Ordering::Greater, Ordering::Equal],
            other => return Err(other.to_owned()),
        };
        let word = self.next()?;
        let text = word.trim_matches('\'');
        let value = match key {
            Key::Id => text.parse().ok(),
            Key::Created | Key::Modified => UpstreamTime::parse(text).map(|at| at.unix().into()),
        };
        self.brackets(")");
        Ok(Condition { key, allowed, value: value.ok_or(word)? })
    }
}
