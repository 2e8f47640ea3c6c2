//! What the gate has let in and turned away, in numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::request::Refusal;

/// Why a connection or a request was turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No place was free and nobody could give way.
    Full,
    /// Too many connections from one address.
    PerAddress,
    /// It gave way to a newcomer.
    GaveWay,
    /// No descriptor or no thread was left.
    NoResources,
    /// The TLS handshake failed.
    Handshake,
    /// Not HTTP as we read it.
    Malformed,
    /// The head or the body was too long.
    TooLong,
    /// The request did not come in time.
    TooSlow,
    /// The hall was busy for too long.
    Busy,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 9] = [
        Reason::Full,
        Reason::PerAddress,
        Reason::GaveWay,
        Reason::NoResources,
        Reason::Handshake,
        Reason::Malformed,
        Reason::TooLong,
        Reason::TooSlow,
        Reason::Busy,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Full => "full",
            Reason::PerAddress => "per_address",
            Reason::GaveWay => "gave_way",
            Reason::NoResources => "no_resources",
            Reason::Handshake => "handshake",
            Reason::Malformed => "malformed",
            Reason::TooLong => "too_long",
            Reason::TooSlow => "too_slow",
            Reason::Busy => "busy",
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Reason {
        match refusal {
            Refusal::Malformed(_) | Refusal::UnknownExpectation | Refusal::UnknownVersion => {
                Reason::Malformed
            }
            Refusal::TooSlow => Reason::TooSlow,
            Refusal::BodyTooLong | Refusal::TargetTooLong | Refusal::HeadTooLong => Reason::TooLong,
            Refusal::Busy => Reason::Busy,
        }
    }
}

/// A gate's numbers at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Connections that are open now.
    pub connections: usize,
    /// Connections let in since the start.
    pub accepted: u64,
    /// Connections and requests turned away since the start, by reason.
    pub refused: [(Reason, u64); Reason::ALL.len()],
}

/// The numbers as they are counted.
#[derive(Default)]
pub(super) struct Tally {
    accepted: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

impl Tally {
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn show(&self, connections: usize) -> Counters {
        let refused = Reason::ALL.map(|why| (why, self.refused[why as usize].load(Relaxed)));
        Counters { connections, accepted: self.accepted.load(Relaxed), refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{}", reason.name());
        }
    }
}
