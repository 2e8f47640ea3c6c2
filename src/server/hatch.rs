//! The hatch between those who have to do with calls to functions: the heart puts the access token
//! into it and where the API is, the local interface rings when there is something to send, and the
//! courier takes up both and says how it fares.
//!
//! Nobody waits here but the courier.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::mirror::origin::Origin;
use crate::mirror::time::UpstreamClock;
use crate::secret::Secret;
use crate::vitals::Pulse;

/// What the heart knows that a call needs.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Where the API is.
    pub origin: Option<Origin>,
    /// The access token.
    pub token: Option<Secret>,
    /// Counts the tokens: another number is another token.
    pub edition: u64,
    /// Upstream's clock, once it has told its time.
    pub clock: Option<UpstreamClock>,
    /// Whether upstream answered last time.
    pub online: bool,
}

/// How the courier fares.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faring {
    /// What stands in its way.
    pub trouble: Option<String>,
    /// Whether calls wait for credits.
    pub starved: bool,
    /// Runs of functions in the last 24 hours.
    pub spent: u64,
    /// The most that there may be.
    pub ceiling: u64,
}

/// What the courier wakes for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rung {
    /// A person does not want to wait for pauses to end.
    pub hurry: bool,
    /// The daemon stops: nothing more is to be sent.
    pub closed: bool,
}

/// What became of calls since the start.
#[derive(Debug, Default)]
pub struct CallMeters {
    accepted: AtomicU64,
    attempts: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallsMet {
    /// Left here.
    pub accepted: u64,
    /// Sent upstream, whatever came of it.
    pub attempts: u64,
    /// Answered.
    pub sent: u64,
    /// Given up.
    pub failed: u64,
}

impl CallMeters {
    /// One more was left here.
    pub fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// One more was sent upstream.
    pub fn count_attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// One more has ended, well or not.
    pub fn count_ended(&self, well: bool) {
        if well { &self.sent } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn read(&self) -> CallsMet {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CallsMet {
            accepted: read(&self.accepted),
            attempts: read(&self.attempts),
            sent: read(&self.sent),
            failed: read(&self.failed),
        }
    }
}

#[derive(Debug, Default)]
struct Inside {
    known: Known,
    faring: Faring,
    rung: bool,
    told: Rung,
}

/// The hatch.
#[derive(Debug, Default)]
pub struct Hatch {
    inside: Mutex<Inside>,
    bell: Condvar,
    /// The mark of the courier.
    pub courier: Pulse,
    /// What became of calls.
    pub meters: CallMeters,
}

impl Hatch {
    /// The heart publishes what it knows. The courier wakes when that is news to it.
    pub fn publish(
        &self,
        origin: Option<Origin>,
        token: Option<Secret>,
        clock: Option<UpstreamClock>,
        online: bool,
    ) {
        let mut inside = self.inside();
        let known = &inside.known;
        let another = token != known.token;
        let news = another || origin != known.origin || (online && !known.online);
        let edition = known.edition + u64::from(another);
        inside.known = Known { origin, token, edition, clock, online };
        if news {
            inside.rung = true;
            self.bell.notify_all();
        }
    }

    /// What the heart published last.
    pub fn known(&self) -> Known {
        self.inside().known.clone()
    }

    /// There is something to send.
    pub fn ring(&self) {
        self.inside().rung = true;
        self.bell.notify_all();
    }

    /// There is, and a person does not want to wait.
    pub fn hurry(&self) {
        self.inside().told.hurry = true;
        self.ring();
    }

    /// Nothing more is to be sent.
    pub fn close(&self) {
        self.inside().told.closed = true;
        self.ring();
    }

    /// Waits until somebody rings, or for so long.
    pub fn wait(&self, longest: Duration) -> Rung {
        let inside = self.inside();
        let waited = self.bell.wait_timeout_while(inside, longest, |inside| !inside.rung);
        let (mut inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inside.rung = false;
        let told = inside.told;
        inside.told.hurry = false;
        told
    }

    /// The courier says how it fares.
    pub fn fare(&self, faring: Faring) {
        self.inside().faring = faring;
    }

    /// How the courier fares.
    pub fn faring(&self) -> Faring {
        self.inside().faring.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courier_wakes_for_news_alone() {
        let hatch = Hatch::default();
        let token = |text: &str| Some(Secret::new(text.to_owned()));
        let check = |token: Option<Secret>, online: bool, wakes: bool| {
            hatch.publish(None, token, None, online);
            assert_eq!(hatch.inside().rung, wakes);
            hatch.wait(Duration::ZERO);
            hatch.known().edition
        };
        assert_eq!(check(None, false, false), 0);
        assert_eq!(check(token("a"), false, true), 1);
        assert_eq!(check(token("a"), false, false), 1);
        assert_eq!(check(token("a"), true, true), 1);
        assert_eq!(check(token("a"), false, false), 1);
        assert_eq!(check(token("b"), false, true), 2);
        hatch.hurry();
        assert_eq!(hatch.wait(Duration::ZERO), Rung { hurry: true, closed: false });
        hatch.close();
        assert_eq!(hatch.wait(Duration::ZERO), Rung { hurry: false, closed: true });
        assert_eq!(hatch.wait(Duration::ZERO), Rung { hurry: false, closed: true });
    }
}
