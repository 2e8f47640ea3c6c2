//! The life of our channel: what it should be, what upstream shows, and what to do next.
//!
//! Upstream forgets a channel when its life ends, grants less than was asked without saying so
//! (facts §1.3), and lets anybody with the account's rights remove it. So the echo decides the
//! life, half of it is the latest moment to renew, and what was opened is looked at again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backoff::{Backoff, Pauses};
use super::record::{ChannelId, ModuleName};
use super::time::{Tick, UpstreamTime};
use super::trouble::Trouble;
use crate::secret::Secret;

/// Upstream's clock is known to the second, so a life is taken to be this much shorter.
const CLOCK_GRAIN: Duration = Duration::from_secs(1);
/// Renewals are at least this far apart, whatever life upstream grants: a storm of renewals would
/// eat the credits of a day.
const RENEWALS_APART: Duration = Duration::from_secs(1);
/// How often upstream may send us from "renew" to "open" and back before we pause.
const TURNS: u32 = 2;

/// What the channel should be.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its id.
    pub id: ChannelId,
    /// Where callbacks are to go.
    pub notify_url: String,
    /// `Leads.create` and so on.
    pub events: BTreeSet<String>,
    /// Whether changes of related records are told as well.
    pub related_actions: bool,
    /// The life to ask for.
    pub lifetime: Duration,
}

/// One row of upstream's own list: a module of a channel.
#[derive(Clone, Debug)]
pub struct Row {
    /// The channel.
    pub channel: ChannelId,
    /// The module, where upstream names it.
    pub module: Option<ModuleName>,
    /// Its events, `.all` written out.
    pub events: Vec<String>,
    /// Where its callbacks go.
    pub notify_url: Option<String>,
    /// The token that its callbacks echo, where upstream shows it; `Some(None)` when it has none.
    pub token: Option<Option<Secret>>,
    /// Whether changes of related records are told.
    pub related_actions: Option<bool>,
    /// When it ends.
    pub expires: Option<UpstreamTime>,
}

/// What upstream shows of our channel, against what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// It is not there.
    Absent,
    /// It is there, but not as desired; says how.
    Differs(String),
    /// It is as desired, until then.
    Matches(UpstreamTime),
}

impl Desired {
    /// Holds upstream's rows against this; `tokens` are those that we accept.
    pub fn compare(&self, rows: &[Row], tokens: &[Secret]) -> Shown {
        let mut events = BTreeSet::new();
        let mut expires: Option<UpstreamTime> = None;
        let mut there = false;
        for row in rows.iter().filter(|row| row.channel == self.id) {
            there = true;
            if row.notify_url.as_ref().is_some_and(|url| *url != self.notify_url) {
                return Shown::Differs("its notify_url is another".into());
            }
            if row.related_actions.is_some_and(|actions| actions != self.related_actions) {
                return Shown::Differs("its notify_on_related_action is another".into());
            }
            let is_ours =
                |token: &Option<Secret>| token.as_ref().is_some_and(|t| tokens.contains(t));
            if !row.token.as_ref().is_none_or(is_ours) {
                return Shown::Differs("its token is not ours".into());
            }
            events.extend(row.events.iter().cloned());
            expires = match (expires, row.expires) {
                (Some(first), Some(second)) => Some(first.min(second)),
                (first, second) => first.or(second),
            };
        }
        match expires {
            _ if !there => Shown::Absent,
            _ if events != self.events => Shown::Differs("its events are others".into()),
            None => Shown::Differs("it shows no expiry".into()),
            Some(expires) => Shown::Matches(expires),
        }
    }
}

/// What can be done about the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelAction {
    /// Look at it (GET).
    Show,
    /// Open it (POST).
    Open,
    /// Replace it as a whole, with a new life and a new token (PUT).
    Renew,
    /// Close it (DELETE).
    Close,
}

/// What an action on the channel brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelOutcome {
    /// This is what upstream shows, and how long it still lives.
    Shown(Shown, Duration),
    /// It was opened or renewed until then; `life` is what upstream granted.
    Granted {
        /// When it ends.
        expires: UpstreamTime,
        /// How long that is from now.
        life: Duration,
    },
    /// Upstream knows no such channel.
    NotSubscribed,
    /// Upstream has such a channel already.
    AlreadyUsed,
    /// It was closed.
    Closed,
    /// It brought nothing.
    Trouble(Trouble),
}

/// Where the channel stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Not looked at since we started.
    Unknown,
    /// Upstream does not have it.
    Absent,
    /// Upstream has it, but it is due to be renewed.
    Due,
    /// Opened or renewed, not looked at since.
    Unverified { expires: UpstreamTime, life: Duration, renew_at: Tick },
    /// As desired when last looked at.
    Open { expires: UpstreamTime, renew_at: Tick, verify_at: Tick },
    /// A person asked for it to be closed.
    Closing,
    /// Closed until a person asks for it, or until the next start.
    Closed,
}

/// The channel as a reader of the status sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Open until then; renewed at that tick.
    Open {
        /// When it ends (upstream time).
        expires: UpstreamTime,
        /// When it will be renewed.
        renew_at: Tick,
    },
    /// Not there, or not known to be.
    Absent,
    /// Upstream denies it.
    Denied,
    /// Closed on request.
    Closed,
}

/// Plans the channel's life.
#[derive(Debug)]
pub struct ChannelPlan {
    state: State,
    granted: Option<Duration>,
    verify_every: Duration,
    lane: Backoff,
    turns: u32,
    denied: bool,
    trouble: Option<String>,
    interrupted: bool,
}

/// Pauses after a failed action on the channel. Callbacks are lost while it is not open, so the
/// first pause is short; a denial (a missing scope) needs a person.
const PAUSES: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };

impl ChannelPlan {
    /// A channel not looked at yet. `granted` is the life last granted, kept over a restart;
    /// `verify_every` is how often an open channel is looked at.
    pub fn new(granted: Option<Duration>, verify_every: Duration) -> ChannelPlan {
        ChannelPlan {
            state: State::Unknown,
            granted,
            verify_every,
            lane: Backoff::default(),
            turns: 0,
            denied: false,
            trouble: None,
            interrupted: false,
        }
    }

    /// What is to be done now, if anything.
    pub fn next(&self, now: Tick) -> Option<ChannelAction> {
        if !self.lane.is_over(now) {
            return None;
        }
        match &self.state {
            State::Unknown | State::Unverified { .. } => Some(ChannelAction::Show),
            State::Absent => Some(ChannelAction::Open),
            State::Due => Some(ChannelAction::Renew),
            State::Open { renew_at, .. } if *renew_at <= now => Some(ChannelAction::Renew),
            State::Open { verify_at, .. } if *verify_at <= now => Some(ChannelAction::Show),
            State::Closing => Some(ChannelAction::Close),
            State::Open { .. } | State::Closed => None,
        }
    }

    /// When [`ChannelPlan::next`] is to be asked again, when it said that nothing is to be done.
    pub fn wake(&self, now: Tick) -> Option<Tick> {
        if !self.lane.is_over(now) {
            return Some(self.lane.until());
        }
        match &self.state {
            State::Open { renew_at, verify_at, .. } => Some(*renew_at.min(verify_at)),
            State::Unknown
            | State::Absent
            | State::Due
            | State::Unverified { .. }
            | State::Closing
            | State::Closed => None,
        }
    }

    /// Takes in what an action brought.
    pub fn learn(&mut self, outcome: ChannelOutcome, now: Tick, dice: &mut fastrand::Rng) {
        match outcome {
            ChannelOutcome::Shown(shown, left) => self.learn_shown(shown, left, now, dice),
            ChannelOutcome::Granted { life: Duration::ZERO, .. } => {
                self.fail("upstream granted a life that is over".into(), None, now, dice);
            }
            ChannelOutcome::Granted { expires, life } => {
                self.granted = Some(life);
                self.turns = 0;
                let renew_at = now.after(until_renewal(life, life));
                self.state = State::Unverified { expires, life, renew_at };
            }
            ChannelOutcome::NotSubscribed if self.state == State::Closing => {
                self.state = State::Closed;
            }
            ChannelOutcome::NotSubscribed => self.turn_to(State::Absent, now, dice),
            ChannelOutcome::AlreadyUsed => self.turn_to(State::Due, now, dice),
            ChannelOutcome::Closed => {
                self.settle();
                self.state = State::Closed;
            }
            ChannelOutcome::Trouble(trouble) => self.learn_trouble(trouble, now, dice),
        }
    }

    /// A person asks for a renewal now.
    pub fn ask_renewal(&mut self) {
        self.lane.clear();
        self.state = match self.state {
            State::Closed | State::Absent => State::Absent,
            State::Open { expires, verify_at, .. } => {
                State::Open { expires, renew_at: Tick::ORIGIN, verify_at }
            }
            State::Unknown | State::Due | State::Unverified { .. } | State::Closing => State::Due,
        };
    }

    /// A person asks for it to be closed, and to stay so until the next start or renewal.
    pub fn ask_close(&mut self) {
        self.lane.clear();
        self.state = State::Closing;
    }

    /// What last went wrong with it, while it is not mended.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether the channel had a gap since this was last asked: callbacks may be missing.
    pub fn take_interruption(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }

    /// Where the channel stands.
    pub fn standing(&self) -> Standing {
        match &self.state {
            _ if self.denied => Standing::Denied,
            State::Open { expires, renew_at, .. } | State::Unverified { expires, renew_at, .. } => {
                Standing::Open { expires: *expires, renew_at: *renew_at }
            }
            State::Closed => Standing::Closed,
            State::Unknown | State::Absent | State::Due | State::Closing => Standing::Absent,
        }
    }

    fn learn_shown(&mut self, shown: Shown, left: Duration, now: Tick, dice: &mut fastrand::Rng) {
        let just_opened = matches!(self.state, State::Unverified { .. });
        match shown {
            Shown::Matches(expires) => self.open(expires, left, now),
            Shown::Absent | Shown::Differs(_) if just_opened => {
                self.state = if shown == Shown::Absent { State::Absent } else { State::Due };
                self.fail("the channel is not as it was just opened".into(), None, now, dice);
            }
            Shown::Absent => {
                self.interrupted |= matches!(self.state, State::Open { .. });
                self.state = State::Absent;
            }
            Shown::Differs(_) => {
                self.interrupted |= matches!(self.state, State::Open { .. });
                self.state = State::Due;
            }
        }
    }

    fn open(&mut self, expires: UpstreamTime, left: Duration, now: Tick) {
        self.settle();
        let life = self.granted.unwrap_or(left).max(left);
        self.state = State::Open {
            expires,
            renew_at: now.after(until_renewal(life, left)),
            verify_at: now.after(self.verify_every),
        };
    }

    fn learn_trouble(&mut self, trouble: Trouble, now: Tick, dice: &mut fastrand::Rng) {
        match trouble {
            // The whole line to upstream pauses, not only the channel's lane.
            Trouble::Unreachable { .. }
            | Trouble::NoRoom { .. }
            | Trouble::Throttled { .. }
            | Trouble::TokenRefused { .. } => {}
            Trouble::Failed { after, why } => self.fail(why, after, now, dice),
            Trouble::Denied { why, .. } => match self.state {
                // It may be that only reading is denied: what was granted is believed.
                State::Unverified { expires, life, .. } => self.open(expires, life, now),
                State::Unknown => self.state = State::Absent,
                State::Open { expires, renew_at, .. } if now < renew_at => {
                    let verify_at = now.after(self.verify_every);
                    self.state = State::Open { expires, renew_at, verify_at };
                }
                State::Absent
                | State::Due
                | State::Open { .. }
                | State::Closing
                | State::Closed => {
                    self.denied = true;
                    self.fail(why, None, now, dice);
                }
            },
        }
    }

    fn turn_to(&mut self, state: State, now: Tick, dice: &mut fastrand::Rng) {
        self.interrupted |= matches!(self.state, State::Open { .. }) && state == State::Absent;
        self.state = state;
        self.turns += 1;
        if self.turns > TURNS {
            self.fail("upstream both has and has not the channel".into(), None, now, dice);
        }
    }

    fn fail(&mut self, why: String, after: Option<Duration>, now: Tick, dice: &mut fastrand::Rng) {
        self.trouble = Some(why);
        self.turns = 0;
        self.lane.fail(now, &PAUSES, after, dice);
    }

    fn settle(&mut self) {
        self.lane.clear();
        self.denied = false;
        self.trouble = None;
        self.turns = 0;
    }
}

/// How long to wait until a channel is renewed that was granted `life` and has `left` of it.
fn until_renewal(life: Duration, left: Duration) -> Duration {
    let until_half = left.saturating_sub(life / 2).saturating_sub(CLOCK_GRAIN / 2);
    until_half.max(RENEWALS_APART)
}

impl Standing {
    /// The contract's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Open { .. } => "open",
            Standing::Absent => "absent",
            Standing::Denied => "denied",
            Standing::Closed => "none",
        }
    }
}

#[cfg(test)]
mod tests;
