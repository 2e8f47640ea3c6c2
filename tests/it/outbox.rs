//! The outbox delivers: after any mixture of outages, kills, faults and denials every call that was
//! accepted has been run at least once, in order for each function, under its own id.
//!
//! The courier, a real store and the simulator in one process, in virtual time. A kill ends the
//! courier within a call, before or after the function ran. `SEEDS=1000 cargo test --test it
//! outbox_delivers` tells more stories, `SEEDS=7..8` one again.
//!
//! Bugs that were planted, one at a time, and caught within sixty seeds: a call settled before it
//! is sent; the last waiting call sent first; a withdrawn call left on the disk; a proxy's page
//! taken for an answer; a call that timed out taken for sent; what became of a call not kept. A
//! courier without pauses is caught by the ten hours.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crmirror::clock::Clock;
use crmirror::config::Config;
use crmirror::courier::{Courier, Turn};
use crmirror::mirror::origin::Origin;
use crmirror::mirror::outbox::{CallId, Form, FunctionName, Item, Standing};
use crmirror::mirror::planner::Input;
use crmirror::mirror::time::{Tick, UpstreamClock, UpstreamTime};
use crmirror::secret::Secret;
use crmirror::server::board::Board;
use crmirror::store::Store;
use crmirror::store::outbox::{Accepted, Changed, ENDED_LIMIT, NewCall};
use serde_json::json;

use crate::scratch::{Scratch, Seed, seeds};
use crate::sim::{
    Aim, Clock as _, Conduct, Fault, Moment, Run, SimTransport, Upstream, VirtualClock, ZAPIKEY,
};

/// By key and by token.
const FUNCTIONS: [(&str, &str); 3] = [("one", "apikey"), ("two", "apikey"), ("three", "oauth")];
/// Turns after which a courier that still finds something to do at the same moment spins.
const TURNS_LIMIT: usize = 20_000;

/// The device's clock, moved with upstream's.
#[derive(Default)]
struct Device(AtomicU64);

impl Clock for Device {
    fn tick(&self) -> Tick {
        Tick::from_origin(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> UpstreamTime {
        UpstreamTime::from_unix(0)
    }
}

/// An upstream, a device, and the time of both.
struct World {
    time: Arc<VirtualClock>,
    device: Arc<Device>,
    upstream: Arc<Mutex<Upstream>>,
    transport: Arc<SimTransport>,
    config: Config,
    running: Option<Running>,
    scratch: Scratch,
}

/// A daemon's part that has to do with calls.
struct Running {
    courier: Courier,
    store: Store,
    board: Arc<Board>,
    rung: Receiver<Input>,
}

impl World {
    fn new(name: &str, outbox: &str) -> World {
        let time = VirtualClock::starting(Moment::from_unix(1_800_000_000));
        let mut upstream = Upstream::new(time.clone());
        for (name, _) in FUNCTIONS {
            upstream.functions.add(name);
        }
        let upstream = Arc::new(Mutex::new(upstream));
        let transport = Arc::new(SimTransport::new(Arc::clone(&upstream)));
        let scratch = Scratch::in_memory(name);
        let config = config(scratch.path(), outbox);
        let device = Arc::default();
        let mut world = World { time, device, upstream, transport, config, running: None, scratch };
        world.start();
        world
    }

    fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&mut self) {
        let (store, healings) = Store::open(self.scratch.path()).unwrap();
        assert!(healings.is_empty(), "nothing was broken: {healings:?}");
        let board = Arc::new(Board::default());
        let (bell, rung) = mpsc::sync_channel(100);
        let key = Some(Secret::new(ZAPIKEY.to_owned()));
        let courier = Courier::new(
            &self.config,
            key,
            self.transport.clone(),
            self.device.clone(),
            store.clone(),
            Arc::clone(&board),
            bell,
        );
        self.running = Some(Running { courier: courier.unwrap(), store, board, rung });
        self.publish(true);
    }

    /// The daemon ends, in whatever it was doing, and starts again.
    fn restart(&mut self) {
        self.running = None;
        self.start();
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    fn store(&self) -> &Store {
        &self.running.as_ref().unwrap().store
    }

    /// What the heart would publish: with another token, where one was asked for.
    fn publish(&mut self, fresh: bool) {
        let origin = Origin::parse(&self.upstream().knobs.api_origin).ok();
        let token = fresh.then(|| Secret::new(self.upstream().issue_token()));
        let shown = UpstreamTime::from_unix(self.time.now().unix());
        let clock = UpstreamClock::seen(shown, self.device.tick());
        let hatch = &self.running().board.hatch;
        let token = token.or(hatch.known().token);
        hatch.publish(origin, token, Some(clock), true);
    }

    fn pass(&self, span: Duration) {
        self.time.advance(span);
        self.device.0.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
    }

    fn leave(&self, function: &str, content: &str, key: Option<&str>) -> Accepted {
        let since = UpstreamTime::from_unix(self.time.now().unix());
        leave(self.store(), function, content, key, Some(since))
    }

    /// One turn. A kill within it ends the daemon, which is started again.
    fn turn(&mut self) -> Turn {
        while let Ok(input) = self.running().rung.try_recv() {
            if matches!(input, Input::TokenWanted { .. }) {
                self.publish(true);
            }
        }
        let courier = AssertUnwindSafe(|| self.running.as_mut().unwrap().courier.turn().unwrap());
        catch_unwind(courier).unwrap_or_else(|panic| {
            assert_eq!(panic.downcast_ref::<&str>(), Some(&KILLED), "something else panicked");
            self.restart();
            Turn::Acted
        })
    }

    /// Turns until there is nothing to do at this moment; the tick to wait for.
    fn turn_until_idle(&mut self) -> Tick {
        for _ in 0..TURNS_LIMIT {
            if let Turn::WaitUntil(tick) = self.turn() {
                assert!(tick > self.device.tick(), "it would spin");
                return tick;
            }
        }
        panic!("the courier spins");
    }

    /// Time passes until nothing waits.
    fn drain(&mut self) {
        for _ in 0..TURNS_LIMIT {
            let tick = self.turn_until_idle();
            if self.store().call_counts().waiting == 0 {
                return;
            }
            // Clocks here go by milliseconds, pauses do not.
            self.pass(tick.since(self.device.tick()) + Duration::from_millis(1));
        }
        panic!("never empty: {:?}", self.running().board.hatch.faring());
    }

    fn runs(&self, function: &str) -> Vec<Run> {
        self.upstream().functions.runs(function).to_vec()
    }
}

/// A program on the device leaves a call at this time of upstream's.
pub(crate) fn leave(
    store: &Store,
    function: &str,
    content: &str,
    key: Option<&str>,
    since: Option<UpstreamTime>,
) -> Accepted {
    let function = FunctionName::parse(function).unwrap();
    let (form, media_type) = (Form::AsItCame, "application/json");
    let content = content.as_bytes();
    let call = NewCall { function: &function, form, media_type, content, key, since };
    store.accept_call(&call).unwrap()
}

const KILLED: &str = "killed";

/// The daemon is killed in the next call: before the function runs, or as soon as it has.
fn kill_in_next_call(world: &World, before: bool) {
    let mut armed = true;
    let token = world.upstream().issue_token();
    world.transport.before_each(move |upstream, asked| {
        if std::mem::take(&mut armed) {
            if !before {
                // The token may be an old one: then the function does not run, which is no harm.
                let asked = match asked.headers.contains_key("authorization") {
                    true => asked.clone().token(&token),
                    false => asked.clone(),
                };
                let _ = upstream.answer(&asked);
            }
            std::panic::panic_any(KILLED);
        }
    });
}

fn config(store: &Path, outbox: &str) -> Config {
    let functions: String = FUNCTIONS
        .iter()
        .map(|(name, auth)| format!("[[function]]\nname = \"{name}\"\nauth = \"{auth}\"\n"))
        .collect();
    let text = format!(
        "[upstream]\ndata_centre = \"us\"\n[store]\npath = \"{}\"\n[outbox]\n{outbox}\n\
         [[module]]\nname = \"Leads\"\n{functions}",
        store.display()
    );
    Config::parse(Path::new("/world.toml"), text.as_bytes(), None)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// What was accepted: by function, in order; and which of it was withdrawn.
#[derive(Default)]
struct Told {
    accepted: BTreeMap<&'static str, Vec<CallId>>,
    withdrawn: BTreeSet<CallId>,
    kills: usize,
}

fn something_happens(world: &mut World, told: &mut Told, random: &mut fastrand::Rng) {
    let function = FUNCTIONS[random.usize(..FUNCTIONS.len())].0;
    match random.u8(..20) {
        0..=7 => {
            let number = random.u32(..);
            let key = random.bool().then(|| format!("key {number}"));
            let content = json!(number).to_string();
            let Accepted::New(id, _) = world.leave(function, &content, key.as_deref()) else {
                panic!("it is new")
            };
            told.accepted.entry(function).or_default().push(id);
            if key.is_some() {
                let again = world.leave(function, &content, key.as_deref());
                assert!(matches!(again, Accepted::Known(known, _) if known == id));
                let other = world.leave(function, "\"other\"", key.as_deref());
                assert!(matches!(other, Accepted::Conflict(known) if known == id));
            }
        }
        8 => world.upstream().faults.offline(true),
        9 | 10 => world.upstream().faults.offline(false),
        11 => {
            let seed = random.u64(..);
            world.upstream().faults.at_random(seed, 400);
        }
        12 => world.upstream().faults.calm(),
        13 => {
            let manner = match random.u8(..5) {
                0 => Conduct::Own(409, "X-Why", "it is so", "{}".into()),
                1 => Conduct::Broken,
                2 => Conduct::Says("plain".into()),
                3 => Conduct::Own(201, "X-Own", "7", "[1.50]".into()),
                _ => Conduct::Echo,
            };
            world.upstream().functions.add(function).manner = manner;
        }
        14 => world.upstream().accounts.expire_access(),
        15 => {
            kill_in_next_call(world, random.bool());
            told.kills += 1;
        }
        16 => {
            world.restart();
            told.kills += 1;
        }
        17 => {
            let ids = told.accepted.get(function).into_iter().flatten().copied();
            let ids: Vec<CallId> = ids.collect();
            if let Some(id) = random.choice(ids) {
                if world.store().withdraw_call(id).unwrap() == Changed::Done {
                    told.withdrawn.insert(id);
                }
            }
        }
        _ => world.pass(Duration::from_secs(random.u64(1..1_200))),
    }
}

fn items(world: &World) -> BTreeMap<CallId, Item> {
    world.store().calls_after(0, None, usize::MAX).unwrap().into_iter().collect()
}

/// What holds of a function's runs whatever happened.
fn check_runs(world: &World, told: &Told, function: &'static str) {
    let accepted = told.accepted.get(function).cloned().unwrap_or_default();
    let items = items(world);
    let runs = world.runs(function);
    let ids: Vec<CallId> = runs.iter().map(|run| run.id.parse().unwrap()).collect();
    assert!(runs.iter().all(|run| run.header == run.id));
    assert!(ids.iter().all(|id| accepted.contains(id)), "a call that nobody left");
    // In order: once a later one has run, an earlier one does not any more.
    assert!(ids.windows(2).all(|pair| pair[0] <= pair[1]), "{function}: {ids:?}");
    for id in accepted {
        let of_it = ids.iter().filter(|ran| **ran == id).count();
        let Some(item) = items.get(&id) else {
            assert!(told.withdrawn.contains(&id), "{id} is lost");
            continue;
        };
        assert!(!told.withdrawn.contains(&id), "{id} is back");
        assert!(of_it >= 1, "{id} never ran, and is {:?}", item.state);
        let attempts = item.attempts as usize;
        assert!(of_it <= attempts + told.kills, "{id} ran {of_it} times in {attempts} attempts");
        let answer = world.store().call_answer(id, item).unwrap();
        match item.state.standing() {
            Standing::Sent => assert!(answer.unwrap().starts_with("{\"status\":20")),
            Standing::Failed => assert!(item.denials == 3 && answer.is_some(), "{item:?}"),
            Standing::Waiting => panic!("{id} waits"),
        }
    }
}

#[test]
fn the_outbox_delivers_whatever_happens() {
    for seed in seeds(60) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new("outbox", "");
        let mut told = Told::default();
        for _ in 0..random.usize(20..150) {
            something_happens(&mut world, &mut told, &mut random);
            for _ in 0..random.usize(..6) {
                world.turn();
            }
            world.publish(false);
        }
        world.upstream().faults.calm();
        for (function, _) in FUNCTIONS {
            world.upstream().functions.add(function).manner = Conduct::Echo;
        }
        world.drain();
        for (function, _) in FUNCTIONS {
            check_runs(&world, &told, function);
        }
        let before: usize = FUNCTIONS.iter().map(|(name, _)| world.runs(name).len()).sum();
        world.restart();
        world.drain();
        let after: usize = FUNCTIONS.iter().map(|(name, _)| world.runs(name).len()).sum();
        assert_eq!(before, after, "what has ended is over");
    }
}

#[test]
fn ten_hours_without_a_network_are_delivered_in_order() {
    let mut world = World::new("outbox-ten-hours", "");
    world.upstream().faults.offline(true);
    let mut ids = Vec::new();
    for call in 0..1_200 {
        let Accepted::New(id, _) = world.leave("one", &json!(call).to_string(), None) else {
            panic!("there is room")
        };
        ids.push(id);
        world.turn_until_idle();
        world.pass(Duration::from_secs(30));
    }
    let (tried, _) = world.upstream().call_count();
    assert!((100..1_000).contains(&tried), "a try now and then: {tried}");
    world.restart();
    world.upstream().faults.offline(false);
    let began = world.time.now();
    world.drain();
    let ran: Vec<CallId> = world.runs("one").iter().map(|run| run.id.parse().unwrap()).collect();
    assert_eq!(ran, ids, "each once, in order");
    assert!(world.time.now().since(began) <= Duration::from_secs(120));
    world.turn_until_idle();
    let counts = world.store().call_counts();
    assert_eq!((counts.sent, counts.bytes), (ENDED_LIMIT, 0), "the oldest are forgotten");
}

#[test]
fn what_waits_too_long_and_what_is_kept_too_long_goes() {
    let mut world = World::new("outbox-age", "max_age = \"1h\"\nkept = \"2h\"\n");
    world.upstream().faults.offline(true);
    let Accepted::New(id, _) = world.leave("one", "1", None) else { panic!("there is room") };
    world.turn_until_idle();
    world.pass(Duration::from_secs(3_599));
    world.turn_until_idle();
    assert_eq!(items(&world)[&id].state.standing(), Standing::Waiting);
    world.pass(Duration::from_secs(2));
    world.turn_until_idle();
    let failed = items(&world)[&id].clone();
    let why = failed.state.why().unwrap();
    assert!(why.starts_with("it has waited longer than outbox.max_age = 1h: "), "{why}");
    // A person may want it all the same: it has as long again.
    world.upstream().faults.offline(false);
    assert_eq!(world.store().retry_call(id).unwrap(), Changed::Done);
    world.drain();
    assert_eq!(items(&world)[&id].state.standing(), Standing::Sent);
    world.pass(Duration::from_secs(7_300));
    world.turn_until_idle();
    assert!(items(&world).is_empty(), "it is forgotten, and so is its key");
}

#[test]
fn runs_are_counted_and_the_ceiling_is_hard() {
    let mut world = World::new("outbox-credits", "calls_per_day = 5\n");
    let leave = |world: &World| {
        assert!(matches!(world.leave("one", "1", None), Accepted::New(..)));
    };
    (0..8).for_each(|_| leave(&world));
    world.turn_until_idle();
    assert_eq!(world.runs("one").len(), 5);
    let faring = world.running().board.hatch.faring();
    assert_eq!((faring.spent, faring.ceiling, faring.starved), (5, 5, true));
    world.restart();
    world.turn_until_idle();
    assert_eq!(world.runs("one").len(), 5, "a restart forgives nothing");
    // The time of upstream's that is known moves with ours.
    world.pass(Duration::from_secs(25 * 3_600));
    world.drain();
    assert_eq!(world.runs("one").len(), 8);
}

#[test]
fn a_wrong_clock_makes_no_call_old() {
    let mut world = World::new("outbox-clock", "max_age = \"1h\"\n");
    let function = FunctionName::parse("one").unwrap();
    let call = NewCall {
        function: &function,
        form: Form::AsItCame,
        media_type: "",
        content: b"",
        key: None,
        // Upstream had never told its time here.
        since: None,
    };
    let Accepted::New(id, _) = world.store().accept_call(&call).unwrap() else { panic!("room") };
    world.upstream().faults.script(1, Aim::anything(), Fault::Status(500));
    world.turn_until_idle();
    let item = items(&world)[&id].clone();
    assert_eq!(item.since.map(UpstreamTime::unix), Some(world.time.now().unix()), "from here on");
    world.drain();
    assert_eq!(items(&world)[&id].state.standing(), Standing::Sent);
}
