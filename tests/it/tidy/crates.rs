//! The crates that are linked into the program, against `.deny.toml`: licences and duplicates.
//!
//! It asks cargo, without a network, for what is built on this machine. Advisories need a list that
//! changes every day; they are `.ci/run`'s to look at.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::{expect_none, top};

/// What `.deny.toml` says.
fn rules() -> toml::Table {
    let text = std::fs::read_to_string(top(".deny.toml")).unwrap();
    text.parse().unwrap()
}

/// The packages that are built here, as cargo tells them.
fn packages() -> Vec<Value> {
    let output = |program: String, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(top("")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let tool =
        |variable: &str, usual: &str| std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let version = output(tool("RUSTC", "rustc"), &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let asked = ["metadata", "--offline", "--locked", "--format-version", "1"];
    let asked = [&asked[..], &["--filter-platform", host]].concat();
    let told: Value = serde_json::from_str(&output(tool("CARGO", "cargo"), &asked)).unwrap();
    let packages = told["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 20, "these are not all");
    packages
}

fn texts<'a>(rules: &'a toml::Table, section: &str, key: &str) -> Vec<&'a str> {
    rules[section][key].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect()
}

#[test]
fn each_crate_has_a_licence_that_is_allowed() {
    let rules = rules();
    let allowed = texts(&rules, "licenses", "allow");
    let mut untidy = Vec::new();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence, &allowed) {
            untidy.push(format!("{}: its licence is {licence}", package["name"]));
        }
    }
    expect_none(&untidy);
}

#[test]
fn no_crate_is_there_twice_unless_it_is_known() {
    let rules = rules();
    let known = texts(&rules, "bans", "skip");
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().push(text("version"));
    }
    let twice = versions.iter().filter(|(name, all)| {
        all.len() > 1 && !known.iter().any(|known| known.split('@').next() == Some(name))
    });
    let untidy: Vec<String> =
        twice.map(|(name, all)| format!("{name} is there as {}", all.join(" and "))).collect();
    expect_none(&untidy);
}

/// Whether an expression of licences (SPDX; `/` is an old way to write `OR`) can be met by these.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = any(&words, allowed);
    met && rest.is_empty()
}

fn any<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = all(words, allowed);
    while let ["OR", after @ ..] = rest {
        let (other, left) = all(after, allowed);
        (met, rest) = (met | other, left);
    }
    (met, rest)
}

fn all<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", after @ ..] = rest {
        let (other, left) = one(after, allowed);
        (met, rest) = (met & other, left);
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &[&str]) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inside @ ..] => match any(inside, allowed) {
            (met, [")", rest @ ..]) => (met, rest),
            (_, rest) => (false, rest),
        },
        // An exception gives more than the licence alone.
        [name, "WITH", _, rest @ ..] => (allowed.contains(name), rest),
        [name, rest @ ..] => (allowed.contains(name), rest),
        [] => (false, words),
    }
}

#[test]
fn expressions_of_licences_are_read() {
    let check = |expression: &str, expected: bool| {
        assert_eq!(is_allowed(expression, &["MIT", "ISC"]), expected, "{expression}");
    };
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("MIT AND GPL-3.0", false);
    check("MIT AND ISC", true);
    check("(GPL-3.0 OR MIT) AND ISC", true);
    check("(GPL-3.0 AND MIT) OR (GPL-2.0 AND ISC)", false);
    check("MIT WITH LLVM-exception OR GPL-3.0", true);
    check("(MIT", false);
    check("none", false);
    check("", false);
}
