//! API credits: what was spent in the last 24 hours, and what may still be spent on what.
//!
//! Upstream counts calls over a rolling day for the whole organisation (facts §4.8). A device that
//! spends more than its share starves everybody else there, so the ceiling is hard. Beneath it,
//! what cannot wait has what can wait leave something for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::UpstreamTime;

/// How long a credit counts.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Spending is remembered by the quarter of an hour of upstream's clock: 97 numbers at most.
const GRAIN: i64 = 15 * 60;

/// What a call is for, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Purpose {
    /// To keep the channel: without it everything else costs more.
    Channel,
    /// To fetch what a callback named.
    Callback,
    /// To bootstrap or to catch up.
    CatchUp,
    /// To compare or read again what is most probably right.
    Sweep,
}

impl Purpose {
    /// The word for it in the status.
    pub fn word(self) -> &'static str {
        match self {
            Purpose::Channel => "channel",
            Purpose::Callback => "callbacks",
            Purpose::CatchUp => "catch-up",
            Purpose::Sweep => "sweep",
        }
    }

    /// The hundredths of the ceiling that a call for this leaves untouched.
    fn leaves(self) -> u64 {
        match self {
            Purpose::Channel => 0,
            Purpose::Callback => 2,
            Purpose::CatchUp => 20,
            Purpose::Sweep => 40,
        }
    }
}

/// The account of credits.
#[derive(Clone, Debug)]
pub struct Credits {
    ceiling: u64,
    spent: Spending,
    latest: UpstreamTime,
}

/// What was spent in each quarter of an hour of upstream's time, as it is kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spending(BTreeMap<i64, u64>);

impl Credits {
    /// An account with this ceiling for any 24 hours, and what was spent before this start.
    pub fn new(ceiling: u64, spent: Spending) -> Credits {
        let latest = spent
            .0
            .keys()
            .next_back()
            .map_or(UpstreamTime::EPOCH, |quarter| UpstreamTime::from_unix(quarter * GRAIN));
        Credits { ceiling, spent, latest }
    }

    /// Spends credits at `now`. While upstream's time is not known, they count as spent when the
    /// last ones were.
    pub fn spend(&mut self, credits: u64, now: Option<UpstreamTime>) {
        self.latest = now.unwrap_or(self.latest);
        let from = quarter(self.latest.before(DAY));
        self.spent.0.retain(|quarter, _| *quarter >= from);
        *self.spent.0.entry(quarter(self.latest)).or_default() += credits;
    }

    /// Credits spent in the 24 hours before `now`.
    pub fn spent(&self, now: Option<UpstreamTime>) -> u64 {
        let now = now.unwrap_or(self.latest);
        let day = quarter(now.before(DAY)) + 1..=quarter(now);
        self.spent.0.range(day).map(|(_, spent)| spent).sum()
    }

    /// Whether a call for this purpose may be made at `now`.
    pub fn allow(&self, purpose: Purpose, now: Option<UpstreamTime>) -> bool {
        let kept_back = self.ceiling * purpose.leaves() / 100;
        self.spent(now) < self.ceiling - kept_back
    }

    /// The most that may be spent in 24 hours.
    pub fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// What is to be kept over a restart.
    pub fn spending(&self) -> &Spending {
        &self.spent
    }
}

fn quarter(time: UpstreamTime) -> i64 {
    time.unix().div_euclid(GRAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Option<UpstreamTime> {
        Some(UpstreamTime::from_unix(1_800_000_000).after(Duration::from_secs(60 * minutes)))
    }

    const DAY_MINUTES: u64 = 24 * 60;

    #[test]
    fn a_credit_counts_for_a_day_and_little_is_remembered() {
        let mut credits = Credits::new(10_000, Spending::default());
        for minute in 0..3 * DAY_MINUTES {
            credits.spend(1, at(minute));
            assert!(credits.spent.0.len() <= 97);
        }
        let spent = credits.spent(at(3 * DAY_MINUTES));
        assert!((DAY_MINUTES - 15..=DAY_MINUTES).contains(&spent), "{spent}");
        assert_eq!(credits.spent(at(5 * DAY_MINUTES)), 0);
    }

    #[test]
    fn the_ceiling_is_hard_and_what_can_wait_leaves_something() {
        let mut credits = Credits::new(100, Spending::default());
        let mut check = |spent: u64, expected: [bool; 4]| {
            credits.spend(spent - credits.spent(at(0)), at(0));
            let purposes = [Purpose::Channel, Purpose::Callback, Purpose::CatchUp, Purpose::Sweep];
            assert_eq!(purposes.map(|purpose| credits.allow(purpose, at(1))), expected, "{spent}");
        };
        check(59, [true, true, true, true]);
        check(60, [true, true, true, false]);
        check(80, [true, true, false, false]);
        check(98, [true, false, false, false]);
        check(100, [false, false, false, false]);
        assert!(credits.allow(Purpose::Sweep, at(DAY_MINUTES + 15)));
    }

    #[test]
    fn a_restart_forgives_nothing_even_before_upstreams_time_is_known() {
        let mut credits = Credits::new(100, Spending::default());
        credits.spend(90, at(0));
        let mut again = Credits::new(100, credits.spending().clone());
        again.spend(5, None);
        assert_eq!((again.spent(None), again.spent(at(60))), (95, 95));
        assert_eq!(again.spent(at(DAY_MINUTES + 30)), 0);
    }
}
