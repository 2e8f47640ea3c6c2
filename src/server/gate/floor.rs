//! Who is in, and who gives way when it is full.
//!
//! Places are few, and a stranger can take one by doing nothing. So a newcomer is worth more than
//! somebody who keeps us waiting: when no place is free, the connection that has waited longest
//! for its request gives way, or else the one that has not taken its reply for longest; of the
//! address that has most places, so that a caller from far away outlasts a crowd from a few.
//! Whoever is being answered stays, and so does whoever has sent what we have not yet read: who is
//! served late because of us has done nothing wrong. When all of them are such, the next reply is
//! the last on its connection. Whoever waits for changes has a place elsewhere (`live`) and takes
//! none here.
//!
//! Nobody is given a second of grace, since that would decide how long a flood of silent or
//! dripping connections keeps the gate closed: those in the system's queue behind them would wait
//! for it over and over. The floor reads and writes nothing; it only shuts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Limits;
use super::counters::{Reason, Tally};
use super::deadline::{Deadline, Socket, now};
use crate::server::asked::Peer;

/// Time that a connection has for its request before it may have to give way: its first bytes
/// follow it within a few milliseconds, and a flood of a thousand is over within a second.
const PATIENCE: Duration = Duration::from_millis(10);
/// Time that a connection has for taking its reply before it may have to give way. A callback's is
/// one packet, and all the others are on this device; below the wait of a newcomer, so that a crowd
/// that asks and does not read keeps nobody out.
const REPLY_PATIENCE: Duration = Duration::from_millis(100);
/// How long a newcomer waits for a place while everybody is being answered; others wait behind it
/// in the system's queue. So a burst is served one after another.
const DOOR_WAIT: Duration = Duration::from_millis(250);
/// How often a newcomer looks whether somebody has become idle.
const DOOR_LOOK: Duration = Duration::from_millis(2);
/// When the gate stops, a connection younger than this may have its first request on the way.
const YOUTH: Duration = Duration::from_secs(1);
/// After the time to stop is over, everything is shut; threads that wake from that need no longer.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// The places of one gate.
pub(super) struct Floor {
    places: usize,
    per_address: Option<usize>,
    tally: Arc<Tally>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<u64, Guest>,
    next: u64,
    /// Somebody waits for a place, and nobody lets us wait: who is answered next leaves.
    wanted: bool,
    stopping: bool,
}

struct Guest {
    socket: Arc<Socket>,
    origin: Option<Origin>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Its request has not come whole.
    Waiting { since: Instant, silent: bool, first: bool },
    /// It is being answered.
    Busy,
    /// It waits for changes, in a place that is not one of these.
    Live,
    /// It is being sent its reply.
    Replying { since: Instant },
    /// It was shut, and its thread has not left yet.
    Leaving,
}

/// What counts as one address: all of a /64 belong to one subscriber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Origin {
    fn of(peer: Peer) -> Option<Origin> {
        match peer {
            Peer::Unix => None,
            Peer::Tcp(address) => Some(match address.ip().to_canonical() {
                IpAddr::V4(ip) => Origin::V4(ip.octets()),
                IpAddr::V6(ip) => {
                    let [a, b, c, d, ..] = ip.segments();
                    Origin::V6([a, b, c, d])
                }
            }),
        }
    }
}

impl Floor {
    /// A floor with `places` places.
    pub(super) fn new(places: usize, limits: &Limits, tally: Arc<Tally>) -> Arc<Floor> {
        let per_address = (!limits.one_peer).then_some(limits.per_address);
        let (state, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Floor { places, per_address, tally, state, changed })
    }

    /// Gives a newcomer a place, or says why not. Waits a moment for one.
    pub(super) fn admit(
        self: &Arc<Floor>,
        socket: &Arc<Socket>,
        peer: Peer,
    ) -> Result<Seat, Reason> {
        let origin = Origin::of(peer);
        let mut state = self.state();
        if let (Some(limit), Some(origin)) = (self.per_address, origin) {
            let full = state.staying().filter(|guest| guest.origin == Some(origin)).count();
            if full >= limit && !self.make_room(&mut state, Some(origin)) {
                return Err(Reason::PerAddress);
            }
        }
        let door = Deadline::after(DOOR_WAIT);
        while state.places_taken() >= self.places {
            let full = state.staying().count() >= self.places;
            state.wanted = full && !self.make_room(&mut state, None);
            let left = door.left();
            if left.is_zero() {
                state.wanted = false;
                return Err(Reason::Full);
            }
            let waited = self.changed.wait_timeout(state, left.min(DOOR_LOOK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wanted = false;
        let number = state.next;
        state.next += 1;
        let phase = Phase::Waiting { since: now(), silent: true, first: true };
        state.guests.insert(number, Guest { socket: Arc::clone(socket), origin, phase });
        Ok(Seat { floor: Arc::clone(self), number })
    }

    /// Descriptors or threads have run out: whoever has waited longest gives way.
    pub(super) fn relieve(&self) {
        self.make_room(&mut self.state(), None);
    }

    /// How many are in.
    pub(super) fn count(&self) -> usize {
        self.state().guests.len()
    }

    /// Lets those who are being answered finish, and those who have just come, until `deadline`;
    /// shuts the others now.
    pub(super) fn clear(&self, deadline: Deadline) {
        let mut state = self.state();
        state.stopping = true;
        for guest in state.guests.values().filter(|guest| guest.phase.is_idle(now())) {
            guest.asks_no_more();
        }
        state = self.wait_until_empty(state, deadline);
        for guest in state.guests.values_mut() {
            guest.leave();
        }
        drop(self.wait_until_empty(state, Deadline::after(LAST_WAIT)));
    }

    fn wait_until_empty<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Deadline,
    ) -> MutexGuard<'a, State> {
        let left = deadline.left();
        let waited = self.changed.wait_timeout_while(state, left, |state| !state.guests.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Shuts the one that has let us wait longest, of `origin` or else of the origin that has most
    /// places; whether somebody could give way.
    fn make_room(&self, state: &mut State, origin: Option<Origin>) -> bool {
        let now = now();
        let mut places = BTreeMap::<Option<Origin>, usize>::new();
        state.staying().for_each(|guest| *places.entry(guest.origin).or_default() += 1);
        let of_origin = |guest: &&mut Guest| origin.is_none() || guest.origin == origin;
        let waiting = state.guests.values_mut().filter(of_origin).filter_map(|guest| {
            let since = guest.keeps_us_waiting_since(now)?;
            // Who reads slowly has at least asked something.
            let was_answered = matches!(guest.phase, Phase::Replying { .. });
            let crowd = places.get(&guest.origin).copied().unwrap_or_default();
            Some(((was_answered, Reverse(crowd), since), guest))
        });
        let Some((_, longest)) = waiting.min_by_key(|(rank, _)| *rank) else {
            return false;
        };
        longest.leave();
        self.tally.refuse(Reason::GaveWay);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn staying(&self) -> impl Iterator<Item = &Guest> {
        let goes = |guest: &&Guest| matches!(guest.phase, Phase::Leaving | Phase::Live);
        self.guests.values().filter(move |guest| !goes(guest))
    }

    fn places_taken(&self) -> usize {
        self.guests.values().filter(|guest| !matches!(guest.phase, Phase::Live)).count()
    }
}

impl Guest {
    /// Since when it lets us wait, if it is for the guest to say or to take something and its time
    /// is over.
    fn keeps_us_waiting_since(&self, now: Instant) -> Option<Instant> {
        let overdue = |since, patience| now.saturating_duration_since(since) >= patience;
        match self.phase {
            Phase::Waiting { since, .. } => {
                (overdue(since, PATIENCE) && self.socket.awaits_peer()).then_some(since)
            }
            Phase::Replying { since } => {
                let is_deaf = overdue(since, REPLY_PATIENCE) && self.socket.awaits_reader();
                is_deaf.then_some(since)
            }
            Phase::Busy | Phase::Live | Phase::Leaving => None,
        }
    }

    /// Only the reading side is shut: a request that is on its way already is still answered.
    fn asks_no_more(&self) {
        self.socket.shut(Shutdown::Read);
    }

    fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.socket.shut(Shutdown::Both);
    }
}

impl Phase {
    /// Whether it may be shut when the gate stops: not while it is being answered, and not when it
    /// has come a moment ago and its first request is on the way.
    fn is_idle(self, now: Instant) -> bool {
        match self {
            Phase::Waiting { since, first: true, .. } => {
                now.saturating_duration_since(since) >= YOUTH
            }
            Phase::Waiting { silent, first: false, .. } => silent,
            Phase::Live => true,
            Phase::Busy | Phase::Replying { .. } | Phase::Leaving => false,
        }
    }
}

/// One guest's place, free again when dropped.
pub(super) struct Seat {
    floor: Arc<Floor>,
    number: u64,
}

impl Seat {
    /// The guest was answered and waits for its next request: in vain, when the gate has begun to
    /// stop while it took the reply.
    pub(super) fn waits(&self) {
        self.enter(|_| Phase::Waiting { since: now(), silent: true, first: false });
        let state = self.floor.state();
        if let Some(guest) = state.guests.get(&self.number).filter(|_| state.stopping) {
            guest.asks_no_more();
        }
    }

    /// The first bytes of its request have come.
    pub(super) fn is_heard(&self) {
        self.enter(|phase| match phase {
            Phase::Waiting { since, first, .. } => Phase::Waiting { since, silent: false, first },
            other => other,
        });
    }

    /// Its request is whole.
    pub(super) fn is_busy(&self) {
        self.enter(|_| Phase::Busy);
    }

    /// It waits for changes, and gives its place to others meanwhile. Not when the gate closes.
    pub(super) fn is_live(&self) -> bool {
        self.enter(|_| Phase::Live);
        self.floor.changed.notify_all();
        !self.is_closing()
    }

    /// Whether the gate closes.
    pub(super) fn is_closing(&self) -> bool {
        self.floor.state().stopping
    }

    /// Its reply is on the way.
    pub(super) fn is_replied_to(&self) {
        self.enter(|_| Phase::Replying { since: now() });
    }

    /// Whether this reply has to be the guest's last, since the gate closes or others want its
    /// place: else a crowd that always has one more to ask would keep everybody out.
    pub(super) fn is_to_leave(&self) -> bool {
        let mut state = self.floor.state();
        state.stopping || std::mem::take(&mut state.wanted)
    }

    fn enter(&self, next: impl FnOnce(Phase) -> Phase) {
        if let Some(guest) = self.floor.state().guests.get_mut(&self.number) {
            guest.phase = match guest.phase {
                Phase::Leaving => Phase::Leaving,
                phase => next(phase),
            };
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.floor.state().guests.remove(&self.number);
        self.floor.changed.notify_all();
    }
}
