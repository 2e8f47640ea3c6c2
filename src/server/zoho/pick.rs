//! Finding the rows of a page: in order, without holding more than the page and what it skips.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use super::Reads;
use super::page::{Order, Place, Rank, SortBy};
use super::refusal::NoRead;
use crate::mirror::record::{ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::store::Sight;

/// Which records may be rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Candidates {
    /// Any of the module.
    All,
    /// None but these.
    Ids(Vec<RecordId>),
}

/// The rows of a page.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Picked {
    /// Their places, in order.
    pub(super) rows: Vec<Rank>,
    /// Whether more follow.
    pub(super) more: bool,
    /// Whether the list has any row, on whatever page.
    pub(super) any: bool,
}

/// Says whether a record, by its stamp and its JSON, belongs into the list.
pub(super) type Filter<'a> = dyn Fn(Option<UpstreamTime>, &[u8]) -> bool + Sync + 'a;

impl Reads<'_> {
    /// The rows of the page among the candidates.
    pub(super) fn pick(
        &self,
        module: &ModuleName,
        candidates: &Candidates,
        place: &Place,
        filter: &Filter<'_>,
    ) -> Result<Picked, NoRead> {
        let order = place.order;
        let best = match candidates {
            Candidates::Ids(ids) => {
                let mut best = Best::of(place);
                self.look_at(module, ids, &mut |record| {
                    if filter(record.modified(), record.json().as_bytes()) {
                        best.offer(order.rank_of(record));
                    }
                })?;
                best
            }
            Candidates::All => {
                // In this order the first rows that are met are the best.
                let is_walked = order == Order { by: SortBy::Id, descending: true };
                let below = place.after.filter(|_| is_walked).map(|rank| order.id(rank));
                let look = |best: &mut Best<Rank>, id, sight: Sight<'_>| {
                    if let Sight::Live { modified, json } = sight {
                        if filter(modified, json) {
                            let json = std::str::from_utf8(json).unwrap_or_default();
                            best.offer(order.rank_by(id, modified, json));
                        }
                    }
                    if is_walked && best.is_full() {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                };
                self.look_through(module, below, || Best::of(place), &look, Best::join)?
            }
        };
        Ok(best.picked(place))
    }
}

/// The first so many rows that were offered, however many were.
pub(super) struct Best<T> {
    heap: BinaryHeap<T>,
    most: usize,
    after: Option<T>,
    any: bool,
}

impl Best<Rank> {
    fn of(place: &Place) -> Best<Rank> {
        Best { after: place.after, ..Best::new(place.needed()) }
    }

    fn picked(self, place: &Place) -> Picked {
        let any = self.any;
        let (rows, more) = self.page(place.skipped(), place.per_page);
        Picked { rows, more, any }
    }
}

impl<T: Ord> Best<T> {
    /// Keeps at most so many.
    pub(super) fn new(most: usize) -> Best<T> {
        Best { heap: BinaryHeap::new(), most, after: None, any: false }
    }

    /// Keeps a row if it is among the first.
    pub(super) fn offer(&mut self, row: T) {
        self.any = true;
        if self.after.as_ref().is_some_and(|after| row <= *after) {
            return;
        }
        if !self.is_full() {
            self.heap.push(row);
        } else if let Some(mut last) = self.heap.peek_mut().filter(|last| row < **last) {
            *last = row;
        }
    }

    /// Keeps the first of both.
    pub(super) fn join(&mut self, other: Best<T>) {
        other.heap.into_iter().for_each(|row| self.offer(row));
        self.any |= other.any;
    }

    /// Whether any row was offered.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    fn is_full(&self) -> bool {
        self.heap.len() >= self.most
    }

    /// The page behind so many rows, in order, and whether more follow.
    pub(super) fn page(self, skipped: usize, per_page: usize) -> (Vec<T>, bool) {
        let rows = self.heap.into_sorted_vec();
        let more = rows.len() > skipped.saturating_add(per_page);
        (rows.into_iter().skip(skipped).take(per_page).collect(), more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_kept_and_no_more() {
        for case in 0..300_usize {
            // No order that anybody would have thought of.
            let rows: Vec<usize> = (0..case % 83).map(|n| (n + case) * 7_919 % 101).collect();
            let (skipped, per_page) = (case % 19, 1 + case % 17);
            let after = (case % 2 == 0).then_some(case * 31 % 101);
            let mut best = Best { after, ..Best::new(skipped + per_page + 1) };
            rows.iter().for_each(|row| {
                best.offer(*row);
                assert!(best.heap.len() <= skipped + per_page + 1);
            });
            assert_eq!(best.any(), !rows.is_empty());
            let any = best.any();
            // The same in two parts.
            let [mut joined, mut other] =
                [(); 2].map(|()| Best { after, ..Best::new(skipped + per_page + 1) });
            let (one_part, other_part) = rows.split_at(rows.len() * (case % 5) / 5);
            one_part.iter().for_each(|row| joined.offer(*row));
            other_part.iter().for_each(|row| other.offer(*row));
            joined.join(other);
            let mut sorted = rows;
            sorted.retain(|row| after.is_none_or(|after| *row > after));
            sorted.sort_unstable();
            let more = sorted.len() > skipped + per_page;
            let page: Vec<usize> = sorted.into_iter().skip(skipped).take(per_page).collect();
            assert_eq!(best.page(skipped, per_page), (page.clone(), more), "case {case}");
            assert_eq!(joined.any(), any, "case {case}");
            assert_eq!(joined.page(skipped, per_page), (page, more), "joined, case {case}");
        }
    }
}
