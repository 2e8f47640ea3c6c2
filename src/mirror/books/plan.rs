//! What is read of Books next, and when: the part of the planner that is Books' own.
//!
//! The planner asks it for one action at a time, and hands back what that brought. Ids that wait
//! are in the planner's [`Waiting`] with those of CRM: a callback's before a scan's. A page is read
//! only when nothing waits any more that a page before it left in doubt. That bounds what waits,
//! and a crash repeats pages alone.
//!
//! Trouble with Books pauses Books: CRM, which shares the token and the line, goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::entity::Entity;
use super::listing::{ENTITY, EntityPlan, ScanPlan};
use super::scan::{ListScan, Look, PageSeen};
use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::credits::Purpose;
use crate::mirror::gather::Gather;
use crate::mirror::inbox::InboxItem;
use crate::mirror::ledger::{Ledger, ScanKind};
use crate::mirror::record::{ModuleName, RecordId};
use crate::mirror::road::Reading;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;
use crate::mirror::waiting::{Fetch, Waiting};

/// Pauses after Books said that we ask too much. Which of its limits it was, its verdict says by
/// the pause that it asks for.
const THROTTLE: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(3_600) };
/// Pauses after Books failed. Each record is a call of its own: without a pause of all, the ids
/// that wait would spend the day's calls on an outage.
const FAILING: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };
/// How long a call waits that the ceiling does not allow: a quarter of an hour of spending ends.
const STARVED_WAIT: Duration = Duration::from_secs(5 * 60);

/// Something to do with Books, beside fetching records by their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BooksAction {
    /// Read a page of a list, and put what it leaves in doubt into the inbox.
    ReadPage(ListPage),
    /// Put into the inbox what the mirror holds and the list did not show.
    Compare {
        /// The entity.
        entity: Entity,
        /// What the list showed, in order.
        shown: Arc<[RecordId]>,
        /// Behind which id.
        after: Option<RecordId>,
    },
    /// Commit that a scan has ended.
    Finish {
        /// The entity.
        entity: Entity,
        /// What it looked at.
        kind: ScanKind,
        /// When (upstream) it began.
        started: UpstreamTime,
    },
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListPage {
    /// The entity.
    pub entity: Entity,
    /// How the list is asked for.
    pub look: Look,
    /// The number of the page, from 1.
    pub number: u32,
    /// From when on what was modified is in doubt even if its stamp is the one in the mirror,
    /// unless the pass before has shown it.
    pub since: UpstreamTime,
    /// What the pass before has shown, in order.
    pub before: Arc<[RecordId]>,
    /// What the scan is for.
    pub reading: Reading,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BooksOutcome {
    /// The page showed this, and left these in doubt.
    Page(PageSeen, Vec<InboxItem>),
    /// The mirror was compared up to this id, to its end for `None`, which left these in doubt.
    Compared(Option<RecordId>, Vec<InboxItem>),
    /// The end of the scan is committed.
    Finished,
}

impl BooksAction {
    /// The entity.
    pub fn entity(&self) -> Entity {
        match self {
            BooksAction::ReadPage(page) => page.entity,
            BooksAction::Compare { entity, .. } | BooksAction::Finish { entity, .. } => *entity,
        }
    }

    /// Whether it takes a call of Books' API.
    pub fn is_call(&self) -> bool {
        matches!(self, BooksAction::ReadPage(_))
    }
}

/// What is to be done with Books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// This.
    Books(BooksAction),
    /// Fetch a record by its name.
    Fetch(Fetch),
    /// Ask for a token: only a reply tells upstream's time, which a scan needs.
    Time,
}

/// The plan of Books.
#[derive(Debug)]
pub struct BooksPlan {
    entities: BTreeMap<ModuleName, EntityPlan>,
    every: Duration,
    sweep_every: Duration,
    lane: Backoff,
    trouble: Option<String>,
    starved: bool,
}

impl BooksPlan {
    /// A plan at the start. Each entity is due.
    pub fn new(
        entities: Vec<(Entity, Ledger)>,
        every: Duration,
        sweep_every: Duration,
        now: Tick,
    ) -> BooksPlan {
        let plan = |(entity, ledger): (Entity, Ledger)| {
            (entity.module(), EntityPlan::new(entity, &ledger, now.after(every)))
        };
        BooksPlan {
            entities: entities.into_iter().map(plan).gather(),
            every,
            sweep_every,
            lane: Backoff::default(),
            trouble: None,
            starved: false,
        }
    }

    /// Whether this module is an entity of Books.
    pub fn has(&self, module: &ModuleName) -> bool {
        self.entities.contains_key(module)
    }

    /// What last went wrong and is not mended.
    pub fn trouble(&self) -> Option<String> {
        let of_entity = || {
            let (name, plan) = self.entities.iter().find(|(_, plan)| plan.trouble.is_some())?;
            plan.trouble.as_ref().map(|why| format!("{name}: {why}"))
        };
        self.trouble.clone().or_else(of_entity)
    }

    /// Whether something waits for calls to be allowed again.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// A scan is due, of this module or of all.
    pub fn want(&mut self, module: Option<&ModuleName>, kind: ScanKind) {
        let asked = |name: &ModuleName| module.is_none_or(|module| module == name);
        for (_, plan) in self.entities.iter_mut().filter(|(name, _)| asked(name)) {
            plan.want(kind);
        }
    }

    /// A person asks: pauses after trouble end. Those that upstream asked for go on, since a call
    /// more would be refused as well.
    pub fn end_pauses(&mut self, module: Option<&ModuleName>) {
        let asked = |name: &ModuleName| module.is_none_or(|module| module == name);
        for (_, plan) in self.entities.iter_mut().filter(|(name, _)| asked(name)) {
            plan.lane.clear();
            plan.refused.clear();
        }
    }

    /// Whether a scan goes on, or is due and may begin.
    pub fn is_catching_up(&self, now: Tick) -> bool {
        let may_scan = |plan: &EntityPlan| plan.lane.is_over(now) && plan.refused.is_over(now);
        let is_due = |plan: &EntityPlan| !matches!(plan.scan, ScanPlan::Idle);
        self.entities.values().any(|plan| is_due(plan) && may_scan(plan))
    }

    /// From when on Books may be called.
    pub fn open_at(&self, account: &Account) -> Tick {
        self.lane.until().max(account.free_at())
    }

    /// What is to be done next, for which purpose.
    pub fn next(
        &mut self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        waiting: &Waiting,
        account: &Account,
    ) -> Option<(Purpose, Wanted)> {
        self.schedule(now, upstream_now);
        self.starved = false;
        let is_open = self.open_at(account) <= now;
        if let Some(fetch) = waiting.next(now, 1, |module| self.may_fetch(module, now)) {
            let purpose = if fetch.is_urgent { Purpose::Callback } else { Purpose::CatchUp };
            if self.may_spend(purpose, upstream_now, account) && is_open {
                return Some((purpose, Wanted::Fetch(fetch)));
            }
        }
        let names: Vec<ModuleName> = self.ready(now, waiting).cloned().collect();
        for name in names {
            let Some((purpose, wanted)) = self.scan(&name, upstream_now) else { continue };
            let is_call = matches!(&wanted, Wanted::Books(action) if action.is_call());
            if !is_call || (self.may_spend(purpose, upstream_now, account) && is_open) {
                return Some((purpose, wanted));
            }
        }
        None
    }

    fn may_spend(
        &mut self,
        purpose: Purpose,
        upstream_now: Option<UpstreamTime>,
        account: &Account,
    ) -> bool {
        let may = account.credits().allow(purpose, upstream_now);
        self.starved |= !may;
        may
    }

    /// When there may be something to do, if nothing arrives.
    pub fn wake(
        &self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        waiting: &Waiting,
        account: &Account,
    ) -> Tick {
        let ids = waiting.wake(|module| self.may_fetch(module, now));
        let ready = self.ready(now, waiting).next().map(|_| now);
        let each = self.entities.values().flat_map(|plan| {
            let lanes = [plan.lane.until(), plan.refused.until()];
            let sweep = plan.sweep_due(self.sweep_every).filter(|_| !plan.wants(ScanKind::Sweep));
            let sweep = sweep.and_then(|due| Some(now.after(due.since(upstream_now?))));
            lanes.into_iter().filter(|until| now < *until).chain([plan.catch_up_at]).chain(sweep)
        });
        let first = each.chain(ids).chain(ready).min().unwrap_or(now.after(self.every));
        // Earlier than this nothing can be asked for.
        let first = first.max(self.open_at(account));
        if self.starved { first.max(now.after(STARVED_WAIT)) } else { first }
    }

    fn may_fetch(&self, module: &ModuleName, now: Tick) -> bool {
        self.entities.get(module).is_some_and(|plan| plan.refused.is_over(now))
    }

    /// The entities whose scan may go on: nothing is in doubt, and no trouble passes.
    fn ready(&self, now: Tick, waiting: &Waiting) -> impl Iterator<Item = &ModuleName> {
        let is_ready = move |(name, plan): &(&ModuleName, &EntityPlan)| {
            let is_due = !matches!(plan.scan, ScanPlan::Idle);
            let may = plan.lane.is_over(now) && plan.refused.is_over(now);
            is_due && may && !waiting.has_scanned(name)
        };
        self.entities.iter().filter(is_ready).map(|(name, _)| name)
    }

    fn scan(
        &mut self,
        module: &ModuleName,
        upstream_now: Option<UpstreamTime>,
    ) -> Option<(Purpose, Wanted)> {
        let plan = self.entities.get_mut(module)?;
        if let ScanPlan::Wanted(kind) = plan.scan {
            let Some(time) = upstream_now else { return Some((Purpose::CatchUp, Wanted::Time)) };
            let EntityPlan { entity, proved, cannot, unproved, .. } = *plan;
            let scan = ListScan::begin(entity, kind, proved, cannot, unproved, time);
            plan.unproved = proved.is_none().then_some(scan.since);
            plan.scan = ScanPlan::Going(Box::new(scan));
        }
        let ScanPlan::Going(scan) = &plan.scan else { return None };
        Some((plan.purpose(), Wanted::Books(plan.action(scan))))
    }

    /// Makes due what time has made due.
    fn schedule(&mut self, now: Tick, upstream_now: Option<UpstreamTime>) {
        for plan in self.entities.values_mut() {
            if plan.catch_up_at <= now {
                plan.catch_up_at = now.after(self.every);
                plan.want(ScanKind::CatchUp);
            }
            let sweep = plan.sweep_due(self.sweep_every);
            let is_due = sweep.is_some_and(|due| upstream_now.is_some_and(|now| due <= now));
            if is_due && !plan.wants(ScanKind::Sweep) {
                plan.want(ScanKind::Sweep);
            }
        }
    }
}

/// What came of it.
impl BooksPlan {
    /// Books answered a call for this module.
    pub fn answered(&mut self, module: &ModuleName) {
        self.lane.clear();
        self.trouble = None;
        if let Some(plan) = self.entities.get_mut(module) {
            plan.refused.clear();
            plan.blamed = false;
        }
    }

    /// An action brought this.
    pub fn learn(
        &mut self,
        action: &BooksAction,
        outcome: &BooksOutcome,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) {
        let every = self.every;
        let longest = self.sweep_every;
        let Some(plan) = self.entities.get_mut(&action.entity().module()) else { return };
        let ScanPlan::Going(scan) = &mut plan.scan else { return };
        match outcome {
            BooksOutcome::Page(seen, _) => {
                let look = scan.look;
                let advanced = scan.advance(seen);
                // The witness of a filter may have gone; an order that is ignored stays so.
                plan.cannot |= look == Look::Sorted && scan.look == Look::Whole;
                match advanced {
                    Ok(()) => {
                        plan.lane.clear();
                        plan.trouble = None;
                    }
                    Err(why) => plan.give_up_scan(why, now, dice),
                }
            }
            BooksOutcome::Compared(through, _) => scan.compared(*through),
            BooksOutcome::Finished => {
                let scan = scan.as_ref().clone();
                plan.finished(&scan, every, longest, now);
            }
        }
    }

    /// Books failed, or says that we ask too much: nothing is asked of it for a while. One record
    /// that it chokes on holds up the others for a moment only, since the next answer ends the
    /// pause.
    pub fn pause(&mut self, trouble: &Trouble, now: Tick, dice: &mut fastrand::Rng) {
        let is_throttled = matches!(trouble, Trouble::Throttled { .. });
        let pauses = if is_throttled { &THROTTLE } else { &FAILING };
        self.trouble = Some(trouble.why().to_owned());
        self.lane.fail(now, pauses, trouble.asked_pause(), dice);
    }

    /// The token was refused for this module. Whether a new one is worth while: one that is new
    /// already, or was renewed for this module's sake before, is not what is wrong.
    pub fn token_refused(
        &mut self,
        module: &ModuleName,
        is_new: bool,
        why: &str,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) -> bool {
        let Some(plan) = self.entities.get_mut(module) else { return false };
        if !is_new && !std::mem::replace(&mut plan.blamed, true) {
            return true;
        }
        let scope = "log in again with the scopes that README lists for Books";
        plan.trouble = Some(format!("{why}: {scope}"));
        plan.refused.fail(now, &ENTITY, None, dice);
        false
    }

    /// A page failed, or is denied for good. A list that was to be filtered or sorted is then read
    /// whole, and at once: what failed meanwhile is looked for where no scan may go on.
    pub fn stumble(
        &mut self,
        action: &BooksAction,
        why: &str,
        is_denied: bool,
        asked: Option<Duration>,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) {
        let Some(plan) = self.entities.get_mut(&action.entity().module()) else { return };
        match &mut plan.scan {
            ScanPlan::Going(scan) if is_denied && scan.look != Look::Whole => {
                plan.cannot = true;
                scan.look_at_whole();
            }
            ScanPlan::Going(_) | ScanPlan::Wanted(_) | ScanPlan::Idle => {
                plan.trouble = Some(why.to_owned());
                plan.lane.fail(now, &ENTITY, asked, dice);
            }
        }
    }
}
