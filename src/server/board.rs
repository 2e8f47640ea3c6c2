//! What the heart publishes and the listeners read: the report, and whom to let in. What both
//! count and measure is here too.
//!
//! Readers take a snapshot and go; nobody waits for the heart, and the heart waits for nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::mirror::credits::Purpose;
use crate::mirror::ledger::Ledger;
use crate::mirror::origin::Origin;
use crate::mirror::platform::{Recorded, Removal};
use crate::mirror::record::{ChannelId, ModuleName, RecordId};
use crate::mirror::time::{Tick, UpstreamClock, UpstreamTime};
use crate::secret::Secret;
use crate::vitals::Pulse;

use super::declined::{Declined, DeclinedCounts};
use super::hatch::Hatch;
use super::meters::Meters;

/// How things stand, as of the heart's last turn.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `online`, `offline` or `denied`.
    pub upstream: &'static str,
    /// What last went wrong and is not mended.
    pub last_error: Option<String>,
    /// Our clock at that turn.
    pub taken: Tick,
    /// What upstream's clock showed at that turn.
    pub upstream_time: Option<UpstreamTime>,
    /// The channel.
    pub channel: ChannelReport,
    /// Our webhooks at Books, if any are declared.
    pub webhooks: Option<WebhooksReport>,
    /// Our extension; `None` when the platform is not to tell us of it.
    pub platform: Option<PlatformReport>,
    /// When the id that has waited longest arrived.
    pub oldest_waiting: Option<Tick>,
    /// Credits spent in the last 24 hours.
    pub credits_spent: u64,
    /// The most that may be spent in 24 hours.
    pub credits_ceiling: u64,
    /// What cannot be done for lack of credits, if anything.
    pub starved: Option<Purpose>,
    /// How Books stands; `None` when nothing of it is mirrored.
    pub books: Option<BooksReport>,
    /// The modules, those of Books among them, and what is proved of them.
    pub modules: BTreeMap<ModuleName, Ledger>,
    /// Pages that were read since the start.
    pub pages: u64,
}

impl Report {
    /// What upstream's clock shows now, if it is known.
    pub fn upstream_now(&self, now: Tick) -> Option<UpstreamTime> {
        Some(self.upstream_time?.after(now.since(self.taken)))
    }
}

/// How Books stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BooksReport {
    /// Its entities, as modules.
    pub modules: Vec<ModuleName>,
    /// Calls in the last 24 hours.
    pub calls: u64,
    /// The most calls in 24 hours.
    pub ceiling: u64,
    /// Whether something waits for calls to be allowed.
    pub starved: bool,
    /// What last went wrong with Books and is not mended.
    pub last_error: Option<String>,
}

/// How the channel stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChannelReport {
    /// `open`, `absent`, `denied` or `none`.
    pub state: &'static str,
    /// Its id.
    pub id: Option<ChannelId>,
    /// When it ends.
    pub expires: Option<UpstreamTime>,
    /// When it will be renewed.
    pub renew_at: Option<UpstreamTime>,
    /// How often it was opened or renewed since the start.
    pub renewals: u64,
}

/// How our webhooks at Books stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebhooksReport {
    /// Each one, by its name: `unknown`, `ready`, `pending` or `denied`, and its id.
    pub each: BTreeMap<String, (&'static str, Option<RecordId>)>,
    /// Executions that failed before this are left alone.
    pub since: Option<UpstreamTime>,
    /// The latest execution that was seen in upstream's histories.
    pub latest: Option<UpstreamTime>,
    /// How many failed executions were asked for again, had been seen by other ways, and would not
    /// be sent again.
    pub histories: [u64; 3],
}

/// Our extension, as far as the platform has told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformReport {
    /// `installed`, `uninstalled`, `wiping` or `wiped`.
    pub state: &'static str,
    /// The newest event, and its number, which is how many there were.
    pub newest: Option<(u64, Recorded)>,
}

impl PlatformReport {
    /// Whether the extension is gone.
    pub fn is_removed(&self) -> bool {
        self.state != Removal::state(None)
    }
}

/// Whom the callback listener lets in.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Our channel.
    pub channel: Option<ChannelId>,
    /// The tokens that callbacks may echo, each until a tick, where that is known.
    pub tokens: Vec<(Secret, Option<Tick>)>,
    /// What may sign callbacks of Books, by the webhook's name, each until a tick, where there is
    /// one.
    pub webhooks: BTreeMap<String, Vec<(Secret, Option<Tick>)>>,
    /// Where records are fetched from.
    pub origin: Option<Origin>,
    /// Upstream's clock, once it has told its time.
    pub clock: Option<UpstreamClock>,
}

/// What became of callbacks since the start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    refused: DeclinedCounts,
    duplicate: AtomicU64,
    of_books: Mutex<Option<UpstreamTime>>,
}

impl Counters {
    /// One more was acknowledged; `again` when it repeats one that was acknowledged before.
    pub fn count_accepted(&self, again: bool) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.duplicate.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    /// When (upstream) the latest one of Books came that was acknowledged; `None` when none did
    /// since the start, or upstream had not told its time by then.
    pub fn heard_of_books(&self) -> Option<UpstreamTime> {
        *self.of_books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of Books was acknowledged that came then.
    pub fn hear_of_books(&self, came: Option<UpstreamTime>) {
        let mut latest = self.of_books.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(came);
    }

    /// One more was turned away.
    pub fn count_refused(&self, why: Declined) {
        self.refused.add(why);
    }

    /// How many were turned away, by reason.
    pub fn refused(&self) -> [(Declined, u64); Declined::ALL.len()] {
        self.refused.each()
    }

    /// Acknowledged, turned away, and repetitions among the acknowledged.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = self.refused().iter().map(|(_, count)| count).sum();
        (read(&self.accepted), refused, read(&self.duplicate))
    }
}

/// Where the heart publishes.
#[derive(Debug, Default)]
pub struct Board {
    report: RwLock<Arc<Report>>,
    admission: RwLock<Arc<Admission>>,
    stopped: RwLock<Option<String>>,
    /// What became of callbacks.
    pub callbacks: Counters,
    /// How long things take, and who comes to the doors.
    pub meters: Meters,
    /// The mark of the heart.
    pub heart: Pulse,
    /// Where the heart, the local interface and the courier meet.
    pub hatch: Hatch,
}

impl Board {
    /// The latest report.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whom to let in now.
    pub fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes how things stand.
    pub fn publish(&self, report: Report) {
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    /// Who stands still, if anybody does.
    pub fn stopped(&self) -> Option<String> {
        self.stopped.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes who stands still.
    pub fn judge(&self, stopped: Option<String>) {
        *self.stopped.write().unwrap_or_else(PoisonError::into_inner) = stopped;
    }

    /// Publishes whom to let in.
    pub fn admit(&self, admission: Admission) {
        *self.admission.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(admission);
    }
}
