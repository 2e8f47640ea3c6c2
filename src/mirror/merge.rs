//! Who wins: what is stored, or what was just observed.
//!
//! One thread talks to upstream, so observations have a total order and the latest one wins.
//! Upstream stamps whole seconds, so its stamps cannot order anything by themselves. But a page of
//! a listing may be older than it looks (it is cut from a snapshot or an index that lags), so a
//! page cannot bring a deleted record back nor an old content over a newer one: such a doubt is
//! settled by fetching the record by its name.

use super::record::{ChangeKind, Entry, Record};
use super::time::UpstreamTime;

/// What a reply said of one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// It was asked for by its name, and is there.
    Named(Record),
    /// It was asked for by its name, and is not there.
    Missing,
    /// It stood on a page of a listing.
    Listed(Record),
}

/// What an observation leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Merged {
    /// The mirror has it already.
    Unchanged,
    /// This is to be written.
    Write(Entry, Option<ChangeKind>),
    /// The page contradicts the mirror: fetch the record by its name.
    Doubt,
}

/// Folds an observation made at `now` (upstream time) into what is stored.
pub fn merge(stored: Option<&Entry>, observed: Observation, now: UpstreamTime) -> Merged {
    match (stored, observed) {
        (Some(Entry::Live(old)), Observation::Named(new) | Observation::Listed(new))
            if *old == new =>
        {
            Merged::Unchanged
        }
        (_, Observation::Named(new)) => upsert(new),
        (Some(Entry::Live(old)), Observation::Listed(new)) => {
            match (old.modified(), new.modified()) {
                (Some(old), Some(new)) if new < old => Merged::Doubt,
                _ => upsert(new),
            }
        }
        (Some(Entry::Tombstone { .. }), Observation::Listed(_)) => Merged::Doubt,
        (None, Observation::Listed(new)) => upsert(new),
        (Some(Entry::Tombstone { .. }), Observation::Missing) => Merged::Unchanged,
        (Some(Entry::Live(_)), Observation::Missing) => {
            Merged::Write(Entry::Tombstone { gone: now }, Some(ChangeKind::Delete))
        }
        // Nobody here ever saw it, but a page that is older than this may still list it.
        (None, Observation::Missing) => Merged::Write(Entry::Tombstone { gone: now }, None),
    }
}

fn upsert(record: Record) -> Merged {
    Merged::Write(Entry::Live(record), Some(ChangeKind::Upsert))
}

/// By how much writing `entry` over `stored` changes the number of live records.
pub fn live_delta(stored: Option<&Entry>, entry: &Entry) -> i64 {
    let live = |entry: &Entry| i64::from(matches!(entry, Entry::Live(_)));
    live(entry) - stored.map_or(0, live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UpstreamTime = UpstreamTime::EPOCH;

    fn record(content: u32, modified: u32) -> Record {
        let time = format!("2026-01-01T00:00:{modified:02}Z");
        let json = format!(r#"{{"id":"7","Content":{content},"Modified_Time":"{time}"}}"#);
        Record::parse(&json).unwrap()
    }

    fn live(content: u32, modified: u32) -> Option<Entry> {
        Some(Entry::Live(record(content, modified)))
    }

    fn check(stored: Option<Entry>, observed: Observation, expected: Merged) {
        assert_eq!(
            merge(stored.as_ref(), observed.clone(), NOW),
            expected,
            "{stored:?} {observed:?}"
        );
    }

    #[test]
    fn the_latest_fetch_by_name_wins_whatever_its_stamp() {
        let written = |content, modified| upsert(record(content, modified));
        check(None, Observation::Named(record(1, 1)), written(1, 1));
        check(live(1, 5), Observation::Named(record(2, 5)), written(2, 5));
        check(live(1, 5), Observation::Named(record(2, 4)), written(2, 4));
        check(live(1, 5), Observation::Named(record(1, 5)), Merged::Unchanged);
        let tombstone = Some(Entry::Tombstone { gone: NOW });
        check(tombstone, Observation::Named(record(1, 1)), written(1, 1));
    }

    #[test]
    fn a_page_brings_news_but_never_overrules() {
        check(None, Observation::Listed(record(1, 1)), upsert(record(1, 1)));
        check(live(1, 5), Observation::Listed(record(2, 6)), upsert(record(2, 6)));
        check(live(1, 5), Observation::Listed(record(2, 5)), upsert(record(2, 5)));
        check(live(1, 5), Observation::Listed(record(1, 5)), Merged::Unchanged);
        check(live(1, 5), Observation::Listed(record(2, 4)), Merged::Doubt);
        let tombstone = Some(Entry::Tombstone { gone: NOW });
        check(tombstone, Observation::Listed(record(9, 9)), Merged::Doubt);
    }

    #[test]
    fn what_is_missing_becomes_a_tombstone_and_tells_readers_only_if_they_knew_it() {
        let tombstone = Entry::Tombstone { gone: NOW };
        let told = Merged::Write(tombstone.clone(), Some(ChangeKind::Delete));
        check(live(1, 5), Observation::Missing, told);
        check(None, Observation::Missing, Merged::Write(tombstone.clone(), None));
        check(Some(tombstone), Observation::Missing, Merged::Unchanged);
    }

    #[test]
    fn merging_the_same_observation_twice_changes_nothing_more() {
        let stored = [None, live(1, 5), live(2, 4), Some(Entry::Tombstone { gone: NOW })];
        let seen = [
            Observation::Named(record(1, 5)),
            Observation::Listed(record(2, 6)),
            Observation::Missing,
        ];
        for stored in &stored {
            for observed in &seen {
                if let Merged::Write(entry, _) = merge(stored.as_ref(), observed.clone(), NOW) {
                    check(Some(entry), observed.clone(), Merged::Unchanged);
                }
            }
        }
    }

    #[test]
    fn live_records_are_counted_by_what_a_write_changes() {
        let tombstone = Entry::Tombstone { gone: NOW };
        let live = Entry::Live(record(1, 1));
        assert_eq!(live_delta(None, &live), 1);
        assert_eq!(live_delta(Some(&live), &live), 0);
        assert_eq!(live_delta(Some(&live), &tombstone), -1);
        assert_eq!(live_delta(None, &tombstone), 0);
    }
}
