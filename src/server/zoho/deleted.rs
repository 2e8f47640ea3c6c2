//! What is gone: the mirror's tombstones in the shape of upstream's list of deletions.
//!
//! A tombstone knows when the mirror learned that a record went, and nothing else of it: who
//! deleted it and what it was called are null, as they may be upstream. In which of upstream's
//! lists it stands is derived from its age: the recycle bin keeps a record for 60 days, the list of
//! what is deleted for good another 60 (facts §4.4). A bin that was emptied by hand leaves no trace
//! here.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::asked::Asked;
use super::super::query::{BadParameter, Parameters};
use super::super::reply::Reply;
use super::page::{page_info, take_per_page};
use super::pick::Best;
use super::refusal::NoRead;
use super::{Reads, since};
use crate::mirror::record::{ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::store::{Sight, StoreError, TOMBSTONE_AGE, TOMBSTONE_LIMIT};

/// How long upstream's recycle bin keeps a record (facts §4.4).
const RECYCLE_AGE: Duration = Duration::from_secs(60 * 24 * 3_600);

/// Which of upstream's two lists a deletion stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bin {
    Recycle,
    Permanent,
}

impl Bin {
    /// `None` for a deletion that upstream has forgotten.
    fn of(gone: UpstreamTime, now: UpstreamTime) -> Option<Bin> {
        let age = now.since(gone);
        match (age > RECYCLE_AGE, age > TOMBSTONE_AGE) {
            (_, true) => None,
            (true, false) => Some(Bin::Permanent),
            (false, false) => Some(Bin::Recycle),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Bin::Recycle => "recycle",
            Bin::Permanent => "permanent",
        }
    }
}

/// Which deletions are asked for.
struct Wanted {
    bin: Option<Bin>,
    since: Option<UpstreamTime>,
    now: UpstreamTime,
}

impl Wanted {
    fn has(&self, gone: UpstreamTime) -> bool {
        let bin = Bin::of(gone, self.now).filter(|bin| self.bin.is_none_or(|it| it == *bin));
        bin.is_some() && self.since.is_none_or(|since| gone >= since)
    }
}

/// A deletion in its place: the newest comes first.
type Row = Reverse<(UpstreamTime, RecordId)>;

impl Reads<'_> {
    /// `GET /crm/v2/{Module}/deleted`, the newest deletion first: 204 when there are none, 304 when
    /// none was since.
    pub(super) fn deleted(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
        asked: &Asked,
    ) -> Result<Reply, NoRead> {
        let wanted = match parameters.take("type").as_deref() {
            None | Some("all") => None,
            Some("recycle") => Some(Bin::Recycle),
            Some("permanent") => Some(Bin::Permanent),
            Some(_) => {
                let why = "is one of all, recycle, permanent";
                return Err(BadParameter::new("type", why).into());
            }
        };
        let per_page = take_per_page(&mut parameters)?;
        let page = parameters.take_number("page", 1..=TOMBSTONE_LIMIT as usize)?.unwrap_or(1);
        parameters.finish()?;
        let since = since(asked)?;

        let now = self.upstream_now(module);
        let skipped = (page - 1).saturating_mul(per_page);
        let wanted = Wanted { bin: wanted, since, now };
        let needed = skipped.saturating_add(per_page + 1);
        let newest = match self.gone_by_time(module, &wanted, needed)? {
            Some(newest) => newest,
            None => self.gone_by_look(module, &wanted, needed)?,
        };
        if !newest.any() {
            return Ok(Reply::empty(if since.is_some() { 304 } else { 204 }));
        }
        let (rows, more) = newest.page(skipped, per_page);
        if rows.is_empty() {
            return Ok(Reply::empty(204));
        }
        let info = page_info(page, per_page, rows.len(), more);
        let rows: Vec<Value> =
            rows.into_iter().map(|Reverse((at, id))| row(id, at, Bin::of(at, now))).collect();
        Ok(Reply::json(200, json!({ "data": rows, "info": info }).to_string()))
    }

    /// The first rows, from the index of the times; `None` when that cannot tell.
    fn gone_by_time(
        &self,
        module: &ModuleName,
        wanted: &Wanted,
        needed: usize,
    ) -> Result<Option<Best<Row>>, StoreError> {
        // What is deleted for good comes behind all that is in the bin.
        let in_the_bin = (wanted.now.before(RECYCLE_AGE), RecordId::new(0));
        let after = wanted.bin.filter(|bin| *bin == Bin::Permanent).map(|_| in_the_bin);
        let Some(gone) = self.store.gone_since(module, wanted.since, after, needed)? else {
            return Ok(None);
        };
        let mut newest = Best::new(needed);
        let rows = gone.into_iter().filter(|(_, at)| wanted.has(*at));
        rows.for_each(|(id, at)| newest.offer(Reverse((at, id))));
        Ok(Some(newest))
    }

    /// The first rows, from a look through the module.
    fn gone_by_look(
        &self,
        module: &ModuleName,
        wanted: &Wanted,
        needed: usize,
    ) -> Result<Best<Row>, NoRead> {
        let look = |newest: &mut Best<Row>, id, sight: Sight<'_>| {
            if let Sight::Gone { at } = sight {
                if wanted.has(at) {
                    newest.offer(Reverse((at, id)));
                }
            }
            ControlFlow::Continue(())
        };
        self.look_through(module, None, || Best::new(needed), &look, Best::join)
    }

    /// Upstream's clock; until it is heard of again after a start, the latest moment that the
    /// module's proof names. Where there is none either, nothing has aged.
    fn upstream_now(&self, module: &ModuleName) -> UpstreamTime {
        let proved = self.report.modules.get(module).and_then(|ledger| {
            ledger.complete_through.max(ledger.last_catch_up).max(ledger.last_sweep)
        });
        self.report.upstream_time.or(proved).unwrap_or(UpstreamTime::EPOCH)
    }
}

fn row(id: RecordId, at: UpstreamTime, bin: Option<Bin>) -> Value {
    json!({
        "deleted_by": null, "id": id, "display_name": null, "type": bin.map(Bin::name),
        "created_by": null, "deleted_time": at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_ages_from_bin_to_bin() {
        let gone = UpstreamTime::from_unix(1_800_000_000);
        let day = Duration::from_secs(24 * 3_600);
        let after = |days: u32, seconds: u64| {
            Bin::of(gone, gone.after(day * days + Duration::from_secs(seconds)))
        };
        assert_eq!((after(0, 0), after(60, 0)), (Some(Bin::Recycle), Some(Bin::Recycle)));
        assert_eq!((after(60, 1), after(120, 0)), (Some(Bin::Permanent), Some(Bin::Permanent)));
        assert_eq!(after(120, 1), None);
        assert_eq!(Bin::of(gone, UpstreamTime::EPOCH), Some(Bin::Recycle), "the time is not known");
    }
}
