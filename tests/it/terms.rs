//! The law of terms: whatever record meets a condition is found by the terms of the condition, so
//! that a search by an index misses nothing that a look at every record would find.

use std::collections::BTreeSet;

use crmirror::mirror::criteria::{Criteria, Term, terms_of_record, terms_of_text, terms_of_value};
use crmirror::mirror::record::{FieldName, Record};
use crmirror::mirror::search::{Address, Number, Search, Within, Words};
use serde_json::value::RawValue;

use crate::scratch::{Seed, seeds};

/// Texts that are near to one another: the same number, moment, day or word written differently.
const TEXTS: [&str; 52] = [
    "",
    "0",
    "-0",
    "0.0",
    "0e9",
    "1",
    "1.0",
    "+1",
    "01",
    "1e0",
    "10e-1",
    "100",
    "1e2",
    "1.00E+2",
    "-1",
    "-1.0",
    "9007199254740993",
    "9007199254740992",
    "1e400",
    "1e99999999999",
    "true",
    "TRUE",
    "True",
    "false",
    "null",
    "NULL",
    "2026-01-31",
    "2026-02-01",
    "2026-01-31T23:30:00+05:30",
    "2026-01-31T18:00:00Z",
    "2026-01-31T18:00:00.5Z",
    "2026-01-31T18:00:00+00:00",
    "2026-01-31t23:30:00+05:30",
    "2026-02-01T00:30:00+06:30",
    "2026-01-31T18:00:01Z",
    "2026-01-31T00:00:00",
    "1969-12-31T23:59:59.5Z",
    "1969-12-31T23:59:59Z",
    "Anna@Example.com",
    "anna@example.com",
    "ANNA@EXAMPLE.COM",
    "öz",
    "ÖZ",
    "İz",
    "i\u{307}z",
    "ß",
    "ẞ",
    "ΣΑΣ",
    "σας",
    "σασ",
    "77",
    " 77",
];

fn any_text(random: &mut fastrand::Rng) -> &'static str {
    TEXTS[random.usize(..TEXTS.len())]
}

/// A value without items: a text, a number as upstream might write it, a truth or nothing.
fn any_leaf(random: &mut fastrand::Rng) -> String {
    let text = any_text(random);
    // What is JSON by itself may stand bare: numbers and truths.
    if random.bool() && serde_json::from_str::<&RawValue>(text).is_ok() {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap()
}

fn any_item(random: &mut fastrand::Rng) -> String {
    match random.u8(..6) {
        0 => format!(r#"{{"name":{},"id":{}}}"#, any_leaf(random), any_leaf(random)),
        1 => format!(r#"{{"id":{},"deep":{{"name":"1"}}}}"#, any_leaf(random)),
        2 => format!(r#"{{"name":{}}}"#, any_leaf(random)),
        _ => any_leaf(random),
    }
}

fn any_value(random: &mut fastrand::Rng) -> String {
    match random.u8(..8) {
        0 => {
            let items: Vec<_> = (0..random.usize(..4)).map(|_| any_item(random)).collect();
            format!("[{}]", items.join(", "))
        }
        1 => ["null", "[]", "{}", "\"\"", "[null]", "[[1]]"][random.usize(..6)].to_owned(),
        _ => any_item(random),
    }
}

fn terms(record: &Record, field: &str) -> BTreeSet<Term> {
    terms_of_record(record, &[FieldName::parse(field).unwrap()]).remove(0)
}

/// As it stands in criteria.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,").replace('(', "\\(").replace(')', "\\)")
}

#[test]
fn what_matches_has_a_term_in_common() {
    for seed in seeds(20) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut matched, mut found) = (0, 0);
        for _ in 0..1_000 {
            let (matches, hit) = judge(&mut random);
            matched += u32::from(matches);
            found += u32::from(hit);
        }
        assert!(matched > 20, "the texts hardly ever match: {matched}");
        assert!(found < matched * 3, "terms find too much: {found} for {matched}");
    }
}

/// Whether some criteria are met by some record, and whether it is found by their terms.
fn judge(random: &mut fastrand::Rng) -> (bool, bool) {
    let (one, other) = (any_value(random), any_value(random));
    let record = Record::parse(&format!(r#"{{"id":"7","A":{one},"B":{other}}}"#)).unwrap();
    let mut condition = |field: &str| {
        let texts = [any_text(random), any_text(random)].map(escaped);
        match random.u8(..3) {
            0 => format!("({field}:in:{})", texts.join(",")),
            1 => format!("({field}:not_equal:{})", texts[0]),
            _ => format!("({field}:equals:{})", texts[0]),
        }
    };
    let parts = [condition("A"), condition("B"), condition("A")];
    let word = ["and", "or"][random.usize(..2)];
    let text = match random.u8(..3) {
        0 => parts[0].clone(),
        1 => format!("({}{word}{})", parts[0], parts[1]),
        _ => format!("(({}or{})and{})", parts[0], parts[1], parts[2]),
    };
    // A value may be empty, which is refused.
    let Ok(criteria) = Criteria::parse(&text) else { return (false, false) };
    let Some(lookup) = criteria.lookup(|_| true) else { return (false, false) };
    let shown = |field: &FieldName| terms(&record, field.as_str());
    let hit = lookup.fields().any(|(field, sought)| !sought.is_disjoint(&shown(field)));
    let matches = criteria.matches(&record);
    assert!(hit || !matches, "{text} is met by {} and would not be found", record.json());
    (matches, hit)
}

/// Whoever looks through a module sees first whether certain letters stand in a record at all.
#[test]
fn a_look_at_the_letters_first_finds_the_same() {
    for seed in seeds(20) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut found, mut passed) = (0, 0);
        for _ in 0..1_000 {
            let json =
                format!(r#"{{"id":"7","A":{}}}"#, written(&any_value(&mut random), &mut random));
            let record = Record::parse(&json).unwrap();
            let Some(search) = any_search(&mut random) else { continue };
            let matches = search.matches(record.json());
            let judged = search.judge()(record.json().as_bytes());
            assert_eq!(judged, matches, "{search:?} and {json}");
            found += u32::from(matches);
            passed += u32::from(!matches);
        }
        assert!(found > 20 && passed > 20, "{found} found, {passed} not");
    }
}

/// A value with some of the letters of its texts written by their numbers.
fn written(value: &str, random: &mut fastrand::Rng) -> String {
    let often = [0, 20][random.usize(..2)];
    let mut inside = false;
    value.chars().fold(String::new(), |mut written, letter| {
        inside ^= letter == '"';
        let number = u32::from(letter);
        match inside && letter != '"' && random.u8(..100) < often {
            true => written.push_str(&format!("\\u{number:04x}")),
            false => written.push(letter),
        }
        written
    })
}

fn any_search(random: &mut fastrand::Rng) -> Option<Search> {
    let letters: Vec<char> = any_text(random).chars().collect();
    let from = random.usize(..=letters.len());
    let part: String = letters[from..random.usize(from..=letters.len())].iter().collect();
    let condition = |random: &mut fastrand::Rng, text: &str| {
        let test = ["contains", "starts_with", "equals", "not_equal"][random.usize(..4)];
        format!("(A:{test}:{})", escaped(text))
    };
    Some(match random.u8(..6) {
        0 => Search::Words(Words::parse(&part).ok()?),
        1 => Search::Email(Address::parse(&part).ok()?, Within::Everything),
        2 => Search::Phone(Number::parse(&part).ok()?, Within::Everything),
        3 => Search::Criteria(Criteria::parse(&condition(random, &part)).ok()?),
        _ => {
            let (one, other) = (condition(random, &part), {
                let text = any_text(random);
                condition(random, text)
            });
            let word = ["and", "or"][random.usize(..2)];
            Search::Criteria(Criteria::parse(&format!("({one}{word}{other})")).ok()?)
        }
    })
}

#[test]
fn a_single_text_finds_what_equals_does() {
    for text in TEXTS.iter().filter(|text| !text.is_empty() && **text != "null") {
        let criteria = Criteria::parse(&format!("(A:equals:{})", escaped(text.trim()))).unwrap();
        let sought = terms_of_text(text.trim());
        for shown in TEXTS {
            let values = [shown.to_owned(), serde_json::to_string(shown).unwrap()];
            for value in values.iter().filter(|v| serde_json::from_str::<&RawValue>(v).is_ok()) {
                let record = Record::parse(&format!(r#"{{"id":"7","A":{value}}}"#)).unwrap();
                let hit = !sought.is_disjoint(&terms(&record, "A"));
                let matches = criteria.matches(&record);
                // No two of these texts have the same hash, so here it holds both ways.
                assert_eq!(hit, matches, "{text} and {value}");
            }
        }
    }
}

#[test]
fn a_list_beyond_the_limit_is_found_by_every_query() {
    let items: Vec<String> = (0..10_000).map(|number| format!("\"{number}\"")).collect();
    let json = format!("[{}]", items.join(","));
    let value: &RawValue = serde_json::from_str(&json).unwrap();
    let terms = terms_of_value(value);
    assert_eq!(terms.len(), 1, "one entry, not ten thousand");
    assert!(!terms.is_disjoint(&terms_of_text("9999")));
}

#[test]
fn what_is_empty_or_absent_has_no_terms() {
    for value in ["null", "\"\"", "[]", "{}", "[ ]", "[null]"] {
        let record = Record::parse(&format!(r#"{{"id":"7","A":{value}}}"#)).unwrap();
        assert_eq!(terms(&record, "A"), BTreeSet::new(), "{value}");
        assert_eq!(terms(&record, "Other"), BTreeSet::new());
    }
}

/// They are in the keys of stores: when this has to change, so has `TERM_RULES`.
#[test]
fn terms_are_the_same_in_every_release() {
    let shown: Vec<String> = ["anna@example.com", "1.0", "2026-01-31", "2026-01-31T18:00:00Z"]
        .map(|text| {
            let numbers = terms_of_text(text).into_iter().map(Term::number);
            numbers.map(|number| format!("{number:08x}")).collect::<Vec<_>>().join(" ")
        })
        .into();
    let known = [
        "030c59f9 4a5f7b29",
        "030c59f9 3c7328e7 8ebc7471",
        "030c59f9 28b5c506 40317103 6b4a6aa3",
        "030c59f9 289dad2c 40317103 d116e522",
    ];
    assert_eq!(shown, known);
}
