//! The courier: the one thread that makes the calls of the outbox, and writes what they came to.
//!
//! A function may run for a minute, and the mirror must not wait for it: so the heart makes no
//! calls, and the courier writes nothing of the mirror. It asks the plan what to send, sends it,
//! and keeps what came of it before it asks again. What was in the air at a crash is sent again.
//! What to do is decided in [`crate::mirror::outbox::plan`]; this file only does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Outbox};
use crate::mirror::credits::Credits;
use crate::mirror::gather::Gather;
use crate::mirror::outbox::answer::Answer;
use crate::mirror::outbox::plan::{Action, Front, Next, Plan, Setback, Settings};
use crate::mirror::outbox::{Auth, FunctionName, Item, Standing, State};
use crate::mirror::planner::Input;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::version::ApiVersion;
use crate::secret::Secret;
use crate::server::board::Board;
use crate::server::hatch::{Faring, Known};
use crate::store::outbox::{Sending, is_whole};
use crate::store::{Store, StoreError};
use crate::upstream::functions::{self, Pass, Place};
use crate::upstream::transport::call::Caller;
use crate::vitals::Stage;

/// The courier looks around at least this often, as the heart does.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// After so many calls that have ended, what is beyond the limits is forgotten, which is more in
/// one go: also where there is always another call to send.
const TRIM_EVERY: u64 = 32;

/// What a turn of the courier did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It did something: the next turn may follow at once.
    Acted,
    /// There is nothing to do before this tick, unless somebody rings.
    WaitUntil(Tick),
}

/// The courier.
pub struct Courier {
    limits: Outbox,
    version: ApiVersion,
    functions: BTreeMap<FunctionName, Auth>,
    zapikey: Option<Secret>,
    caller: Arc<dyn Caller>,
    clock: Arc<dyn Clock>,
    store: Store,
    board: Arc<Board>,
    heart: SyncSender<Input>,
    plan: Plan,
    credits: Credits,
    edition: u64,
    /// The edition of the token that the heart was told of as being refused.
    asked: Option<u64>,
    online: bool,
    /// What a call came to that the disk had no room for.
    unwritten: Option<(Front, Sending)>,
    ended: u64,
    trouble: Option<String>,
}

impl Courier {
    /// A courier at its start. `heart` is rung when the access token is refused; `zapikey` is there
    /// when a function is called by it.
    pub fn new(
        config: &Config,
        zapikey: Option<Secret>,
        caller: Arc<dyn Caller>,
        clock: Arc<dyn Clock>,
        store: Store,
        board: Arc<Board>,
        heart: SyncSender<Input>,
    ) -> Result<Courier, StoreError> {
        let functions: BTreeMap<FunctionName, Auth> =
            config.functions.iter().map(|it| (it.name.clone(), it.auth)).gather();
        let settings = Settings {
            functions: functions.clone(),
            max_age: config.outbox.max_age,
            seed: clock.tick().since_origin().as_nanos() as u64,
        };
        let credits = Credits::new(config.outbox.calls_per_day.into(), store.runs()?);
        let mut courier = Courier {
            limits: config.outbox,
            version: config.upstream.version,
            functions,
            zapikey,
            caller,
            clock,
            store,
            board,
            heart,
            plan: Plan::new(settings),
            credits,
            edition: 0,
            asked: None,
            online: false,
            unwritten: None,
            ended: 0,
            trouble: None,
        };
        courier.tell(None);
        Ok(courier)
    }

    /// Delivers until the hatch is closed, or the store fails.
    pub fn deliver(&mut self) -> Result<(), StoreError> {
        let board = Arc::clone(&self.board);
        loop {
            let turn = self.turn()?;
            let wait = match turn {
                Turn::Acted => Duration::ZERO,
                Turn::WaitUntil(tick) => tick.since(self.clock.tick()).min(LONGEST_WAIT),
            };
            board.hatch.courier.enter(Stage::Waiting);
            let rung = board.hatch.wait(wait);
            board.hatch.courier.enter(Stage::Working);
            if rung.closed {
                return Ok(());
            }
            if rung.hurry {
                self.plan.hurry();
            }
        }
    }

    /// Does the next thing, if there is one.
    pub fn turn(&mut self) -> Result<Turn, StoreError> {
        let known = self.board.hatch.known();
        let now = self.clock.tick();
        let time = known.clock.map(|clock| clock.at(now));
        self.hear(&known);
        if let Some((front, sending)) = self.unwritten.take() {
            return self.settle(front, sending);
        }
        let fronts = self.store.call_fronts();
        if self.plan.wants_token(&fronts) {
            self.ask_token(known.edition);
        }
        let next = match &known.origin {
            Some(_) => self.plan.next(&fronts, now, time, &self.credits),
            // Only a token reply says where the API is.
            None => Next::WaitUntil(now.after(LONGEST_WAIT)),
        };
        let turn = match next {
            Next::Do(Action::Send(front)) => self.send(front, &known, time)?,
            Next::Do(Action::Expire(front)) => self.expire(front, time)?,
            Next::WaitUntil(tick) => match self.trim(time)? {
                true => Turn::Acted,
                false => Turn::WaitUntil(tick),
            },
        };
        self.tell(time);
        Ok(turn)
    }

    fn hear(&mut self, known: &Known) {
        self.plan.token(known.token.is_some(), known.edition != self.edition);
        if known.online && !self.online {
            self.plan.line_is_back();
        }
        (self.edition, self.online) = (known.edition, known.online);
    }

    /// The heart hears of it once for each token. One that is busy is asked at the next look.
    fn ask_token(&mut self, edition: u64) {
        if self.asked != Some(edition)
            && self.heart.try_send(Input::TokenWanted { edition }).is_ok()
        {
            self.asked = Some(edition);
        }
    }

    fn send(
        &mut self,
        front: Front,
        known: &Known,
        time: Option<UpstreamTime>,
    ) -> Result<Turn, StoreError> {
        let (Some(pass), Some(origin)) = (self.pass(&front, known), known.origin.clone()) else {
            return Ok(Turn::WaitUntil(self.clock.tick().after(LONGEST_WAIT)));
        };
        let Some((item, content)) = self.store.take_up_call(front.number)? else {
            self.plan.done(&front);
            return Ok(Turn::Acted);
        };
        if !is_whole(&item, &content) {
            let why = "its content cannot be read back: the disk has damaged it".to_owned();
            return self.give_up(front, item, why, time);
        }
        let place = Place { origin, version: self.version };
        let call = functions::build(&place, &pass, item.id(front.number), &item, content);
        let hatch = &self.board.hatch;
        hatch.courier.enter(Stage::Calling);
        hatch.meters.count_attempt();
        let answered = self.caller.call(&call);
        hatch.courier.enter(Stage::Working);
        let time = self.board.hatch.known().clock.map(|clock| clock.at(self.clock.tick())).or(time);
        let outcome = match &answered {
            Ok(answered) => functions::parse(answered, &pass),
            Err(error) => Err((functions::no_answer(error), false)),
        };
        match outcome {
            Ok(answer) => self.sent(front, item, &answer, time),
            Err((setback, stale)) => {
                if stale {
                    self.ask_token(known.edition);
                }
                self.set_back(front, item, &setback, time)
            }
        }
    }

    fn pass(&self, front: &Front, known: &Known) -> Option<Pass> {
        match self.functions.get(&front.function)? {
            Auth::ApiKey => self.zapikey.clone().map(Pass::Key),
            Auth::OAuth => known.token.clone().map(Pass::Token),
        }
    }

    fn sent(
        &mut self,
        front: Front,
        item: Item,
        answer: &Answer,
        time: Option<UpstreamTime>,
    ) -> Result<Turn, StoreError> {
        self.credits.spend(1, time);
        self.plan.answered(&front);
        let (attempts, state) = (item.attempts + 1, State::Sent { at: time });
        let item = Item { attempts, state, since: item.since.or(time), ..item };
        self.settle(front, self.sending(item, Some(answer)))
    }

    fn set_back(
        &mut self,
        front: Front,
        item: Item,
        setback: &Setback,
        time: Option<UpstreamTime>,
    ) -> Result<Turn, StoreError> {
        if setback.may_have_run() {
            self.credits.spend(1, time);
        }
        self.plan.set_back(&front, setback, self.clock.tick());
        let ends = setback.ends(item.denials);
        if ends {
            self.plan.done(&front);
        }
        let why = setback.why().to_owned();
        let (denials, answer) = match setback {
            Setback::Denied(_, answer) => (item.denials + 1, Some(answer)),
            _ => (item.denials, None),
        };
        let state = match ends {
            true => State::Failed { at: time, why },
            false => State::Waiting { why: Some(why) },
        };
        let attempts = item.attempts + 1;
        let item = Item { attempts, denials, state, since: item.since.or(time), ..item };
        self.settle(front, self.sending(item, answer))
    }

    fn expire(&mut self, front: Front, time: Option<UpstreamTime>) -> Result<Turn, StoreError> {
        let Some((item, _)) = self.store.take_up_call(front.number)? else {
            return Ok(Turn::Acted);
        };
        let why = match item.state.why() {
            Some(last) => format!("{}: {last}", self.limits.expired()),
            None => self.limits.expired(),
        };
        self.give_up(front, item, why, time)
    }

    fn give_up(
        &mut self,
        front: Front,
        item: Item,
        why: String,
        time: Option<UpstreamTime>,
    ) -> Result<Turn, StoreError> {
        self.plan.done(&front);
        let item = Item { state: State::Failed { at: time, why }, ..item };
        self.settle(front, self.sending(item, None))
    }

    fn sending(&self, item: Item, answer: Option<&Answer>) -> Sending {
        Sending { item, answer: answer.map(Answer::to_json), runs: self.credits.spending().clone() }
    }

    /// Keeps what became of a call. What the disk has no room for is kept before anything else is
    /// sent.
    fn settle(&mut self, front: Front, sending: Sending) -> Result<Turn, StoreError> {
        match self.store.settle_call(front.number, &sending) {
            Ok(()) => {
                self.note_end(&front, &sending.item);
                if self.ended >= TRIM_EVERY {
                    self.ended = 0;
                    self.trim(sending.item.state.ended())?;
                }
                Ok(Turn::Acted)
            }
            Err(error @ StoreError::NoRoom { .. }) => {
                let now = self.clock.tick();
                self.plan.pause_for_room(&error.to_string(), now);
                self.unwritten = Some((front, sending));
                Ok(Turn::WaitUntil(now.after(LONGEST_WAIT)))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts and tells what has ended.
    fn note_end(&mut self, front: &Front, item: &Item) {
        let function = &item.function;
        match &item.state {
            State::Waiting { .. } => return,
            State::Sent { .. } => log::debug!("{function}: call {} is answered", front.number),
            State::Failed { why, .. } => {
                let id = item.id(front.number);
                log::warn!(
                    "{function}: call {id} has failed: {why}; see crmirror outbox show {id}"
                );
            }
        }
        self.ended += 1;
        let well = item.state.standing() == Standing::Sent;
        self.board.hatch.meters.count_ended(well);
    }

    /// Forgets what has been kept long enough; whether there may be more of it.
    fn trim(&self, time: Option<UpstreamTime>) -> Result<bool, StoreError> {
        match self.store.trim_calls(time.map(|time| time.before(self.limits.kept))) {
            // It is tried again at the next look.
            Err(StoreError::NoRoom { .. }) => Ok(false),
            trimmed => trimmed,
        }
    }

    /// Publishes how things stand, and logs what is new.
    fn tell(&mut self, time: Option<UpstreamTime>) {
        let trouble = self.plan.trouble();
        if trouble != self.trouble {
            match &trouble {
                Some(why) => log::warn!("calls to functions wait: {why}"),
                None => log::info!("calls to functions go on"),
            }
            self.trouble = trouble.clone();
        }
        self.board.hatch.fare(Faring {
            trouble,
            starved: self.plan.is_starved(),
            spent: self.credits.spent(time),
            ceiling: self.credits.ceiling(),
        });
    }
}
