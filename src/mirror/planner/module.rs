//! One module's plan: what it needs, which scan goes on, when the next is due.

use crate::mirror::backoff::Backoff;
use crate::mirror::credits::Purpose;
use crate::mirror::ledger::Scan;
use crate::mirror::time::{Tick, UpstreamTime};

/// What is planned for a module.
#[derive(Debug)]
pub(super) struct ModulePlan {
    pub(super) fields_known: bool,
    pub(super) whole_records: bool,
    pub(super) proved: Option<UpstreamTime>,
    pub(super) scan: ScanPlan,
    pub(super) catch_up_at: Tick,
    pub(super) sweep_at: Tick,
    pub(super) lane: Backoff,
    pub(super) trouble: Option<String>,
}

/// Where the module's scan stands.
#[derive(Debug)]
pub(super) enum ScanPlan {
    /// None is due.
    Idle,
    /// One is to begin as soon as upstream's time is known.
    Wanted { sweep: bool },
    /// One goes on there.
    Going(Scan),
}

impl ModulePlan {
    /// Whether its fields are to be read now.
    pub(super) fn needs_fields(&self, now: Tick) -> bool {
        !self.fields_known && self.lane.is_over(now)
    }

    /// Whether the next page may be read.
    pub(super) fn may_scan(&self, now: Tick) -> bool {
        self.fields_known && self.lane.is_over(now)
    }

    /// What its scan is for: only a copy that was proved complete before can wait for the next.
    pub(super) fn purpose(&self) -> Purpose {
        let whole = match &self.scan {
            ScanPlan::Going(scan) => scan.whole,
            ScanPlan::Wanted { sweep } => *sweep,
            ScanPlan::Idle => false,
        };
        if whole && self.proved.is_some() { Purpose::Sweep } else { Purpose::CatchUp }
    }

    /// A scan is due. One that goes on is not begun anew, unless the whole is asked for.
    pub(super) fn want(&mut self, sweep: bool) {
        match &self.scan {
            ScanPlan::Going(scan) if scan.whole || !sweep => {}
            ScanPlan::Wanted { sweep: true } => {}
            ScanPlan::Idle | ScanPlan::Wanted { sweep: false } | ScanPlan::Going(_) => {
                self.scan = ScanPlan::Wanted { sweep };
            }
        }
    }
}
