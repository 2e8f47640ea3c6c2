//! One scan of an entity's list: which page comes next, and when the list has been seen whole.
//!
//! Lists go by page number alone. While they are read, records are deleted, made and moved, and
//! those behind them change their page: one that moves back over the edge of a page is shown by
//! neither. So a list of several pages is read again and again until two passes in a row agree:
//! the second shows nothing that the first did not show, but what was changed since the scan began,
//! and misses nothing. A deletion between them would be missed by the second, so the first lost no
//! row by one. A list that fits on one page is of one moment, and is believed at once.
//!
//! There is no list of the deleted. A scan of the whole ends with a comparison: what the mirror
//! holds and the list did not show is in doubt, and fetched by its name.

use std::sync::Arc;
use std::time::Duration;

use super::entity::{Entity, Recent};
use crate::mirror::ledger::ScanKind;
use crate::mirror::record::RecordId;
use crate::mirror::time::UpstreamTime;

/// How far before the watermark a catch-up looks: upstream's lists may lag behind its records, and
/// stamps are whole seconds.
const OVERLAP: Duration = Duration::from_secs(5 * 60);
/// Passes over a list in search of two that agree. A list that moves faster is tried again later.
const PASSES_LIMIT: u32 = 6;
/// Ids that a pass may show. Two passes are held at once, 2 MB each; to read so many records takes
/// the largest plan of Books a month.
pub const IDS_LIMIT: usize = 250_000;

/// A scan in progress. It is not kept over a restart: what it led to is, so that a scan begun anew
/// repeats only pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListScan {
    /// What it looks at.
    pub kind: ScanKind,
    /// When (upstream) it began: what it proves when it ends.
    pub started: UpstreamTime,
    /// From when on what was modified is looked at, even if its stamp is the one in the mirror.
    pub since: UpstreamTime,
    /// How the list is asked for.
    pub look: Look,
    /// Where it stands.
    pub at: At,
    /// Pages read so far.
    pub pages: u32,
    passes: u32,
    /// What this pass has shown so far.
    shown: Vec<RecordId>,
    /// Whether this pass has shown what the pass before should have shown.
    news: bool,
    /// What the pass before has shown, in order.
    before: Arc<[RecordId]>,
}

/// How a list is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Only what was modified since, by a filter.
    Filtered,
    /// What was modified last comes first: read until older.
    Sorted,
    /// All of it, in whatever order.
    Whole,
}

/// Where a scan stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// This page is next.
    Page(u32),
    /// The list has been seen whole. What the mirror holds behind this id is still to be compared
    /// with it.
    Comparing(Option<RecordId>),
    /// What was in doubt is still to be fetched.
    Settling,
}

/// What a page showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageSeen {
    /// Its rows, in order: ids and stamps.
    pub rows: Vec<(RecordId, Option<UpstreamTime>)>,
    /// Whether more pages follow.
    pub more: bool,
    /// Whether the list is as it was asked for, as far as can be seen.
    pub obeyed: bool,
}

/// Why a scan cannot be brought to its end now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restless {
    /// No two passes agreed.
    Moving,
    /// It shows more than [`IDS_LIMIT`] ids.
    TooLong,
}

impl ListScan {
    /// A scan that begins at `now`. Without a proof, or with one that lies ahead of upstream's
    /// clock, only the whole is to be trusted; so it is where the entity's list `cannot` tell what
    /// changed lately. `unproved` is from when on an earlier scan has looked that came to no end:
    /// what was fetched since then may have changed again within its second.
    pub fn begin(
        entity: Entity,
        kind: ScanKind,
        proved: Option<UpstreamTime>,
        cannot: bool,
        unproved: Option<UpstreamTime>,
        now: UpstreamTime,
    ) -> ListScan {
        let proved = proved.filter(|proved| proved.since(now) <= OVERLAP);
        let look = match (kind, entity.recent()) {
            _ if proved.is_none() || cannot => Look::Whole,
            (ScanKind::Sweep | ScanKind::Refresh, _) => Look::Whole,
            (ScanKind::CatchUp, Recent::Filtered) => Look::Filtered,
            (ScanKind::CatchUp, Recent::Sorted | Recent::Undocumented) => Look::Sorted,
        };
        let since = proved.unwrap_or(now).min(now).before(OVERLAP);
        ListScan {
            kind: if look == Look::Whole { kind.max(ScanKind::Sweep) } else { kind },
            started: now,
            since: unproved.map_or(since, |unproved| unproved.min(since)),
            look,
            at: At::Page(1),
            pages: 0,
            passes: 0,
            shown: Vec::new(),
            news: false,
            before: Arc::default(),
        }
    }

    /// What the pass before has shown, in order; nothing in the first. When the scan compares, it
    /// is the whole list.
    pub fn before(&self) -> Arc<[RecordId]> {
        Arc::clone(&self.before)
    }

    /// Whether no page is left to be read.
    pub fn has_read_all(&self) -> bool {
        !matches!(self.at, At::Page(_))
    }

    /// The list cannot be asked for in this way: all of it is read instead.
    pub fn look_at_whole(&mut self) {
        self.look = Look::Whole;
        self.kind = self.kind.max(ScanKind::Sweep);
        self.at = At::Page(1);
        (self.passes, self.news) = (0, false);
        self.shown.clear();
        self.before = Arc::default();
    }

    /// A page was read, and what it left in doubt waits to be fetched.
    pub fn advance(&mut self, page: &PageSeen) -> Result<(), Restless> {
        let At::Page(number) = self.at else { return Ok(()) };
        self.pages += 1;
        if !page.obeyed && self.look != Look::Whole {
            self.look_at_whole();
            return Ok(());
        }
        let mut ended = !page.more;
        for (id, modified) in &page.rows {
            if self.look != Look::Whole && *modified < Some(self.since) {
                ended |= self.look == Look::Sorted;
                continue;
            }
            // What was changed since the scan began is found by the next one.
            let is_old = modified.is_none_or(|modified| modified <= self.started);
            self.news |= is_old && self.before.binary_search(id).is_err();
            self.shown.push(*id);
        }
        if self.shown.len() > IDS_LIMIT {
            return Err(Restless::TooLong);
        }
        if !ended {
            self.at = At::Page(number + 1);
            return Ok(());
        }
        self.end_pass(number)
    }

    /// The last page of a pass was read, which had this number.
    fn end_pass(&mut self, pages: u32) -> Result<(), Restless> {
        let mut shown = std::mem::take(&mut self.shown);
        shown.sort_unstable();
        shown.dedup();
        let missed = self.before.iter().any(|id| shown.binary_search(id).is_err());
        let agrees = self.passes > 0 && !self.news && !missed;
        self.passes += 1;
        self.news = false;
        self.before = shown.into();
        if pages > 1 && !agrees {
            self.at = At::Page(1);
            return if self.passes < PASSES_LIMIT { Ok(()) } else { Err(Restless::Moving) };
        }
        self.at = match self.look {
            Look::Whole => At::Comparing(None),
            Look::Filtered | Look::Sorted => At::Settling,
        };
        Ok(())
    }

    /// The mirror was compared up to this id; to its end for `None`.
    pub fn compared(&mut self, through: Option<RecordId>) {
        self.at = match through {
            Some(id) => At::Comparing(Some(id)),
            None => At::Settling,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 3;

    /// A list whose rows have numbers for ids and stamps, and a scan of it.
    struct Walk {
        list: Vec<(u64, i64)>,
        scan: ListScan,
    }

    fn time(seconds: i64) -> UpstreamTime {
        UpstreamTime::from_unix(1_800_000_000 + seconds)
    }

    impl Walk {
        fn new(kind: ScanKind, ids: std::ops::RangeInclusive<u64>) -> Walk {
            let entity = Entity::parse("contact").unwrap();
            let proved = (kind == ScanKind::CatchUp).then_some(time(-1_000));
            let scan = ListScan::begin(entity, kind, proved, false, None, time(0));
            Walk { list: ids.map(|id| (id, -1)).collect(), scan }
        }

        fn read(&mut self) -> Result<(), Restless> {
            let At::Page(number) = self.scan.at else { panic!("{:?}", self.scan.at) };
            let skipped = (number as usize - 1) * ROWS;
            let rows = self.list.iter().skip(skipped).take(ROWS);
            let rows = rows.map(|(id, at)| (RecordId::new(*id), Some(time(*at)))).collect();
            let more = self.list.len() > skipped + ROWS;
            self.scan.advance(&PageSeen { rows, more, obeyed: true })
        }

        /// Reads to the end; how many pages that took.
        fn finish(&mut self) -> u32 {
            while !self.scan.has_read_all() {
                self.read().unwrap();
            }
            self.scan.pages
        }

        fn seen(&self) -> Vec<u64> {
            self.scan.before().iter().map(|id| id.number()).collect()
        }
    }

    #[test]
    fn one_page_is_believed_at_once_and_several_when_two_passes_agree() {
        assert_eq!(Walk::new(ScanKind::Sweep, 1..=3).finish(), 1);
        let mut walk = Walk::new(ScanKind::Sweep, 1..=8);
        assert_eq!(walk.finish(), 6);
        assert_eq!(walk.seen(), (1..=8).collect::<Vec<_>>());
        assert_eq!(walk.scan.at, At::Comparing(None));
    }

    #[test]
    fn a_row_that_a_deletion_hid_is_found_wherever_the_deletion_falls() {
        for gone in 1..=9_u64 {
            for pages in 0..=3 {
                let mut walk = Walk::new(ScanKind::Sweep, 1..=9);
                (0..pages).for_each(|_| walk.read().unwrap());
                walk.list.retain(|(id, _)| *id != gone);
                walk.finish();
                let expected: Vec<u64> = (1..=9).filter(|id| *id != gone).collect();
                let mut seen = walk.seen();
                seen.retain(|id| *id != gone);
                assert_eq!(seen, expected, "{gone} gone after {pages} pages");
            }
        }
    }

    #[test]
    fn what_is_made_meanwhile_is_left_to_the_next_scan() {
        let mut walk = Walk::new(ScanKind::Sweep, 1..=8);
        for made in 100..103 {
            walk.list.insert(0, (made, 5));
            walk.read().unwrap();
        }
        assert!(walk.finish() <= 12, "{}", walk.scan.pages);
    }

    #[test]
    fn a_list_that_never_rests_is_not_believed() {
        let mut walk = Walk::new(ScanKind::Sweep, 1..=60);
        let mut read = Ok(());
        while read.is_ok() && !walk.scan.has_read_all() {
            walk.list.remove(0);
            walk.list.push((1_000 + walk.list[0].0, -1));
            read = walk.read();
        }
        assert_eq!(read, Err(Restless::Moving));
    }

    #[test]
    fn a_catch_up_ends_where_it_is_older_and_reads_all_when_it_is_not_obeyed() {
        let rows = |stamps: &[i64]| -> Vec<_> {
            let numbered = stamps.iter().enumerate();
            numbered.map(|(id, at)| (RecordId::new(id as u64), Some(time(*at)))).collect()
        };
        let begin = || Walk::new(ScanKind::CatchUp, 1..=1).scan;
        let mut scan = begin();
        let seen = PageSeen { rows: rows(&[-5, -900, -2_000]), more: true, obeyed: true };
        scan.advance(&seen).unwrap();
        assert_eq!((scan.at.clone(), scan.kind), (At::Settling, ScanKind::CatchUp));
        assert_eq!(scan.before().len(), 2);
        let mut scan = begin();
        scan.advance(&PageSeen { obeyed: false, ..seen }).unwrap();
        assert_eq!((scan.at, scan.look, scan.kind), (At::Page(1), Look::Whole, ScanKind::Sweep));
    }

    #[test]
    fn only_a_proof_that_can_be_right_is_built_upon() {
        let look = |proved: Option<i64>, cannot| {
            let entity = Entity::parse("contact").unwrap();
            let proved = proved.map(time);
            ListScan::begin(entity, ScanKind::CatchUp, proved, cannot, None, time(0)).look
        };
        assert_eq!(look(Some(-50), false), Look::Sorted);
        assert_eq!(look(Some(-50), true), Look::Whole);
        assert_eq!(look(None, false), Look::Whole);
        assert_eq!(look(Some(3_600), false), Look::Whole, "the clock was wrong");
    }
}
