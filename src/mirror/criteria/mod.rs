//! The search language of upstream's API, answered from the mirror:
//! `((Last_Name:equals:Burns\, B)and(First_Name:starts_with:M))`.
//!
//! Grammar, operators and escapes are those of upstream's "Search Records" page (v7); one condition
//! may stand without brackets. Where that page is silent, this is what holds here: `and` binds
//! tighter than `or`; both, and the operators, are read in any case; texts are compared without
//! regard to case, accents matter; blanks around a value do not. `null` in small letters stands for
//! an empty field: no value, an empty text or an empty list. An empty field matches nothing else,
//! not even `not_equal`, and a field that the record does not have matches nothing at all.
//!
//! In two ways we differ knowingly. Upstream's `equals` finds longer texts too ("ABC" finds "ABC
//! Inc"); ours is exact, and `contains` is there for the rest. Upstream's field types decide which
//! operators a field takes; we have no types here, and a comparison that makes no sense is false.
//!
//! This judges one record at a time and knows neither store nor index. What an index would have to
//! be asked for the records that may match, is said in `terms.rs`.

mod compare;
mod measure;
mod parse;
mod sieve;
mod terms;

use std::fmt;

use serde_json::value::RawValue;

use super::members::members;
use super::record::{FieldName, Record};
use compare::Test;
pub(super) use compare::{Folded, any_text};

pub use sieve::Sieve;
pub use terms::{Lookup, TERM_RULES, Term, terms_of_record, terms_of_text, terms_of_value};

/// Longest text of criteria, in bytes: they travel in the address of a request, and few programs
/// send longer ones.
pub const TEXT_LIMIT: usize = 8 * 1024;

/// Deepest nesting of brackets: people write three, programs a few more, and reading and judging
/// recurse as deep as this.
pub const DEPTH_LIMIT: usize = 20;

/// Most conditions: ten times what upstream takes, since here no one else waits for the search.
pub const CONDITION_LIMIT: usize = 100;

/// Most values of one `in`: as upstream has it.
pub const VALUE_LIMIT: usize = 100;

/// A condition on records, ready to judge them.
#[derive(Clone, Debug)]
pub struct Criteria {
    fields: Vec<FieldName>,
    expression: Expression,
}

#[derive(Clone, Debug)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    /// `field` is a place in [`Criteria::fields`].
    One {
        field: usize,
        test: Test,
    },
}

impl Criteria {
    /// Reads criteria that have already been freed of their percent-encoding.
    pub fn parse(text: &str) -> Result<Criteria, CriteriaError> {
        parse::criteria(text)
    }

    /// Whether the record meets the criteria.
    pub fn matches(&self, record: &Record) -> bool {
        self.match_json(record.json())
    }

    /// Whether the record with this JSON meets the criteria.
    pub fn match_json(&self, json: &str) -> bool {
        self.expression.holds(&values(json, &self.fields))
    }

    /// What every match has written in it; `None` when there is nothing of the kind.
    pub fn sieve(&self) -> Option<Sieve> {
        self.expression.sieve()
    }

    /// The fields that the criteria speak of, each once, in the order of their first appearance.
    pub fn fields(&self) -> &[FieldName] {
        &self.fields
    }

    /// A field and a text, in small letters, that every match has in it: a hint for an index.
    ///
    /// It is meant in the sense of `equals`: a number has this value, a date-time is this moment or
    /// lies on this day, a lookup has this name or id, a list holds it. `None` says that no single
    /// text is required.
    pub fn equality(&self) -> Option<(&FieldName, &str)> {
        let (field, text) = self.expression.equality()?;
        Some((&self.fields[field], text))
    }
}

impl Expression {
    fn holds(&self, values: &[Option<&RawValue>]) -> bool {
        match self {
            Expression::All(parts) => parts.iter().all(|part| part.holds(values)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(values)),
            Expression::One { field, test } => {
                values[*field].is_some_and(|value| test.holds(value))
            }
        }
    }

    fn sieve(&self) -> Option<Sieve> {
        match self {
            Expression::All(parts) => {
                parts.iter().filter_map(Expression::sieve).reduce(Sieve::finer)
            }
            Expression::Any(_) => None,
            Expression::One { test, .. } => Sieve::of(test.written_text()?),
        }
    }

    fn equality(&self) -> Option<(usize, &str)> {
        match self {
            Expression::All(parts) => parts.iter().find_map(Expression::equality),
            Expression::Any(_) => None,
            Expression::One { field, test } => test.required_text().map(|text| (*field, text)),
        }
    }
}

/// The values of these fields of the record with this JSON, in their order.
pub(super) fn values<'j>(json: &'j str, fields: &[FieldName]) -> Vec<Option<&'j RawValue>> {
    let mut values = vec![None; fields.len()];
    let mut missing = fields.len();
    for (name, value) in members(json) {
        if let Some(place) = fields.iter().position(|field| field.as_str() == name) {
            values[place] = serde_json::from_str(value).ok();
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    values
}

/// A text that is not criteria: where, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CriteriaError {
    position: usize,
    character: usize,
    message: String,
}

impl CriteriaError {
    fn new(text: &str, position: usize, message: impl Into<String>) -> CriteriaError {
        let before = text.char_indices().take_while(|(at, _)| *at < position).count();
        CriteriaError { position, character: before + 1, message: message.into() }
    }

    /// Where reading stopped, in bytes from the start of the text.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The same place as people count: in characters, from 1.
    pub fn character(&self) -> usize {
        self.character
    }

    /// What is wrong there and what to do, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for CriteriaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "criteria, character {}: {}", self.character, self.message)
    }
}

impl std::error::Error for CriteriaError {}
