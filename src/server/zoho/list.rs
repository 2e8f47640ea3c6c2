//! A page of a module, in the order of ids, of making or of modification.
//!
//! By id the page is read where it lies, and in the order of modification where the index of the
//! times leads. Any other order takes a look through the module, as everything but the first does
//! while that index is being built.

use super::super::asked::Asked;
use super::super::query::Parameters;
use super::super::reply::Reply;
use super::page::{Order, Place, Rank, SortBy};
use super::pick::Candidates;
use super::refusal::NoRead;
use super::{Reads, body, is_since, since, take_converted, take_fields};
use crate::mirror::record::{ModuleName, Record, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::store::{Order as Direction, StoreError};

/// Ids that one request may name: twice what upstream's clients usually send.
const IDS_LIMIT: usize = 100;

/// Records modified since a moment that are held to be shown in the order of ids: 3 MB of long
/// ones. When there are more, the page is found without holding them.
const SINCE_LIMIT: usize = 2_000;

/// The records of a page, and the place of its last row when more follow.
pub(in crate::server) type Page = (Vec<Record>, Option<Rank>);

impl Reads<'_> {
    /// `GET /crm/v2/{Module}`: 204 when there are none, 304 when none was modified since.
    pub(super) fn list(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
        asked: &Asked,
    ) -> Result<Reply, NoRead> {
        let since_text = asked.header("if-modified-since").unwrap_or_default();
        let others = parameters.text_without(&["page", "page_token"]);
        let request = format!("{module}?{others} {since_text}");
        let fields = take_fields(&mut parameters)?;
        let ids = parameters.take_list("ids", IDS_LIMIT, |id| id.parse::<RecordId>().ok())?;
        take_converted(&mut parameters)?;
        let order = Order::take(&mut parameters, self.is_unstamped(module))?;
        let place = Place::take(&mut parameters, &request, order)?;
        parameters.finish()?;
        let since = since(asked)?;

        let found = match ids {
            None => self.rows(module, &place, since)?,
            Some(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                self.in_order(module, &Candidates::Ids(ids), &place, since)?
            }
        };
        let Some((records, more_after)) = found else {
            // Behind a token there was something a moment ago.
            let is_unmodified = since.is_some() && place.after.is_none();
            return Ok(Reply::empty(if is_unmodified { 304 } else { 204 }));
        };
        if records.is_empty() && more_after.is_none() {
            return Ok(Reply::empty(204));
        }
        let info = place.info(records.len(), more_after);
        Ok(Reply::json(200, body(&records, fields.as_deref(), Some(info))))
    }

    /// The page of what was modified since, of all records for `None`; `None` when nothing was.
    pub(in crate::server) fn rows(
        &self,
        module: &ModuleName,
        place: &Place,
        since: Option<UpstreamTime>,
    ) -> Result<Option<Page>, NoRead> {
        match (since, place.order.by) {
            (None, SortBy::Id) => Ok(Some(self.by_id(module, place)?)),
            (since, _) => match self.by_time(module, place, since)? {
                Some(found) => Ok(found),
                None => self.in_order(module, &Candidates::All, place, since),
            },
        }
    }

    /// The page in the order of ids, read where it lies.
    fn by_id(&self, module: &ModuleName, place: &Place) -> Result<Page, StoreError> {
        let from = place.after.map(|rank| place.order.id(rank));
        let (down, skipped) = (place.order.descending, place.skipped());
        let records = self.store.live_page(module, from, down, skipped, place.per_page + 1)?;
        Ok(page_of(records, place))
    }

    /// The page of what was modified since, from the index of the times; `None` when that cannot
    /// tell, and else as [`Reads::in_order`].
    fn by_time(
        &self,
        module: &ModuleName,
        place: &Place,
        since: Option<UpstreamTime>,
    ) -> Result<Option<Option<Page>>, StoreError> {
        let read =
            |since, after, order, limit| self.store.by_modified(module, since, after, order, limit);
        // A record without a stamp may have been modified since, but does not stand there.
        if since.is_some() {
            let first = read(None, None, Direction::OldestFirst, 1)?;
            let is_stamped = |first: &Record| first.modified().is_some();
            if !first.is_some_and(|first| first.iter().all(is_stamped)) {
                return Ok(None);
            }
        }
        let found = match place.order.by {
            SortBy::Created => None,
            SortBy::Modified => {
                let after = place.after.map(|rank| place.order.moment(rank));
                read(since, after, place.order.direction(), place.needed())?
            }
            // All of them are held, and brought into this order.
            SortBy::Id => read(since, None, Direction::NewestFirst, SINCE_LIMIT + 1)?
                .filter(|records| records.len() <= SINCE_LIMIT),
        };
        let Some(mut records) = found else { return Ok(None) };
        if records.is_empty() && place.after.is_none() {
            return Ok(Some(None));
        }
        if place.order.by == SortBy::Id {
            records.sort_by_key(|record| place.order.rank(0, record.id()));
            records.retain(|record| Some(place.order.rank(0, record.id())) > place.after);
            records.truncate(place.needed());
        }
        records.drain(..place.skipped().min(records.len()));
        Ok(Some(Some(page_of(records, place))))
    }

    /// The page of what was modified since, in whatever order; `None` when nothing was at all.
    fn in_order(
        &self,
        module: &ModuleName,
        candidates: &Candidates,
        place: &Place,
        since: Option<UpstreamTime>,
    ) -> Result<Option<Page>, NoRead> {
        let filter = |modified, _: &[u8]| is_since(modified, since);
        let picked = self.pick(module, candidates, place, &filter)?;
        if !picked.any {
            return Ok(None);
        }
        let mut records = Vec::with_capacity(picked.rows.len());
        for rank in &picked.rows {
            // It may be gone since it was looked at.
            records.extend(self.live(module, place.order.id(*rank))?);
        }
        Ok(Some((records, picked.rows.last().copied().filter(|_| picked.more))))
    }
}

/// The page, from its first row on, and one row more if there is one.
fn page_of(mut page: Vec<Record>, place: &Place) -> Page {
    let more = page.len() > place.per_page;
    page.truncate(place.per_page);
    let last = page.last().filter(|_| more).map(|last| place.order.rank_of(last));
    (page, last)
}
