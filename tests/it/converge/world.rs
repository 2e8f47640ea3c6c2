//! A world: upstream, the post between, a device with a real store, and time, all from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crmirror::config::Config;
use crmirror::heart::Turn;
use crmirror::mirror::books::entity::Entity;
use crmirror::mirror::planner::Input;
use crmirror::mirror::record::{Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;

use super::agent::{Agent, config};
use super::device::Time;
use super::people::People;
use super::post::{Door, Letter};
use crate::scratch::Scratch;
use crate::sim::{Clock as _, Moment, SimTransport, Upstream};

/// Where the stories begin.
pub(super) const START: Moment = Moment::from_unix(1_790_000_000);
/// Lines of the diary that are kept for a failure.
const DIARY_LIMIT: usize = 300_000;
/// Ids of a burst gather for less than this.
const MOMENT: Duration = Duration::from_millis(100);
/// Turns without a pause after which the heart is taken to spin.
const TURNS_LIMIT: usize = 20_000;
/// With more records than these a proof is checked now and then only, since that takes its time.
const FEW: usize = 150;
/// The longest pause after trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// See [`World::grain`]; without a lag.
const GRAIN: i64 = 3;

/// What happened, the last of it.
#[derive(Clone, Default)]
pub(super) struct Diary(Arc<Mutex<VecDeque<String>>>);

impl Diary {
    pub(super) fn note(&self, line: String) {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == DIARY_LIMIT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// What upstream does between two requests of the agent, and callbacks that arrive meanwhile.
#[derive(Default)]
pub(super) struct Meddling {
    /// So many of a thousand requests find that something changed just before.
    pub(super) changes: u32,
    /// So many of a thousand find callbacks delivered just before.
    pub(super) callbacks: u32,
    /// How long a request may travel, in milliseconds.
    pub(super) travel: u64,
    /// What happens before the next request that has this part in its address.
    pub(super) script: VecDeque<Scripted>,
}

/// See [`Meddling::script`].
pub(super) struct Scripted {
    pub(super) part: String,
    /// How long before it the request was sent.
    pub(super) later: Duration,
    pub(super) change: Deed,
}

/// Something that happens upstream.
pub(super) type Deed = Box<dyn FnOnce(&mut Upstream) + Send>;

pub(super) struct World {
    pub(super) upstream: Arc<Mutex<Upstream>>,
    pub(super) people: Arc<Mutex<People>>,
    pub(super) meddling: Arc<Mutex<Meddling>>,
    pub(super) time: Time,
    pub(super) config: Config,
    pub(super) diary: Diary,
    /// Callbacks on their way.
    pub(super) post: Vec<Letter>,
    /// Whether what is proved is to be held against the truth at every step.
    pub(super) is_honest: bool,
    /// How many seconds before the moment proved something may still be missing: upstream's second
    /// that is still running, what our idea of its clock may be off, and the lag of its lists.
    pub(super) grain: i64,
    /// Records that upstream denied at some time.
    pub(super) denied: BTreeSet<(String, u64)>,
    proved: BTreeMap<ModuleName, UpstreamTime>,
    transport: Arc<SimTransport>,
    door: Door,
    agent: Option<Agent>,
    _scratch: Scratch,
}

impl World {
    /// A world with this configuration (all but the store's place).
    pub(super) fn new(text: &str, upstream: Upstream, people: People, time: Time) -> World {
        let scratch = Scratch::in_memory("converge");
        let config = config(text, scratch.path());
        let upstream = Arc::new(Mutex::new(upstream));
        let transport = Arc::new(SimTransport::new(Arc::clone(&upstream)));
        let world = World {
            upstream,
            people: Arc::new(Mutex::new(people)),
            meddling: Arc::default(),
            time,
            config,
            diary: Diary::default(),
            post: Vec::new(),
            is_honest: true,
            grain: GRAIN,
            denied: BTreeSet::new(),
            proved: BTreeMap::new(),
            transport,
            door: Door::default(),
            agent: None,
            _scratch: scratch,
        };
        world.meddle();
        world
    }

    pub(super) fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.upstream.lock().unwrap()
    }

    pub(super) fn agent(&mut self) -> &mut Agent {
        if self.agent.is_none() {
            let device = &self.time.device;
            self.agent = Some(Agent::start(&self.config, &self.transport, device, &self.door));
        }
        self.agent.as_mut().expect("it was just started")
    }

    /// Ends the agent; the next turn starts it again.
    pub(super) fn stop(&mut self) {
        self.agent = None;
    }

    /// Somebody upstream does something.
    pub(super) fn act(&mut self) {
        let line = self.people.lock().unwrap().act(&mut self.upstream());
        self.diary.note(line);
    }

    pub(super) fn collect_callbacks(&mut self) {
        let letters = Letter::take_all(&mut self.upstream());
        self.post.extend(letters);
    }

    /// Delivers this callback of the post; it stays there when it is to come again.
    pub(super) fn deliver(&mut self, at: usize, again: bool) -> Option<u16> {
        self.agent();
        let letter = if again { self.post[at].clone() } else { self.post.remove(at) };
        let status = letter.deliver(&self.door, &mut self.upstream());
        self.diary.note(format!("deliver {letter}: {status:?}"));
        status
    }

    /// It never arrives.
    pub(super) fn lose(&mut self, at: usize) {
        let letter = self.post.remove(at);
        self.diary.note(format!("lose {letter}"));
        letter.lose(&mut self.upstream());
    }

    /// Somebody else sends what could be this one. It is refused, and nothing of it is kept.
    pub(super) fn forge(&mut self, at: usize, dice: &mut fastrand::Rng) {
        let Some(forged) = self.post[at].forged(dice) else { return };
        let waited = self.agent().store.waiting();
        // Upstream knows nothing of it.
        let status = forged.hand_in(&self.door);
        self.diary.note(format!("forge {forged}: {status:?}"));
        let waits = self.agent().store.waiting();
        if (status, waits) != (Some(403), waited) {
            self.fail_on(&format!("{status:?} to what is forged"), &[forged.to_string()]);
        }
    }

    /// Turns once, and holds what is proved against the truth when it has grown.
    pub(super) fn turn(&mut self) -> Turn {
        let turn = self.agent().turn();
        if self.is_honest {
            self.check_proofs();
        }
        turn
    }

    /// Turns until the heart waits; at most so often.
    pub(super) fn turns(&mut self, most: usize) -> Turn {
        let mut turn = Turn::Acted;
        for _ in 0..most {
            turn = self.turn();
            if turn != Turn::Acted {
                break;
            }
        }
        turn
    }

    /// Turns until the heart waits for longer than the moment in which ids of a burst gather.
    pub(super) fn settle(&mut self) {
        while let Turn::WaitUntil(tick) = self.turns(TURNS_LIMIT) {
            let wait = tick.since(crmirror::clock::Clock::tick(&*self.time.device));
            if wait > MOMENT {
                return;
            }
            self.time.pass(wait);
        }
        self.fail_on("the heart acts without end", &[String::new()]);
    }

    /// Lives on for so long: the heart turns, and time passes whenever it waits.
    pub(super) fn live(&mut self, span: Duration) {
        let end = self.time.upstream.now().after(span);
        loop {
            let Turn::WaitUntil(tick) = self.turns(TURNS_LIMIT) else {
                return self.fail_on("the heart acts without end", &[String::new()]);
            };
            let left = end.since(self.time.upstream.now());
            if left.is_zero() {
                return;
            }
            let wait = tick.since(crmirror::clock::Clock::tick(&*self.time.device));
            if wait > left {
                self.time.pass(left);
                return;
            }
            self.time.pass_until(tick);
        }
    }

    /// Upstream is well again and nobody does anything any more.
    pub(super) fn calm(&mut self) {
        *self.meddling.lock().unwrap() = Meddling::default();
        self.calm_faults();
    }

    /// Upstream is well again.
    pub(super) fn calm_faults(&mut self) {
        self.diary.note("calm".to_owned());
        let mut upstream = self.upstream();
        upstream.faults.calm();
        upstream.accounts.deny_next(0);
    }

    /// What differs between the mirror and upstream, and what is not in order besides: nothing, in
    /// the end. `behind` is how far the proof may be behind upstream's clock.
    pub(super) fn differences(&mut self, behind: Option<Duration>) -> Vec<String> {
        let mut found = Vec::new();
        let modules = mirrored(&self.config);
        let denied = self.denied.clone();
        let store = self.agent().store.clone();
        // Where nobody looks again, what is set aside stays as it was.
        let set_aside: BTreeSet<(ModuleName, u64)> = match behind {
            Some(_) => BTreeSet::new(),
            None => {
                let quarantined = store.quarantined().unwrap().into_iter();
                quarantined.map(|record| (record.module, record.id.number())).collect()
            }
        };
        let sweep_every = self.config.catch_up.sweep_every;
        for (module, whole) in &modules {
            let name = module.as_str();
            // Where a list of Books cannot tell what changed lately, it is read whole, more seldom.
            let behind = behind.map(|behind| match Entity::of_plural(name) {
                Some(_) => behind + sweep_every + LONGEST_PAUSE,
                None => behind,
            });
            let (truth, now) = {
                let upstream = self.upstream();
                (upstream.truth(name, *whole), upstream.now().unix())
            };
            let live = store.live_above(module, None, usize::MAX).unwrap();
            let ledger = store.ledger(module).unwrap();
            if ledger.records != live.len() as u64 {
                let (counted, live) = (ledger.records, live.len());
                found.push(format!("{name}: the ledger counts {counted} records of {live}"));
            }
            let proved = ledger.complete_through.map_or(0, UpstreamTime::unix);
            if behind.is_some_and(|behind| proved < now - behind.as_secs() as i64) {
                found.push(format!("{name}: proved through {proved} only, of {now}"));
            }
            if proved > now + GRAIN {
                found.push(format!("{name}: proved through {proved}, but it is {now}"));
            }
            let mirror: BTreeMap<u64, &str> =
                live.iter().map(|record| (record.id().number(), record.json())).collect();
            let excused = |id: &u64| set_aside.contains(&(module.clone(), *id));
            for (id, json) in truth.iter().filter(|(id, _)| !excused(id)) {
                match mirror.get(id) {
                    None => {
                        let entry = store.entry(module, RecordId::new(*id)).unwrap();
                        found.push(format!("{name} {id} is missing: {entry:?}"));
                    }
                    Some(held) if held != json => {
                        found.push(format!("{name} {id} is held as {held}, but is {json}"));
                    }
                    Some(_) => {}
                }
            }
            found.extend(
                mirror
                    .keys()
                    .filter(|id| !truth.contains_key(id) && !excused(id))
                    .map(|id| format!("{name} {id} is held, but is not there")),
            );
        }
        let waiting = store.inbox().unwrap();
        if !waiting.is_empty() || store.waiting() != 0 {
            found.push(format!("{} wait: {:?}", store.waiting(), waiting.first()));
        }
        for record in store.quarantined().unwrap() {
            if !denied.contains(&(record.module.as_str().to_owned(), record.id.number())) {
                found.push(format!("{record:?} was never denied"));
            }
        }
        found
    }

    /// What the mirror has of an id, in a word.
    pub(super) fn word(&mut self, module: &str, id: u64) -> &'static str {
        let truth = self.upstream().truth(module, false);
        let name = ModuleName::parse(module).unwrap();
        let stored = self.agent().store.entry(&name, RecordId::new(id)).unwrap();
        match stored.map(|stored| stored.entry) {
            None => "nothing",
            Some(Entry::Tombstone { .. }) => "tombstone",
            Some(Entry::Live(record)) => match truth.get(&id) {
                Some(json) if json == record.json() => "live",
                Some(_) => "stale",
                None => "undead",
            },
        }
    }

    pub(super) fn hear(&mut self, input: Input) {
        self.agent().heart.hear(input);
    }

    /// Every module whose proof has grown is held against the truth: what upstream stamped, or
    /// listed as deleted, up to there must be in the mirror now.
    fn check_proofs(&mut self) {
        let report = self.agent().board.report();
        for (name, ledger) in &report.modules {
            let Some(through) = ledger.complete_through else { continue };
            if self.proved.insert(name.clone(), through) != Some(through) {
                self.check_proof(name, through);
            }
        }
    }

    fn check_proof(&mut self, name: &ModuleName, through: UpstreamTime) {
        let store = self.agent().store.clone();
        let whole = mirrored(&self.config).contains(&(name.clone(), true));
        // Of deletions only a look at all of Books' list tells.
        let deleted_through = match Entity::of_plural(name.as_str()) {
            Some(_) => store.ledger(name).unwrap().last_sweep.unwrap_or(UpstreamTime::EPOCH),
            None => through,
        };
        let count = self.upstream().ids(name.as_str()).len();
        if count > FEW && self.people.lock().unwrap().dice.u8(0..16) > 0 {
            return;
        }
        let truth = self.upstream().truth(name.as_str(), whole);
        let set_aside: BTreeSet<u64> =
            store.quarantined().unwrap().iter().map(|record| record.id.number()).collect();
        let people = self.people.lock().unwrap();
        let known = |id: u64| {
            let key = (name.as_str().to_owned(), id);
            !people.silent.contains(&key) && !set_aside.contains(&id)
        };
        let mut found = Vec::new();
        for (id, json) in truth.iter().filter(|(id, _)| known(**id)) {
            let modified = modified(name, json);
            if modified.is_none_or(|modified| modified.unix() > through.unix() - self.grain) {
                continue;
            }
            let stored = store.entry(name, RecordId::new(*id)).unwrap();
            match stored.map(|stored| stored.entry) {
                Some(Entry::Live(held)) if held.json() == json => {}
                held => found.push(format!("{name} {id} is {json}, but held as {held:?}")),
            }
        }
        for ((module, id), at) in &people.deleted {
            let gone = *at <= deleted_through.unix() - self.grain;
            let gone = gone && module == name.as_str() && known(*id);
            if !gone || truth.contains_key(id) {
                continue;
            }
            let stored = store.entry(name, RecordId::new(*id)).unwrap();
            if stored.is_some_and(|stored| matches!(stored.entry, Entry::Live(_))) {
                found.push(format!("{name} {id} was deleted at {at}, but is held"));
            }
        }
        drop(people);
        let proof = format!("the proof of {name} through {through} does not hold");
        self.fail_on(&proof, &found);
    }

    /// Panics with the diary when there is something.
    pub(super) fn fail_on(&self, what: &str, found: &[String]) {
        if found.is_empty() {
            return;
        }
        let lines: Vec<String> = self.diary.0.lock().unwrap().iter().cloned().collect();
        let first: Vec<&String> = found.iter().take(5).collect();
        panic!("{}\n{what}, {} times:\n{first:#?}", lines.join("\n"), found.len());
    }

    /// Lets things happen while requests travel.
    fn meddle(&self) {
        let (people, meddling) = (Arc::clone(&self.people), Arc::clone(&self.meddling));
        let (door, time, diary) = (Arc::clone(&self.door), self.time.clone(), self.diary.clone());
        self.transport.before_each(move |upstream, asked| {
            let (mut meddling, mut people) = (meddling.lock().unwrap(), people.lock().unwrap());
            let query: Vec<String> =
                asked.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut line = format!("  {} {}?{}", asked.method, asked.path, query.join("&"));
            if meddling.script.front().is_some_and(|next| line.contains(&next.part)) {
                let next = meddling.script.pop_front().expect("it is there");
                diary.note("  meanwhile".to_owned());
                time.pass(next.later);
                (next.change)(upstream);
            }
            time.pass(Duration::from_millis(people.dice.u64(0..=meddling.travel)));
            if people.dice.u32(0..1_000) < meddling.changes {
                let line = people.act(upstream);
                diary.note(format!("  meanwhile {line}"));
            }
            if people.dice.u32(0..1_000) < meddling.callbacks {
                for letter in Letter::take_all(upstream) {
                    let status = letter.deliver(&door, upstream);
                    diary.note(format!("  meanwhile delivered {letter}: {status:?}"));
                }
            }
            line.truncate(line.char_indices().nth(130).map_or(line.len(), |(at, _)| at));
            let at = time.upstream.now().millis() - START.millis();
            diary.note(format!("{line} at {at} ms"));
        });
    }
}

/// All modules, those of Books among them, and whether their records are read whole.
fn mirrored(config: &Config) -> Vec<(ModuleName, bool)> {
    let of_crm = config.modules.iter().map(|module| (module.name.clone(), module.whole_records));
    let of_books = config.books.iter().flat_map(|books| &books.entities);
    of_crm.chain(of_books.map(|entity| (entity.module(), true))).collect()
}

fn modified(module: &ModuleName, json: &str) -> Option<UpstreamTime> {
    let record = match Entity::of_plural(module.as_str()) {
        Some(entity) => Record::parse_by(json, entity.id_key(), "last_modified_time"),
        None => Record::parse(json),
    };
    record.unwrap().modified()
}
