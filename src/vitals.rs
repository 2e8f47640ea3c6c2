//! Who goes on: how those who are watched over show it, and the one judgement of it, for systemd's
//! watchdog and for `/healthz`.
//!
//! A mark says what somebody is doing and how often he has gone over to something else. Whoever
//! judges compares two marks: one that is the same after so long a time means that its owner
//! stands still. How long that is depends on what he is doing. A write to a slow card may take
//! minutes, a call upstream has its own limits of time, and nobody waits for a bell without looking
//! around. This file reads no clock, and does nothing about what it finds.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::mirror::time::Tick;

/// How long the heart may wait for its bell: four times as long as it does.
pub const LONGEST_REST: Duration = Duration::from_secs(120);
/// How long one call upstream may take: the transport gives up after a minute, for each of two sets
/// of roots. What takes longer does not come back.
const LONGEST_CALL: Duration = Duration::from_secs(180);
/// How long one piece of work may take, most of it waiting for the disk. Cards that tidy themselves
/// up stand still for tens of seconds, and worn ones for minutes.
const LONGEST_WORK: Duration = Duration::from_secs(600);
/// What passes between two looks counts no more than this: looks come every second, and a device
/// that was suspended in between did not stand still.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// What somebody is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing, until something comes.
    Waiting,
    /// He waits for upstream's reply.
    Calling,
    /// He works, mostly with the disk.
    Working,
    /// He is gone.
    Ended,
}

/// What somebody was doing at a look, and how often he had moved on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    stage: Stage,
    moves: u64,
}

/// The mark of one thread.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// The thread goes over to this.
    pub fn enter(&self, stage: Stage) {
        let code = match stage {
            Stage::Waiting => 0,
            Stage::Calling => 1,
            Stage::Working => 2,
            Stage::Ended => 3,
        };
        let moved = (self.0.load(Ordering::Relaxed) >> 2).wrapping_add(1);
        // One thread writes it, so that nothing comes in between.
        self.0.store(moved << 2 | code, Ordering::Relaxed);
    }

    /// The mark.
    pub fn mark(&self) -> Mark {
        let both = self.0.load(Ordering::Relaxed);
        let stage = match both & 3 {
            0 => Stage::Waiting,
            1 => Stage::Calling,
            2 => Stage::Working,
            _ => Stage::Ended,
        };
        Mark { stage, moves: both >> 2 }
    }
}

/// The mark of many threads that do the same: they work once so many of them do at the same time,
/// and move on when one of them is ready.
#[derive(Debug)]
pub struct Crew {
    strong: u64,
    at_work: AtomicU64,
    ready: AtomicU64,
}

/// One of them is at work, until this is dropped.
#[derive(Debug)]
pub struct Shift<'a>(&'a Crew);

impl Crew {
    /// So many at the same time are all there are.
    pub fn new(strong: u64) -> Crew {
        Crew { strong, at_work: AtomicU64::new(0), ready: AtomicU64::new(0) }
    }

    /// One of them goes to work.
    pub fn begin(&self) -> Shift<'_> {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        Shift(self)
    }

    /// The mark.
    pub fn mark(&self) -> Mark {
        let all = self.at_work.load(Ordering::Relaxed) >= self.strong;
        let stage = if all { Stage::Working } else { Stage::Waiting };
        Mark { stage, moves: self.ready.load(Ordering::Relaxed) }
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        self.0.ready.fetch_add(1, Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody who is watched over.
pub struct Organ {
    name: &'static str,
    /// How long it may wait; without one as long as it likes.
    rest: Option<Duration>,
    look: Box<dyn Fn() -> Mark + Send>,
    seen: Mark,
    still: Duration,
}

impl Organ {
    /// By its name, how long it may wait, and where its mark is seen.
    pub fn new(
        name: &'static str,
        rest: Option<Duration>,
        look: impl Fn() -> Mark + Send + 'static,
    ) -> Organ {
        let seen = look();
        Organ { name, rest, look: Box::new(look), seen, still: Duration::ZERO }
    }

    fn patience(&self) -> Option<Duration> {
        match self.seen.stage {
            Stage::Waiting => self.rest,
            Stage::Calling => Some(LONGEST_CALL),
            Stage::Working => Some(LONGEST_WORK),
            Stage::Ended => Some(Duration::ZERO),
        }
    }
}

/// The judge: he has to look every second or so.
pub struct Vitals {
    organs: Vec<Organ>,
    last: Tick,
}

/// Somebody stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    name: &'static str,
    stage: Stage,
    still: Duration,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.still.as_secs() / 60;
        match self.stage {
            Stage::Waiting => write!(f, "the {} has not woken for {minutes} minutes", self.name),
            Stage::Calling => {
                write!(f, "the {} has been in one call for {minutes} minutes", self.name)
            }
            Stage::Working => {
                write!(f, "the {} has been at one piece of work for {minutes} minutes", self.name)
            }
            Stage::Ended => write!(f, "the {} is gone", self.name),
        }
    }
}

impl Vitals {
    /// Watches over these from `now` on.
    pub fn new(organs: Vec<Organ>, now: Tick) -> Vitals {
        Vitals { organs, last: now }
    }

    /// Looks at everybody; the first who stands still.
    pub fn look(&mut self, now: Tick) -> Result<(), Stopped> {
        let gap = now.since(self.last).min(LONGEST_GAP);
        self.last = now;
        for organ in &mut self.organs {
            let mark = (organ.look)();
            organ.still = if mark == organ.seen { organ.still + gap } else { Duration::ZERO };
            organ.seen = mark;
        }
        let stopped = self.organs.iter().find(|organ| {
            let patience = organ.patience();
            patience.is_some_and(|patience| organ.still >= patience)
        });
        stopped.map_or(Ok(()), |Organ { name, seen, still, .. }| {
            Err(Stopped { name, stage: seen.stage, still: *still })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Looks every second for so long, and says after how many seconds somebody stood still.
    fn watch(vitals: &mut Vitals, from: u64, seconds: u64) -> Option<u64> {
        let tick = |second| Tick::from_origin(Duration::from_secs(second));
        (1..=seconds).find(|second| vitals.look(tick(from + second)).is_err())
    }

    #[test]
    fn each_stage_has_its_patience() {
        for (stage, patience) in [
            (Stage::Waiting, Some(LONGEST_REST)),
            (Stage::Calling, Some(LONGEST_CALL)),
            (Stage::Working, Some(LONGEST_WORK)),
            (Stage::Ended, Some(Duration::from_secs(1))),
        ] {
            let pulse = Arc::new(Pulse::default());
            pulse.enter(stage);
            let look = Arc::clone(&pulse);
            let organ = Organ::new("heart", Some(LONGEST_REST), move || look.mark());
            let mut vitals = Vitals::new(vec![organ], Tick::from_origin(Duration::ZERO));
            let stopped = watch(&mut vitals, 0, 3_600);
            assert_eq!(stopped, patience.map(|patience| patience.as_secs()), "{stage:?}");
            // It moves again, into the same stage even.
            pulse.enter(stage);
            assert_eq!(
                vitals.look(Tick::from_origin(Duration::from_secs(3_601))),
                match stage {
                    Stage::Ended => vitals.look(Tick::from_origin(Duration::from_secs(3_601))),
                    Stage::Waiting | Stage::Calling | Stage::Working => Ok(()),
                }
            );
        }
    }

    #[test]
    fn a_suspended_device_did_not_stand_still() {
        let pulse = Pulse::default();
        let organ = Organ::new("heart", Some(LONGEST_REST), move || pulse.mark());
        let mut vitals = Vitals::new(vec![organ], Tick::from_origin(Duration::ZERO));
        assert_eq!(vitals.look(Tick::from_origin(Duration::from_secs(86_400))), Ok(()));
    }

    #[test]
    fn a_crew_stands_still_when_all_are_at_work_and_none_is_ready() {
        let crew = Arc::new(Crew::new(2));
        let look = Arc::clone(&crew);
        let organ = Organ::new("hall", None, move || look.mark());
        let mut vitals = Vitals::new(vec![organ], Tick::from_origin(Duration::ZERO));
        let first = crew.begin();
        assert_eq!(watch(&mut vitals, 0, 3_600), None, "the other one is free");
        let second = crew.begin();
        assert_eq!(watch(&mut vitals, 3_600, 500), None);
        drop(second);
        let second = crew.begin();
        assert_eq!(watch(&mut vitals, 4_100, 500), None, "one has been ready");
        assert!(watch(&mut vitals, 4_600, 200).is_some());
        drop((first, second));
        assert_eq!(watch(&mut vitals, 4_800, 3_600), None);
    }
}
