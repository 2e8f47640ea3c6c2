//! Reading Books: records by their names, pages of lists, and what the mirror holds beyond them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::mirror::books::entity::Entity;
use crate::mirror::books::plan::{BooksAction, BooksOutcome, BooksPlan, ListPage};
use crate::mirror::books::scan::{Look, PageSeen};
use crate::mirror::inbox::{Arrival, InboxItem, Reason};
use crate::mirror::ledger::{Ledger, Scan, ScanKind};
use crate::mirror::planner::Outcome;
use crate::mirror::record::{Entry, ModuleName, Record, RecordId};
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;
use crate::store::{Commit, Order, Store, StoreError};
use crate::upstream::books::records;
use crate::upstream::books::verdict::judge;

use super::{Heart, Module, SPENDING_GRAIN, Stop};

/// Ids that one comparison may leave to be fetched: as many as a page of a list.
const MISSING_LIMIT: usize = records::PAGE_ROWS;
/// Ids of the mirror that are looked at in one go.
const CHUNK: usize = 1_000;

/// The entities that are mirrored, as modules.
pub(super) fn modules(
    config: &Config,
    store: &Store,
) -> Result<Vec<(ModuleName, Module)>, StoreError> {
    let entities = config.books.iter().flat_map(|books| &books.entities);
    let module = |entity: &Entity| {
        let ledger = store.ledger(&entity.module())?;
        Ok((entity.module(), Module { entity: Some(*entity), ..Module::whole(ledger) }))
    };
    entities.map(module).collect()
}

/// The plan of Books at the start; `None` when nothing of it is mirrored.
pub(super) fn plan<'a>(
    config: &Config,
    modules: impl Iterator<Item = &'a Module>,
    now: Tick,
) -> Option<BooksPlan> {
    config.books.as_ref()?;
    let entities = modules.filter_map(|module| Some((module.entity?, module.ledger.clone())));
    let every = &config.catch_up;
    Some(BooksPlan::new(entities.collect(), every.every, every.sweep_every, now))
}

impl Heart {
    pub(super) fn act_on_books(&mut self, action: BooksAction) -> Result<Outcome, Stop> {
        let outcome = match action {
            BooksAction::ReadPage(page) => self.read_list(&page),
            BooksAction::Compare { entity, shown, after } => {
                self.compare_list(entity, &shown, after)
            }
            BooksAction::Finish { entity, kind, started } => {
                self.finish_list(entity, kind, started)
            }
        };
        outcome.map(Outcome::Books)
    }

    /// Reads records whole, one by one: Books has no call for several. Those that it does not know
    /// are left out.
    pub(super) fn read_of_books(
        &mut self,
        entity: Entity,
        ids: &[RecordId],
    ) -> Result<BTreeMap<RecordId, Record>, Stop> {
        let mut seen = BTreeMap::new();
        for id in ids {
            let request = records::by_id(&self.line.books_api()?, entity, *id);
            let reply = self.line.books_call(&request)?;
            match records::parse_one(judge(&reply)?, entity)? {
                Some(record) if record.id() == *id => drop(seen.insert(*id, record)),
                // A reply about another record does not say that this one is gone.
                Some(record) => {
                    let why = format!("asked for {entity} {id}, Books shows {}", record.id());
                    return Err(Trouble::Failed { after: None, why }.into());
                }
                None => {}
            }
        }
        Ok(seen)
    }

    /// Reads a page. What is new, or was changed, or may have been, is left to be fetched: lists
    /// show less than records.
    fn read_list(&mut self, page: &ListPage) -> Result<BooksOutcome, Stop> {
        let module = page.entity.module();
        let witness = self.witness(page)?;
        // Earlier than the witness: a filter that shows one very second does not show it then.
        let earlier = |modified: UpstreamTime| modified.before(Duration::from_secs(1));
        let from = witness.as_ref().and_then(Record::modified).map(earlier);
        let from = from.map_or(page.since, |earlier| earlier.min(page.since));
        let api = self.line.books_api()?;
        let request = records::page(&api, page.entity, page.look, from, page.number);
        let reply = self.line.books_call(&request)?;
        let listed = records::parse_page(judge(&reply)?, page.entity)?;
        self.pages += 1;
        let shows = |id: RecordId| listed.rows.iter().any(|(shown, _)| *shown == id);
        let obeyed = match page.look {
            Look::Whole => true,
            Look::Sorted => listed.is_by_time,
            Look::Filtered => page.number > 1 || witness.is_some_and(|w| shows(w.id())),
        };
        let mut commit = self.commit_of(&module, self.now());
        mark_begun(&mut commit.ledger, page.since, commit.time);
        for (id, modified) in &listed.rows {
            modified.iter().for_each(|stamp| self.line.note_stamp(*stamp));
            if self.is_in_doubt(page, *id, *modified)? {
                commit.arrivals.push(Arrival {
                    heard: Some(commit.time),
                    reading: Some(page.reading),
                    ..Arrival::new(module.clone(), *id, Reason::Scanned)
                });
            }
        }
        let arrived = self.commit_news(commit)?;
        self.keep_spending(SPENDING_GRAIN)?;
        let seen = PageSeen { rows: listed.rows, more: listed.more, obeyed };
        Ok(BooksOutcome::Page(seen, arrived))
    }

    /// A record that a filtered list has to show: that which was modified last, as far as we know.
    /// A list that shows it not, and is asked for no later time, is not filtered as we take it to
    /// be. (It may also have been deleted: then all is read once more than needed.)
    fn witness(&self, page: &ListPage) -> Result<Option<Record>, StoreError> {
        if page.look != Look::Filtered {
            return Ok(None);
        }
        let module = page.entity.module();
        let newest = self.store.by_modified(&module, None, None, Order::NewestFirst, 1)?;
        Ok(newest.and_then(|records| records.into_iter().next()))
    }

    /// Whether a row is to be fetched. One with the stamp that the mirror has is, when it is so
    /// young that it may have changed again within its second since it was fetched, and was not
    /// fetched in this scan already.
    fn is_in_doubt(
        &self,
        page: &ListPage,
        id: RecordId,
        modified: Option<UpstreamTime>,
    ) -> Result<bool, StoreError> {
        let is_young = modified.is_none_or(|modified| modified >= page.since);
        if page.look != Look::Whole && !is_young {
            return Ok(false);
        }
        Ok(match self.stored(&page.entity.module(), id)? {
            Some(Entry::Live(stored)) if modified.is_none() || stored.modified() == modified => {
                is_young && page.before.binary_search(&id).is_err()
            }
            Some(Entry::Live(_) | Entry::Tombstone { .. }) | None => true,
        })
    }

    /// Commits what a list led to: nothing, mostly.
    fn commit_news(&mut self, commit: Commit) -> Result<Vec<InboxItem>, StoreError> {
        let is_marked = commit.ledger != self.modules[&commit.module].ledger;
        if commit.arrivals.is_empty() && !is_marked { Ok(Vec::new()) } else { self.commit(commit) }
    }

    /// Leaves to be fetched what the mirror holds behind `after` and the list did not show.
    fn compare_list(
        &mut self,
        entity: Entity,
        shown: &[RecordId],
        after: Option<RecordId>,
    ) -> Result<BooksOutcome, Stop> {
        let module = entity.module();
        let mut commit = self.commit_of(&module, self.now());
        let mut after = after;
        loop {
            let end = RecordId::new(u64::MAX);
            let ids = self.store.ids_between(&module, after, end, CHUNK)?;
            for id in &ids {
                if shown.binary_search(id).is_err() {
                    commit.arrivals.push(Arrival::new(module.clone(), *id, Reason::Scanned));
                }
                after = Some(*id);
                if commit.arrivals.len() >= MISSING_LIMIT {
                    return Ok(BooksOutcome::Compared(after, self.commit(commit)?));
                }
            }
            if ids.len() < CHUNK {
                return Ok(BooksOutcome::Compared(None, self.commit_news(commit)?));
            }
        }
    }

    /// The scan has ended: the copy is proved complete through the scan's beginning. Of deletions
    /// only a scan of the whole list tells.
    fn finish_list(
        &mut self,
        entity: Entity,
        kind: ScanKind,
        started: UpstreamTime,
    ) -> Result<BooksOutcome, Stop> {
        let (module, now) = (entity.module(), self.now());
        let mut commit = self.commit_of(&module, now);
        let ledger = &mut commit.ledger;
        let first = ledger.complete_through.is_none();
        ledger.scan = None;
        // What lies ahead of upstream's clock was proved by a clock that was wrong.
        let before = ledger.complete_through.filter(|before| *before <= now);
        ledger.complete_through = before.max(Some(started.min(now)));
        ledger.last_catch_up = Some(now);
        if kind > ScanKind::CatchUp {
            ledger.last_sweep = Some(started);
        }
        if first {
            ledger.last_refresh = Some(started);
        }
        let records = ledger.records;
        self.commit(commit)?;
        self.keep_spending(1)?;
        if first {
            let _ = self.store.flush()?;
            log::info!("{module} of Books: bootstrapped, {records} records");
        }
        Ok(BooksOutcome::Finished)
    }
}

/// Marks in the ledger that a first scan has begun, and from when on it looks. Where it goes on is
/// not kept; but of the records that it has fetched, those may have changed again within their
/// second that are younger than that.
fn mark_begun(ledger: &mut Ledger, since: UpstreamTime, now: UpstreamTime) {
    if ledger.complete_through.is_none() && ledger.scan.is_none() {
        ledger.scan = Some(Scan { since, ..Scan::whole(ScanKind::Sweep, None, now) });
    }
}
