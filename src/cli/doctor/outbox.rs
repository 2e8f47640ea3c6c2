//! The outbox: what waits in it, what failed, and how many runs of functions are left.
//!
//! A running daemon tells; else the store does. No function is called.

use serde_json::{Value, json};

use super::finding::{Finding, span};
use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::mirror::credits::Credits;
use crate::store::Store;
use crate::store::outbox::{BYTES_LIMIT, WAITING_LIMIT};

/// What is to be said of it; nothing where no function is configured.
pub(super) fn look(
    config: &Config,
    status: Option<&Value>,
    store: Option<&Store>,
) -> Option<Finding> {
    if config.functions.is_empty() {
        return None;
    }
    let standing = status.map(|status| status["outbox"].clone());
    let standing = standing.or_else(|| store.map(|store| read(store, config)));
    Some(match standing.filter(Value::is_object) {
        Some(standing) => judge(&standing),
        None => Finding::skipped("outbox", "neither a daemon nor the store tells of it"),
    })
}

/// As `/status` would tell it, where no daemon runs.
fn read(store: &Store, config: &Config) -> Value {
    let (counts, ceiling) = (store.call_counts(), config.outbox.calls_per_day);
    // Upstream's time is not known here; the device's is near enough for a person.
    let now = DeviceClock.wall();
    let runs = store.runs().unwrap_or_default();
    let spent = Credits::new(ceiling.into(), runs).spent(Some(now));
    json!({
        "waiting": counts.waiting,
        "oldest_seconds": counts.oldest.map_or(0, |oldest| now.since(oldest).as_secs()),
        "failed": counts.failed,
        "bytes": counts.bytes,
        "calls_today": spent,
        "ceiling": ceiling,
    })
}

fn judge(standing: &Value) -> Finding {
    let number = |key: &str| standing[key].as_u64().unwrap_or_default();
    let [waiting, failed, ceiling] = ["waiting", "failed", "ceiling"].map(number);
    let left = ceiling.saturating_sub(number("calls_today"));
    let oldest = match (waiting, number("oldest_seconds")) {
        (0, _) => String::new(),
        (_, seconds) => format!(", the oldest for {}", span(seconds)),
    };
    let says =
        format!("{waiting} wait{oldest}, {failed} failed, {left} of {ceiling} runs left today");
    if waiting >= WAITING_LIMIT as u64 || number("bytes") >= BYTES_LIMIT {
        let to_do = "see what they wait for, and crmirror outbox drop ID";
        return Finding::fail("outbox", format!("it is full: {says}"), to_do);
    }
    if let Some(trouble) = standing["trouble"].as_str() {
        let to_do = "they go on by themselves once that is mended";
        return Finding::warn("outbox", format!("{says}: {trouble}"), to_do);
    }
    if waiting > 0 && left == 0 {
        let to_do = "wait, or raise outbox.calls_per_day if the organization has more";
        return Finding::warn("outbox", says, to_do);
    }
    if failed > 0 {
        let to_do = "crmirror outbox list --state failed says why; then crmirror outbox retry ID";
        return Finding::warn("outbox", says, to_do);
    }
    Finding::ok("outbox", says)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::super::tests::assert_finding;
    use super::*;

    #[test]
    fn what_waits_and_what_failed_is_told_with_what_to_do() {
        let check = |changed: Value, state, part: &str| {
            let mut standing = json!({
                "waiting": 0, "oldest_seconds": 0, "failed": 0, "bytes": 0,
                "trouble": null, "calls_today": 3, "ceiling": 2_500,
            });
            for (key, value) in changed.as_object().unwrap() {
                standing[key] = value.clone();
            }
            assert_finding(&judge(&standing), state, part);
        };
        let ok = "0 wait, 0 failed, 2497 of 2500 runs left today";
        check(json!({}), State::Ok, ok);
        check(json!({ "waiting": 2, "oldest_seconds": 7_300 }), State::Ok, "the oldest for 2 h");
        check(json!({ "failed": 1 }), State::Warn, "retry ID");
        let trouble = json!({ "waiting": 1, "trouble": "the zapikey is refused" });
        check(trouble, State::Warn, "the zapikey is refused");
        check(json!({ "waiting": 1, "calls_today": 2_500 }), State::Warn, "calls_per_day");
        check(json!({ "calls_today": 2_500 }), State::Ok, "0 of 2500 runs left");
        check(json!({ "waiting": WAITING_LIMIT }), State::Fail, "it is full");
        check(json!({ "bytes": BYTES_LIMIT }), State::Fail, "drop ID");
    }
}
