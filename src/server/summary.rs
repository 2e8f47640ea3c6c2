//! How things stand, in one line for a person who looks at the device: what `systemctl status`
//! shows, and what a bootstrap has come to.
//!
//! A line is honest: what is not proved is not said to be. It is made of the heart's report, so
//! that it never says more than `/status` does.

use std::time::Duration;

use super::board::Report;
use crate::mirror::credits::Purpose;

/// Longest reason that is shown: the line is one of a terminal, and the log has the whole of it.
const REASON_LIMIT: usize = 120;

/// Modules that are named: there may be fifty.
const NAMES_LIMIT: usize = 3;

/// How things stand, with so many ids waiting.
pub fn line(report: &Report, waiting: u64) -> String {
    let mut parts = vec![upstream(report), channel(report)];
    let removed = report.platform.iter().filter(|platform| platform.is_removed());
    parts.extend(removed.map(|platform| format!("the extension is {}", platform.state)));
    parts.push(format!("{} records", grouped(mirrored(report))));
    parts.push(proof(report));
    parts.push(format!("{} waiting", grouped(waiting)));
    parts.extend(report.starved.map(|purpose| starved(purpose).to_owned()));
    parts.join("; ")
}

/// What a bootstrap has come to, when `before` records were there some time `ago`; nothing when
/// every module has had its bootstrap.
pub fn bootstrap(report: &Report, before: u64, ago: Duration) -> Option<String> {
    let names = unproved(report)?;
    let records = mirrored(report);
    let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = records.saturating_sub(before).saturating_mul(1_000) / millis;
    let [records, pages, rate] = [records, report.pages, rate].map(grouped);
    let [spent, ceiling] = [report.credits_spent, report.credits_ceiling].map(grouped);
    Some(format!(
        "bootstrap of {names}: {records} records, {pages} pages, {rate}/s, \
         {spent} of {ceiling} credits"
    ))
}

/// The records of all modules.
pub fn mirrored(report: &Report) -> u64 {
    report.modules.values().map(|ledger| ledger.records).sum()
}

fn upstream(report: &Report) -> String {
    match &report.last_error {
        Some(why) => format!("{}: {}", report.upstream, shortened(why)),
        None => report.upstream.to_owned(),
    }
}

fn channel(report: &Report) -> String {
    match (report.channel.state, report.channel.expires) {
        ("open", Some(expires)) => format!("channel open until {expires}"),
        ("none", _) => "no channel".to_owned(),
        (state, _) => format!("channel {state}"),
    }
}

fn proof(report: &Report) -> String {
    if let Some(names) = unproved(report) {
        return format!("bootstrap of {names} goes on");
    }
    let oldest = report.modules.values().filter_map(|ledger| ledger.complete_through).min();
    oldest.map_or("nothing mirrored".to_owned(), |oldest| format!("complete through {oldest}"))
}

/// The modules whose bootstrap goes on, the first few by name.
fn unproved(report: &Report) -> Option<String> {
    let unproved = report.modules.iter().filter(|(_, ledger)| ledger.complete_through.is_none());
    let names: Vec<&str> = unproved.map(|(name, _)| name.as_str()).collect();
    match names.len() {
        0 => None,
        1..=NAMES_LIMIT => Some(names.join(", ")),
        count => {
            let named = names[..NAMES_LIMIT].join(", ");
            Some(format!("{named} and {} more", count - NAMES_LIMIT))
        }
    }
}

fn starved(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Channel => "the channel waits for credits",
        Purpose::Callback => "callbacks wait for credits",
        Purpose::CatchUp => "catch-ups wait for credits",
        Purpose::Sweep => "sweeps wait for credits",
    }
}

/// On one line, and not too long.
fn shortened(why: &str) -> String {
    let line: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(REASON_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `12,031`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::ledger::Ledger;
    use crate::mirror::record::ModuleName;
    use crate::mirror::time::UpstreamTime;
    use crate::server::board::ChannelReport;

    fn report() -> Report {
        let ledger = |records, proved: Option<i64>| Ledger {
            records,
            complete_through: proved.map(UpstreamTime::from_unix),
            ..Ledger::default()
        };
        let name = |name| ModuleName::parse(name).unwrap();
        let expires = Some(UpstreamTime::from_unix(86_400));
        Report {
            upstream: "online",
            channel: ChannelReport { state: "open", expires, ..ChannelReport::default() },
            credits_spent: 24,
            credits_ceiling: 2_500,
            pages: 61,
            modules: [(name("Deals"), ledger(31, Some(7))), (name("Leads"), ledger(12_000, None))]
                .into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_line_says_what_is_proved_and_no_more() {
        let mut report = report();
        assert_eq!(
            line(&report, 3),
            "online; channel open until 1970-01-02T00:00:00+00:00; 12,031 records; bootstrap of \
             Leads goes on; 3 waiting"
        );
        for ledger in report.modules.values_mut() {
            ledger.complete_through.get_or_insert(UpstreamTime::from_unix(60));
        }
        report.upstream = "offline";
        report.last_error = Some(format!("unreachable:\n{}", "x".repeat(REASON_LIMIT)));
        report.channel = ChannelReport { state: "absent", ..ChannelReport::default() };
        report.starved = Some(Purpose::Sweep);
        let line = line(&report, 1_234_567);
        assert!(line.starts_with("offline: unreachable: xxx"), "{line}");
        assert!(line.ends_with(
            "x…; channel absent; 12,031 records; complete through 1970-01-01T00:00:07+00:00; \
             1,234,567 waiting; sweeps wait for credits"
        ));
    }

    #[test]
    fn a_bootstrap_is_told_while_it_goes_on() {
        let mut report = report();
        let told = bootstrap(&report, 3_031, Duration::from_secs(30));
        assert_eq!(
            told.unwrap(),
            "bootstrap of Leads: 12,031 records, 61 pages, 300/s, 24 of 2,500 credits"
        );
        report.modules.retain(|_, ledger| ledger.complete_through.is_some());
        assert_eq!(bootstrap(&report, 0, Duration::ZERO), None);
    }
}
