//! The road of a scan: which page comes after this one, and when everything is proved.
//!
//! A scan of a whole module walks *listing → modified → deleted → settling*; a catch-up enters the
//! same road at *modified*. The listing shows what there is, *modified* what changed while we
//! looked, *deleted* what went away; *settling* waits until every id that a page left in doubt has
//! been fetched by its name. Only then is the copy proved complete through the scan's beginning.
//!
//! While we read, rows go and come, and those behind them move from page to page: one that moves
//! back over the edge of a page is shown by neither. So *modified* goes by time, each page a new
//! window from the last second seen, and a second that is too full for a page is walked by id. Only
//! the *listing* goes by page number, up to 2,000 records, and by page token (facts §4.2), which
//! may count rows too; what it should have shown beyond the mirror's own ids is shown by
//! *modified*. A first listing is read again by time when deletions came between; a row that
//! passed it by because another went away without a word is found by the next sweep.

use std::time::Duration;

use super::ledger::{Position, Scan, ScanKind};
use super::record::RecordId;
use super::time::UpstreamTime;

/// Page numbers reach this many pages of 200: the first 2,000 records (facts §4.2).
const PAGES_BY_NUMBER: u32 = 10;
/// How far before the watermark a catch-up looks: upstream's lists lag behind its records, and
/// stamps are whole seconds.
const OVERLAP: Duration = Duration::from_secs(5 * 60);

/// How often the list of the deleted is read in search of a reading that shows nothing new.
const READINGS_LIMIT: u32 = 4;

/// Upstream keeps deleted records in its recycle bin, and in the list of the deleted, for 60 days
/// (facts §4.4); some are taken off for clocks and time zones.
const DELETED_MEMORY: Duration = Duration::from_secs(58 * 24 * 3_600);

/// What a page showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageSeen {
    /// How many rows it had.
    pub rows: u64,
    /// The largest id on it.
    pub last_id: Option<RecordId>,
    /// The latest modification time on it.
    pub last_modified: Option<UpstreamTime>,
    /// Whether more rows follow.
    pub more: More,
    /// Whether it left in doubt what nothing had left in doubt before.
    pub doubted: bool,
}

/// Whether more rows follow a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum More {
    /// None.
    Last,
    /// Some, behind the next page number.
    Next,
    /// Some, behind this token.
    Token(String),
}

impl Scan {
    /// A scan of the whole module, begun at `now` (upstream time).
    ///
    /// A page of the listing may miss a record that we have never seen. So what was modified since
    /// the copy was last proved complete is looked at as well.
    pub fn whole(
        kind: ScanKind,
        complete_through: Option<UpstreamTime>,
        now: UpstreamTime,
    ) -> Scan {
        let proved = complete_through.filter(|proved| proved.since(now) <= OVERLAP);
        let since = proved.unwrap_or(now).min(now).before(OVERLAP);
        Scan { proved: proved.is_some(), ..Scan::begin(kind, now, since, Position::START) }
    }

    /// A scan of what happened since the copy was last proved complete. `None` when that is longer
    /// ago than upstream remembers deletions, or lies ahead of its clock: the clock, or what told
    /// us of it, was wrong then. In both cases only a scan of the whole is to be trusted.
    pub fn catch_up(complete_through: UpstreamTime, now: UpstreamTime) -> Option<Scan> {
        if now.since(complete_through) > DELETED_MEMORY || complete_through.since(now) > OVERLAP {
            return None;
        }
        let since = complete_through.min(now).before(OVERLAP);
        Some(Scan::begin(ScanKind::CatchUp, now, since, by_time(since)))
    }

    fn begin(kind: ScanKind, started: UpstreamTime, since: UpstreamTime, next: Position) -> Scan {
        Scan {
            kind,
            started,
            since,
            next,
            proved: true,
            shifted: false,
            doubted: false,
            readings: 0,
            after: None,
            seen: 0,
            stamped: false,
            narrow: false,
            missed: 0,
        }
    }

    /// Whether its next page is one of the listing, so that what it does not show is gone.
    pub fn is_listing(&self) -> bool {
        matches!(self.next, Position::Page(_) | Position::Token(_) | Position::ById { .. })
    }

    /// Whether its next page is asked for by a query, which may be denied where pages are not.
    pub fn is_query(&self) -> bool {
        matches!(self.next, Position::ById { .. } | Position::Second { .. })
    }

    /// The scan after this page has been committed.
    pub fn advanced(&self, page: &PageSeen) -> Scan {
        let mut scan = self.clone();
        scan.seen += page.rows;
        scan.stamped |= page.last_modified.is_some();
        let is_deleted = matches!(self.next, Position::Deleted { .. });
        scan.shifted |= is_deleted && page.rows > 0 && !self.proved;
        scan.doubted |= is_deleted && page.doubted;
        scan.next = scan.step(page);
        if is_deleted && page.more == More::Last {
            (scan.doubted, scan.readings) = (false, scan.readings + 1);
        }
        if is_deleted && scan.is_listing() {
            scan.kind = scan.kind.max(ScanKind::Sweep);
        }
        if is_deleted && !matches!(scan.next, Position::Deleted { .. }) {
            // The listing is made up for at most once.
            (scan.proved, scan.shifted) = (true, false);
        }
        scan.narrow |= matches!(scan.next, Position::ById { .. });
        scan.after = if scan.is_listing() { page.last_id.max(self.after) } else { None };
        scan
    }

    /// The scan when upstream denies its page: a token may have expired, page numbers may reach
    /// less far than documented, queries may need a scope that we lack. `None` when there is no
    /// other way on.
    pub fn detour(&self) -> Option<Scan> {
        let next = match &self.next {
            Position::Page(page) if *page > 1 => self.behind_the_pages(self.after),
            Position::Token(_) => self.behind_the_pages(self.after),
            Position::ById { .. } => by_time(UpstreamTime::EPOCH),
            Position::Modified { from, page } if *page > 1 => by_time(*from),
            Position::Second { from, .. } => Position::Modified { from: *from, page: 2 },
            // Some modules have no modification time to look by (facts §4.3).
            Position::Modified { .. } if self.kind > ScanKind::CatchUp => DELETED,
            Position::Modified { .. } => Position::START,
            Position::ModifiedToken { reached, .. } => by_time(*reached),
            // The deleted list cannot be read to its end: only a listing shows what is gone.
            Position::Deleted { page, .. } if *page > 1 => Position::START,
            Position::Page(_) | Position::Deleted { .. } | Position::Settling => return None,
        };
        let kind = if next == Position::START { self.kind.max(ScanKind::Sweep) } else { self.kind };
        let after = if matches!(next, Position::ById { .. }) { self.after } else { None };
        Some(Scan { kind, next, after, ..self.clone() })
    }

    fn step(&self, page: &PageSeen) -> Position {
        let stamped = self.stamped || page.last_modified.is_some();
        match (&self.next, &page.more) {
            (Position::Page(_) | Position::Token(_) | Position::ById { .. }, More::Last) => {
                let has_rows = self.seen > 0;
                if has_rows && !stamped { DELETED } else { by_time(self.since) }
            }
            (Position::ById { after }, More::Next | More::Token(_)) => {
                Position::ById { after: page.last_id.unwrap_or(*after) }
            }
            (Position::Page(_) | Position::Token(_), More::Token(token)) => {
                Position::Token(token.clone())
            }
            (Position::Page(page), More::Next) if *page < PAGES_BY_NUMBER => {
                Position::Page(page + 1)
            }
            (Position::Page(_) | Position::Token(_), More::Next) => {
                let scan = Scan { stamped, ..self.clone() };
                scan.behind_the_pages(page.last_id.max(self.after))
            }

            (Position::Modified { .. } | Position::ModifiedToken { .. }, More::Last) => DELETED,
            // A page beyond the first is read only where a full second cannot be walked by id.
            (Position::Modified { from, page: 2.. }, More::Token(token))
            | (Position::ModifiedToken { from, .. }, More::Token(token)) => {
                self.by_token(*from, token, page)
            }
            (Position::Modified { from, page: number @ 2.. }, More::Next)
                if *number < PAGES_BY_NUMBER =>
            {
                match next_window(*from, page.last_modified) {
                    Position::Second { .. } => Position::Modified { from: *from, page: number + 1 },
                    next => next,
                }
            }
            (Position::Modified { from, .. }, More::Next | More::Token(_))
            | (Position::ModifiedToken { from, .. }, More::Next) => {
                next_window(*from, page.last_modified)
            }

            (Position::Second { from, at, .. }, More::Next | More::Token(_)) => Position::Second {
                from: *from,
                at: *at,
                after: page.last_id.unwrap_or(RecordId::new(u64::MAX)),
            },
            // Whether a window includes its first second is not certain (facts §4.3): the
            // second after is walked by id as well, so that the next window may begin there.
            (Position::Second { from, at, .. }, More::Last) if at == from => {
                Position::Second { from: *from, at: second_after(*from), after: RecordId::new(0) }
            }
            (Position::Second { at, .. }, More::Last) => by_time(*at),

            (Position::Deleted { .. }, More::Token(token)) => {
                Position::Deleted { page: 2, token: Some(token.clone()) }
            }
            (Position::Deleted { page, .. }, More::Next) => {
                Position::Deleted { page: page + 1, token: None }
            }
            // What is restored leaves the list, and those behind it move up: one that moved to a
            // page already read was not shown. A listing needs none of this, since it shows by
            // itself what is gone.
            (Position::Deleted { page: 2.., .. }, More::Last)
                if self.doubted && self.kind == ScanKind::CatchUp =>
            {
                let again = self.readings + 1 < READINGS_LIMIT;
                if again { DELETED } else { Position::START }
            }
            // Rows went away while the listing was read, and those behind them moved: one that
            // moved over the edge of a page is found by time.
            (Position::Deleted { .. }, More::Last) if self.shifted && stamped => {
                by_time(UpstreamTime::EPOCH)
            }
            (Position::Deleted { .. }, More::Last) => Position::Settling,
            (Position::Settling, _) => Position::Settling,
        }
    }

    /// Where the listing goes on behind what its pages reach. A copy that is being made first is
    /// made faster by time, which shows whole records; one that was proved is compared id by id.
    fn behind_the_pages(&self, after: Option<RecordId>) -> Position {
        match after {
            Some(after) if self.proved || !self.stamped => Position::ById { after },
            Some(_) | None => by_time(UpstreamTime::EPOCH),
        }
    }

    fn by_token(&self, from: UpstreamTime, token: &str, page: &PageSeen) -> Position {
        let before = match &self.next {
            Position::ModifiedToken { reached, .. } => *reached,
            _ => from,
        };
        let reached = page.last_modified.unwrap_or(before).before(Duration::from_secs(1));
        Position::ModifiedToken { from, token: token.to_owned(), reached: reached.max(before) }
    }
}

/// Where the list of the deleted begins.
const DELETED: Position = Position::Deleted { page: 1, token: None };

fn by_time(from: UpstreamTime) -> Position {
    Position::Modified { from, page: 1 }
}

fn second_after(time: UpstreamTime) -> UpstreamTime {
    time.after(Duration::from_secs(1))
}

/// The window after one that ended at `last`: it overlaps by a second, so that nothing is lost
/// whether or not upstream includes the first second. A window that got no further is one second
/// too full for it.
fn next_window(from: UpstreamTime, last: Option<UpstreamTime>) -> Position {
    let next = last.unwrap_or(from).before(Duration::from_secs(1));
    if next > from {
        by_time(next)
    } else {
        Position::Second { from, at: from, after: RecordId::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream with so many records in each second, walked by a scan to its end; returns how
    /// often each second was read, and the number of calls.
    struct Walk {
        per_second: Vec<u64>,
        tokens: bool,
        inclusive: bool,
    }

    const ROWS: u64 = 200;

    impl Walk {
        /// The rows of a position, as (second, number within it).
        fn rows(&self, scan: &Scan) -> Vec<(u64, u64)> {
            let from =
                |from: &UpstreamTime| (from.unix() + i64::from(!self.inclusive)).max(0) as u64;
            let all = |first: u64| {
                let seconds = self.per_second.iter().enumerate().skip(first as usize);
                seconds.flat_map(|(second, n)| (0..*n).map(move |k| (second as u64, k)))
            };
            let paged = |rows: Vec<(u64, u64)>, page: u32| {
                let skipped = (u64::from(page) - 1) * ROWS;
                rows.into_iter().skip(skipped as usize).collect()
            };
            match &scan.next {
                Position::Page(page) => paged(all(0).collect(), *page),
                Position::Token(token) => all(0).skip(token.parse().unwrap()).collect(),
                Position::ById { after } => all(0).filter(|row| id(*row) > *after).collect(),
                Position::Modified { from: time, page } => paged(all(from(time)).collect(), *page),
                Position::ModifiedToken { from: time, token, .. } => {
                    all(from(time)).skip(token.parse().unwrap()).collect()
                }
                Position::Second { at, after, .. } => {
                    let second = at.unix() as u64;
                    let rows = all(second).filter(|row| row.0 == second);
                    rows.filter(|row| id(*row) > *after).collect()
                }
                Position::Deleted { .. } | Position::Settling => Vec::new(),
            }
        }

        fn page(&self, scan: &Scan) -> (Vec<(u64, u64)>, PageSeen) {
            let mut rows = self.rows(scan);
            let more = rows.len() as u64 > ROWS;
            rows.truncate(ROWS as usize);
            let offset = match &scan.next {
                Position::Token(token) | Position::ModifiedToken { token, .. } => {
                    token.parse().unwrap()
                }
                Position::Page(page) | Position::Modified { page, .. } => {
                    (u64::from(*page) - 1) * ROWS
                }
                _ => 0,
            };
            let by_second = matches!(scan.next, Position::Second { .. });
            let seen = PageSeen {
                rows: rows.len() as u64,
                last_id: rows.iter().map(|row| id(*row)).max(),
                last_modified: rows.last().map(|row| UpstreamTime::from_unix(row.0 as i64)),
                more: match more {
                    false => More::Last,
                    true if self.tokens && !by_second => More::Token((offset + ROWS).to_string()),
                    true => More::Next,
                },
                doubted: false,
            };
            (rows, seen)
        }

        fn check(&self, scan: Scan, expected: impl Fn(u64) -> bool) {
            let mut scan = scan;
            let mut shown = std::collections::BTreeSet::new();
            let mut calls = 0;
            while scan.next != Position::Settling {
                let (rows, page) = self.page(&scan);
                shown.extend(rows);
                scan = scan.advanced(&page);
                calls += 1;
                assert!(calls < 1_000, "it ends: {scan:?}");
            }
            for (second, n) in self.per_second.iter().enumerate() {
                for k in 0..*n {
                    let row = (second as u64, k);
                    assert!(shown.contains(&row) || !expected(row.0), "{row:?} was not shown");
                }
            }
        }
    }

    fn id((second, number): (u64, u64)) -> RecordId {
        RecordId::new(second * 1_000_000 + number + 1)
    }

    fn walks() -> impl Iterator<Item = Walk> {
        let crowds: [Vec<u64>; 5] = [
            vec![],
            vec![3, 0, 5],
            vec![1; 4_000],
            vec![10, 5_000, 1, 0, 2_500, 2_500, 7],
            vec![2_000, 1, 1_999, 2_001, 1],
        ];
        crowds.into_iter().flat_map(|per_second| {
            [(true, true), (true, false), (false, true), (false, false)].map(
                |(tokens, inclusive)| Walk { per_second: per_second.clone(), tokens, inclusive },
            )
        })
    }

    #[test]
    fn a_whole_scan_shows_every_record_with_and_without_tokens() {
        for walk in walks() {
            // A window from 1970 that leaves out its first second leaves out 1970's.
            let first = u64::from(!walk.inclusive && !walk.tokens);
            let scan = Scan::whole(ScanKind::Sweep, None, UpstreamTime::from_unix(10_000));
            walk.check(scan, |second| second >= first);
        }
    }

    #[test]
    fn a_catch_up_shows_everything_since_the_watermark() {
        for walk in walks() {
            for watermark in [0, 302, 1_000] {
                let proved = UpstreamTime::from_unix(watermark);
                let scan = Scan::catch_up(proved, UpstreamTime::from_unix(10_000)).unwrap();
                walk.check(scan, |second| second as i64 >= watermark);
            }
        }
    }

    #[test]
    fn a_token_that_is_denied_leads_on_by_time() {
        let scan = Scan::whole(ScanKind::Sweep, None, UpstreamTime::from_unix(10_000));
        assert_eq!(scan.detour(), None, "the first page denied is no matter of paging");
        let scan = Scan { next: Position::Token("gone".into()), ..scan };
        let detour = scan.detour().unwrap();
        assert_eq!(detour.next, by_time(UpstreamTime::EPOCH));
        let deleted = Scan { next: Position::Deleted { page: 3, token: None }, ..scan };
        assert!(deleted.detour().unwrap().is_listing());
    }

    #[test]
    fn what_upstream_has_forgotten_takes_a_scan_of_the_whole() {
        let now = UpstreamTime::from_unix(1_800_000_000);
        let days = |days: u64| now.before(Duration::from_secs(days * 24 * 3_600));
        assert!(Scan::catch_up(days(57), now).is_some());
        assert_eq!(Scan::catch_up(days(59), now), None);
    }

    #[test]
    fn a_module_without_stamps_is_not_looked_at_by_time() {
        let scan = Scan::whole(ScanKind::Sweep, None, UpstreamTime::from_unix(10_000));
        let page = PageSeen {
            rows: 3,
            last_id: Some(RecordId::new(3)),
            last_modified: None,
            more: More::Last,
            doubted: false,
        };
        assert_eq!(scan.advanced(&page).next, DELETED);
        let scan = Scan::catch_up(UpstreamTime::from_unix(1), UpstreamTime::from_unix(10_000));
        let detour = scan.unwrap().detour().unwrap();
        assert!(detour.is_listing() && detour.kind == ScanKind::Sweep);
    }
}
