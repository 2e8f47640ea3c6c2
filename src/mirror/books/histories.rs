//! Callbacks of Books that did not reach us: which of them upstream is asked to send again.
//!
//! Upstream gives up after some tries, and shows in its histories what it gave up. Catch-up finds
//! all of that by itself; what it has not found by then is asked for again, once each. An execution
//! is remembered before it is asked for: one whose answer was lost is not asked for twice.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::webhooks::{Before, Declared};
use crate::mirror::record::RecordId;
use crate::mirror::time::UpstreamTime;

/// Executions that are asked for in one call. How many upstream takes is not documented; the
/// address of this many is a kilobyte.
pub const BATCH_LIMIT: usize = 50;
/// Executions that are asked for after one look: ten calls. The next look finds the others.
pub const RESEND_LIMIT: usize = 500;
/// Pages of executions that are read in one look: 200 rows each.
pub const PAGES_LIMIT: u32 = 5;
/// Executions that are remembered: twice what one look can see, so that none is met again after it
/// was forgotten.
const REMEMBERED_LIMIT: usize = 2_000;
/// What failed this long before the last look is looked at once more: it was perhaps still being
/// tried then.
const OVERLAP: Duration = Duration::from_secs(3_600);

/// One execution of a webhook, as upstream's history shows it (facts §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// Its id.
    pub id: RecordId,
    /// The webhook, where it is named.
    pub webhook: Option<RecordId>,
    /// Where it was sent, where that is shown.
    pub url: Option<String>,
    /// The record that it spoke of.
    pub record: Option<RecordId>,
    /// Whether somebody answered it with success.
    pub has_succeeded: bool,
    /// The earliest time that is shown of it.
    pub first: Option<UpstreamTime>,
    /// The latest.
    pub last: Option<UpstreamTime>,
}

/// A webhook of ours, as executions name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ours {
    /// Its id, if we know it.
    pub id: Option<RecordId>,
    /// Its address.
    pub url: String,
    /// What it announces.
    pub entity: Entity,
}

impl Ours {
    /// A webhook that is declared, with what is known of it.
    pub fn of(declared: &Declared, before: Before) -> Ours {
        Ours { id: before.id, url: declared.url.clone(), entity: declared.entity }
    }
}

/// What a look at the executions came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// To be asked for again, the oldest first.
    pub resend: Vec<RecordId>,
    /// Failed, but seen since by other ways.
    pub healed: Vec<RecordId>,
    /// When the latest of ours was executed.
    pub latest: Option<UpstreamTime>,
}

/// What is remembered over restarts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// What failed before this is not looked at any more.
    since: Option<UpstreamTime>,
    /// The latest execution of ours that was seen.
    #[serde(default)]
    latest: Option<UpstreamTime>,
    /// Failed executions that are dealt with, the newest last.
    #[serde(default)]
    dealt_with: VecDeque<RecordId>,
    /// How many were asked for again.
    #[serde(default)]
    resent: u64,
    /// How many had been seen by other ways.
    #[serde(default)]
    healed: u64,
    /// How many upstream would not send again.
    #[serde(default)]
    denied: u64,
}

impl Memory {
    /// Sorts executions. `observed` says when the mirror last saw a record as it was.
    pub fn sort_out(
        &self,
        executions: &[Execution],
        ours: &[Ours],
        observed: impl Fn(Entity, RecordId) -> Option<UpstreamTime>,
    ) -> Found {
        let mut found = Found::default();
        for execution in executions {
            let Some(webhook) = ours.iter().find(|webhook| webhook.made(execution)) else {
                continue;
            };
            found.latest = found.latest.max(execution.last);
            let is_dealt_with = self.dealt_with.contains(&execution.id);
            if execution.has_succeeded || is_dealt_with || self.is_past(execution) {
                continue;
            }
            let seen = execution.record.and_then(|record| observed(webhook.entity, record));
            // Times are whole seconds: only a later one has surely seen it.
            match (seen, execution.first) {
                (Some(seen), Some(first)) if first < seen => found.healed.push(execution.id),
                _ => found.resend.push(execution.id),
            }
        }
        found.resend.sort_unstable();
        found.resend.dedup();
        found.resend.truncate(RESEND_LIMIT);
        found
    }

    /// Whether no page after this one can have anything new: the newest came first, and all of
    /// these were looked at before.
    pub fn has_all(&self, page: &[Execution]) -> bool {
        let falls = page.first().map(|first| first.last) >= page.last().map(|last| last.last);
        falls && page.iter().all(|execution| self.is_past(execution))
    }

    /// Takes note of a look that was begun at this time. The first one ever begins the account: a
    /// mirror that is new takes everything from upstream itself.
    pub fn looked(&mut self, began: UpstreamTime, found: &Found) {
        self.latest = self.latest.max(found.latest);
        self.healed += found.healed.len() as u64;
        self.remember(&found.healed);
        // What is still to be asked for must be found again after a crash.
        if found.resend.is_empty() {
            self.since = self.since.max(Some(began.before(OVERLAP)));
        }
    }

    /// Begins the account.
    pub fn begin(&mut self, now: UpstreamTime) {
        self.since = Some(now);
    }

    /// These are about to be asked for.
    pub fn resending(&mut self, batch: &[RecordId]) {
        self.resent += batch.len() as u64;
        self.remember(batch);
    }

    /// They were not sent, but may be later.
    pub fn not_resent(&mut self, batch: &[RecordId]) {
        self.resent = self.resent.saturating_sub(batch.len() as u64);
        self.dealt_with.retain(|id| !batch.contains(id));
    }

    /// They were not sent, and will not be.
    pub fn denied(&mut self, batch: &[RecordId]) {
        self.resent = self.resent.saturating_sub(batch.len() as u64);
        self.denied += batch.len() as u64;
    }

    /// What failed before this is left alone; `None` before the first look.
    pub fn since(&self) -> Option<UpstreamTime> {
        self.since
    }

    /// The latest execution of ours that was seen.
    pub fn latest(&self) -> Option<UpstreamTime> {
        self.latest
    }

    /// How many were asked for again, had been seen by other ways, and would not be sent again.
    pub fn counts(&self) -> [u64; 3] {
        [self.resent, self.healed, self.denied]
    }

    fn remember(&mut self, batch: &[RecordId]) {
        self.dealt_with.extend(batch);
        let surplus = self.dealt_with.len().saturating_sub(REMEMBERED_LIMIT);
        self.dealt_with.drain(..surplus);
    }

    /// Whether it was over before what is looked at. One that shows no time may be new.
    fn is_past(&self, execution: &Execution) -> bool {
        let (last, since) = (execution.last, self.since);
        last.zip(since).is_some_and(|(last, since)| last < since)
    }
}

impl Ours {
    /// Whether this webhook made the execution.
    fn made(&self, execution: &Execution) -> bool {
        let by_id = self.id.is_some() && self.id == execution.webhook;
        by_id || execution.url.as_deref() == Some(self.url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://kiosk.example/books/invoice/91c2";

    fn ours() -> [Ours; 1] {
        let entity = Entity::parse("invoice").unwrap();
        [Ours { id: Some(RecordId::new(4)), url: URL.to_owned(), entity }]
    }

    fn at(seconds: i64) -> UpstreamTime {
        UpstreamTime::from_unix(seconds)
    }

    /// An execution of our webhook that failed then.
    fn failed(id: u64, seconds: i64) -> Execution {
        Execution {
            id: RecordId::new(id),
            webhook: Some(RecordId::new(4)),
            url: None,
            record: Some(RecordId::new(id + 1_000)),
            has_succeeded: false,
            first: Some(at(seconds)),
            last: Some(at(seconds)),
        }
    }

    fn numbers(ids: &[RecordId]) -> Vec<u64> {
        ids.iter().map(|id| id.number()).collect()
    }

    fn begun(seconds: i64) -> Memory {
        let mut memory = Memory::default();
        memory.begin(at(seconds));
        memory
    }

    #[test]
    fn what_failed_since_the_last_look_is_asked_for_once() {
        let mut memory = begun(10_000);
        let shown = [
            failed(9, 20_009),
            Execution { has_succeeded: true, ..failed(8, 20_008) },
            Execution { webhook: Some(RecordId::new(5)), ..failed(7, 20_007) },
            Execution { webhook: None, url: Some(URL.to_owned()), ..failed(6, 20_006) },
            Execution { first: None, last: None, ..failed(5, 0) },
            failed(3, 9_999),
        ];
        let found = memory.sort_out(&shown, &ours(), |_, _| None);
        assert_eq!(numbers(&found.resend), [5, 6, 9], "ours that failed, the oldest first");
        assert_eq!(found.latest, Some(at(20_009)));
        memory.looked(at(21_000), &found);
        memory.resending(&found.resend[..2]);
        // After a crash the third is still found; those that were asked for are not.
        let kept = serde_json::to_string(&memory).unwrap();
        let mut memory: Memory = serde_json::from_str(&kept).unwrap();
        let found = memory.sort_out(&shown, &ours(), |_, _| None);
        assert_eq!(numbers(&found.resend), [9]);
        memory.resending(&found.resend);
        memory.not_resent(&found.resend);
        assert_eq!(memory.sort_out(&shown, &ours(), |_, _| None).resend, found.resend);
        memory.resending(&found.resend);
        memory.denied(&found.resend);
        assert_eq!(memory.counts(), [2, 0, 1]);
        let found = memory.sort_out(&shown, &ours(), |_, _| None);
        assert!(found.resend.is_empty(), "what was denied is not asked for again");
        memory.looked(at(30_000), &found);
        assert!(memory.has_all(&shown[..4]), "all of these were looked at");
        assert!(memory.sort_out(&[failed(11, 26_399)], &ours(), |_, _| None).resend.is_empty());
        assert_eq!(memory.sort_out(&[failed(11, 26_400)], &ours(), |_, _| None).resend.len(), 1);
    }

    #[test]
    fn what_the_mirror_has_seen_since_is_not_asked_for() {
        let mut memory = begun(10_000);
        let shown = [failed(1, 20_000), failed(2, 20_000), failed(3, 20_000)];
        let observed = |_, record: RecordId| match record.number() {
            1_001 => Some(at(20_001)),
            1_002 => Some(at(20_000)),
            _ => None,
        };
        let found = memory.sort_out(&shown, &ours(), observed);
        assert_eq!((numbers(&found.healed), numbers(&found.resend)), (vec![1], vec![2, 3]));
        memory.looked(at(21_000), &found);
        assert_eq!(memory.counts(), [0, 1, 0]);
        let later = memory.sort_out(&shown, &ours(), |_, _| None);
        assert_eq!(numbers(&later.resend), [2, 3], "what was healed stays so");
    }

    #[test]
    fn pages_are_read_until_they_show_nothing_new() {
        let memory = begun(10_000);
        let (old, new) = (failed(1, 9_000), failed(2, 11_000));
        let untimed = Execution { last: None, ..failed(3, 0) };
        assert!(memory.has_all(&[old.clone(), old.clone()]));
        assert!(!memory.has_all(&[new.clone(), old.clone()]));
        assert!(!memory.has_all(&[untimed, old.clone()]), "it may be new");
        let oldest = failed(4, 8_000);
        assert!(!memory.has_all(&[oldest, old]), "the newest may come last");
    }

    #[test]
    fn nothing_grows_without_a_limit() {
        let mut memory = begun(0);
        let shown: Vec<Execution> = (1..=700).map(|id| failed(id, 20_000)).collect();
        let found = memory.sort_out(&shown, &ours(), |_, _| None);
        assert_eq!(found.resend.len(), RESEND_LIMIT);
        for start in (0..10_000).step_by(500) {
            memory.remember(&(start..start + 500).map(RecordId::new).collect::<Vec<_>>());
        }
        assert_eq!(memory.dealt_with.len(), REMEMBERED_LIMIT);
        assert_eq!(memory.dealt_with.back(), Some(&RecordId::new(9_999)));
    }
}
