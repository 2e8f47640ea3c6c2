//! What the heart publishes and the listeners read: the report, and whom to let in. What both
//! count and measure is here too.
//!
//! Readers take a snapshot and go; nobody waits for the heart, and the heart waits for nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::mirror::credits::Purpose;
use crate::mirror::ledger::Ledger;
use crate::mirror::origin::Origin;
use crate::mirror::record::{ChannelId, ModuleName};
use crate::mirror::time::{Tick, UpstreamClock, UpstreamTime};
use crate::secret::Secret;
use crate::vitals::Pulse;

use super::declined::{Declined, DeclinedCounts};
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
    /// When the id that has waited longest arrived.
    pub oldest_waiting: Option<Tick>,
    /// Credits spent in the last 24 hours.
    pub credits_spent: u64,
    /// The most that may be spent in 24 hours.
    pub credits_ceiling: u64,
    /// What cannot be done for lack of credits, if anything.
    pub starved: Option<Purpose>,
    /// The modules and what is proved of them.
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

/// Whom the callback listener lets in.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Our channel.
    pub channel: Option<ChannelId>,
    /// The tokens that callbacks may echo, each until a tick, where that is known.
    pub tokens: Vec<(Secret, Option<Tick>)>,
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
}

impl Counters {
    /// One more was acknowledged; `again` when it repeats one that was acknowledged before.
    pub fn count_accepted(&self, again: bool) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.duplicate.fetch_add(u64::from(again), Ordering::Relaxed);
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
