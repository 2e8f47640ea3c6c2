//! Reading a page of a scan, and committing it together with the place of the next.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Operation;
use crate::mirror::count::Count;
use crate::mirror::inbox::{Arrival, Reason};
use crate::mirror::ledger::{Position, Scan, ScanKind};
use crate::mirror::merge::Observation;
use crate::mirror::planner::Outcome;
use crate::mirror::record::{Entry, ModuleName, Record, RecordId};
use crate::mirror::road::{How, Reading};
use crate::mirror::scan::{More, PageSeen};
use crate::mirror::time::UpstreamTime;
use crate::store::{Commit, StoreError};
use crate::upstream::records::{self, Columns, Deleted};
use crate::upstream::verdict::judge;

use super::fetch::Folded;
use super::{Heart, Stop};

/// Ids that one page may leave to be fetched by name because the listing does not show them. When
/// a whole module becomes invisible, the scan stays at its page and takes as many again.
const MISSING_LIMIT: usize = 1_000;
/// A callback that has not come so long after the change is taken to be lost. Upstream sends them
/// "typically within seconds" and promises nothing (facts §2.4).
const CALLBACK_LAG: Duration = Duration::from_secs(120);
/// Ids of the mirror that are looked at in one go.
const CHUNK: usize = 1_000;

impl Heart {
    pub(super) fn read_page(&mut self, module: &ModuleName, scan: &Scan) -> Result<Outcome, Stop> {
        let api = self.line.api()?;
        let columns = self.columns(module);
        let shows_whole = matches!(columns, Columns::Whole(_));
        let request = records::page(&api, module, scan, columns)
            .expect("a scan that is settling is finished, not read");
        let reply = self.line.call(&request)?;
        let verdict = judge(&reply)?;
        self.pages += 1;
        let mut commit = self.commit_of(module, self.now());
        let reading = Reading::of(scan.kind, commit.ledger.complete_through.is_some());
        commit.how = How::Page(reading);
        let mut shown = BTreeSet::new();
        let seen = match &scan.next {
            Position::Deleted { .. } => {
                let (rows, more) = records::parse_deleted(verdict)?;
                let doubted = self.doubt_deleted(&mut commit, &rows)?;
                let rows = rows.len() as u64;
                PageSeen { rows, last_id: None, last_modified: None, more, doubted }
            }
            Position::Second { .. } | Position::ById { .. } => {
                let (rows, _) = records::parse(verdict)?;
                self.take_stamps(&mut commit, scan, &rows)?;
                // COQL is asked until it has nothing more: its own word on that is not needed.
                let more = if rows.is_empty() { More::Last } else { More::Next };
                shown.extend(rows.iter().map(Record::id));
                records::seen(&rows, more)
            }
            Position::Page(_)
            | Position::Token(_)
            | Position::Modified { .. }
            | Position::ModifiedToken { .. }
            | Position::Settling => {
                let (rows, more) = records::parse(verdict)?;
                match shows_whole {
                    true => self.take_records(&mut commit, scan, &rows)?,
                    false => self.take_stamps(&mut commit, scan, &rows)?,
                }
                shown.extend(rows.iter().map(Record::id));
                records::seen(&rows, more)
            }
        };
        if let Some(stamp) = seen.last_modified {
            self.line.note_stamp(stamp);
        }
        let missed = commit.ledger.missed - self.modules[module].ledger.missed;
        let mut next = Scan { missed: scan.missed + missed, ..scan.advanced(&seen) };
        if let Some(stopped_at) = self.doubt_unlisted(&mut commit, scan, &seen, &shown)? {
            next = Scan { after: Some(stopped_at), missed: next.missed, ..scan.clone() };
        }
        commit.ledger.scan = Some(next.clone());
        for arrival in &mut commit.arrivals {
            (arrival.heard, arrival.reading) = (Some(commit.time), Some(reading));
        }
        let arrived = self.commit(commit)?;
        if seen.rows > 0 {
            // A page costs a call and a credit. A flush costs less, and after a crash the scan
            // goes on here instead of where sled last flushed by itself.
            let _ = self.store.flush()?;
        }
        Ok(Outcome::Page(next, arrived))
    }

    /// The scan has ended: the copy is proved complete through the scan's beginning.
    pub(super) fn finish(&mut self, module: &ModuleName, scan: &Scan) -> Result<Outcome, Stop> {
        let now = self.now();
        let mut commit = self.commit_of(module, now);
        let ledger = &mut commit.ledger;
        let first = ledger.complete_through.is_none();
        ledger.scan = None;
        // What lies ahead of upstream's clock was proved by a clock that was wrong.
        let before = ledger.complete_through.filter(|before| *before <= now);
        ledger.complete_through = before.max(Some(scan.started.min(now)));
        ledger.last_catch_up = Some(now);
        if scan.kind >= ScanKind::Sweep {
            ledger.last_sweep = Some(scan.started);
            ledger.unstamped = scan.seen > 0 && !scan.stamped;
        }
        let reads_whole = matches!(self.columns(module), Columns::Whole(_));
        if first
            || scan.kind == ScanKind::Refresh
            || (scan.kind == ScanKind::Sweep && reads_whole && !scan.narrow)
        {
            ledger.last_refresh = Some(scan.started);
        }
        let records = ledger.records;
        self.commit(commit)?;
        self.keep_spending(1)?;
        if first {
            let _ = self.store.flush()?;
            log::info!("{module}: bootstrapped, {records} records");
        }
        Ok(Outcome::Finished)
    }

    /// Counts the records there and here. While ids wait, the two are not of one moment.
    pub(super) fn count(&mut self, module: &ModuleName) -> Result<Outcome, Stop> {
        let api = self.line.api()?;
        let reply = self.line.call(&records::count(&api, module))?;
        let upstream = records::parse_count(judge(&reply)?)?;
        let time = self.now();
        if self.store.waiting() > 0 {
            return Ok(Outcome::Counted { time, is_off: false });
        }
        let mut commit = self.commit_of(module, time);
        let ledger = &mut commit.ledger;
        let count = Count::taken(ledger.count, ledger.last_sweep, time, upstream, ledger.records);
        ledger.count = Some(count);
        self.commit(commit)?;
        Ok(Outcome::Counted { time, is_off: count.is_off() })
    }

    /// What a page shows of this module's records.
    fn columns(&self, module: &ModuleName) -> Columns<'_> {
        let module = &self.modules[module];
        match &module.passes {
            Some(passes) if !module.whole_records => passes.on_a_page(),
            Some(_) | None => Columns::Stamps,
        }
    }

    fn take_records(
        &self,
        commit: &mut Commit,
        scan: &Scan,
        rows: &[Record],
    ) -> Result<(), StoreError> {
        let mut taken = BTreeSet::new();
        for record in rows.iter().filter(|record| taken.insert(record.id())) {
            let folded = self.fold(commit, record.id(), Observation::Listed(record.clone()))?;
            let operation = match folded {
                Folded::Known => continue,
                Folded::Doubt => {
                    commit.arrivals.push(scanned(&commit.module, record.id()));
                    continue;
                }
                Folded::News { known: true } => Operation::Edit,
                Folded::News { known: false } => Operation::Create,
            };
            if !scan.is_listing() {
                self.count_missed(commit, record.id(), record.modified(), operation);
            }
        }
        Ok(())
    }

    /// Takes rows that show ids and stamps only: what differs is to be fetched by its name, and so
    /// is everything when the scan is to refresh.
    ///
    /// So is what was modified since the last proof, even if its stamp is the stored one: stamps
    /// are whole seconds, and a record read within its second may have changed again in it. As
    /// lists lag, that is all from where a catch-up begins.
    fn take_stamps(
        &self,
        commit: &mut Commit,
        scan: &Scan,
        rows: &[Record],
    ) -> Result<(), StoreError> {
        let refreshes = scan.kind == ScanKind::Refresh && scan.is_listing();
        for row in rows {
            let operation = match self.stored(&commit.module, row.id())? {
                Some(Entry::Live(stored)) => {
                    let modified = row.modified();
                    let same = modified.is_some() && stored.modified() == modified;
                    if same && modified < Some(scan.since) && !refreshes {
                        continue;
                    }
                    (!same).then_some(Operation::Edit)
                }
                Some(Entry::Tombstone { .. }) | None => Some(Operation::Create),
            };
            commit.arrivals.push(scanned(&commit.module, row.id()));
            if let Some(operation) = operation.filter(|_| !scan.is_listing()) {
                self.count_missed(commit, row.id(), row.modified(), operation);
            }
        }
        Ok(())
    }

    /// Takes rows of the list of the deleted. They may have been restored since, so that those the
    /// mirror holds are fetched by name. Returns whether one of them was not in doubt before.
    fn doubt_deleted(&self, commit: &mut Commit, rows: &[Deleted]) -> Result<bool, StoreError> {
        let mut doubted = false;
        for row in rows {
            if let Some(Entry::Live(_)) = self.stored(&commit.module, row.id)? {
                doubted |= !self.planner.waiting().contains(&commit.module, row.id);
                commit.arrivals.push(scanned(&commit.module, row.id));
                self.count_missed(commit, row.id, row.time, Operation::Delete);
            }
        }
        Ok(doubted)
    }

    /// Counts a change that a callback should have announced: the channel was open when it
    /// happened, that is some while ago, and no callback waits to be fetched.
    fn count_missed(
        &self,
        commit: &mut Commit,
        id: RecordId,
        changed: Option<UpstreamTime>,
        operation: Operation,
    ) {
        let announced = self.modules[&commit.module].operations.contains(&operation);
        let (Some(since), Some(changed)) = (self.watching_since, changed) else { return };
        let was_watched = since < changed && changed.after(CALLBACK_LAG) < commit.time;
        if announced && was_watched && !self.planner.waiting().contains(&commit.module, id) {
            commit.ledger.missed += 1;
        }
    }

    /// Doubts what the mirror holds between the last page of a listing and the end of this one, and
    /// this one does not show. Returns where it stopped, when there is more than can be taken.
    fn doubt_unlisted(
        &self,
        commit: &mut Commit,
        scan: &Scan,
        seen: &PageSeen,
        shown: &BTreeSet<RecordId>,
    ) -> Result<Option<RecordId>, StoreError> {
        if !scan.is_listing() {
            return Ok(None);
        }
        let end = match (&seen.more, seen.last_id) {
            (More::Last, _) => RecordId::new(u64::MAX),
            (More::Next | More::Token(_), Some(last)) => last,
            (More::Next | More::Token(_), None) => return Ok(None),
        };
        let mut after = scan.after;
        let mut missing = 0;
        loop {
            let ids = self.store.ids_between(&commit.module, after, end, CHUNK)?;
            for id in ids.iter().filter(|id| !shown.contains(id)) {
                commit.arrivals.push(scanned(&commit.module, *id));
                missing += 1;
                if missing >= MISSING_LIMIT {
                    return Ok(Some(*id));
                }
            }
            match ids.last() {
                Some(last) if ids.len() == CHUNK => after = Some(*last),
                Some(_) | None => return Ok(None),
            }
        }
    }
}

fn scanned(module: &ModuleName, id: RecordId) -> Arrival {
    Arrival::new(module.clone(), id, Reason::Scanned)
}
