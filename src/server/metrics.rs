//! `/metrics`: how things stand, in the text format of Prometheus (0.0.4).
//!
//! A scrape reads counters, the heart's report and a few short files; it looks at no record. Names
//! follow Prometheus' conventions: base units, `_total` on what only grows. What is not known is
//! left out, never shown as zero.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use crate::mirror::ledger::Ledger;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::store::Store;
use crate::wear;

use super::board::{Board, Report};
use super::gate;
use super::meters::{Histogram, Meters, Shown};
use super::process::Process;
use super::reply::Reply;

/// The format, as Prometheus asks for it.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What `/status` says of upstream.
const UPSTREAM_STATES: [&str; 3] = ["online", "offline", "denied"];
/// What `/status` says of the channel.
const CHANNEL_STATES: [&str; 4] = ["open", "absent", "denied", "none"];

/// The whole page.
pub(super) fn metrics(store: &Store, board: &Board, started: Tick, now: Tick) -> Reply {
    let report = board.report();
    let mut page = Page::default();
    page.gauge("build_info", "Always 1; its label is the version that runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("uptime_seconds", "Since the daemon started.")
        .plain(Some(seconds(now.since(started))));
    standing(&mut page, &report);
    callbacks(&mut page, board);
    inbox(&mut page, store, &report, now);
    outbox(&mut page, store, board, &report, now);
    modules(&mut page, &report);
    storage(&mut page, store);
    process(&mut page);
    doors(&mut page, &board.meters);
    latencies(&mut page, &board.meters);
    Reply::text(200, MEDIA_TYPE, page.text)
}

fn standing(page: &mut Page, report: &Report) {
    page.gauge("upstream_state", "1 at the state that upstream is in, 0 at the others.")
        .states(&UPSTREAM_STATES, report.upstream);
    page.gauge("channel_state", "1 at the state that the channel is in, 0 at the others.")
        .states(&CHANNEL_STATES, report.channel.state);
    let left = report.channel.expires.zip(report.upstream_time);
    page.gauge("channel_expires_in_seconds", "Until the channel expires, by upstream's clock.")
        .plain(left.map(|(expires, now)| expires.unix() - now.unix()));
    page.counter("channel_renewals_total", "Times that the channel was opened or renewed.")
        .plain(Some(report.channel.renewals));
    page.gauge("credits_spent", "API credits spent in the last 24 hours.")
        .plain(Some(report.credits_spent));
    page.gauge("credits_ceiling", "API credits that may be spent in 24 hours.")
        .plain(Some(report.credits_ceiling));
    page.gauge("credits_wanting", "1 while something waits for credits.")
        .plain(Some(u8::from(report.starved.is_some())));
    if let Some(books) = &report.books {
        page.gauge("books_calls", "Calls of Books' API in the last 24 hours.")
            .plain(Some(books.calls));
        page.gauge("books_calls_ceiling", "Calls of Books' API that may be made in 24 hours.")
            .plain(Some(books.ceiling));
        page.gauge("books_calls_wanting", "1 while something waits for calls of Books' API.")
            .plain(Some(u8::from(books.starved)));
    }
    page.counter("pages_read_total", "Pages that scans have read.").plain(Some(report.pages));
    if let Some(platform) = &report.platform {
        page.counter("platform_events_total", "What the platform told of our extension.")
            .plain(Some(platform.newest.as_ref().map_or(0, |(number, _)| *number)));
        page.gauge("platform_removed", "1 while our extension is removed and nothing is fetched.")
            .plain(Some(u8::from(platform.is_removed())));
    }
}

fn inbox(page: &mut Page, store: &Store, report: &Report, now: Tick) {
    page.gauge("inbox_waiting", "Ids that wait to be fetched.").plain(Some(store.waiting()));
    page.gauge("inbox_quarantined", "Ids that are set aside.")
        .plain(Some(store.quarantined_count()));
    page.gauge("inbox_oldest_seconds", "How long the oldest of them has waited; 0 when none does.")
        .plain(Some(report.oldest_waiting.map_or(0.0, |arrived| seconds(now.since(arrived)))));
    page.counter("changes_total", "Changes in the mirror: the sequence of the newest.")
        .plain(Some(store.last_sequence()));
}

/// Nothing where no function is configured.
fn outbox(page: &mut Page, store: &Store, board: &Board, report: &Report, now: Tick) {
    let faring = board.hatch.faring();
    if faring.ceiling == 0 {
        return;
    }
    let (counts, met) = (store.call_counts(), board.hatch.meters.read());
    let oldest = report.upstream_now(now).zip(counts.oldest);
    page.gauge("outbox_waiting", "Calls to functions that wait.").plain(Some(counts.waiting));
    page.gauge("outbox_failed", "Calls that were given up, and are kept.")
        .plain(Some(counts.failed));
    page.gauge("outbox_oldest_seconds", "How long the oldest of those that wait has waited.")
        .plain(Some(oldest.map_or(0.0, |(now, oldest)| seconds(now.since(oldest)))));
    page.counter("outbox_accepted_total", "Calls that were left here.").plain(Some(met.accepted));
    page.counter("outbox_attempts_total", "Times that a call was sent.").plain(Some(met.attempts));
    page.counter("outbox_ended_total", "Calls that have ended, by how.");
    page.sample(&[("state", "sent")], met.sent);
    page.sample(&[("state", "failed")], met.failed);
    page.gauge("outbox_credits_spent", "Runs of functions in the last 24 hours.")
        .plain(Some(faring.spent));
    page.gauge("outbox_credits_ceiling", "Runs of functions that there may be in 24 hours.")
        .plain(Some(faring.ceiling));
}

fn callbacks(page: &mut Page, board: &Board) {
    let (accepted, _, duplicate) = board.callbacks.read();
    page.counter("callbacks_accepted_total", "Callbacks that were acknowledged.")
        .plain(Some(accepted));
    page.counter("callbacks_duplicate_total", "Acknowledged callbacks that repeated another.")
        .plain(Some(duplicate));
    page.counter("callbacks_refused_total", "Callbacks that were turned away, by reason.");
    for (why, count) in board.callbacks.refused() {
        page.sample(&[("reason", why.name())], count);
    }
}

fn modules(page: &mut Page, report: &Report) {
    let each = |page: &mut Page, number: &dyn Fn(&Ledger) -> Option<i64>| {
        for (module, ledger) in &report.modules {
            if let Some(number) = number(ledger) {
                page.sample(&[("module", module.as_str())], number);
            }
        }
    };
    let unix = |time: Option<UpstreamTime>| time.map(UpstreamTime::unix);
    page.gauge("module_records", "Live records in the mirror.");
    each(page, &|ledger| i64::try_from(ledger.records).ok());
    page.gauge(
        "module_complete_through_timestamp_seconds",
        "Upstream's time through which the mirror is proved complete.",
    );
    each(page, &|ledger| unix(ledger.complete_through));
    page.gauge("module_lag_seconds", "Upstream's time now less complete-through.");
    each(page, &|ledger| {
        Some((report.upstream_time?.unix() - unix(ledger.complete_through)?).max(0))
    });
    page.gauge("module_last_catch_up_timestamp_seconds", "When the last catch-up ended.");
    each(page, &|ledger| unix(ledger.last_catch_up));
    page.gauge("module_last_sweep_timestamp_seconds", "When the last sweep began that has ended.");
    each(page, &|ledger| unix(ledger.last_sweep));
    page.counter("module_missed_callbacks_total", "Changes found that no callback had announced.");
    each(page, &|ledger| i64::try_from(ledger.missed).ok());
}

fn storage(page: &mut Page, store: &Store) {
    let room = store.room();
    page.gauge("store_size_bytes", "What the store's log takes on its disk.").plain(store.taken());
    // A disk that does not say counts as roomy.
    page.gauge("store_free_bytes", "What is free on the store's disk.")
        .plain(Some(room.free).filter(|free| *free != u64::MAX));
    page.gauge("store_low", "1 while the disk is too full to write.")
        .plain(Some(u8::from(room.low)));
    page.gauge("store_failed", "1 when the store takes no writes any more.")
        .plain(Some(u8::from(store.has_failed())));
    page.counter("store_unreadable_total", "Reads of values that could not be read.")
        .plain(Some(store.unreadable()));
}

fn process(page: &mut Page) {
    let Process { resident, threads, descriptors } = Process::look();
    page.counter("written_bytes_total", "What the daemon had written to disks: flash wears by it.")
        .plain(wear::bytes_written());
    page.gauge("resident_memory_bytes", "Memory in use.").plain(resident);
    page.gauge("threads", "Threads of the daemon.").plain(threads);
    page.gauge("open_descriptors", "Open files and connections of the daemon.").plain(descriptors);
}

/// The gates by the name of their door. Of those that share a name, the sum.
fn doors(page: &mut Page, meters: &Meters) {
    let mut doors: BTreeMap<&str, gate::Counters> = BTreeMap::new();
    for (name, teller) in meters.doors.get().into_iter().flatten() {
        let told = teller.counters();
        doors
            .entry(name)
            .and_modify(|sum| {
                sum.connections += told.connections;
                sum.accepted += told.accepted;
                let both = sum.refused.iter_mut().zip(told.refused);
                both.for_each(|((_, sum), (_, told))| *sum += told);
            })
            .or_insert(told);
    }
    page.gauge("connections_open", "Connections that are open.");
    for (door, told) in &doors {
        page.sample(&[("door", door)], told.connections);
    }
    page.counter("connections_accepted_total", "Connections that were let in.");
    for (door, told) in &doors {
        page.sample(&[("door", door)], told.accepted);
    }
    page.counter("connections_refused_total", "Connections and requests turned away, by reason.");
    for (door, told) in &doors {
        for (why, count) in told.refused {
            page.sample(&[("door", door), ("reason", why.name())], count);
        }
    }
}

fn latencies(page: &mut Page, meters: &Meters) {
    let all: [(&str, &str, &Histogram); 4] = [
        (
            "acknowledgement_seconds",
            "From a callback's being read whole to its being on disk.",
            &meters.acknowledgement,
        ),
        ("commit_seconds", "Transactions of the store.", &meters.commit),
        ("local_read_seconds", "Zoho-shaped reads, from request to reply.", &meters.read),
        (
            "callback_to_readable_seconds",
            "From a callback's acknowledgement by this run to what it named being readable.",
            &meters.readable,
        ),
    ];
    for (name, help, histogram) in all {
        page.histogram(name, help).distribution(&[], &histogram.show());
    }
    page.histogram("upstream_call_seconds", "Calls upstream, by whether an answer came.");
    page.distribution(&[("outcome", "answered")], &meters.answered_call.show());
    page.distribution(&[("outcome", "unanswered")], &meters.unanswered_call.show());
}

/// The text as it grows: a metric is announced, and its samples follow.
#[derive(Default)]
struct Page {
    text: String,
    /// The metric that was announced last, with its prefix.
    metric: String,
}

/// A sample's labels: names of ours, values of ours or of the configuration.
type Labels<'a> = [(&'a str, &'a str)];

impl Page {
    fn gauge(&mut self, name: &str, help: &str) -> &mut Page {
        self.announce(name, "gauge", help)
    }

    fn counter(&mut self, name: &str, help: &str) -> &mut Page {
        self.announce(name, "counter", help)
    }

    fn histogram(&mut self, name: &str, help: &str) -> &mut Page {
        self.announce(name, "histogram", help)
    }

    fn announce(&mut self, name: &str, kind: &str, help: &str) -> &mut Page {
        self.metric = format!("crmirror_{name}");
        let metric = &self.metric;
        // Writing into a text cannot fail.
        let _ = writeln!(self.text, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
        self
    }

    /// The one sample of a metric without labels; none when the number is not known.
    fn plain(&mut self, number: Option<impl Display>) {
        if let Some(number) = number {
            self.sample(&[], number);
        }
    }

    /// A sample for each state: 1 at the present one.
    fn states(&mut self, states: &[&str], present: &str) {
        for state in states {
            self.sample(&[("state", state)], u8::from(*state == present));
        }
    }

    fn sample(&mut self, labels: &Labels<'_>, number: impl Display) {
        self.suffixed("", labels, number);
    }

    fn suffixed(&mut self, suffix: &str, labels: &Labels<'_>, number: impl Display) {
        let pairs: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let set = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.text, "{}{suffix}{set} {number}", self.metric);
    }

    fn distribution(&mut self, labels: &Labels<'_>, shown: &Shown) {
        let ends = shown.buckets.iter().map(|(end, count)| (seconds(*end).to_string(), *count));
        for (end, count) in ends.chain([("+Inf".to_owned(), shown.count)]) {
            self.suffixed("_bucket", &[labels, &[("le", &end)]].concat(), count);
        }
        self.suffixed("_sum", labels, seconds(shown.sum));
        self.suffixed("_count", labels, shown.count);
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut page = Page::default();
        page.gauge("x", "Help.").sample(&[("a", "b\"\\\nc")], 7);
        let expected = "# HELP crmirror_x Help.\n# TYPE crmirror_x gauge\n\
                        crmirror_x{a=\"b\\\"\\\\\\nc\"} 7\n";
        assert_eq!(page.text, expected);
    }

    #[test]
    fn what_is_not_known_is_announced_and_not_shown() {
        let mut page = Page::default();
        page.gauge("x", "Help.").plain(None::<u8>);
        assert_eq!(page.text, "# HELP crmirror_x Help.\n# TYPE crmirror_x gauge\n");
    }
}
