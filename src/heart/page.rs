//! Reading a page of a scan, and committing it together with the place of the next.

use std::collections::BTreeSet;

use crate::mirror::inbox::{Arrival, Reason};
use crate::mirror::ledger::{Position, Scan};
use crate::mirror::merge::Observation;
use crate::mirror::planner::Outcome;
use crate::mirror::record::{Entry, ModuleName, Record, RecordId};
use crate::mirror::scan::{More, PageSeen};
use crate::store::{Commit, StoreError};
use crate::upstream::records::{self, Columns, Passes};
use crate::upstream::verdict::judge;

use super::{Heart, Stop};

/// Ids that one page may leave to be fetched by name because the listing does not show them. When
/// a whole module becomes invisible, the scan stays at its page and takes as many again.
const MISSING_LIMIT: usize = 1_000;
/// Ids of the mirror that are looked at in one go.
const CHUNK: usize = 1_000;

impl Heart {
    pub(super) fn read_page(&mut self, module: &ModuleName, scan: &Scan) -> Result<Outcome, Stop> {
        let passes = self.modules[module].passes.clone().unwrap_or(Passes::Everything);
        let columns = match self.modules[module].whole_records {
            true => Columns::Stamps,
            false => passes.on_a_page(),
        };
        let api = self.line.api()?;
        let request = records::page(&api, module, scan, columns)
            .expect("a scan that is settling is finished, not read");
        let reply = self.line.call(&request)?;
        let verdict = judge(&reply)?;
        let mut commit = self.commit_of(module, self.now());
        let mut shown = BTreeSet::new();
        let seen = match &scan.next {
            Position::Deleted { .. } => {
                let (ids, more) = records::parse_deleted(verdict)?;
                self.doubt_deleted(&mut commit, &ids)?;
                PageSeen { rows: ids.len() as u64, last_id: None, last_modified: None, more }
            }
            Position::Second { .. } => {
                let (rows, _) = records::parse(verdict)?;
                self.take_stamps(&mut commit, &rows)?;
                // COQL is asked until it has nothing more: its own word on that is not needed.
                let more = if rows.is_empty() { More::Last } else { More::Next };
                records::seen(&rows, more)
            }
            Position::Page(_)
            | Position::Token(_)
            | Position::Modified { .. }
            | Position::ModifiedToken { .. }
            | Position::Settling => {
                let (rows, more) = records::parse(verdict)?;
                match columns {
                    Columns::Whole(_) => self.take_records(&mut commit, &rows)?,
                    Columns::Stamps => self.take_stamps(&mut commit, &rows)?,
                }
                shown.extend(rows.iter().map(Record::id));
                records::seen(&rows, more)
            }
        };
        let mut next = scan.advanced(&seen);
        if let Some(stopped_at) = self.doubt_unlisted(&mut commit, scan, &seen, &shown)? {
            next = Scan { after: Some(stopped_at), ..scan.clone() };
        }
        commit.ledger.scan = Some(next.clone());
        let arrived = self.commit(commit)?;
        Ok(Outcome::Page(next, arrived))
    }

    /// The scan has ended: the copy is proved complete through the scan's beginning.
    pub(super) fn finish(&mut self, module: &ModuleName, scan: &Scan) -> Result<Outcome, Stop> {
        let now = self.now();
        let mut commit = self.commit_of(module, now);
        let ledger = &mut commit.ledger;
        let first = ledger.complete_through.is_none();
        ledger.scan = None;
        ledger.complete_through = ledger.complete_through.max(Some(scan.started));
        ledger.last_catch_up = Some(now);
        if scan.whole {
            ledger.last_sweep = Some(now);
        }
        let records = ledger.records;
        self.commit(commit)?;
        self.keep_spending(1)?;
        if first {
            log::info!("{module}: bootstrapped, {records} records");
        }
        Ok(Outcome::Finished)
    }

    fn take_records(&self, commit: &mut Commit, rows: &[Record]) -> Result<(), StoreError> {
        let mut taken = BTreeSet::new();
        for record in rows.iter().filter(|record| taken.insert(record.id())) {
            if self.fold(commit, record.id(), Observation::Listed(record.clone()))? {
                commit.arrivals.push(scanned(&commit.module, record.id()));
            }
        }
        Ok(())
    }

    /// Takes rows that show ids and stamps only: what differs is to be fetched by its name.
    fn take_stamps(&self, commit: &mut Commit, rows: &[Record]) -> Result<(), StoreError> {
        for row in rows {
            let same = match self.stored(&commit.module, row.id())? {
                Some(Entry::Live(stored)) => {
                    row.modified().is_some() && stored.modified() == row.modified()
                }
                Some(Entry::Tombstone { .. }) | None => false,
            };
            if !same {
                commit.arrivals.push(scanned(&commit.module, row.id()));
            }
        }
        Ok(())
    }

    /// Takes ids that upstream lists as deleted. They may have been restored since, so that those
    /// the mirror holds are fetched by name.
    fn doubt_deleted(&self, commit: &mut Commit, ids: &[RecordId]) -> Result<(), StoreError> {
        for id in ids {
            if let Some(Entry::Live(_)) = self.stored(&commit.module, *id)? {
                commit.arrivals.push(scanned(&commit.module, *id));
            }
        }
        Ok(())
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
    Arrival { module: module.clone(), id, reason: Reason::Scanned }
}
