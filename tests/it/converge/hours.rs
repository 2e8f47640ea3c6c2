//! Ten hours without a network, for one agent with everything: modules of CRM, entities of Books
//! with webhooks, and functions that are called. Afterwards it is as if nothing had been.
//!
//! Bugs that were planted, one at a time, and caught within twenty seeds: what a scan has healed
//! asked for again; a deletion taken for healed by a scan that cannot see it; an execution that is
//! not remembered when it is asked for; another's webhook taken for ours; one page of executions
//! believed to be all; calls of Books without a pace; missed callbacks counted where nobody could
//! know that the channel was open; callbacks of Books turned away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crmirror::mirror::outbox::CallId;
use crmirror::mirror::record::ModuleName;
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::outbox::Accepted;
use serde_json::json;

use super::books;
use super::device::Time;
use super::people::{Desk, Kind, People};
use super::post::{Letter, ORIGIN};
use super::world::{START, World};
use crate::outbox::leave;
use crate::scratch::{Seed, seeds};
use crate::sim::{Aim, Call, Clock as _, Fault, History, Run, Upstream};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Five minutes each.
const STEPS: usize = 120;
/// In so many of them, the last, nothing happens: a callback is missed once it is late.
const QUIET_STEPS: usize = 2;

const OF_CRM: [&str; 2] = ["Deals", "Leads"];
/// The first two have a webhook. The list of invoices is always read whole, since it cannot be
/// sorted; that of bills is filtered, and tells nothing of deletions.
const OF_BOOKS: [&str; 3] = ["bills", "invoices", "contacts"];
/// By key and by token.
const FUNCTIONS: [(&str, &str); 2] = [("one", "apikey"), ("two", "oauth")];
/// In any minute Books hears of the agent no more than this: 80 in the long run, ten at once after
/// a rest, and the further pages of a look at the histories.
const CALLS_A_MINUTE: usize = 80 + 10 + 4;

/// The records of a module that upstream shows, by their ids.
type Shown = BTreeMap<u64, String>;

struct Hours {
    world: World,
    dice: fastrand::Rng,
    /// What was left for each function, in order.
    left: BTreeMap<&'static str, Vec<CallId>>,
    /// What upstream had when the network went.
    before: BTreeMap<&'static str, Shown>,
    crashed: bool,
}

#[test]
fn ten_hours_without_a_network() {
    for seed in seeds(20) {
        let _seed = Seed(seed);
        let mut hours = Hours::begin(seed);
        hours.lose_the_network();
        // Where its list cannot be read, Books is asked to send again what it could not deliver.
        let denied: BTreeSet<&str> = OF_BOOKS.into_iter().filter(|_| hours.dice.bool()).collect();
        hours.find_the_network(&denied);
        hours.check_calls();
        hours.check_histories(&denied);
        hours.check_missed();
        hours.check_pace();
        hours.check_mirror();
    }
}

impl Hours {
    /// An agent that has everything.
    fn begin(seed: u64) -> Hours {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x10_0000);
        let time = Time::starting(START);
        time.boot(Duration::from_secs(dice.u64(0..10_000_000)));
        let mut upstream = Upstream::new(time.upstream.clone());
        let fields = || vec!["Field_000".to_owned(), "Field_001".to_owned()];
        let mut desks: Vec<Desk> = Vec::new();
        for module in OF_CRM {
            upstream.model.add(module).with_fields(&["Field_000", "Field_001"]);
            desks.push(Desk { module: module.to_owned(), fields: fields() });
        }
        let of_books = books::desks(&mut upstream, &OF_BOOKS);
        let announced = |module: &str| OF_BOOKS[..2].contains(&module);
        let text = text() + &books::section(&of_books, announced);
        desks.extend(of_books);
        let kinds = vec![Kind::Create, Kind::Edit, Kind::Edit, Kind::Delete, Kind::MassUpdate];
        let mut people = People::new(seed, desks, kinds, 8);
        for module in OF_CRM.into_iter().chain(OF_BOOKS) {
            people.settle_in(&mut upstream, module, dice.usize(10..60));
        }
        for (name, _) in FUNCTIONS {
            upstream.functions.add(name);
        }
        books::add_foreign_webhooks(&mut upstream, 1);
        let world = World::new(&text, upstream, people, time);
        let (left, before) = (BTreeMap::new(), BTreeMap::new());
        let mut hours = Hours { world, dice, left, before, crashed: false };
        hours.live(HOUR);
        for _ in 0..10 {
            hours.something_happens();
            hours.live(MINUTE);
        }
        hours.live(10 * MINUTE);
        hours
    }

    /// Time passes, and what upstream sends arrives.
    fn live(&mut self, span: Duration) {
        let end = self.world.time.upstream.now().after(span);
        while self.world.time.upstream.now() < end {
            self.world.collect_callbacks();
            while !self.world.post.is_empty() {
                self.world.deliver(0, false);
            }
            let left = end.since(self.world.time.upstream.now());
            self.world.live(left.min(MINUTE / 2));
        }
    }

    fn something_happens(&mut self) {
        self.world.act();
        let (function, _) = FUNCTIONS[self.dice.usize(0..FUNCTIONS.len())];
        let content = json!(self.dice.u32(..)).to_string();
        let since = UpstreamTime::from_unix(self.world.time.upstream.now().unix());
        let store = &self.world.agent().store;
        let Accepted::New(id, _) = leave(store, function, &content, None, Some(since)) else {
            panic!("there is room")
        };
        self.left.entry(function).or_default().push(id);
    }

    /// Ten hours, with a crash in most of them.
    fn lose_the_network(&mut self) {
        for module in OF_CRM.into_iter().chain(OF_BOOKS) {
            let shown = self.world.upstream().truth(module, books::has(module));
            self.before.insert(module, shown);
        }
        self.world.upstream().forget_calls();
        self.world.upstream().faults.offline(true);
        let crash = (self.dice.u8(0..4) > 0).then(|| self.dice.usize(0..STEPS));
        let mut lost: VecDeque<Letter> = VecDeque::new();
        for step in 0..STEPS {
            if Some(step) == crash {
                self.crash();
            }
            for _ in 0..if step < STEPS - QUIET_STEPS { self.dice.usize(0..4) } else { 0 } {
                self.something_happens();
            }
            // Upstream tries some of them again.
            self.world.collect_callbacks();
            lost.extend(self.world.post.drain(..));
            for _ in 0..lost.len() {
                let letter = lost.pop_front().expect("it is there");
                letter.clone().lose(&mut self.world.upstream());
                if self.dice.u8(0..3) == 0 {
                    lost.push_back(letter);
                }
            }
            self.world.live(5 * MINUTE);
        }
        let (tried, _) = self.world.upstream().call_count();
        assert!((100..1_500).contains(&tried), "a try now and then: {tried}");
    }

    /// What is on the disk is all that is left, and sometimes not even the clock goes on.
    fn crash(&mut self) {
        self.world.diary.note("crash".to_owned());
        self.crashed = true;
        self.world.stop();
        if self.dice.bool() {
            self.world.time.boot(Duration::from_secs(self.dice.u64(0..100)));
            self.world.time.set_wall(0);
        }
    }

    /// The network is back, but these lists of Books are denied for an hour.
    fn find_the_network(&mut self, denied: &BTreeSet<&str>) {
        self.world.diary.note(format!("the network is back; {denied:?} are denied"));
        self.world.upstream().forget_calls();
        self.world.calm();
        for entity in denied {
            let aim = Aim::exactly(&format!("/books/v3/{entity}"));
            self.world.upstream().faults.script(u32::MAX, aim, Fault::Status(403));
        }
        self.live(HOUR);
        self.world.calm();
    }

    /// Every call has run, once, in the order in which it was left.
    fn check_calls(&mut self) {
        for (function, left) in &self.left {
            let ran: Vec<CallId> = {
                let upstream = self.world.upstream();
                let id = |run: &Run| run.id.parse().unwrap();
                upstream.functions.runs(function).iter().map(id).collect()
            };
            assert_eq!(&ran, left, "{function}");
        }
        let left: usize = self.left.values().map(Vec::len).sum();
        let agent = self.world.agent();
        let counts = agent.store.call_counts();
        assert_eq!((counts.waiting, counts.failed), (0, 0));
        assert_eq!(agent.board.hatch.faring().spent, left as u64, "each was counted");
    }

    /// What Books could not deliver was asked for again, once each, unless a scan has seen it.
    fn check_histories(&mut self, denied: &BTreeSet<&str>) {
        let is_whole = |call: &Call| call.param("last_modified_time").is_none();
        let calls = self.world.upstream().calls();
        let whole: BTreeSet<&str> = calls
            .iter()
            .filter(|call| call.outcome == Ok(200) && is_whole(call))
            .filter_map(|call| call.path.strip_prefix("/books/v3/"))
            .collect();
        let mut wrong = Vec::new();
        let mut resent = 0;
        {
            let upstream = self.world.upstream();
            for (id, history) in upstream.webhooks.histories() {
                let expected = u32::from(self.is_to_be_resent(&upstream, history, denied, &whole));
                resent += u64::from(expected);
                if history.resent != expected {
                    wrong.push(format!("{id}, {expected} times expected: {history:?}"));
                }
            }
        }
        self.world.fail_on("executions are asked for in another number", &wrong);
        let report = self.world.agent().board.report();
        let report = report.webhooks.as_ref().expect("webhooks are declared");
        let [asked, healed, refused] = report.histories;
        assert_eq!((asked, refused), (resent, 0), "{healed} healed");
    }

    /// Whether an execution failed during the outage and nothing but itself tells of it.
    fn is_to_be_resent(
        &self,
        upstream: &Upstream,
        history: &History,
        denied: &BTreeSet<&str>,
        whole: &BTreeSet<&str>,
    ) -> bool {
        let Some(webhook) = upstream.webhooks.all().get(&history.webhook) else { return false };
        let module = format!("{}s", webhook.text("entity"));
        let was_missed = history.answers.first() == Some(&None);
        let is_ours = webhook.text("webhook_name").starts_with("kiosk-");
        if !is_ours || !was_missed {
            return false;
        }
        // Only a list that is read whole shows what is gone.
        let was_there = self.before[module.as_str()].contains_key(&history.record);
        let is_gone = was_there && !upstream.ids(&module).contains(&history.record);
        denied.contains(module.as_str()) || (is_gone && !whole.contains(module.as_str()))
    }

    /// The ledger counts each change that a callback should have told of, as long as the agent
    /// knew that its channel was open: after a crash it does not.
    fn check_missed(&mut self) {
        for module in OF_CRM {
            let after = self.world.upstream().truth(module, false);
            let before = &self.before[module];
            let gone = before.keys().filter(|id| !after.contains_key(*id)).count();
            let differs = after.iter().filter(|(id, json)| before.get(*id) != Some(*json)).count();
            let expected = if self.crashed { 0 } else { gone + differs };
            let store = &self.world.agent().store;
            let ledger = store.ledger(&ModuleName::parse(module).unwrap()).unwrap();
            assert_eq!(ledger.missed, expected as u64, "{module}");
        }
    }

    /// Of what was called since the network was back.
    fn check_pace(&mut self) {
        let calls = self.world.upstream().calls();
        assert!(calls.iter().all(|call| call.outcome != Ok(429)));
        let most = books::most_calls_in(MINUTE, &calls);
        assert!(most <= CALLS_A_MINUTE, "{most} calls of Books within a minute");
        let (_, credits) = self.world.upstream().call_count();
        assert!(credits < 400, "{credits} credits of CRM");
    }

    /// The mirror is what upstream is: at once where deletions are told of, else after a sweep.
    fn check_mirror(&mut self) {
        self.live(2 * HOUR);
        let found = self.gone_and_held(&["Deals", "Leads", "bills", "invoices"]);
        self.world.fail_on("what is gone is held", &found);
        self.live(25 * HOUR);
        let found = self.world.differences(Some(20 * MINUTE));
        self.world.fail_on("the mirror differs from upstream", &found);
        let found = self.gone_and_held(&OF_BOOKS);
        self.world.fail_on("what is gone is held", &found);
    }

    /// Records that were there before and have no tombstone now, though they are gone.
    fn gone_and_held(&mut self, modules: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for module in modules {
            let shown = self.world.upstream().ids(module);
            let before: Vec<u64> = self.before[module].keys().copied().collect();
            for id in before.into_iter().filter(|id| !shown.contains(id)) {
                let word = self.world.word(module, id);
                if word != "tombstone" {
                    found.push(format!("{module} {id}: {word}"));
                }
            }
        }
        found
    }
}

fn text() -> String {
    let mut text = format!(
        "[upstream]\ndata_centre = \"us\"\n[channel]\nnotify_url = \"{ORIGIN}/callback/4f1c9a\"\n\
         [catch_up]\ncredits_per_day = 10000\n"
    );
    for module in OF_CRM {
        text += &format!("[[module]]\nname = \"{module}\"\n");
    }
    for (name, auth) in FUNCTIONS {
        text += &format!("[[function]]\nname = \"{name}\"\nauth = \"{auth}\"\n");
    }
    text
}
