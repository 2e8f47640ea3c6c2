//! `/metrics` as a scraper reads it: by the letter of the format, and moving when things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::old_leads;
use crate::agent::Place;

/// Samples by their series: name and labels, as written.
type Samples = BTreeMap<String, f64>;

/// Looks at the text line by line, and fails where a strict parser would, or where a name does not
/// follow the conventions. Its samples.
fn examine(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut samples = Samples::new();
    let mut announced = BTreeSet::new();
    let (mut name, mut kind) = (String::new(), String::new());
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (of, words) = help.split_once(' ').unwrap();
            assert!(of.starts_with("crmirror_") && words.ends_with('.'), "{line}");
            helped = of.to_owned();
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (of, told) = of.split_once(' ').unwrap();
            assert_eq!(of, helped, "{line}: no HELP before it");
            assert!(announced.insert(of.to_owned()), "{line}: announced twice");
            assert!(matches!(told, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(of.ends_with("_total"), told == "counter", "{line}");
            if told == "histogram" {
                assert!(of.ends_with("_seconds"), "{line}: not in seconds");
            }
            (name, kind) = (of.to_owned(), told.to_owned());
        } else {
            let (series, number) = line.rsplit_once(' ').unwrap();
            let of = series.split('{').next().unwrap();
            let suffix = of.strip_prefix(&name).unwrap_or_else(|| panic!("{line}: not announced"));
            let fits = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            assert!(fits, "{line}: it is a {kind}");
            labels(series);
            let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}: no number"));
            assert!(number.is_finite() && (number >= 0.0 || kind == "gauge"), "{line}");
            assert!(samples.insert(series.to_owned(), number).is_none(), "{line}: twice");
        }
    }
    assert!(announced.len() > 30, "only {} metrics", announced.len());
    histograms(text, &samples);
    samples
}

/// The labels of a series, each name a word and each value in quotes.
fn labels(series: &str) -> BTreeMap<String, String> {
    let Some((_, set)) = series.split_once('{') else { return BTreeMap::new() };
    let mut labels = BTreeMap::new();
    for pair in set.strip_suffix('}').unwrap().split(',') {
        let (name, value) = pair.split_once('=').unwrap();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
        assert!(!value.contains(['"', '\\', '\n']), "{series}: our values need no escapes");
        assert!(labels.insert(name.to_owned(), value.to_owned()).is_none(), "{series}");
    }
    labels
}

/// Buckets rise in their ends and in their counts, and end in all there are.
fn histograms(text: &str, samples: &Samples) {
    let mut ended = 0;
    let mut last: Option<(String, f64, f64)> = None;
    for series in text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)) {
        let Some((name, _)) = series.split_once("_bucket{") else { continue };
        let mut labels = labels(series);
        let end = labels.remove("le").unwrap_or_else(|| panic!("{series}: no end"));
        let of = format!("{name}{labels:?}");
        let (at, count) = (end.parse::<f64>().unwrap(), samples[series]);
        if let Some((before, below, fewer)) = &last {
            let rises = *before != of || (*below < at && *fewer <= count);
            assert!(rises, "{series}: not more than the bucket before it");
        }
        if end == "+Inf" {
            let others: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let set =
                if others.is_empty() { String::new() } else { format!("{{{}}}", others.join(",")) };
            assert_eq!(samples[&format!("{name}_count{set}")], count, "{series}");
            assert!(samples.contains_key(&format!("{name}_sum{set}")), "{series}");
            ended += 1;
            last = None;
        } else {
            last = Some((of, at, count));
        }
    }
    assert!(last.is_none(), "a histogram does not end in +Inf");
    assert!(ended >= 5, "only {ended} histograms");
}

fn scrape(place: &Place) -> Samples {
    let heard = place.get("/metrics");
    assert_eq!(heard.status, 200);
    assert_eq!(heard.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    examine(&heard.text())
}

#[test]
fn the_numbers_move_when_things_happen() {
    let mut place = Place::new("scrape");
    let ids = old_leads(&mut place.upstream(), 12);
    place.begin();
    let before = scrape(&place);
    assert_eq!(before["crmirror_module_records{module=\"Leads\"}"], 12.0);
    assert_eq!(before["crmirror_upstream_state{state=\"online\"}"], 1.0);
    assert_eq!(before["crmirror_upstream_state{state=\"offline\"}"], 0.0);
    assert_eq!(before["crmirror_channel_state{state=\"open\"}"], 1.0);
    assert!(before["crmirror_channel_expires_in_seconds"] > 0.0);
    assert!(before["crmirror_module_lag_seconds{module=\"Leads\"}"] < 600.0);
    assert!(before["crmirror_store_size_bytes"] > 0.0);
    assert!(before["crmirror_resident_memory_bytes"] > 1_000_000.0);
    assert!(before["crmirror_threads"] > 5.0 && before["crmirror_open_descriptors"] > 5.0);
    // Linux keeps the account unless it was built without; then nothing is shown.
    let kept = Path::new("/proc/self/io").exists();
    assert_eq!(before.contains_key("crmirror_written_bytes_total"), kept);

    for (number, &id) in ids.iter().take(3).enumerate() {
        place.upstream().edit("Leads", id, &[("Phone", &format!("\"{number}\""))]);
    }
    let body = place.callback("edit", &ids[..1]).to_string();
    place.carry();
    assert_eq!((place.post(&body), place.post(&body)), (200, 200));
    assert_eq!(place.post("no callback"), 400);
    let mut forged = place.callback("edit", &ids[..1]);
    forged["token"] = "guessed".into();
    assert_eq!(place.post(&forged.to_string()), 403);
    place.until_reads("Leads", ids[2], "Phone", "\"2\"");
    place.until_settled();
    place.get(&format!("/crm/v2/Leads/{}", ids[0]));
    let after = scrape(&place);

    let rose = |series: &str| after[series] - before[series];
    assert_eq!(rose("crmirror_callbacks_accepted_total"), 5.0);
    assert_eq!(rose("crmirror_callbacks_duplicate_total"), 1.0);
    assert_eq!(rose("crmirror_callbacks_refused_total{reason=\"unreadable\"}"), 1.0);
    assert_eq!(rose("crmirror_callbacks_refused_total{reason=\"wrong_token\"}"), 1.0);
    assert_eq!(rose("crmirror_callbacks_refused_total{reason=\"unknown_channel\"}"), 0.0);
    assert_eq!(rose("crmirror_acknowledgement_seconds_count"), 5.0);
    assert_eq!(rose("crmirror_callback_to_readable_seconds_count"), 5.0);
    assert!(rose("crmirror_callback_to_readable_seconds_sum") > 0.0);
    assert_eq!(rose("crmirror_changes_total"), 3.0);
    assert!(rose("crmirror_credits_spent") >= 1.0);
    assert!(rose("crmirror_commit_seconds_count") >= 1.0);
    assert!(rose("crmirror_local_read_seconds_count") >= 2.0);
    assert!(rose("crmirror_upstream_call_seconds_count{outcome=\"answered\"}") >= 1.0);
    assert_eq!(rose("crmirror_upstream_call_seconds_count{outcome=\"unanswered\"}"), 0.0);
    assert!(rose("crmirror_connections_accepted_total{door=\"callbacks\"}") >= 7.0);
    assert!(rose("crmirror_connections_accepted_total{door=\"local\"}") >= 2.0);
    assert!(after["crmirror_uptime_seconds"] > before["crmirror_uptime_seconds"]);
}

#[test]
fn what_is_not_known_is_not_shown() {
    let mut place = Place::new("scrape-offline");
    place.upstream().faults.offline(true);
    place.start();
    place.until("a call upstream was not answered", |place| {
        let count = scrape(place)["crmirror_upstream_call_seconds_count{outcome=\"unanswered\"}"];
        (count >= 1.0).then_some(())
    });
    let samples = scrape(&place);
    assert_eq!(samples["crmirror_upstream_state{state=\"offline\"}"], 1.0);
    assert_eq!(samples["crmirror_module_records{module=\"Leads\"}"], 0.0);
    let unknown = ["complete_through", "lag", "last_catch_up", "last_sweep", "expires_in"];
    for series in samples.keys() {
        assert!(!unknown.iter().any(|part| series.contains(part)), "{series}");
    }
    assert_eq!(samples["crmirror_callback_to_readable_seconds_count"], 0.0);
}

#[test]
fn the_strict_look_sees_what_is_wrong() {
    let good = "# HELP crmirror_a Help.\n# TYPE crmirror_a gauge\ncrmirror_a 1\n";
    let buckets = "# HELP crmirror_h_seconds Help.\n# TYPE crmirror_h_seconds histogram\n\
                   crmirror_h_seconds_bucket{le=\"1\"} 2\n\
                   crmirror_h_seconds_bucket{le=\"+Inf\"} 2\n\
                   crmirror_h_seconds_sum 1\ncrmirror_h_seconds_count 2\n";
    // Enough of them, so that only what is planted is wrong.
    let mut whole = String::new();
    for number in 0..30 {
        whole.push_str(&good.replace("_a", &format!("_a{number}")));
    }
    for number in 0..5 {
        whole.push_str(&buckets.replace("_h", &format!("_h{number}")));
    }
    assert_eq!(examine(&whole).len(), 30 + 5 * 4);
    for (what, with) in [
        ("crmirror_a7 1\n", "crmirror_a7 1\ncrmirror_a7 1\n"),
        ("# HELP crmirror_a7 Help.\n", ""),
        ("# TYPE crmirror_a7 gauge", "# TYPE crmirror_a7 counter"),
        ("crmirror_a7 1\n", "crmirror_a8 1\n"),
        ("crmirror_a7 1\n", "crmirror_a7 one\n"),
        ("crmirror_a7 1\n", "crmirror_a7{X=\"\"} 1\n"),
        ("crmirror_h3_seconds_bucket{le=\"1\"} 2", "crmirror_h3_seconds_bucket{le=\"1\"} 3"),
        ("crmirror_h3_seconds_bucket{le=\"+Inf\"} 2\n", ""),
        ("crmirror_h3_seconds_count 2", "crmirror_h3_seconds_count 3"),
    ] {
        let wrong = whole.replacen(what, with, 1);
        assert_ne!(wrong, whole, "{what}");
        let seen = std::panic::catch_unwind(|| examine(&wrong));
        assert!(seen.is_err(), "{with:?} passes");
    }
}
