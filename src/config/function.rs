//! `[[function]]` and `[outbox]`: which functions of upstream's local programs may call through the
//! outbox, and within which limits. Without a `[[function]]` there is no outbox.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Config;
use super::section::{Findings, Section};
use crate::mirror::outbox::{Auth, FunctionName};
use crate::mirror::span::{duration, duration_text, shown};

/// Most functions: each may hold up nothing but itself, but the courier looks at all of them each
/// time, and a device needs a few.
pub const FUNCTIONS_LIMIT: usize = 100;

/// Bounds of `calls_per_day`: the largest edition grants some hundred thousand runs a day and more
/// for each user (facts §7); beyond this a digit too many was typed.
const CALLS: RangeInclusive<u32> = 1..=10_000_000;
/// Half of what the smallest edition grants a whole organisation (facts §7).
const DEFAULT_CALLS: u32 = 2_500;
/// A device that is away over a long weekend still delivers.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(7 * 86_400);
/// Long enough for a person to come and look.
const DEFAULT_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// `[[function]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its API name.
    pub name: FunctionName,
    /// How we prove to it who we are.
    pub auth: Auth,
}

/// `[outbox]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outbox {
    /// The hard ceiling on runs of functions in a day.
    pub calls_per_day: u32,
    /// How long a call may wait.
    pub max_age: Duration,
    /// How long a call that has ended can be read.
    pub kept: Duration,
}

/// Reads both; a wrong value is noted and `None`.
pub(super) fn read(
    document: &mut Section<'_>,
    findings: &mut Findings,
) -> Option<(Vec<Function>, Outbox)> {
    let mut sections = document.sections("function");
    if document.has("outbox") && !document.has("function") {
        document.warn("outbox", "ignored, since there is no [[function]]: nothing can be called");
    }
    let mut functions: Vec<Function> = Vec::with_capacity(sections.len());
    for section in &mut sections {
        let Some(function) = function(section) else { continue };
        if functions.iter().any(|other| other.name == function.name) {
            section.wrong("name", format!("'{}' is there twice; leave one out", function.name));
        }
        if functions.len() == FUNCTIONS_LIMIT {
            section.wrong("name", format!("one too many; name up to {FUNCTIONS_LIMIT} functions"));
        }
        functions.push(function);
    }
    let complete = functions.len() == sections.len();
    sections.into_iter().for_each(|section| section.finish(findings));
    let mut section = document.section("outbox");
    let outbox = outbox(&mut section);
    section.finish(findings);
    Some((complete.then_some(functions)?, outbox?))
}

fn function(section: &mut Section<'_>) -> Option<Function> {
    let hint = "write the API name of a function, such as name = \"kiosk_checkin\"";
    let name = section.required_text("name", hint, |text| {
        FunctionName::parse(text).map_err(|error| format!("{} is no name: {error}", shown(text)))
    });
    let auth = section.text_or("auth", Auth::ApiKey, |text| {
        Auth::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
            let known = Auth::ALL.map(Auth::as_str).join(" or ");
            format!("{} is no way to prove who we are; write {known}", shown(text))
        })
    });
    Some(Function { name: name?, auth: auth? })
}

fn outbox(section: &mut Section<'_>) -> Option<Outbox> {
    let calls_per_day = match section.has("calls_per_day") {
        true => section.number("calls_per_day", CALLS),
        false => section.number("calls_per_day", CALLS).or(Some(DEFAULT_CALLS)),
    };
    let max_age = section.text_or("max_age", DEFAULT_MAX_AGE, duration);
    let kept = section.text_or("kept", DEFAULT_KEPT, duration);
    Some(Outbox { calls_per_day: calls_per_day?, max_age: max_age?, kept: kept? })
}

impl Config {
    /// Whether a function is called by the key of the credentials file.
    pub fn needs_zapikey(&self) -> bool {
        self.functions.iter().any(|function| function.auth == Auth::ApiKey)
    }
}

impl Outbox {
    /// What is said of a call that has waited too long.
    pub fn expired(&self) -> String {
        format!("it has waited longer than outbox.max_age = {}", duration_text(self.max_age))
    }
}
