//! A condition against the JSON value that a record has in its field.
//!
//! A value shows one or more leaves: a text, number or truth shows itself, a lookup
//! (`{"name":…,"id":…}`) its name and its id, a list those of each of its items. A condition holds
//! when it holds for one leaf; `not_equal` when `equals` does for none. Nothing deeper is looked
//! at, so nothing here recurses.

use crate::mirror::gather::Gather;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};

use serde_json::value::RawValue;

use super::measure::{Decimal, Measure, Time};
use super::terms::{self, Term};

/// What a condition asks of a value.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// `equals` and `in`.
    OneOf(Values),
    /// `not_equal`.
    NoneOf(Values),
    StartsWith(Folded),
    Contains(Folded),
    /// `between` and the four comparisons.
    Within(Bound<Measure<'static>>, Bound<Measure<'static>>),
}

impl Test {
    pub(super) fn holds(&self, value: &RawValue) -> bool {
        match self {
            Test::OneOf(values) => values.include(value),
            Test::NoneOf(values) => !is_empty(value) && !values.include(value),
            Test::StartsWith(start) => any_leaf(value, |leaf| match leaf {
                Leaf::Text(text) => start.starts(text),
                Leaf::Id(_) | Leaf::Number(_) | Leaf::Truth(_) => false,
            }),
            Test::Contains(part) => any_leaf(value, |leaf| match leaf {
                Leaf::Text(text) => part.is_part_of(text),
                Leaf::Id(_) | Leaf::Number(_) | Leaf::Truth(_) => false,
            }),
            Test::Within(low, high) => any_leaf(value, |leaf| match leaf {
                Leaf::Text(text) => lies_within(low, high, text),
                Leaf::Number(digits) => lies_within(low, high, digits),
                Leaf::Id(_) | Leaf::Truth(_) => false,
            }),
        }
    }

    /// What every value that passes has one of in an index; `None` when an index does not help.
    pub(super) fn terms(&self) -> Option<BTreeSet<Term>> {
        match self {
            Test::OneOf(values) => values.terms(),
            Test::NoneOf(_) | Test::StartsWith(_) | Test::Contains(_) | Test::Within(..) => None,
        }
    }

    /// A text, in small letters, that every value which passes has in it as it is written; `None`
    /// when there is a choice, or it can be written otherwise, as numbers and moments can.
    pub(super) fn written_text(&self) -> Option<&str> {
        match self {
            Test::OneOf(Values { empty: false, operands }) => match operands.as_slice() {
                [Operand { text, measure: None }] => Some(&text.0),
                _ => None,
            },
            Test::StartsWith(part) | Test::Contains(part) => Some(&part.0),
            Test::OneOf(_) | Test::NoneOf(_) | Test::Within(..) => None,
        }
    }

    /// The one text that a value must equal, in small letters; `None` when there is a choice.
    pub(super) fn required_text(&self) -> Option<&str> {
        match self {
            Test::OneOf(Values { empty: false, operands }) => match operands.as_slice() {
                [only] => Some(&only.text.0),
                _ => None,
            },
            Test::OneOf(_)
            | Test::NoneOf(_)
            | Test::StartsWith(_)
            | Test::Contains(_)
            | Test::Within(..) => None,
        }
    }
}

fn lies_within<'a>(low: &Bound<Measure<'a>>, high: &Bound<Measure<'a>>, text: &'a str) -> bool {
    let range = (low.as_ref(), high.as_ref());
    Measure::parse(text).is_some_and(|measure| range.contains(&measure))
}

/// The values of `equals`, `not_equal` or `in`.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Whether `null` is among them.
    empty: bool,
    operands: Vec<Operand>,
}

impl Values {
    pub(super) fn new(texts: impl IntoIterator<Item = String>) -> Values {
        let mut values = Values { empty: false, operands: Vec::new() };
        for text in texts {
            match text.as_str() {
                "null" => values.empty = true,
                text => values.operands.push(Operand::new(text)),
            }
        }
        values
    }

    /// What is to be looked up in an index to find all that these may be equal to; `None` when an
    /// empty field is among them, which has no terms.
    pub(super) fn terms(&self) -> Option<BTreeSet<Term>> {
        (!self.empty).then(|| self.operands.iter().flat_map(Operand::terms).gather())
    }

    fn include(&self, value: &RawValue) -> bool {
        if is_empty(value) {
            return self.empty;
        }
        any_leaf(value, |leaf| self.operands.iter().any(|operand| operand.equals(leaf)))
    }
}

/// A value to be equal to, read in every way that it can be meant.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    text: Folded,
    measure: Option<Measure<'static>>,
}

impl Operand {
    pub(super) fn new(text: &str) -> Operand {
        let measure = Measure::parse(text).map(Measure::into_owned);
        Operand { text: Folded::new(text), measure }
    }

    /// Each leaf that this is equal to has one of these (see `terms.rs`).
    pub(super) fn terms(&self) -> BTreeSet<Term> {
        terms::sought(&self.text.0, self.measure.as_ref())
    }

    fn equals(&self, leaf: &Leaf<'_>) -> bool {
        match (leaf, &self.measure) {
            (Leaf::Text(text), Some(Measure::Time(time))) => {
                self.text.is(text) || Time::parse(text).is_some_and(|shown| shown.same(time))
            }
            // Digits in a text are a text: a postcode 0123 is not 123.
            (Leaf::Text(text) | Leaf::Id(text), _) => self.text.is(text),
            (Leaf::Number(digits), Some(Measure::Number(number))) => {
                Decimal::parse(digits).is_some_and(|shown| shown == *number)
            }
            (Leaf::Number(_), Some(Measure::Time(_)) | None) => false,
            (Leaf::Truth(truth), _) => self.text.is(if *truth { "true" } else { "false" }),
        }
    }
}

/// A text in small letters, letter by letter, to compare others with regardless of case.
#[derive(Clone, Debug)]
pub(in crate::mirror) struct Folded(Box<str>);

impl Folded {
    pub(in crate::mirror) fn new(text: &str) -> Folded {
        Folded(fold(text).collect())
    }

    pub(in crate::mirror) fn is(&self, text: &str) -> bool {
        fold(text).eq(self.0.chars())
    }

    pub(in crate::mirror) fn starts(&self, text: &str) -> bool {
        let mut shown = fold(text);
        self.0.chars().all(|letter| shown.next() == Some(letter))
    }

    pub(in crate::mirror) fn text(&self) -> &str {
        &self.0
    }

    fn is_part_of(&self, text: &str) -> bool {
        fold(text).collect::<String>().contains(&*self.0)
    }
}

/// Not `str::to_lowercase`, which looks at a letter's neighbours: a part of a text must fold as it
/// does within the whole.
pub(super) fn fold(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

/// Something comparable that a value shows.
pub(super) enum Leaf<'a> {
    Text(Cow<'a, str>),
    /// The id of a lookup: it can be equal, but what it starts with says nothing.
    Id(Cow<'a, str>),
    /// The digits as upstream wrote them.
    Number(&'a str),
    Truth(bool),
}

#[derive(serde::Deserialize)]
struct Lookup<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Whether a text that this value shows passes the test.
pub(in crate::mirror) fn any_text(value: &str, test: impl Fn(&str) -> bool) -> bool {
    // Most values are texts as they stand; only escapes have to be resolved.
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    if let Some(text) = bare.filter(|text| !text.contains('\\')) {
        return test(text);
    }
    let Ok(value) = serde_json::from_str(value) else { return false };
    any_leaf(value, |leaf| match leaf {
        Leaf::Text(text) => test(text),
        Leaf::Id(_) | Leaf::Number(_) | Leaf::Truth(_) => false,
    })
}

pub(super) fn any_leaf(value: &RawValue, mut test: impl FnMut(&Leaf<'_>) -> bool) -> bool {
    if !value.get().starts_with('[') {
        return any_leaf_of_item(value, &mut test);
    }
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    items.into_iter().any(|item| any_leaf_of_item(item, &mut test))
}

fn any_leaf_of_item(item: &RawValue, test: &mut impl FnMut(&Leaf<'_>) -> bool) -> bool {
    if !item.get().starts_with('{') {
        return leaf(item).is_some_and(|leaf| test(&leaf));
    }
    let Ok(lookup) = serde_json::from_str::<Lookup<'_>>(item.get()) else {
        return false;
    };
    let id = lookup.id.and_then(leaf).and_then(|leaf| match leaf {
        Leaf::Text(text) | Leaf::Id(text) => Some(Leaf::Id(text)),
        Leaf::Number(digits) => Some(Leaf::Id(digits.into())),
        Leaf::Truth(_) => None,
    });
    lookup.name.and_then(leaf).is_some_and(|name| test(&name)) || id.is_some_and(|id| test(&id))
}

fn leaf(value: &RawValue) -> Option<Leaf<'_>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let json = value.get();
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().map(|Text(text)| Leaf::Text(text)),
        b'-' | b'0'..=b'9' => Some(Leaf::Number(json)),
        b't' => Some(Leaf::Truth(true)),
        b'f' => Some(Leaf::Truth(false)),
        _ => None,
    }
}

/// `null`, a text without letters, a list or an object without items.
pub(super) fn is_empty(value: &RawValue) -> bool {
    let json = value.get();
    let inside = json
        .strip_prefix('[')
        .and_then(|json| json.strip_suffix(']'))
        .or_else(|| json.strip_prefix('{').and_then(|json| json.strip_suffix('}')));
    matches!(json, "null" | "\"\"") || inside.is_some_and(|items| items.trim().is_empty())
}
