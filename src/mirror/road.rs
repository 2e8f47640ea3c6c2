//! The road by which a record came here: on a page of a scan, or fetched by its name, and then for
//! whose sake, or from another device.
//!
//! It is kept beside the change that a reader is told of, for as long as that is kept, so that a
//! person who doubts a record can ask. Nothing is decided by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::inbox::{Arrival, Reason};
use super::ledger::ScanKind;
use super::record::RecordId;
use super::time::UpstreamTime;

/// A scan, called by what it was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The first listing of the module.
    Bootstrap,
    /// What changed since the last proof.
    CatchUp,
    /// All ids.
    Sweep,
    /// All records, whole.
    Refresh,
}

impl Reading {
    /// What a scan of this kind is for, in a module that had been `proved` complete before or not.
    pub fn of(kind: ScanKind, proved: bool) -> Reading {
        match kind {
            _ if !proved => Reading::Bootstrap,
            ScanKind::CatchUp => Reading::CatchUp,
            ScanKind::Sweep => Reading::Sweep,
            ScanKind::Refresh => Reading::Refresh,
        }
    }
}

/// How a record came to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Road {
    /// It stood on a page of this scan.
    Page(Reading),
    /// It was fetched by its name.
    Fetch {
        /// Why.
        reason: Reason,
        /// When (upstream) the callback arrived, or the page was read that left it in doubt; `None`
        /// when upstream had not told its time by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard: Option<UpstreamTime>,
        /// The scan that left it in doubt, where it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reading: Option<Reading>,
    },
    /// Another device had it, whose store this one began with.
    Seed {
        /// When (upstream) the snapshot of that was taken.
        taken: UpstreamTime,
    },
}

impl Road {
    /// The road of an id that waited to be fetched.
    pub fn of(arrival: &Arrival) -> Road {
        let Arrival { reason, heard, reading, .. } = *arrival;
        Road::Fetch { reason, heard, reading }
    }
}

/// How the records of one commit came to be seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum How {
    /// It is of no reader's concern: nothing is told of this commit.
    #[default]
    Untold,
    /// All of them on a page of this scan.
    Page(Reading),
    /// Each by its name, for the sake of what waited.
    Fetch(BTreeMap<RecordId, Road>),
}

impl How {
    /// A fetch for the sake of these arrivals. Where several named an id, the earliest callback is
    /// told of: a scan only found what that had announced.
    pub fn fetched<'a>(arrivals: impl IntoIterator<Item = &'a Arrival>) -> How {
        let mut roads = BTreeMap::new();
        for arrival in arrivals {
            let road = roads.entry(arrival.id).or_insert_with(|| Road::of(arrival));
            let by_scan = matches!(road, Road::Fetch { reason: Reason::Scanned, .. });
            if by_scan && arrival.reason != Reason::Scanned {
                *road = Road::of(arrival);
            }
        }
        How::Fetch(roads)
    }

    /// The road of one record of the commit.
    pub fn road(&self, id: RecordId) -> Option<Road> {
        match self {
            How::Untold => None,
            How::Page(reading) => Some(Road::Page(*reading)),
            How::Fetch(roads) => roads.get(&id).copied(),
        }
    }
}

/// Roads of one record after the other, as they are kept: mostly a whole commit has the same.
pub type Stretches = Vec<(u32, Option<Road>)>;

/// Puts equal neighbours together. Nothing is kept where nothing is known of any.
pub fn stretches(roads: impl IntoIterator<Item = Option<Road>>) -> Stretches {
    let mut stretches = Stretches::new();
    for road in roads {
        match stretches.last_mut() {
            Some((count, last)) if *last == road => *count += 1,
            Some(_) | None => stretches.push((1, road)),
        }
    }
    if matches!(stretches.as_slice(), [(_, None)]) { Stretches::new() } else { stretches }
}

/// The road of the record in this place; `None` where nothing is known.
pub fn road_at(stretches: &Stretches, place: usize) -> Option<Road> {
    let mut passed = 0;
    let found = stretches.iter().find(|(count, _)| {
        passed += *count as usize;
        place < passed
    });
    found.and_then(|(_, road)| *road)
}

#[cfg(test)]
mod tests {
    use super::super::record::ModuleName;
    use super::*;

    fn arrival(id: u64, reason: Reason, heard: i64) -> Arrival {
        let module = ModuleName::parse("Leads").unwrap();
        let heard = Some(UpstreamTime::from_unix(heard));
        Arrival { heard, ..Arrival::new(module, RecordId::new(id), reason) }
    }

    #[test]
    fn what_is_put_together_comes_apart_as_it_was() {
        let some = [
            None,
            Some(Road::Page(Reading::CatchUp)),
            Some(Road::of(&arrival(1, Reason::Touched, 5))),
            Some(Road::of(&arrival(1, Reason::Scanned, 6))),
        ];
        // All rows of up to five, as numbers to the base of four.
        for (length, row) in
            (0..6).flat_map(|length| (0..4_usize.pow(length)).map(move |row| (length, row)))
        {
            let roads: Vec<Option<Road>> =
                (0..length).map(|place| some[row / 4_usize.pow(place) % 4]).collect();
            let kept = stretches(roads.iter().copied());
            let text = serde_json::to_string(&kept).unwrap();
            let read: Stretches = serde_json::from_str(&text).unwrap();
            for (place, road) in roads.iter().enumerate() {
                assert_eq!(road_at(&read, place), *road, "{text}");
            }
            assert_eq!(road_at(&read, roads.len()), None);
        }
        assert!(stretches([None, None]).is_empty(), "what says nothing takes no room");
    }

    #[test]
    fn the_earliest_callback_is_told_of() {
        let waited = [
            arrival(7, Reason::Scanned, 1),
            arrival(7, Reason::Touched, 2),
            arrival(7, Reason::Deleted, 3),
            arrival(8, Reason::Scanned, 4),
        ];
        let how = How::fetched(&waited);
        assert_eq!(how.road(RecordId::new(7)), Some(Road::of(&waited[1])));
        assert_eq!(how.road(RecordId::new(8)), Some(Road::of(&waited[3])));
        assert_eq!(how.road(RecordId::new(9)), None);
    }
}
