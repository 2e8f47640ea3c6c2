//! The ids that wait to be fetched: which go together, which pause, which are given up.
//!
//! Ids of one module are fetched together. A batch that upstream fails at is halved, so that one
//! record it chokes on does not hold up forty-nine others; a batch that it denies is taken apart at
//! once. Only a record denied repeatedly on its own is given up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::backoff::Pauses;
use super::inbox::{InboxItem, InboxSequence, Reason};
use super::record::{ModuleName, RecordId};
use super::time::Tick;

/// Ids in one call: upstream documents no limit, and 50 ids of 19 digits stay below the 1,024
/// characters that its specification gives (facts §4.2).
pub const BATCH_LIMIT: usize = 50;
/// A record that upstream denies this often on its own is set aside.
pub const DENIALS_UNTIL_QUARANTINE: u32 = 3;
/// Pauses of one id. Short at first, since one failed answer is mostly followed by a good one.
const PAUSES: Pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(600) };

/// Ids of one module that are fetched in one call: 1 to [`BATCH_LIMIT`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdBatch(Vec<RecordId>);

impl IdBatch {
    /// The ids.
    pub fn ids(&self) -> &[RecordId] {
        &self.0
    }
}

/// What is to be fetched next, and the inbox items that this settles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// The module.
    pub module: ModuleName,
    /// The records.
    pub batch: IdBatch,
    /// The items that waited for them, when the fetch was planned.
    pub settles: Vec<InboxSequence>,
    /// Whether a callback named one of them, and not only a scan.
    pub is_urgent: bool,
}

#[derive(Debug)]
struct Wanted {
    sequences: Vec<InboxSequence>,
    arrived: Tick,
    not_before: Tick,
    failures: u32,
    denials: u32,
    alone: bool,
    reason: Reason,
    /// The last item that a scan left, while it waits. Only a fetch planned after it settles the
    /// scan's doubt.
    doubt: Option<InboxSequence>,
}

/// Callbacks go before what scans left over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Urgency {
    Callback,
    Scan,
}

type Place = (Urgency, Tick, InboxSequence, RecordId);

/// The ids that wait, each once, however many callbacks named it.
#[derive(Debug, Default)]
pub struct Waiting {
    wanted: HashMap<(ModuleName, RecordId), Wanted>,
    order: BTreeMap<ModuleName, BTreeSet<Place>>,
    /// Those that a scan left in doubt, whether or not a callback has named them too.
    doubts: BTreeMap<ModuleName, BTreeSet<RecordId>>,
}

impl Wanted {
    fn place(&self, id: RecordId) -> Place {
        let urgency = match self.reason {
            Reason::Touched | Reason::Deleted => Urgency::Callback,
            Reason::Scanned => Urgency::Scan,
        };
        let first = self.sequences.first().copied().unwrap_or_default();
        (urgency, self.not_before, first, id)
    }

    /// How many ids may go in one call with this one.
    fn company(&self, most: usize) -> usize {
        if self.alone { 1 } else { (most >> self.failures.min(6)).max(1) }
    }
}

impl Waiting {
    /// Takes in what arrived. A second callback for a waiting id makes it neither wait twice nor
    /// wait longer: it is tried again at once.
    pub fn add(&mut self, items: Vec<InboxItem>, now: Tick) {
        for InboxItem { sequence, arrival } in items {
            let order = self.order.entry(arrival.module.clone()).or_default();
            if arrival.reason == Reason::Scanned {
                self.doubts.entry(arrival.module.clone()).or_default().insert(arrival.id);
            }
            let wanted =
                self.wanted.entry((arrival.module, arrival.id)).or_insert_with(|| Wanted {
                    sequences: Vec::new(),
                    arrived: now,
                    not_before: now,
                    failures: 0,
                    denials: 0,
                    alone: false,
                    reason: arrival.reason,
                    doubt: None,
                });
            order.remove(&wanted.place(arrival.id));
            wanted.sequences.push(sequence);
            if arrival.reason == Reason::Scanned {
                wanted.doubt = Some(sequence);
            } else {
                wanted.reason = arrival.reason;
                wanted.not_before = now;
            }
            order.insert(wanted.place(arrival.id));
        }
    }

    /// The next ids to fetch: the most urgent one that need not pause, and others of its module
    /// with it, up to `most`. `usable` says which modules can be fetched from at all.
    pub fn next(
        &self,
        now: Tick,
        most: usize,
        usable: impl Fn(&ModuleName) -> bool,
    ) -> Option<Fetch> {
        let (module, order, is_urgent) = self
            .order
            .iter()
            .filter(|(module, _)| usable(module))
            .filter_map(|(module, order)| Some((module, order, ready(order, now).next()?)))
            .min_by_key(|(_, _, (urgency, _, sequence, _))| (*urgency, *sequence))
            .map(|(module, order, first)| (module, order, first.0 == Urgency::Callback))?;
        let mut ids = Vec::new();
        let mut settles = Vec::new();
        let mut room = most.min(BATCH_LIMIT);
        for (_, _, _, id) in ready(order, now) {
            let wanted = &self.wanted[&(module.clone(), *id)];
            if ids.len() >= room || (!ids.is_empty() && ids.len() >= wanted.company(most)) {
                break;
            }
            room = room.min(wanted.company(most));
            ids.push(*id);
            settles.extend_from_slice(&wanted.sequences);
        }
        Some(Fetch { module: module.clone(), batch: IdBatch(ids), settles, is_urgent })
    }

    /// When the next id that pauses now may be tried, in the modules that are usable.
    pub fn wake(&self, usable: impl Fn(&ModuleName) -> bool) -> Option<Tick> {
        let orders = self.order.iter().filter(|(module, _)| usable(module)).map(|(_, order)| order);
        let firsts = orders.flat_map(|order| [order.iter().next(), scanned(order).next()]);
        firsts.flatten().map(|(_, not_before, ..)| *not_before).min()
    }

    /// The fetch was committed. Ids named again meanwhile go on waiting.
    pub fn settle(&mut self, fetch: &Fetch) {
        self.each(fetch, |wanted, settled| {
            wanted.sequences.retain(|sequence| !settled.contains(sequence));
            wanted.failures = 0;
            wanted.denials = 0;
            wanted.alone = false;
        });
    }

    /// Upstream failed at the fetch: its ids pause, and go in smaller company next time.
    pub fn fail(
        &mut self,
        fetch: &Fetch,
        now: Tick,
        asked: Option<Duration>,
        dice: &mut fastrand::Rng,
    ) {
        self.each(fetch, |wanted, _| {
            wanted.failures = wanted.failures.saturating_add(1);
            wanted.not_before = now.after(PAUSES.after(wanted.failures, asked, dice));
        });
    }

    /// Upstream denies the fetch. Returns whether its records are to be set aside now; the caller
    /// does so, and then says [`Waiting::settle`]. `together` when asking for less cannot help.
    pub fn deny(
        &mut self,
        fetch: &Fetch,
        together: bool,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) -> bool {
        let splits = fetch.batch.ids().len() > 1 && !together;
        let mut given_up = !splits;
        self.each(fetch, |wanted, _| {
            if splits {
                wanted.alone = true;
                wanted.not_before = now;
            } else {
                wanted.denials += 1;
                wanted.not_before = now.after(PAUSES.after(wanted.denials, None, dice));
                given_up &= wanted.denials >= DENIALS_UNTIL_QUARANTINE;
            }
        });
        given_up
    }

    /// Whether ids of this module that a scan left in doubt still wait, be it for a callback too:
    /// until they are fetched, the scan proves nothing.
    pub fn has_scanned(&self, module: &ModuleName) -> bool {
        self.doubts.contains_key(module)
    }

    /// How many ids of this module wait.
    pub fn of(&self, module: &ModuleName) -> usize {
        self.order.get(module).map_or(0, BTreeSet::len)
    }

    /// Whether this id waits.
    pub fn contains(&self, module: &ModuleName, id: RecordId) -> bool {
        self.wanted.contains_key(&(module.clone(), id))
    }

    /// Ids that wait.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// When the one that has waited longest arrived.
    pub fn oldest(&self) -> Option<Tick> {
        self.wanted.values().map(|wanted| wanted.arrived).min()
    }

    fn each(&mut self, fetch: &Fetch, mut change: impl FnMut(&mut Wanted, &[InboxSequence])) {
        let order = self.order.entry(fetch.module.clone()).or_default();
        let doubts = self.doubts.entry(fetch.module.clone()).or_default();
        for id in fetch.batch.ids() {
            let key = (fetch.module.clone(), *id);
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            order.remove(&wanted.place(*id));
            change(wanted, &fetch.settles);
            if wanted.doubt.is_some_and(|doubt| !wanted.sequences.contains(&doubt)) {
                wanted.doubt = None;
                doubts.remove(id);
            }
            if wanted.sequences.is_empty() {
                self.wanted.remove(&key);
            } else {
                order.insert(wanted.place(*id));
            }
        }
        if order.is_empty() {
            self.order.remove(&fetch.module);
        }
        if doubts.is_empty() {
            self.doubts.remove(&fetch.module);
        }
    }
}

const SCANNED: Place = (Urgency::Scan, Tick::ORIGIN, 0, RecordId::new(0));

fn scanned(order: &BTreeSet<Place>) -> impl Iterator<Item = &Place> {
    order.range(SCANNED..)
}

fn ready(order: &BTreeSet<Place>, now: Tick) -> impl Iterator<Item = &Place> {
    let callbacks = order.range(..SCANNED).take_while(move |place| place.1 <= now);
    callbacks.chain(scanned(order).take_while(move |place| place.1 <= now))
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Arrival;
    use super::*;

    fn module(name: &str) -> ModuleName {
        ModuleName::parse(name).unwrap()
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_origin(Duration::from_secs(seconds))
    }

    fn item(sequence: u64, name: &str, id: u64, reason: Reason) -> InboxItem {
        let arrival = Arrival::new(module(name), RecordId::new(id), reason);
        InboxItem { sequence, arrival }
    }

    fn touched(sequences: std::ops::Range<u64>, name: &str) -> Vec<InboxItem> {
        sequences.map(|n| item(n, name, 1_000 + n, Reason::Touched)).collect()
    }

    fn next(waiting: &Waiting, now: u64) -> Option<(String, Vec<u64>)> {
        let fetch = waiting.next(at(now), BATCH_LIMIT, |_| true)?;
        let ids = fetch.batch.ids().iter().map(|id| id.number()).collect();
        Some((fetch.module.to_string(), ids))
    }

    fn fetch(waiting: &Waiting, now: u64) -> Fetch {
        waiting.next(at(now), BATCH_LIMIT, |_| true).unwrap()
    }

    #[test]
    fn ids_of_a_module_go_together_in_the_order_of_arrival() {
        let mut waiting = Waiting::default();
        waiting.add(touched(0..120, "Leads"), at(0));
        waiting.add(touched(120..123, "Deals"), at(0));
        let mut sizes = Vec::new();
        while !waiting.is_empty() {
            let fetch = fetch(&waiting, 0);
            assert_eq!(fetch.batch.ids().len(), fetch.settles.len());
            sizes.push((fetch.module.to_string(), fetch.settles.len()));
            waiting.settle(&fetch);
        }
        let leads = |n| ("Leads".to_owned(), n);
        assert_eq!(sizes, [leads(50), leads(50), leads(20), ("Deals".to_owned(), 3)]);
    }

    #[test]
    fn callbacks_go_before_what_scans_left_over() {
        let mut waiting = Waiting::default();
        waiting.add(vec![item(1, "Leads", 1, Reason::Scanned)], at(0));
        waiting.add(vec![item(2, "Deals", 2, Reason::Deleted)], at(5));
        assert_eq!(next(&waiting, 5), Some(("Deals".into(), vec![2])));
        waiting.add(vec![item(3, "Leads", 1, Reason::Touched)], at(6));
        let both = fetch(&waiting, 6);
        assert!(both.is_urgent && both.settles == [1, 3], "a callback makes it urgent");
        assert!(waiting.has_scanned(&module("Leads")), "and leaves it in doubt");
        waiting.settle(&both);
        assert!(!waiting.has_scanned(&module("Leads")));
    }

    #[test]
    fn an_id_named_twice_waits_once_and_one_fetch_settles_both() {
        let mut waiting = Waiting::default();
        waiting.add(vec![item(1, "Leads", 7, Reason::Touched)], at(0));
        waiting.add(vec![item(2, "Leads", 7, Reason::Deleted)], at(0));
        let fetch = fetch(&waiting, 0);
        assert_eq!(fetch.settles, [1, 2]);
        waiting.add(vec![item(3, "Leads", 7, Reason::Touched)], at(1));
        waiting.settle(&fetch);
        assert_eq!(waiting.next(at(1), 50, |_| true).unwrap().settles, [3], "named in between");
    }

    #[test]
    fn a_failing_batch_is_halved_until_the_bad_one_is_alone() {
        let mut waiting = Waiting::default();
        let mut dice = fastrand::Rng::with_seed(1);
        waiting.add(touched(0..50, "Leads"), at(0));
        let (mut now, mut calls, poison) = (0, 0, RecordId::new(1_020));
        while waiting.len() > 1 {
            calls += 1;
            assert!(calls < 60, "not one by one");
            let Some(fetch) = waiting.next(at(now), BATCH_LIMIT, |_| true) else {
                now = waiting.wake(|_| true).unwrap().since_origin().as_secs() + 1;
                continue;
            };
            if fetch.batch.ids().contains(&poison) {
                waiting.fail(&fetch, at(now), None, &mut dice);
            } else {
                waiting.settle(&fetch);
            }
        }
        assert_eq!(next(&waiting, now + 10_000), Some(("Leads".into(), vec![1_020])));
    }

    #[test]
    fn a_record_denied_on_its_own_again_and_again_is_given_up() {
        let mut waiting = Waiting::default();
        let mut dice = fastrand::Rng::with_seed(1);
        waiting.add(touched(0..3, "Leads"), at(0));
        let all = fetch(&waiting, 0);
        assert!(!waiting.deny(&all, false, at(0), &mut dice), "taken apart first");
        let mut denials = 0;
        let one = loop {
            let fetch = fetch(&waiting, 1_000 * (denials + 1));
            assert_eq!(fetch.batch.ids().len(), 1);
            if fetch.batch.ids()[0] != RecordId::new(1_001) {
                waiting.settle(&fetch);
                continue;
            }
            denials += 1;
            if waiting.deny(&fetch, false, at(1_000 * denials), &mut dice) {
                break fetch;
            }
        };
        assert_eq!(denials, u64::from(DENIALS_UNTIL_QUARANTINE));
        waiting.settle(&one);
        assert!(waiting.is_empty() && waiting.wake(|_| true).is_none());
    }

    #[test]
    fn a_module_denied_as_a_whole_is_not_taken_apart() {
        let mut waiting = Waiting::default();
        let mut dice = fastrand::Rng::with_seed(1);
        waiting.add(touched(0..50, "Leads"), at(0));
        for denial in 1..=DENIALS_UNTIL_QUARANTINE {
            let fetch = fetch(&waiting, u64::from(denial) * 1_000);
            assert_eq!(fetch.batch.ids().len(), 50);
            let given_up = waiting.deny(&fetch, true, at(u64::from(denial) * 1_000), &mut dice);
            assert_eq!(given_up, denial == DENIALS_UNTIL_QUARANTINE);
        }
    }

    #[test]
    fn an_unusable_module_waits_without_holding_up_others() {
        let mut waiting = Waiting::default();
        waiting.add(touched(0..2, "Leads"), at(0));
        waiting.add(touched(2..3, "Deals"), at(0));
        let fetch = waiting.next(at(0), 50, |module| module.as_str() == "Deals").unwrap();
        assert_eq!(fetch.module.as_str(), "Deals");
    }
}
