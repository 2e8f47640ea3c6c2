//! The planner as a conversation: what is handed in, what is asked for.

use super::wake::SHORTEST_WAIT;
use super::*;
use crate::mirror::channel::Shown;
use crate::mirror::credits::Spending;
use crate::mirror::inbox::{Arrival, Reason};
use crate::mirror::record::RecordId;
use crate::mirror::trouble::Scope;

mod books;
mod documents;
// Those of Books.
mod platform;
mod webhooks;

const HOUR: Duration = Duration::from_secs(3_600);

/// A planner with a virtual clock, which answers every action as an upstream would in which
/// nothing ever happens, unless told otherwise.
struct Talk {
    planner: Planner,
    credits: Credits,
    now: Tick,
}

fn name(module: &str) -> ModuleName {
    ModuleName::parse(module).unwrap()
}

fn upstream(now: Tick) -> UpstreamTime {
    UpstreamTime::from_unix(1_800_000_000).after(now.since_origin())
}

fn unreachable() -> Outcome {
    Outcome::Trouble(Trouble::Unreachable { why: "no route".into() })
}

fn refused() -> Outcome {
    Outcome::Trouble(Trouble::TokenRefused { why: "old".into() })
}

fn denied(scope: Scope) -> Outcome {
    Outcome::Trouble(Trouble::Denied { scope, why: "no".into() })
}

impl Talk {
    fn new(channel: bool, modules: &[&str]) -> Talk {
        let settings = Settings { catch_up_every: HOUR, sweep_every: 24 * HOUR, seed: 1 };
        let proved = Some(upstream(Tick::ORIGIN));
        let ledger = Ledger { complete_through: proved, last_sweep: proved, ..Ledger::default() };
        let modules = modules.iter().map(|module| ModuleStart {
            name: name(module),
            ledger: ledger.clone(),
            fields_known: true,
            whole_records: false,
            refresh_every: None,
        });
        let start = Start {
            token: None,
            channel: channel.then(|| ChannelPlan::new(None, HOUR)),
            books: None,
            modules: modules.collect(),
            documents: Vec::new(),
        };
        let credits = Credits::new(1_000_000, Spending::default());
        Talk { planner: Planner::new(settings, start, Tick::ORIGIN), credits, now: Tick::ORIGIN }
    }

    fn of_module(&mut self, change: impl Fn(&mut ModulePlan)) {
        self.planner.modules.values_mut().for_each(change);
    }

    fn arrive(&mut self, module: &str, ids: std::ops::Range<u64>) {
        let items = ids.map(|sequence| InboxItem {
            sequence,
            arrival: Arrival::new(name(module), RecordId::new(sequence + 1), Reason::Touched),
        });
        self.planner.hear(Input::Arrived(items.collect()), self.now);
    }

    fn next(&mut self) -> Next {
        self.planner.next(Input::Nothing, self.now, Some(upstream(self.now)), &self.credits, None)
    }

    fn action(&mut self) -> Action {
        match self.next() {
            Next::Do(action) => action,
            Next::WaitUntil(tick) => panic!("nothing to do before {tick:?}"),
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        self.planner.hear(Input::Done(outcome), self.now);
    }

    /// Answers as an upstream that has nothing new.
    fn answer_quietly(&mut self, action: &Action) {
        let expires = upstream(self.now).after(24 * HOUR);
        self.answer(match action {
            Action::RefreshToken => Outcome::Token(48 * HOUR),
            Action::Channel(ChannelAction::Show) => {
                Outcome::Channel(ChannelOutcome::Shown(Shown::Matches(expires), 24 * HOUR))
            }
            Action::Channel(_) => {
                Outcome::Channel(ChannelOutcome::Granted { expires, life: 24 * HOUR })
            }
            Action::BooksWebhooks(action) => Outcome::BooksWebhooks(webhooks::quiet(action)),
            Action::ReadFields(_) => Outcome::Fields(upstream(self.now)),
            Action::ReadDocument(_) => Outcome::Document(upstream(self.now)),
            Action::Fetch(_) => Outcome::Fetched,
            Action::ReadPage(_, scan) => {
                Outcome::Page(Scan { next: Position::Settling, ..scan.clone() }, Vec::new())
            }
            Action::Finish(..) => Outcome::Finished,
            Action::Count(_) => Outcome::Counted { time: upstream(self.now), is_off: false },
            Action::SetAside(..) => Outcome::SetAside,
            Action::Books(_) => panic!("nothing of Books is mirrored"),
            Action::TakeEvent => Outcome::Event { consequence: Consequence::Nothing, more: false },
        });
    }

    /// Does everything there is to do; returns the words of what was done.
    fn run(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        while let Next::Do(action) = self.next() {
            done.push(word(&action));
            assert!(done.len() < 200, "it never rests: {done:?}");
            self.answer_quietly(&action);
        }
        done
    }

    /// Waits for as long as the planner says, once.
    fn wait(&mut self) -> Duration {
        let Next::WaitUntil(tick) = self.next() else { panic!("there is something to do") };
        let waited = tick.since(self.now);
        self.now = tick;
        waited
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::RefreshToken => "token".into(),
        Action::Channel(action) => format!("{action:?}").to_lowercase(),
        Action::BooksWebhooks(action) => webhooks::word(action),
        Action::ReadFields(module) => format!("fields {module}"),
        Action::Fetch(fetch) => format!("fetch {} {}", fetch.module, fetch.batch.ids().len()),
        Action::ReadPage(module, _) => format!("page {module}"),
        Action::Finish(module, _) => format!("finish {module}"),
        Action::Count(module) => format!("count {module}"),
        Action::ReadDocument(name) => format!("document {name}"),
        Action::Books(action) => format!("books {}", action.entity()),
        Action::SetAside(fetch, _) => format!("set aside {}", fetch.batch.ids().len()),
        Action::TakeEvent => "event".into(),
    }
}

#[test]
fn a_start_asks_for_a_token_looks_at_the_channel_and_catches_up() {
    let mut talk = Talk::new(true, &["Deals", "Leads"]);
    let expected = ["token", "show", "page Deals", "finish Deals", "page Leads", "finish Leads"];
    let done = talk.run();
    assert_eq!(done[..6], expected);
    assert_eq!(done[6..], ["count Deals"], "leads cannot be counted");
    assert_eq!(talk.wait(), HOUR);
}

#[test]
fn callbacks_go_before_the_next_page() {
    let mut talk = Talk::new(false, &["Leads"]);
    let token = talk.action();
    talk.answer_quietly(&token);
    let Action::ReadPage(_, scan) = talk.action() else { panic!("a page") };
    talk.arrive("Leads", 0..120);
    let next = Scan { next: Position::Page(2), ..scan };
    talk.answer(Outcome::Page(next, Vec::new()));
    assert_eq!(talk.run(), ["fetch Leads 50", "fetch Leads 50"]);
    assert!(talk.wait() <= GATHERING, "the others gather");
    assert_eq!(talk.run()[..2], ["fetch Leads 20", "page Leads"]);
}

#[test]
fn an_id_left_in_doubt_is_settled_before_the_scan_goes_on() {
    let mut talk = Talk::new(false, &["Leads"]);
    let token = talk.action();
    talk.answer_quietly(&token);
    let Action::ReadPage(module, scan) = talk.action() else { panic!("a page") };
    let arrival = Arrival::new(module, RecordId::new(7), Reason::Scanned);
    let next = Scan { next: Position::Settling, ..scan };
    talk.answer(Outcome::Page(next, vec![InboxItem { sequence: 1, arrival }]));
    assert_eq!(talk.run(), ["fetch Leads 1", "finish Leads"]);
}

#[test]
fn a_token_refused_is_asked_for_once_and_then_with_pauses() {
    let mut talk = Talk::new(false, &["Leads"]);
    let token = talk.action();
    talk.answer_quietly(&token);
    assert_eq!(word(&talk.action()), "page Leads");
    talk.answer(refused());
    assert!(talk.wait() >= Duration::from_secs(1), "this token was never accepted");
    let token = talk.action();
    talk.answer_quietly(&token);
    let page = talk.action();
    talk.answer_quietly(&page);
    talk.run();
    talk.arrive("Leads", 0..1);
    assert_eq!(word(&talk.action()), "fetch Leads 1");
    talk.answer(refused());
    assert_eq!(talk.run(), ["token", "fetch Leads 1"], "an old one is replaced at once");
}

#[test]
fn a_token_that_somebody_else_wants_is_asked_for_though_all_is_quiet() {
    let mut talk = Talk::new(false, &["Leads"]);
    talk.run();
    assert!(talk.run().is_empty());
    talk.planner.hear(Input::TokenWanted { edition: 1 }, talk.now);
    assert_eq!(talk.action(), Action::RefreshToken);
    talk.answer(refused());
    assert!(talk.wait() >= Duration::from_secs(10), "with the pauses of our own");
    assert_eq!(talk.run(), ["token"]);
    assert!(talk.run().is_empty(), "once");
}

#[test]
fn a_short_lived_token_is_used() {
    let mut talk = Talk::new(false, &["Leads"]);
    assert_eq!(word(&talk.action()), "token");
    talk.answer(Outcome::Token(Duration::from_secs(4)));
    assert_eq!(word(&talk.action()), "page Leads");
}

#[test]
fn offline_it_tries_ever_more_rarely_and_forgets_nothing() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.arrive("Leads", 0..3);
    let mut tries = 0;
    while talk.now.since_origin() < 24 * HOUR {
        match talk.next() {
            Next::Do(_) => {
                tries += 1;
                talk.answer(unreachable());
            }
            Next::WaitUntil(tick) => talk.now = tick,
        }
    }
    assert!((720..1_000).contains(&tries), "{tries} tries in a day");
    assert_eq!(*talk.planner.upstream(), Upstream::Offline);
    let done = talk.run_after_wait();
    assert!(done.contains(&"fetch Leads 3".into()) && done.contains(&"finish Leads".into()));
    assert_eq!(*talk.planner.upstream(), Upstream::Online);
}

impl Talk {
    fn run_after_wait(&mut self) -> Vec<String> {
        if let Next::WaitUntil(tick) = self.next() {
            self.now = tick;
        }
        self.run()
    }
}

#[test]
fn what_upstream_denies_again_and_again_is_set_aside() {
    let mut talk = Talk::new(false, &["Leads"]);
    talk.run();
    talk.arrive("Leads", 0..1);
    let mut denials = 0;
    loop {
        match talk.next() {
            Next::Do(Action::Fetch(_)) => {
                denials += 1;
                talk.answer(denied(Scope::Request));
            }
            Next::Do(action @ Action::SetAside(..)) => {
                talk.answer_quietly(&action);
                break;
            }
            Next::Do(action) => talk.answer_quietly(&action),
            Next::WaitUntil(tick) => talk.now = tick,
        }
    }
    assert_eq!(denials, 3);
    assert!(talk.planner.waiting().is_empty());
}

#[test]
fn a_module_that_is_denied_does_not_hold_up_the_others() {
    let mut talk = Talk::new(false, &["Deals", "Leads"]);
    let token = talk.action();
    talk.answer_quietly(&token);
    assert_eq!(word(&talk.action()), "page Deals");
    talk.answer(denied(Scope::Module));
    assert_eq!(talk.run(), ["page Leads", "finish Leads"]);
    assert_eq!(talk.planner.trouble().as_deref(), Some("Deals: no"));
    assert!(talk.run_after_wait().contains(&"finish Deals".into()));
    assert_eq!(talk.planner.trouble(), None);
}

#[test]
fn a_day_of_quiet_is_quiet() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.run();
    let mut calls = 0;
    while talk.now.since_origin() < 24 * HOUR {
        let done = talk.run_after_wait();
        calls += done.iter().filter(|word| !word.starts_with("finish")).count();
        assert!(done.len() < 20);
    }
    assert!(calls < 100, "{calls} calls");
}

#[test]
fn who_asks_for_a_sweep_gets_the_whole_listed() {
    let mut talk = Talk::new(false, &["Deals", "Leads"]);
    talk.run();
    let asked = Input::SyncAsked { module: Some(name("Leads")), kind: ScanKind::Sweep };
    talk.planner.hear(asked, talk.now);
    let Action::ReadPage(module, scan) = talk.action() else { panic!("a page") };
    assert_eq!((module, scan.next), (name("Leads"), Position::START));
}

#[test]
fn a_reader_gets_a_newer_proof_but_ends_no_pause() {
    let mut talk = Talk::new(false, &["Deals", "Leads"]);
    talk.run();
    let asked = || Input::NewerProofAsked(name("Leads"));
    talk.planner.hear(asked(), talk.now);
    talk.planner.hear(asked(), talk.now);
    assert_eq!(talk.run(), ["page Leads", "finish Leads"], "once for both");
    talk.planner.hear(asked(), talk.now);
    talk.action();
    talk.answer(unreachable());
    talk.planner.hear(asked(), talk.now);
    assert!(matches!(talk.next(), Next::WaitUntil(_)), "upstream is left alone for a while");
    let person = Input::SyncAsked { module: None, kind: ScanKind::CatchUp };
    talk.planner.hear(person, talk.now);
    assert!(matches!(talk.next(), Next::Do(_)));
}

#[test]
fn a_gap_in_the_channel_makes_every_module_catch_up() {
    let mut talk = Talk::new(true, &["Leads"]);
    talk.run();
    talk.wait();
    assert_eq!(word(&talk.action()), "show");
    talk.answer(Outcome::Channel(ChannelOutcome::Shown(Shown::Absent, Duration::ZERO)));
    assert_eq!(talk.run(), ["open", "show", "page Leads", "finish Leads"]);
}

#[test]
fn without_credits_scans_wait_while_callbacks_are_fetched() {
    let mut talk = Talk::new(false, &["Leads"]);
    talk.credits = Credits::new(100, Spending::default());
    talk.credits.spend(85, Some(upstream(talk.now)));
    assert!(matches!(talk.next(), Next::WaitUntil(_)));
    assert_eq!(talk.planner.starved(), Some(Purpose::CatchUp));
    talk.arrive("Leads", 0..1);
    assert_eq!(talk.run(), ["token", "fetch Leads 1"]);
    talk.now = talk.now.after(25 * HOUR);
    assert_eq!(talk.run(), ["page Leads", "finish Leads"], "made up for a day later");
}

#[test]
fn the_first_of_a_burst_is_fetched_at_once_and_the_others_gather() {
    let mut talk = Talk::new(false, &["Leads"]);
    talk.run();
    let mut fetches = 0;
    for id in 0..200 {
        talk.arrive("Leads", id..id + 1);
        fetches += talk.run().len();
        assert!(id > 0 || fetches == 1, "the first is not kept waiting");
        talk.now = talk.now.after(Duration::from_millis(1));
    }
    while !talk.planner.waiting().is_empty() {
        fetches += talk.run().len();
        assert!(talk.planner.waiting().is_empty() || talk.wait() <= GATHERING);
    }
    assert!((4..12).contains(&fetches), "{fetches} fetches");
}

#[test]
fn a_count_that_is_off_brings_the_sweep_forward_but_not_at_once() {
    let mut talk = Talk::new(false, &["Deals"]);
    talk.run();
    let mut counts = 0;
    let swept = (1..20).find(|_| {
        talk.wait();
        let mut done = Vec::new();
        while let Next::Do(action) = talk.next() {
            done.push(word(&action));
            if let Action::Count(_) = action {
                counts += 1;
                talk.answer(Outcome::Counted { time: upstream(talk.now), is_off: true });
            } else {
                talk.answer_quietly(&action);
            }
        }
        let is_sweep = |word: &String| word.starts_with("page");
        let count = done.iter().position(|word| word.starts_with("count"));
        count.is_some_and(|count| done[count..].iter().any(is_sweep))
    });
    assert_eq!((swept, counts), (Some(6), 6), "after a quarter of a day");
}

#[test]
fn where_counting_is_denied_it_is_not_tried_again() {
    let mut talk = Talk::new(false, &["Deals"]);
    let mut counts = 0;
    for _ in 0..9 {
        while let Next::Do(action) = talk.next() {
            if let Action::Count(_) = action {
                counts += 1;
                let why = "OAUTH_SCOPE_MISMATCH".to_owned();
                talk.answer(Outcome::Trouble(Trouble::Denied { scope: Scope::Module, why }));
            } else {
                talk.answer_quietly(&action);
            }
        }
        talk.wait();
    }
    assert_eq!((counts, talk.planner.trouble()), (1, None));
}
