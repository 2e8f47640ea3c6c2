//! Each route's replies, letter by letter, as they are kept in `tests/it/data/replies`; but for the
//! status, the metrics and the page, of which all is of the moment.
//!
//! A file is questions, in lines that begin with `> `, each with its reply: the status, the headers
//! that README promises, a blank line and the body. Write a question into a file and run
//! `UPDATE_GOLDEN=1 cargo test --test it replies`: the replies are written behind the questions.

use std::fs;
use std::path::Path;

use crate::agent::Place;
use crate::sim::{Heard, Moment};

/// Headers that are promised. What the gate adds is its own affair.
const PROMISED: [&str; 7] = [
    "Content-Type",
    "ETag",
    "Mirror-Complete-Through",
    "Mirror-Search",
    "Mirror-Sequence",
    "Allow",
    "Retry-After",
];
/// What differs from run to run, by what stands before it.
const VARYING: [&str; 12] = [
    "Mirror-Complete-Through: ",
    "\"deleted_time\":\"",
    "\"time\":\"",
    "\"read\":\"",
    "\"gone\":\"",
    "\"heard\":\"",
    "\"generation\":\"",
    "\"access_token\":\"",
    "\"api_domain\":\"http://",
    "\"complete_through\":\"",
    "\"last_catch_up\":\"",
    "\"last_sweep\":\"",
];

const FIRST_ID: u64 = 6_756_839_000_000_575_001;

#[test]
fn each_reply_is_the_one_that_is_kept() {
    let mut place = Place::new("replies");
    fill(&place);
    place.begin();
    place.until("all is there", |place| (place.records("Leads").len() == 6).then_some(()));
    place.upstream().delete("Leads", FIRST_ID + 5);
    place.carry();
    place.until_settled();

    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/replies");
    let mut different = Vec::new();
    for file in fs::read_dir(files).unwrap() {
        let path = file.unwrap().path();
        let kept = fs::read_to_string(&path).unwrap();
        let answered = answer(&place, &kept);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &answered).unwrap();
        } else if answered != kept {
            different.push(format!("{}:\n{answered}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn fill(place: &Place) {
    let mut upstream = place.upstream();
    let at = |second: i64| Moment::from_unix(1_767_225_600 + second);
    let leads: [(&str, &str, &str, &str, i64); 6] = [
        ("\"García\"", "\"zoe@example.com\"", "\"+49 30 555-1234\"", "1.500", 7),
        ("\"van den Berg\"", "null", "null", "12345678901234567890", 5),
        ("\"O’Neill\"", "\"Zoe@Example.com\"", "null", "null", 5),
        ("\"Lovelace\"", "\"ada@example.com\"", "\"+49 (30) 5551234\"", "0.00", 3),
        ("\"Berg \\\"the\\\" first\"", "null", "\"110\"", "-2", 9),
        ("\"Gone\"", "null", "null", "null", 1),
    ];
    for (id, (name, email, phone, amount, second)) in (FIRST_ID..).zip(leads) {
        let owner = r#"{"name":"Ada Lovelace","id":"6756839000000421001"}"#;
        let values = [
            ("Last_Name", name),
            ("Email", email),
            ("Phone", phone),
            ("Amount", amount),
            ("Owner", owner),
        ];
        upstream.load("Leads", id, at(second), &values);
    }
}

/// The questions of a file, with the replies that they get now.
fn answer(place: &Place, kept: &str) -> String {
    let mut answered = Vec::new();
    let mut lines = kept.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(request) = line.strip_prefix("> ") else { continue };
        let (method, target) = request.split_once(' ').unwrap();
        let mut question = format!("{line}\n");
        let mut headers = Vec::new();
        while let Some(header) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
            question += &format!("> {header}\n");
            headers.push(header.split_once(": ").unwrap());
            lines.next();
        }
        let heard = place.ask(method, target, &headers);
        answered.push(format!("{question}{}", told(&heard)));
    }
    assert!(!answered.is_empty(), "a file without questions");
    answered.join("\n")
}

fn told(heard: &Heard) -> String {
    let mut told = format!("{}\n", heard.status);
    for name in PROMISED {
        told += &heard.header(name).map_or(String::new(), |value| format!("{name}: {value}\n"));
    }
    if !heard.body.is_empty() {
        told += &format!("\n{}\n", heard.text());
    }
    for before in VARYING {
        told = masked(&told, before);
    }
    told
}

/// The text with `…` in place of what stands behind `before`, up to the end of a line or value.
fn masked(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| {
        let end = part.find(['\n', '"']).unwrap_or(part.len());
        format!("{told}{before}…{}", &part[end..])
    })
}
