//! API credits: what we have spent in the last 24 hours.
//!
//! Upstream counts calls over a rolling day for the whole organisation (facts §4.8). A device that
//! spends more than its share starves everybody else there.

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Tick;

/// Spending is remembered by the quarter of an hour: exact enough for a day, and 96 numbers.
const GRAIN: Duration = Duration::from_secs(15 * 60);
/// How long a credit counts.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Credits spent, by when.
#[derive(Clone, Debug, Default)]
pub struct Credits(VecDeque<(Tick, u64)>);

impl Credits {
    /// Spends credits.
    pub fn spend(&mut self, credits: u64, now: Tick) {
        while self.0.front().is_some_and(|(since, _)| now.since(*since) >= DAY) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some((since, spent)) if now.since(*since) < GRAIN => *spent += credits,
            Some(_) | None => self.0.push_back((now, credits)),
        }
    }

    /// Credits spent in the 24 hours before `now`.
    pub fn spent(&self, now: Tick) -> u64 {
        let counts = self.0.iter().filter(|(since, _)| now.since(*since) < DAY);
        counts.map(|(_, spent)| spent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credit_counts_for_a_day() {
        let at = |minutes: u64| Tick::from_origin(Duration::from_secs(60 * minutes));
        let mut credits = Credits::default();
        for minute in 0..3 * 24 * 60 {
            credits.spend(1, at(minute));
            assert!(credits.0.len() <= 98);
        }
        let spent = credits.spent(at(3 * 24 * 60));
        assert!((24 * 60 - 15..=24 * 60).contains(&spent), "{spent}");
        assert_eq!(credits.spent(at(5 * 24 * 60)), 0);
    }
}
