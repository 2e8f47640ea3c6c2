//! One module's plan: what it needs, which scan goes on, when the next is due.

use std::time::Duration;

use crate::mirror::backoff::Backoff;
use crate::mirror::count;
use crate::mirror::credits::Purpose;
use crate::mirror::ledger::{Scan, ScanKind};
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::waiting::BATCH_LIMIT;

use super::{ModuleStart, Settings};

/// While callbacks are being missed, catch-up comes up to this many times as often as configured:
/// eight catch-ups an hour more cost a few hundred credits a day.
const MOST_EAGER: u32 = 8;

/// A count that differs brings the next sweep forward to this part of its interval.
const EARLIEST_SWEEP: u32 = 4;

/// What is planned for a module.
#[derive(Debug)]
pub(super) struct ModulePlan {
    pub(super) fields_known: bool,
    pub(super) whole_records: bool,
    /// Until then ids gather for the next fetch.
    pub(super) gathers_until: Tick,
    pub(super) proved: Option<UpstreamTime>,
    pub(super) unstamped: bool,
    pub(super) scan: ScanPlan,
    /// A catch-up is due once the scan that goes on has ended: it may have passed by already what
    /// the catch-up is to find.
    pub(super) again: bool,
    pub(super) catch_up_at: Tick,
    pub(super) catch_up_every: Duration,
    pub(super) swept: Option<UpstreamTime>,
    pub(super) refreshed: Option<UpstreamTime>,
    pub(super) refresh_every: Option<Duration>,
    /// When (upstream) its records are counted next; `None` when they are not.
    pub(super) count_at: Option<UpstreamTime>,
    pub(super) count_lane: Backoff,
    pub(super) lane: Backoff,
    pub(super) trouble: Option<String>,
}

/// Where the module's scan stands.
#[derive(Debug)]
pub(super) enum ScanPlan {
    /// None is due.
    Idle,
    /// One is to begin as soon as upstream's time is known.
    Wanted { kind: ScanKind },
    /// One goes on there.
    Going(Scan),
}

impl ModulePlan {
    /// A module at the start: a scan that was going on goes on, else a catch-up is due.
    pub(super) fn new(start: ModuleStart, every: Duration, now: Tick) -> ModulePlan {
        ModulePlan {
            fields_known: start.fields_known,
            whole_records: start.whole_records,
            gathers_until: now,
            proved: start.ledger.complete_through,
            unstamped: start.ledger.unstamped,
            // A scan that the last run began says nothing of what happened since.
            again: start.ledger.scan.is_some(),
            scan: match start.ledger.scan {
                Some(scan) => ScanPlan::Going(scan),
                None => ScanPlan::Wanted { kind: ScanKind::CatchUp },
            },
            catch_up_at: now.after(every),
            catch_up_every: every,
            swept: start.ledger.last_sweep,
            refreshed: start.ledger.last_refresh,
            refresh_every: start.refresh_every,
            count_at: count::is_comparable(&start.name).then_some(
                start
                    .ledger
                    .count
                    .map_or(UpstreamTime::EPOCH, |last| last.time.after(count::EVERY)),
            ),
            count_lane: Backoff::default(),
            lane: Backoff::default(),
            trouble: None,
        }
    }

    /// Whether its fields are to be read now.
    pub(super) fn needs_fields(&self, now: Tick) -> bool {
        !self.fields_known && self.lane.is_over(now)
    }

    /// Whether its ids are fetched now, of which so many wait. The first of a burst is fetched at
    /// once; then the others gather for a moment, since a fetch costs a credit whether it names one
    /// id or fifty.
    pub(super) fn may_fetch(&self, waiting: usize, now: Tick) -> bool {
        let gathers = now < self.gathers_until && waiting < BATCH_LIMIT && !self.whole_records;
        self.fields_known && !gathers
    }

    /// Whether the next page may be read.
    pub(super) fn may_scan(&self, now: Tick) -> bool {
        self.fields_known && self.lane.is_over(now)
    }

    /// Whether its records may be counted now: those of a copy that is whole, and at rest.
    pub(super) fn may_count(&self, now: Tick, upstream_now: UpstreamTime) -> bool {
        self.count_wake(now, Some(upstream_now)).is_some_and(|due| due <= now)
    }

    /// When its records may be counted, if they are at rest until then.
    pub(super) fn count_wake(&self, now: Tick, upstream_now: Option<UpstreamTime>) -> Option<Tick> {
        let is_whole = self.proved.is_some() && matches!(self.scan, ScanPlan::Idle);
        let due = self.count_at.filter(|_| is_whole)?;
        Some(now.after(due.since(upstream_now?)).max(self.count_lane.until()))
    }

    /// Its records were counted. When their number is off, a sweep comes early, but not at once
    /// after the last.
    pub(super) fn counted(&mut self, time: UpstreamTime, is_off: bool, sweep_every: Duration) {
        self.count_lane.clear();
        self.count_at = Some(time.after(count::EVERY));
        let early = sweep_every / EARLIEST_SWEEP;
        if is_off && self.swept.is_none_or(|last| last.after(early) <= time) {
            self.want(ScanKind::Sweep);
        }
    }

    /// What its scan is for: only a copy that was proved complete before can wait for the next.
    pub(super) fn purpose(&self) -> Purpose {
        let kind = match &self.scan {
            ScanPlan::Going(scan) => scan.kind,
            ScanPlan::Wanted { kind } => *kind,
            ScanPlan::Idle => ScanKind::CatchUp,
        };
        match kind {
            ScanKind::Sweep | ScanKind::Refresh if self.proved.is_some() => Purpose::Sweep,
            ScanKind::Sweep | ScanKind::Refresh | ScanKind::CatchUp => Purpose::CatchUp,
        }
    }

    /// A scan is due. One that goes on is not begun anew, unless more is to be looked at; a
    /// catch-up follows it.
    pub(super) fn want(&mut self, kind: ScanKind) {
        match &self.scan {
            ScanPlan::Going(scan) if kind <= scan.kind => self.again = true,
            ScanPlan::Wanted { kind: wanted } if kind <= *wanted => {}
            ScanPlan::Idle | ScanPlan::Wanted { .. } | ScanPlan::Going(_) => {
                self.scan = ScanPlan::Wanted { kind };
            }
        }
    }

    /// Whether a scan of this kind, or of more, is due or going on.
    pub(super) fn wants(&self, kind: ScanKind) -> bool {
        match &self.scan {
            ScanPlan::Going(scan) => kind <= scan.kind,
            ScanPlan::Wanted { kind: wanted } => kind <= *wanted,
            ScanPlan::Idle => false,
        }
    }

    /// The scan of this kind, begun at `now`. What cannot be found by time is found by looking at
    /// the whole.
    pub(super) fn begin(&self, kind: ScanKind, now: UpstreamTime) -> Scan {
        let proved = self.proved.filter(|_| kind == ScanKind::CatchUp && !self.unstamped);
        let catch_up = proved.and_then(|proved| Scan::catch_up(proved, now));
        catch_up.unwrap_or_else(|| Scan::whole(kind.max(ScanKind::Sweep), self.proved, now))
    }

    /// When the next sweep and the next refresh are due, by upstream's clock: a device that is
    /// switched off every night would never come to them by its own.
    pub(super) fn due_by_upstream(
        &self,
        settings: &Settings,
    ) -> impl Iterator<Item = (ScanKind, UpstreamTime)> + use<> {
        let sweep = self.swept.map(|last| (ScanKind::Sweep, last.after(settings.sweep_every)));
        let every = self.refresh_every.filter(|_| self.proved.is_some());
        let refresh = every.map(|every| {
            let last = self.refreshed.unwrap_or(UpstreamTime::EPOCH);
            (ScanKind::Refresh, last.after(every))
        });
        sweep.into_iter().chain(refresh)
    }

    /// A scan has ended that found so many changes which no callback had announced.
    pub(super) fn finished(&mut self, scan: &Scan, usual: Duration, now: Tick) {
        let first = self.proved.is_none();
        // Earlier than before when the clock was wrong then: from there on is to be looked at.
        self.proved = Some(scan.started);
        if scan.kind >= ScanKind::Sweep {
            self.swept = Some(scan.started);
            self.unstamped = scan.seen > 0 && !scan.stamped;
        }
        if first || scan.kind == ScanKind::Refresh {
            self.refreshed = Some(scan.started);
        }
        self.catch_up_every = match scan.missed {
            0 => self.catch_up_every.saturating_mul(2).min(usual),
            _ => (self.catch_up_every / 2).max(usual / MOST_EAGER),
        };
        self.catch_up_at = self.catch_up_at.min(now.after(self.catch_up_every));
        self.scan = ScanPlan::Idle;
        if std::mem::take(&mut self.again) {
            self.want(ScanKind::CatchUp);
        }
    }
}
