//! The count: a cheap look, between two sweeps, at whether the mirror holds as many records as
//! upstream.
//!
//! It proves nothing and corrects nothing. What goes away without a word, such as a lost
//! permission or a merge, makes it differ, and then a sweep comes early.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::ModuleName;
use super::time::UpstreamTime;

/// How often records are counted: a credit an hour, against the hundreds that sweeping as often
/// would take.
pub const EVERY: Duration = Duration::from_secs(3_600);
/// Upstream counts by an index that lags (facts §4.5): so many counts in a row must differ alike
/// before they are believed.
const ALIKE: u32 = 3;

/// What was counted, there and here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Count {
    /// When (upstream).
    pub time: UpstreamTime,
    /// Records that upstream counted.
    pub upstream: u64,
    /// Live records that the mirror held then.
    pub mirror: u64,
    /// By how many they differed after the last sweep: that much is upstream's way of counting.
    usual: i64,
    /// Counts in a row, up to this one, that differed alike and otherwise than usual.
    alike: u32,
}

impl Count {
    /// A count taken at `time`. `before` is the last one, `swept` when the last sweep ended.
    pub fn taken(
        before: Option<Count>,
        swept: Option<UpstreamTime>,
        time: UpstreamTime,
        upstream: u64,
        mirror: u64,
    ) -> Count {
        let usual = before.map_or(0, |before| before.usual);
        let count = Count { time, upstream, mirror, usual, alike: 1 };
        let difference = count.difference();
        match before {
            // What a sweep has not mended it cannot mend. The first listing is another matter: it
            // is what may have missed something.
            Some(before) if swept.is_some_and(|swept| before.time <= swept) => {
                Count { usual: difference, alike: 0, ..count }
            }
            _ if difference == usual => Count { alike: 0, ..count },
            Some(before) if before.alike > 0 && before.difference() == difference => {
                Count { alike: before.alike + 1, ..count }
            }
            Some(_) | None => count,
        }
    }

    /// Whether a sweep should look what is missing or too much.
    pub fn is_off(&self) -> bool {
        self.alike >= ALIKE
    }

    fn difference(&self) -> i64 {
        self.upstream as i64 - self.mirror as i64
    }
}

/// Whether upstream's count of this module can be compared: of leads it counts those that are not
/// converted, and the mirror keeps them all.
pub fn is_comparable(module: &ModuleName) -> bool {
    module.as_str() != "Leads"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts hour by hour, as (upstream, mirror), with a sweep before hour `swept`; in which hours
    /// it was off.
    fn off(counts: &[(u64, u64)], swept: usize) -> Vec<usize> {
        let at = |hour: usize| UpstreamTime::from_unix(3_600 * hour as i64);
        let mut before = None;
        let mut off = Vec::new();
        for (hour, (upstream, mirror)) in counts.iter().enumerate() {
            let sweep = (hour >= swept).then(|| at(swept).before(EVERY / 2));
            let count = Count::taken(before, sweep, at(hour), *upstream, *mirror);
            if count.is_off() {
                off.push(hour);
            }
            before = Some(count);
        }
        off
    }

    const NEVER: [usize; 0] = [];

    #[test]
    fn a_difference_that_stays_is_believed_and_one_that_passes_is_not() {
        assert_eq!(off(&[(9, 9); 5], 99), NEVER);
        assert_eq!(off(&[(9, 9), (8, 9), (8, 9), (8, 9), (8, 9)], 99), [3, 4]);
        assert_eq!(off(&[(9, 9), (8, 9), (9, 9), (8, 9), (8, 9)], 99), NEVER);
        assert_eq!(off(&[(9, 9), (8, 9), (7, 9), (8, 9), (8, 9)], 99), NEVER);
    }

    #[test]
    fn what_a_first_listing_missed_is_seen() {
        assert_eq!(off(&[(9, 8); 3], 99), [2]);
    }

    #[test]
    fn what_a_sweep_could_not_mend_is_upstreams_way_of_counting() {
        assert_eq!(off(&[(7, 9); 9], 3), [2]);
        assert_eq!(
            off(&[(7, 9), (7, 9), (7, 9), (7, 9), (7, 9), (6, 9), (6, 9), (6, 9)], 3),
            [2, 7]
        );
    }
}
