//! "Ask me again": how an answer waits for changes without anybody in the hall waiting.
//!
//! A reply may carry an [`Again`]: it says all there is to say now, and when there may be more. The
//! gate waits for that, and then asks the same question again, with a [`Round`] that says how often
//! that has been before. So every answer is made by whoever answers questions, and what is between
//! two of them costs a thread of the gate and nothing else. Here is what is said, and how the
//! [`Round`] is written in a header of the request; the waiting is the gate's (`gate/attend`).

use std::time::Duration;

use super::asked::Asked;

/// Says in a request that crosses to the hall that it was asked before.
pub(super) const ROUND_HEADER: &str = "x-gate-round";

/// What a reply wants besides being sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Again {
    /// Ask again once there is a change above this sequence.
    pub after: u64,
    /// Ask again after this time, whatever there is.
    pub within: Duration,
    /// What becomes of this reply.
    pub mode: Mode,
}

/// What becomes of a reply after which one is to ask again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is kept back: the next takes its place. It is what holds if nothing more happens.
    Held,
    /// It is sent as it is, and what the next has as its body is sent after it, if that is to be
    /// followed by another in turn.
    Streamed,
}

/// What has been, when a question is asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// The reply before was about all through this sequence.
    pub after: u64,
    /// How long the first question was ago.
    pub waited: Duration,
    /// How long whoever asked has heard nothing.
    pub quiet: Duration,
}

impl Round {
    /// As the value of [`ROUND_HEADER`].
    pub(super) fn to_header(self) -> String {
        format!("{} {} {}", self.after, self.waited.as_millis(), self.quiet.as_millis())
    }

    /// What has been before this question; `None` when it is asked for the first time. The gate
    /// lets nobody else write that header.
    pub(super) fn of(asked: &Asked) -> Option<Round> {
        let (after, times) = asked.header(ROUND_HEADER)?.split_once(' ')?;
        let (waited, quiet) = times.split_once(' ')?;
        let (waited, quiet) = (milliseconds(waited)?, milliseconds(quiet)?);
        Some(Round { after: after.parse().ok()?, waited, quiet })
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::asked::Peer;

    #[test]
    fn what_is_written_is_read() {
        let round =
            Round { after: 7, waited: Duration::from_secs(60), quiet: Duration::from_millis(1) };
        let asked = Asked {
            method: "GET".into(),
            target: "/".into(),
            headers: vec![(ROUND_HEADER.into(), round.to_header())],
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        assert_eq!(Round::of(&asked), Some(round));
        assert_eq!(Round::of(&Asked { headers: Vec::new(), ..asked }), None);
    }
}
