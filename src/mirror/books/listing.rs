//! One entity's plan: which scan of its list goes on, and when the next is due.

use std::time::Duration;

use super::entity::Entity;
use super::plan::{BooksAction, ListPage};
use super::scan::{At, IDS_LIMIT, ListScan, Restless};
use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::credits::Purpose;
use crate::mirror::ledger::{Ledger, ScanKind};
use crate::mirror::road::Reading;
use crate::mirror::time::{Tick, UpstreamTime};

/// Pauses of an entity whose list is denied or fails: a try is one of a thousand calls a day.
pub(super) const ENTITY: Pauses =
    Pauses { first: Duration::from_secs(5), longest: Duration::from_secs(3_600) };
/// The pause after a list that moved faster than it could be read: its passes have cost enough.
const RESTLESS: Pauses =
    Pauses { first: Duration::from_secs(30 * 60), longest: Duration::from_secs(30 * 60) };

/// What is planned for an entity.
#[derive(Debug)]
pub(super) struct EntityPlan {
    pub(super) entity: Entity,
    pub(super) proved: Option<UpstreamTime>,
    /// From when on scans have looked that proved nothing yet.
    pub(super) unproved: Option<UpstreamTime>,
    pub(super) swept: Option<UpstreamTime>,
    pub(super) scan: ScanPlan,
    /// A catch-up is due once the scan that goes on has ended.
    pub(super) again: bool,
    pub(super) catch_up_at: Tick,
    /// Its list was seen not to tell what changed lately: it is read whole, until the next start.
    pub(super) cannot: bool,
    pub(super) lane: Backoff,
    pub(super) trouble: Option<String>,
    /// A token was renewed for its sake, and refused still: another would be as well.
    pub(super) blamed: bool,
    /// While its tokens are refused, nothing of it is asked for.
    pub(super) refused: Backoff,
}

/// Where its scan stands.
#[derive(Debug)]
pub(super) enum ScanPlan {
    Idle,
    Wanted(ScanKind),
    Going(Box<ListScan>),
}

impl EntityPlan {
    /// An entity at the start: a catch-up is due, and the next at that tick.
    pub(super) fn new(entity: Entity, ledger: &Ledger, catch_up_at: Tick) -> EntityPlan {
        EntityPlan {
            entity,
            proved: ledger.complete_through,
            unproved: ledger.scan.as_ref().map(|scan| scan.since),
            swept: ledger.last_sweep,
            scan: ScanPlan::Wanted(ScanKind::CatchUp),
            again: false,
            catch_up_at,
            cannot: false,
            lane: Backoff::default(),
            trouble: None,
            blamed: false,
            refused: Backoff::default(),
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        match &self.scan {
            ScanPlan::Going(scan) if scan.kind > ScanKind::CatchUp && self.proved.is_some() => {
                Purpose::Sweep
            }
            ScanPlan::Going(_) | ScanPlan::Wanted(_) | ScanPlan::Idle => Purpose::CatchUp,
        }
    }

    pub(super) fn action(&self, scan: &ListScan) -> BooksAction {
        let entity = self.entity;
        match scan.at {
            At::Page(number) => BooksAction::ReadPage(ListPage {
                entity,
                look: scan.look,
                number,
                since: scan.since,
                before: scan.before(),
                reading: Reading::of(scan.kind, self.proved.is_some()),
            }),
            At::Comparing(after) => BooksAction::Compare { entity, shown: scan.before(), after },
            At::Settling => BooksAction::Finish { entity, kind: scan.kind, started: scan.started },
        }
    }

    /// One that goes on is not begun anew, unless more is to be looked at; a catch-up follows it.
    pub(super) fn want(&mut self, kind: ScanKind) {
        match &self.scan {
            ScanPlan::Going(scan) if kind <= scan.kind => self.again = true,
            ScanPlan::Wanted(wanted) if kind <= *wanted => {}
            ScanPlan::Idle | ScanPlan::Wanted(_) | ScanPlan::Going(_) => {
                self.scan = ScanPlan::Wanted(kind);
            }
        }
    }

    pub(super) fn wants(&self, kind: ScanKind) -> bool {
        match &self.scan {
            ScanPlan::Going(scan) => kind <= scan.kind,
            ScanPlan::Wanted(wanted) => kind <= *wanted,
            ScanPlan::Idle => false,
        }
    }

    pub(super) fn sweep_due(&self, every: Duration) -> Option<UpstreamTime> {
        self.swept.map(|last| last.after(every))
    }

    /// The next scan begins later, with a fresh look.
    pub(super) fn give_up_scan(&mut self, why: Restless, now: Tick, dice: &mut fastrand::Rng) {
        let kind = match &self.scan {
            ScanPlan::Going(scan) => scan.kind,
            ScanPlan::Wanted(kind) => *kind,
            ScanPlan::Idle => ScanKind::CatchUp,
        };
        self.trouble = Some(match why {
            Restless::Moving => "its list changes faster than it can be read".to_owned(),
            Restless::TooLong => {
                format!("its list has more than {} records", IDS_LIMIT)
            }
        });
        self.lane.fail(now, &RESTLESS, None, dice);
        self.scan = ScanPlan::Wanted(kind);
    }

    /// A scan has ended. One that took many pages, as it does where a list cannot tell what changed
    /// lately, is paid for by waiting: a catch-up may come as seldom as a sweep.
    pub(super) fn finished(
        &mut self,
        scan: &ListScan,
        every: Duration,
        longest: Duration,
        now: Tick,
    ) {
        // Earlier than before when the clock was wrong then: from there on is to be looked at.
        self.proved = Some(scan.started);
        self.unproved = None;
        if scan.kind > ScanKind::CatchUp {
            self.swept = Some(scan.started);
        }
        let pause = every.saturating_mul(scan.pages.max(1)).min(longest.max(every));
        self.catch_up_at = now.after(if self.cannot { pause } else { every });
        self.scan = ScanPlan::Idle;
        if std::mem::take(&mut self.again) {
            self.want(ScanKind::CatchUp);
        }
    }
}
