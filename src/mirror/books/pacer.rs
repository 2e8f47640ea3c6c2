//! The pace of calls: Books takes 100 a minute from a whole organization (facts §5.5), so that a
//! device which asks as fast as it can shuts out everybody else there, and itself.

use std::time::Duration;

use crate::mirror::time::Tick;

/// Calls a minute in the long run: some are left for whoever else works in the organization.
const A_MINUTE: u32 = 80;
/// Calls that may follow each other at once after a rest: a burst of callbacks is fetched as it
/// comes. In any minute there are no more than these and [`A_MINUTE`], which is below 100.
const AT_ONCE: u32 = 10;
/// A place for a call comes free so often.
const APART: Duration = Duration::from_millis(60_000 / A_MINUTE as u64);

/// Says when the next call may be made.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// When all places will be free again.
    rested: Tick,
}

impl Pacer {
    /// A pacer at the start. All places but one are taken: the last run may have used them just
    /// now.
    pub(super) fn new(now: Tick) -> Pacer {
        Pacer { rested: now.after(APART * (AT_ONCE - 1)) }
    }

    /// When the next call may be made; not later than `now` when that is at once.
    pub(super) fn free_at(&self) -> Tick {
        let busy = self.rested.since_origin().saturating_sub(APART * (AT_ONCE - 1));
        Tick::from_origin(busy)
    }

    /// A call is made.
    pub(super) fn spend(&mut self, now: Tick) {
        self.rested = self.rested.max(now).after(APART);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn no_minute_has_a_hundred_calls_however_it_begins() {
        for rest in [0, 1, 10, 600] {
            let mut now = Tick::from_origin(Duration::from_secs(7));
            let mut pacer = Pacer::new(now);
            now = now.after(Duration::from_secs(rest));
            let mut calls: Vec<Tick> = Vec::new();
            while calls.len() < 1_000 {
                now = now.max(pacer.free_at());
                pacer.spend(now);
                calls.push(now);
            }
            for (number, first) in calls.iter().enumerate() {
                let within = calls[number..].iter().take_while(|at| at.since(*first) < MINUTE);
                assert!(within.count() <= (A_MINUTE + AT_ONCE) as usize);
            }
            let took = now.since(calls[0]);
            assert!(took < MINUTE * 13, "and it is no slower than it must be: {took:?}");
        }
    }

    #[test]
    fn nor_has_one_in_which_some_take_several_places() {
        let mut now = Tick::from_origin(MINUTE);
        let mut pacer = Pacer::new(Tick::ORIGIN);
        let mut calls: Vec<Tick> = Vec::new();
        for several in [1, 1, 1, 1, 1, 1, 1, 1, 1, 10, 1, 10, 5, 1, 1, 1, 10].repeat(20) {
            now = now.max(pacer.free_at());
            (0..several).for_each(|_| pacer.spend(now));
            calls.extend([now].repeat(several));
        }
        for (number, first) in calls.iter().enumerate() {
            let within = calls[number..].iter().take_while(|at| at.since(*first) < MINUTE);
            assert!(within.count() < 100);
        }
    }

    #[test]
    fn after_a_rest_some_calls_follow_each_other() {
        let start = Tick::from_origin(MINUTE);
        let mut pacer = Pacer::new(Tick::ORIGIN);
        for _ in 0..AT_ONCE {
            assert!(pacer.free_at() <= start);
            pacer.spend(start);
        }
        assert!(pacer.free_at() > start);
    }
}
