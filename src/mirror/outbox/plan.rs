//! Which call is sent next, and what a setback means: the one place that decides. Pure.
//!
//! The courier hands in the first waiting call of each function, and gets back one action, or the
//! tick to wait for. Functions take turns; within one the order of acceptance holds, so that a call
//! that fails holds up those behind it, until it is denied so often that it is set aside. Trouble
//! with the line stops everything, with a key those that need it, with a function only that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::Answer;
use super::{Auth, FunctionName};
use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::credits::Credits;
use crate::mirror::time::{Tick, UpstreamTime};

/// So often a call is denied before it is set aside: upstream denies what it will allow a moment
/// later, while somebody edits the function or its permissions.
pub const DENIALS_LIMIT: u32 = 3;
/// Pauses after the line to upstream failed, as the heart's own: a try costs little.
const LINE: Pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(120) };
/// Pauses after upstream said that we ask too much.
const THROTTLE: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };
/// Pauses of a function that fails or denies. Each try costs a credit and a run.
const FUNCTION: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };
/// Pauses after a key was refused: only a person mends that, and a new access token that does not
/// help either is not asked for again soon (facts §3.2).
const KEY: Pauses =
    Pauses { first: Duration::from_secs(60), longest: Duration::from_secs(15 * 60) };
/// How long the plan waits when the credits are spent.
const STARVED_WAIT: Duration = Duration::from_secs(5 * 60);
/// How long it waits when there is nothing to do: whoever has something to do rings.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// What the plan needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The functions that may be called, and how.
    pub functions: BTreeMap<FunctionName, Auth>,
    /// How long a call may wait.
    pub max_age: Duration,
    /// The seed of the pauses' jitter.
    pub seed: u64,
}

/// The first waiting call of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Front {
    /// The function.
    pub function: FunctionName,
    /// The call's number.
    pub number: u64,
    /// Since when (upstream) it waits, where that is known.
    pub since: Option<UpstreamTime>,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this call.
    Send(Front),
    /// Set this call aside: it has waited too long.
    Expire(Front),
}

/// What the courier does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This.
    Do(Action),
    /// Nothing before this tick, unless somebody rings.
    WaitUntil(Tick),
}

/// What stood in the way of a call.
#[derive(Debug)]
pub enum Setback {
    /// There was no way to upstream, or it broke.
    Unreachable(String),
    /// Upstream says that we ask too much.
    Throttled(Option<Duration>, String),
    /// The function, or upstream before it, failed.
    Failed(Option<Duration>, String),
    /// The key, or the token, is not accepted. That is not the call's fault.
    KeyRefused(String),
    /// The call was turned down, perhaps by the function itself, in this answer.
    Denied(String, Answer),
}

impl Setback {
    /// What happened, for the log and the status.
    pub fn why(&self) -> &str {
        match self {
            Setback::Unreachable(why)
            | Setback::Throttled(_, why)
            | Setback::Failed(_, why)
            | Setback::KeyRefused(why)
            | Setback::Denied(why, _) => why,
        }
    }

    /// Whether the call is set aside for it, having been denied so often before.
    pub fn ends(&self, denials: u32) -> bool {
        matches!(self, Setback::Denied(..)) && denials + 1 >= DENIALS_LIMIT
    }

    /// Whether the function may have run, which costs a credit (facts §7).
    pub fn may_have_run(&self) -> bool {
        match self {
            Setback::Unreachable(_) | Setback::Throttled(..) | Setback::KeyRefused(_) => false,
            Setback::Failed(..) | Setback::Denied(..) => true,
        }
    }
}

/// A lane that pauses after trouble, and what that was.
#[derive(Debug, Default)]
struct Lane {
    backoff: Backoff,
    trouble: Option<String>,
    /// The call that the pause is about: another one need not wait for it.
    number: u64,
}

impl Lane {
    fn fail(
        &mut self,
        why: &str,
        now: Tick,
        pauses: &Pauses,
        asked: Option<Duration>,
        dice: &mut fastrand::Rng,
    ) {
        self.backoff.fail(now, pauses, asked, dice);
        self.trouble = Some(why.to_owned());
    }
}

/// Decides what is sent next.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    line: Lane,
    keys: BTreeMap<Auth, Lane>,
    lanes: BTreeMap<FunctionName, Lane>,
    /// The function that was served last.
    last: Option<FunctionName>,
    has_token: bool,
    starved: bool,
    dice: fastrand::Rng,
}

impl Plan {
    /// A plan at its start.
    pub fn new(settings: Settings) -> Plan {
        Plan {
            line: Lane::default(),
            keys: BTreeMap::new(),
            lanes: BTreeMap::new(),
            last: None,
            has_token: false,
            starved: false,
            dice: fastrand::Rng::with_seed(settings.seed),
            settings,
        }
    }

    /// What to do. `upstream_now` is what upstream's clock shows, where that is known.
    pub fn next(
        &mut self,
        fronts: &[Front],
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        credits: &Credits,
    ) -> Next {
        self.starved = false;
        let is_old = |front: &&Front| {
            let age = upstream_now.zip(front.since).map(|(now, since)| now.since(since));
            age.is_some_and(|age| age > self.settings.max_age)
        };
        if let Some(old) = fronts.iter().find(is_old) {
            return Next::Do(Action::Expire(old.clone()));
        }
        if !self.line.backoff.is_over(now) {
            return Next::WaitUntil(self.line.backoff.until());
        }
        let Some(front) = self.turn_of(fronts, now) else {
            return Next::WaitUntil(self.wake(fronts, now));
        };
        if credits.spent(upstream_now) >= credits.ceiling() {
            self.starved = true;
            return Next::WaitUntil(now.after(STARVED_WAIT));
        }
        Next::Do(Action::Send(front))
    }

    /// The first that may be sent of those behind the one that was served last, in the order of
    /// their names and round again.
    fn turn_of(&self, fronts: &[Front], now: Tick) -> Option<Front> {
        let may = |front: &&Front| self.until(front).is_some_and(|until| until <= now);
        let ready = || fronts.iter().filter(may);
        let behind = ready()
            .filter(|front| Some(&front.function) > self.last.as_ref())
            .min_by(|a, b| a.function.cmp(&b.function));
        behind.or_else(|| ready().min_by(|a, b| a.function.cmp(&b.function))).cloned()
    }

    /// When this call may be sent; `None` when nobody knows.
    fn until(&self, front: &Front) -> Option<Tick> {
        let auth = *self.settings.functions.get(&front.function)?;
        if auth == Auth::OAuth && !self.has_token {
            return None;
        }
        let of_key = self.keys.get(&auth).map(|lane| lane.backoff.until());
        let lane = self.lanes.get(&front.function).filter(|lane| lane.number == front.number);
        let of_lane = lane.map(|lane| lane.backoff.until());
        Some(of_key.max(of_lane).unwrap_or_default())
    }

    fn wake(&self, fronts: &[Front], now: Tick) -> Tick {
        let first = fronts.iter().filter_map(|front| self.until(front)).min();
        first.unwrap_or(now.after(IDLE_WAIT)).min(now.after(IDLE_WAIT))
    }

    /// The function has answered, or the call is gone: those behind it may go on.
    pub fn done(&mut self, front: &Front) {
        self.lanes.remove(&front.function);
        self.last = Some(front.function.clone());
    }

    /// Upstream has accepted our key for this function: the line works, too.
    pub fn answered(&mut self, front: &Front) {
        self.line = Lane::default();
        if let Some(auth) = self.settings.functions.get(&front.function) {
            self.keys.remove(auth);
        }
        self.done(front);
    }

    /// A call met with this.
    pub fn set_back(&mut self, front: &Front, setback: &Setback, now: Tick) {
        self.last = Some(front.function.clone());
        let why = setback.why();
        match setback {
            Setback::Unreachable(_) => self.line.fail(why, now, &LINE, None, &mut self.dice),
            Setback::Throttled(asked, _) => {
                self.line.fail(why, now, &THROTTLE, *asked, &mut self.dice);
            }
            Setback::KeyRefused(_) => {
                if let Some(auth) = self.settings.functions.get(&front.function) {
                    let lane = self.keys.entry(*auth).or_default();
                    lane.fail(why, now, &KEY, None, &mut self.dice);
                }
            }
            Setback::Failed(asked, _) => self.pause(front, why, *asked, now),
            Setback::Denied(..) => self.pause(front, why, None, now),
        }
    }

    fn pause(&mut self, front: &Front, why: &str, asked: Option<Duration>, now: Tick) {
        // Upstream answered.
        self.line = Lane::default();
        let lane = self.lanes.entry(front.function.clone()).or_default();
        if lane.number != front.number {
            *lane = Lane { number: front.number, ..Lane::default() };
        }
        lane.fail(why, now, &FUNCTION, asked, &mut self.dice);
    }

    /// The disk is full: nothing is sent of which it could not be kept what became of it.
    pub fn pause_for_room(&mut self, why: &str, now: Tick) {
        self.line.fail(why, now, &LINE, None, &mut self.dice);
    }

    /// Whether there is an access token; `renewed` when it is another than the last. The first
    /// refusal of a token is over with that: it was merely old. Further ones are not.
    pub fn token(&mut self, there: bool, renewed: bool) {
        self.has_token = there;
        if renewed && self.keys.get(&Auth::OAuth).is_some_and(|lane| lane.backoff.failures() == 1) {
            if let Some(lane) = self.keys.get_mut(&Auth::OAuth) {
                // It counts still, in case the new one is refused too.
                lane.backoff.forgive();
            }
        }
    }

    /// Upstream is there again, or a person asks: pauses end.
    pub fn hurry(&mut self) {
        self.line = Lane::default();
        self.lanes.clear();
    }

    /// The line is there again.
    pub fn line_is_back(&mut self) {
        self.line = Lane::default();
    }

    /// Whether a call waits for an access token.
    pub fn wants_token(&self, fronts: &[Front]) -> bool {
        let by_token =
            |front: &Front| self.settings.functions.get(&front.function) == Some(&Auth::OAuth);
        !self.has_token && fronts.iter().any(by_token)
    }

    /// What stands in the way, of all or of one function, if anything.
    pub fn trouble(&self) -> Option<String> {
        let of_lane = |(name, lane): (&FunctionName, &Lane)| {
            lane.trouble.as_ref().map(|why| format!("{name}: {why}"))
        };
        let key = self.keys.values().find_map(|lane| lane.trouble.clone());
        self.line.trouble.clone().or(key).or_else(|| self.lanes.iter().find_map(of_lane))
    }

    /// Whether calls wait for credits.
    pub fn is_starved(&self) -> bool {
        self.starved
    }
}

#[cfg(test)]
mod tests;
