//! `GET …/search` and the count of what it finds (facts §4.5).
//!
//! Criteria are read as far as tests ask them: conditions in brackets, joined by one kind of `and`
//! or `or`, without escapes. What `equals` finds is exact, as with picklists; upstream is said to
//! find more of texts, which no mirror could promise. Another shape of criteria is `INVALID_QUERY`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Upstream;
use super::model::{Module, Row};
use super::paging::PAGE_LIMIT;
use super::records::{Converted, Order, fields};
use super::route::Version;
use super::wire::{Answer, Asked};
use crmirror::mirror::time::UpstreamTime;

/// Records that a search reaches, page by page.
const FOUND_LIMIT: u64 = 2_000;

const QUESTIONS: [&str; 4] = ["criteria", "email", "phone", "word"];

impl Upstream {
    /// `GET /crm/vN/{Module}/search`.
    pub(super) fn search(
        &self,
        version: Version,
        name: &str,
        asked: &Asked,
    ) -> Result<Answer, Answer> {
        let others = ["fields", "page", "per_page", "sort_by", "sort_order", "converted"];
        asked.allow(&[&QUESTIONS[..], &others].concat())?;
        let module = self.model.module(name)?;
        self.faults.permit(name, &[])?;
        let fields = fields(version, asked, false)?;
        let page = asked.count("page", 1, u64::MAX)?;
        let per_page = asked.count("per_page", PAGE_LIMIT, PAGE_LIMIT)?;
        if page.saturating_mul(per_page) > FOUND_LIMIT {
            let message = "Maximum response iteration limit reached";
            return Err(Answer::refusal(400, "LIMIT_REACHED", json!({}), message));
        }
        let order = Order::read(asked, module)?;
        let mut rows = self.found(module, asked)?;
        order.sort(&mut rows);
        let skip = ((page - 1) * per_page) as usize;
        let shown: Vec<String> = rows
            .iter()
            .skip(skip)
            .take(per_page as usize)
            .map(|(_, id, row)| {
                module.json(*id, row, false, fields.as_deref(), self.knobs.offset_minutes)
            })
            .collect();
        if shown.is_empty() {
            return Ok(Answer::empty(204));
        }
        let more = skip + shown.len() < rows.len();
        let mut info =
            json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
        order.show(&mut info);
        Ok(Answer::raw(200, format!(r#"{{"data":[{}],"info":{info}}}"#, shown.join(","))))
    }

    /// What a search finds, in the order of ids.
    pub(super) fn found<'m>(
        &self,
        module: &'m Module,
        asked: &Asked,
    ) -> Result<Vec<(i64, u64, &'m Row)>, Answer> {
        let order = Order::read(asked, module)?;
        let converted = Converted::read(asked)?;
        let Some(question) = QUESTIONS.iter().find(|name| asked.param(name).is_some()) else {
            let details = json!({"expected_params": QUESTIONS});
            let message = "mandatory param missing";
            return Err(Answer::refusal(400, "EXPECTED_PARAM_MISSING", details, message));
        };
        let text = asked.param(question).unwrap_or_default();
        let criteria = match *question {
            "criteria" => Some(Criteria::read(text)?),
            _ => None,
        };
        let holds = |id: u64, row: &Row| {
            let values = shown(module, id, row);
            match (&criteria, *question) {
                (Some(criteria), _) => criteria.holds(&values),
                (None, "email") => of_kind(&values, "Email").any(|it| same_text(it, text)),
                (None, "phone") => of_kind(&values, "Phone").any(|it| digits(it) == digits(text)),
                (None, _) => text.split_whitespace().all(|word| has_word(&values, word)),
            }
        };
        let rows = module.visible().filter(|(_, row)| converted.shows(row));
        let rows = rows.filter(|(id, row)| holds(*id, row));
        Ok(rows.map(|(id, row)| (order.key(row), id, row)).collect())
    }
}

type Values = BTreeMap<String, Value>;

fn shown(module: &Module, id: u64, row: &Row) -> Values {
    serde_json::from_str(&module.json(id, row, false, None, 0)).expect("a record is an object")
}

/// The texts of fields of one kind: they are told by their names here.
fn of_kind<'v>(values: &'v Values, kind: &'static str) -> impl Iterator<Item = &'v str> {
    values.iter().filter(move |(name, _)| name.contains(kind)).filter_map(|(_, it)| it.as_str())
}

fn same_text(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn has_word(values: &Values, word: &str) -> bool {
    let word = word.to_lowercase();
    values.values().flat_map(texts).any(|text| {
        let text = text.to_lowercase();
        let mut places = text.match_indices(&word);
        places.any(|(at, _)| !text[..at].ends_with(char::is_alphanumeric))
    })
}

/// The texts that a value shows: itself, the name of a lookup, those of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Object(lookup) => lookup.get("name").and_then(Value::as_str).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

struct Criteria<'a> {
    conditions: Vec<Condition<'a>>,
    any: bool,
}

struct Condition<'a> {
    field: &'a str,
    operator: &'a str,
    operands: Vec<&'a str>,
}

impl<'a> Criteria<'a> {
    fn read(text: &'a str) -> Result<Criteria<'a>, Answer> {
        let bad = || {
            let details = json!({"reason": "invalid criteria", "api_name": "criteria"});
            Answer::refusal(400, "INVALID_QUERY", details, "Invalid query formed")
        };
        let inside = |text: &'a str| text.strip_prefix('(')?.strip_suffix(')');
        let text = inside(text).ok_or_else(bad)?;
        // Brackets around all of them are left out where there is only one.
        let text = inside(text).unwrap_or(text);
        let any = text.contains(")or(");
        let parts = text.split(if any { ")or(" } else { ")and(" });
        let conditions: Option<Vec<_>> = parts.map(Condition::read).collect();
        Ok(Criteria { conditions: conditions.ok_or_else(bad)?, any })
    }

    fn holds(&self, values: &Values) -> bool {
        let mut each = self.conditions.iter().map(|condition| condition.holds(values));
        if self.any { each.any(|holds| holds) } else { each.all(|holds| holds) }
    }
}

impl<'a> Condition<'a> {
    fn read(text: &'a str) -> Option<Condition<'a>> {
        let mut parts = text.splitn(3, ':');
        let (field, operator, operands) = (parts.next()?, parts.next()?, parts.next()?);
        if operands.contains(['(', ')']) {
            return None;
        }
        let lists = ["in", "between"].contains(&operator);
        let operands: Vec<&str> =
            if lists { operands.split(',').collect() } else { vec![operands] };
        let known = ["equals", "not_equal", "starts_with", "greater_than", "greater_equal"];
        let known = known.contains(&operator) || ["less_than", "less_equal"].contains(&operator);
        (known || lists).then_some(Condition { field, operator, operands })
    }

    fn holds(&self, values: &Values) -> bool {
        let Some(value) = values.get(self.field) else { return false };
        let equals = |operand: &&str| match value {
            Value::Null => *operand == "null",
            value => {
                texts(value).into_iter().any(|text| same_text(text, operand))
                    || compare(value, operand) == Some(Ordering::Equal)
                    || value["id"] == **operand
                    || value.as_bool().is_some_and(|truth| truth.to_string() == **operand)
            }
        };
        let is = |allowed: &[Ordering], operand: &str| {
            compare(value, operand).is_some_and(|order| allowed.contains(&order))
        };
        use Ordering::{Equal, Greater, Less};
        let first = self.operands[0];
        match self.operator {
            "equals" | "in" => self.operands.iter().any(equals),
            "not_equal" => !value.is_null() && !equals(&first),
            "starts_with" => texts(value)
                .into_iter()
                .any(|text| text.to_lowercase().starts_with(&first.to_lowercase())),
            "greater_than" => is(&[Greater], first),
            "greater_equal" => is(&[Greater, Equal], first),
            "less_than" => is(&[Less], first),
            "less_equal" => is(&[Less, Equal], first),
            _ => is(&[Greater, Equal], first) && is(&[Less, Equal], self.operands[1]),
        }
    }
}

/// A number with a number, a time with a time.
fn compare(value: &Value, operand: &str) -> Option<Ordering> {
    match value {
        Value::Number(number) => number.as_f64()?.partial_cmp(&operand.parse().ok()?),
        Value::String(text) => Some(UpstreamTime::parse(text)?.cmp(&UpstreamTime::parse(operand)?)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
