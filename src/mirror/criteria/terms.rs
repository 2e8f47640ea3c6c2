//! What an index of a field is made of: the terms of a value, and those to look up for a query.
//!
//! The law: whenever a value is equal to a text (in the sense of `equals`, or of one value of
//! `in`), a term of the value is a term of the text. The other way round it need not hold: terms
//! are hashes, so whoever looks up judges what is found by the criteria themselves.
//!
//! ```text
//! a text, a lookup's name or id   the text in small letters
//! true, false                     the same, as a text
//! a number                        its decimal digits, the same for 1, 1.0 and 1e0
//! a date                          the day, as that of a date
//! a moment                        the moment, and the day it is written with, as that of a moment
//! null, an empty text or list     nothing: `null` has no terms to look up
//! a list longer than fits         the one term that every query looks up
//! ```
//! A date asked for finds both kinds of day, a moment asked for itself and dates, with which it is
//! compared by day. A change here is a new [`TERM_RULES`]: indexes made by other rules are built
//! anew.
//!
//! This file holds no index and knows no store.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use serde_json::value::RawValue;

use super::compare::{Leaf, Operand, any_leaf, fold, is_empty};
use super::measure::{Decimal, Measure, Time};
use super::{Criteria, Expression, values};
use crate::mirror::gather::Gather;
use crate::mirror::record::{FieldName, Record};

/// The number of the rules by which terms are made.
pub const TERM_RULES: u32 = 1;

/// Most terms of one value: multi-selects have some tens of items. Beyond it the value is found by
/// every query, and judged.
const TERMS_LIMIT: usize = 200;

/// A hash of something that a value can be equal to, the same on every device and in every release
/// with the same [`TERM_RULES`]. Among 100,000 values, one query in 40,000 meets a wrong one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Term(u32);

/// What is hashed, so that the text `1` is not the number 1.
#[derive(Clone, Copy)]
enum Kind {
    Text = 1,
    Number = 2,
    Date = 3,
    DayOfMoment = 4,
    Moment = 5,
    Overflow = 6,
}

impl Term {
    /// The term with this number, as it stood in a key.
    pub const fn new(number: u32) -> Term {
        Term(number)
    }

    /// The number, for keys.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// FNV-1a: a few lines that nothing will change, and good enough for texts that nobody makes up
    /// to collide. Whoever did would slow down his own search.
    fn of(kind: Kind, bytes: impl IntoIterator<Item = u8>) -> Term {
        const BASIS: u32 = 0x811c_9dc5;
        const PRIME: u32 = 0x0100_0193;
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(PRIME);
        Term(bytes.into_iter().fold(step(BASIS, kind as u8), step))
    }

    /// Of small letters.
    fn of_text(letters: impl Iterator<Item = char>) -> Term {
        Term::of(Kind::Text, letters.flat_map(|letter| u32::from(letter).to_be_bytes()))
    }

    fn of_number(number: &Decimal<'_>) -> Term {
        Term::of(Kind::Number, number.canonical())
    }

    fn overflow() -> Term {
        Term::of(Kind::Overflow, [])
    }
}

/// The terms of a record's values in these fields, in their order. Of a field that it does not have
/// there are none.
pub fn terms_of_record(record: &Record, fields: &[FieldName]) -> Vec<BTreeSet<Term>> {
    let values = values(record.json(), fields).into_iter();
    values.map(|value| value.map(terms_of_value).unwrap_or_default()).collect()
}

/// The terms of a value.
pub fn terms_of_value(value: &RawValue) -> BTreeSet<Term> {
    let mut terms = BTreeSet::new();
    if is_empty(value) {
        return terms;
    }
    any_leaf(value, |leaf| {
        shown(leaf, &mut terms);
        terms.len() > TERMS_LIMIT
    });
    if terms.len() > TERMS_LIMIT {
        return iter::once(Term::overflow()).gather();
    }
    terms
}

/// What to look up for values equal to this text. `null` is a text here: an empty field has no
/// terms, and whoever means it has to look at all records.
pub fn terms_of_text(text: &str) -> BTreeSet<Term> {
    Operand::new(text).terms()
}

fn shown(leaf: &Leaf<'_>, terms: &mut BTreeSet<Term>) {
    match leaf {
        Leaf::Text(text) => {
            terms.insert(Term::of_text(fold(text)));
            match Time::parse(text) {
                Some(Time::Day(day)) => {
                    terms.insert(Term::of(Kind::Date, day.letters().iter().copied()));
                }
                Some(Time::Moment(moment, day)) => {
                    terms.insert(Term::of(Kind::DayOfMoment, day.letters().iter().copied()));
                    terms.insert(Term::of(Kind::Moment, moment.unix().to_be_bytes()));
                }
                None => {}
            }
        }
        Leaf::Id(text) => {
            terms.insert(Term::of_text(fold(text)));
        }
        Leaf::Number(digits) => {
            // Digits that make no number are equal to nothing.
            terms.extend(Decimal::parse(digits).map(|number| Term::of_number(&number)));
        }
        Leaf::Truth(truth) => {
            terms.insert(Term::of_text(if *truth { "true" } else { "false" }.chars()));
        }
    }
}

/// What to look up for a text (in small letters) and what else it can be read as.
pub(super) fn sought(text: &str, measure: Option<&Measure<'_>>) -> BTreeSet<Term> {
    let mut terms: BTreeSet<Term> =
        [Term::of_text(text.chars()), Term::overflow()].into_iter().gather();
    match measure {
        Some(Measure::Number(number)) => {
            terms.insert(Term::of_number(number));
        }
        Some(Measure::Time(Time::Day(day))) => {
            for kind in [Kind::Date, Kind::DayOfMoment] {
                terms.insert(Term::of(kind, day.letters().iter().copied()));
            }
        }
        Some(Measure::Time(Time::Moment(moment, day))) => {
            terms.insert(Term::of(Kind::Moment, moment.unix().to_be_bytes()));
            terms.insert(Term::of(Kind::Date, day.letters().iter().copied()));
        }
        None => {}
    }
    terms
}

/// What to look up in indexes: every match has one of the terms in the field beside them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lookup(BTreeMap<FieldName, BTreeSet<Term>>);

impl Lookup {
    /// For records with one of these terms in this field.
    pub fn of(field: FieldName, terms: BTreeSet<Term>) -> Lookup {
        Lookup(iter::once((field, terms)).gather())
    }

    /// The fields, each with its terms.
    pub fn fields(&self) -> impl Iterator<Item = (&FieldName, &BTreeSet<Term>)> {
        self.0.iter()
    }

    pub(in crate::mirror) fn join(&mut self, other: Lookup) {
        for (field, mut terms) in other.0 {
            self.0.entry(field).or_default().append(&mut terms);
        }
    }

    /// How many places of an index it looks at.
    fn cost(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

impl Criteria {
    /// What to look up in indexes of these fields to find all records that can match; they are
    /// still to be judged. `None` when that takes a look at all records.
    ///
    /// Of conditions joined by `and` one is enough, so the one with the fewest terms is taken; of
    /// those joined by `or` each is needed.
    pub fn lookup(&self, indexed: impl Fn(&FieldName) -> bool) -> Option<Lookup> {
        let usable: Vec<bool> = self.fields.iter().map(indexed).collect();
        self.expression.lookup(&self.fields, &usable)
    }
}

impl Expression {
    fn lookup(&self, fields: &[FieldName], usable: &[bool]) -> Option<Lookup> {
        match self {
            Expression::All(parts) => {
                parts.iter().filter_map(|part| part.lookup(fields, usable)).min_by_key(Lookup::cost)
            }
            Expression::Any(parts) => {
                let mut whole = Lookup::default();
                for part in parts {
                    whole.join(part.lookup(fields, usable)?);
                }
                Some(whole)
            }
            Expression::One { field, test } if usable[*field] => {
                test.terms().map(|terms| Lookup::of(fields[*field].clone(), terms))
            }
            Expression::One { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(criteria: &str) -> Option<Vec<(String, usize)>> {
        let indexed = |field: &FieldName| ["Email", "Phone"].contains(&field.as_str());
        let found = Criteria::parse(criteria).unwrap().lookup(indexed)?;
        Some(found.fields().map(|(field, terms)| (field.to_string(), terms.len())).collect())
    }

    #[track_caller]
    fn check(criteria: &str, expected: &[(&str, usize)]) {
        let expected: Vec<_> = expected.iter().map(|(field, n)| ((*field).into(), *n)).collect();
        assert_eq!(lookup(criteria), Some(expected), "{criteria}");
    }

    #[test]
    fn what_can_be_looked_up_is() {
        // Each has one term more, that of values with too many.
        check("(Email:equals:a)", &[("Email", 2)]);
        check("(Email:in:a,b,A)", &[("Email", 3)]);
        check("((Email:in:a,b)and(Phone:equals:x))", &[("Phone", 2)]);
        check("((City:equals:z)and(Phone:equals:x))", &[("Phone", 2)]);
        check("((Email:equals:a)or(Phone:equals:x))", &[("Email", 2), ("Phone", 2)]);
        check("((Email:equals:a)or((Email:equals:b)and(City:equals:c)))", &[("Email", 3)]);
        for all in [
            "(City:equals:a)",
            "(Email:equals:null)",
            "(Email:in:a,null)",
            "(Email:not_equal:a)",
            "(Email:starts_with:a)",
            "((Email:equals:a)or(City:equals:x))",
            "((Email:equals:a)or(Phone:equals:null))",
        ] {
            assert_eq!(lookup(all), None, "{all}");
        }
    }
}
