//! Bounded pauses after trouble: longer each time, never without end, never none.

use std::time::Duration;

use super::time::Tick;

/// How long pauses are.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer, whatever upstream asks: a `Retry-After` of a year must not silence a
    /// device that nobody visits.
    pub longest: Duration,
}

impl Pauses {
    /// The pause after so many failures in a row: doubled each time, shortened by up to a quarter
    /// at random, so that devices that failed together do not come back together. What upstream
    /// asks for is honoured within the bounds; `Retry-After: 0` cannot make us spin.
    pub fn after(
        &self,
        failures: u32,
        asked: Option<Duration>,
        dice: &mut fastrand::Rng,
    ) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let grown = self.first.saturating_mul(1 << doublings).min(self.longest);
        let jittered = grown.mul_f64(1.0 - 0.25 * dice.f64()).max(self.first);
        jittered.max(asked.unwrap_or_default()).min(self.longest)
    }
}

/// A lane that pauses after trouble.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Tick,
}

impl Backoff {
    /// Whether the lane may be used.
    pub fn is_over(&self, now: Tick) -> bool {
        self.until <= now
    }

    /// When the lane may be used again.
    pub fn until(&self) -> Tick {
        self.until
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// One more failure: the lane pauses.
    pub fn fail(
        &mut self,
        now: Tick,
        pauses: &Pauses,
        asked: Option<Duration>,
        dice: &mut fastrand::Rng,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.until = now.after(pauses.after(self.failures, asked, dice));
    }

    /// The pause is over before its time; what has failed still counts.
    pub fn forgive(&mut self) {
        self.until = Tick::ORIGIN;
    }

    /// The lane works: the next failure is the first again.
    pub fn clear(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses =
        Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut last = Duration::ZERO;
        for failures in 1..100 {
            let pause = PAUSES.after(failures, None, &mut dice);
            assert!(pause >= PAUSES.first && pause <= PAUSES.longest, "{failures}: {pause:?}");
            assert!(pause >= last.mul_f64(0.75), "{failures}: {pause:?} after {last:?}");
            last = pause;
        }
    }

    #[test]
    fn what_upstream_asks_is_clamped_from_below_and_above() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut check = |asked: u64| PAUSES.after(1, Some(Duration::from_secs(asked)), &mut dice);
        assert_eq!(check(0), PAUSES.first);
        assert_eq!(check(30), Duration::from_secs(30));
        assert_eq!(check(u64::MAX), PAUSES.longest);
    }
}
