//! The local interface in the same process: what takes days, or a store that is slow, elsewhere.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crmirror::clock::Clock;
use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, FieldName, ModuleName, Record, RecordId};
use crmirror::mirror::time::{Tick, UpstreamTime};
use crmirror::server::asked::{Asked, Peer};
use crmirror::server::board::{Board, Report};
use crmirror::server::local::Local;
use crmirror::server::reply::Reply;
use crmirror::store::{Commit, Store, Write};
use serde_json::{Value, json};

use crate::scratch::Scratch;

/// When everything here happened.
const LONG_AGO: UpstreamTime = UpstreamTime::EPOCH;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A clock that goes on by so many milliseconds whenever it is looked at, or holds each thread that
/// looks at it, but for the one that wants it so, at its third look: before that come whoever
/// measures how long an answer takes, and whoever says how old it is.
#[derive(Default)]
struct Impatient {
    shown: AtomicU64,
    step: AtomicU64,
    holds: Mutex<Option<ThreadId>>,
    held: AtomicU64,
}

/// As long as it lives, the others are held. A test that fails lets them go, so that it ends.
struct Holding<'a>(&'a Impatient);

impl Impatient {
    fn hold_others(&self) -> Holding<'_> {
        *self.holds.lock().unwrap() = Some(thread::current().id());
        Holding(self)
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        *self.0.holds.lock().unwrap() = None;
    }
}

impl Clock for Impatient {
    fn tick(&self) -> Tick {
        thread_local!(static LOOKS: Cell<u32> = const { Cell::new(0) });
        let looks = LOOKS.replace(LOOKS.get() + 1);
        let holds = || self.holds.lock().unwrap().is_some_and(|who| who != thread::current().id());
        if looks > 1 && holds() {
            self.held.fetch_add(1, Ordering::SeqCst);
            while holds() {
                thread::sleep(Duration::from_millis(1));
            }
            self.held.fetch_sub(1, Ordering::SeqCst);
        }
        let step = self.step.load(Ordering::Relaxed);
        Tick::from_origin(Duration::from_millis(self.shown.fetch_add(step, Ordering::Relaxed)))
    }

    fn wall(&self) -> UpstreamTime {
        LONG_AGO
    }
}

/// A mirror of Leads, and who reads it.
struct Desk {
    local: Local,
    store: Store,
    board: Arc<Board>,
    clock: Arc<Impatient>,
    _scratch: Scratch,
}

fn leads() -> ModuleName {
    ModuleName::parse("Leads").unwrap()
}

impl Desk {
    fn new() -> Desk {
        let scratch = Scratch::in_memory("desk");
        let (store, _) = Store::open(scratch.path()).unwrap();
        // Nobody rings here.
        let (bell, _) = mpsc::sync_channel(1);
        let (board, clock) = (Arc::new(Board::default()), Arc::new(Impatient::default()));
        let local = Local::new(
            vec![leads()],
            Vec::new(),
            store.clone(),
            Arc::clone(&board),
            bell,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Desk { local, store, board, clock, _scratch: scratch }
    }

    fn write(&self, entries: impl Iterator<Item = (u64, Entry)>) {
        let writes = entries.map(|(id, entry)| Write {
            id: RecordId::new(id),
            entry,
            change: Some(ChangeKind::Upsert),
        });
        let commit = Commit { writes: writes.collect(), ..Commit::new(leads(), LONG_AGO) };
        self.store.commit(commit).unwrap();
    }

    fn publish(&self, upstream_time: Option<UpstreamTime>, ledger: Ledger) {
        let modules = [(leads(), ledger)].into();
        self.board.publish(Report { upstream_time, modules, ..Report::default() });
    }

    fn get(&self, rest: &str) -> Reply {
        let asked = Asked {
            method: "GET".to_owned(),
            target: format!("/crm/v2/Leads{rest}"),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        self.local.respond(&asked)
    }
}

fn live(id: u64) -> (u64, Entry) {
    let json = format!(r#"{{"Last_Name":"Lead {id}","id":"{id}"}}"#);
    (id, Entry::Live(Record::parse(&json).unwrap()))
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body()).unwrap_or_default()
}

fn ids(reply: &Reply) -> Vec<u64> {
    let value = body(reply);
    let rows = value["data"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers().iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

#[test]
fn whoever_looks_for_too_long_is_told_what_to_do() {
    let desk = Desk::new();
    desk.write((1..=1_300).map(live));
    for rest in [
        "/search?word=lead&sort_order=asc",
        "/search?email=nobody@b.example",
        "/actions/count?word=lead",
        "?sort_by=Created_Time",
        "/deleted",
    ] {
        // Three slices of records, each in four seconds; then in six.
        desk.clock.step.store(4_000, Ordering::Relaxed);
        assert!(matches!(desk.get(rest).status(), 200 | 204), "{rest}");
        desk.clock.step.store(6_000, Ordering::Relaxed);
        let reply = desk.get(rest);
        assert_eq!((reply.status(), &body(&reply)["code"]), (503, &json!("SCAN_TOO_LONG")));
        assert!(body(&reply)["message"].as_str().unwrap().contains("'index'"), "{rest}");
        assert_eq!(header(&reply, "Retry-After"), Some("60"));
    }
    // Who does not look through the module is not told to hurry.
    for rest in ["", "/7", "?ids=7,8", "/actions/count", "/search?criteria=(id:equals:7)"] {
        assert_eq!(desk.get(rest).status(), 200, "{rest}");
    }
    // Nor is who finds what he wants at once.
    assert_eq!(ids(&desk.get("/search?word=lead&per_page=2")), [1_300, 1_299]);
}

#[test]
fn those_who_look_through_a_module_block_nobody_else() {
    let desk = Desk::new();
    desk.write((1..=3).map(live));
    thread::scope(|scope| {
        let others = desk.clock.hold_others();
        let looking: Vec<_> =
            (0..4).map(|_| scope.spawn(|| desk.get("/search?word=lead").status())).collect();
        while desk.clock.held.load(Ordering::SeqCst) < 4 {
            thread::sleep(Duration::from_millis(1));
        }
        for rest in ["/search?word=lead", "?sort_by=Modified_Time", "/deleted"] {
            let reply = desk.get(rest);
            let told = (reply.status(), header(&reply, "Retry-After"));
            assert_eq!(told, (503, Some("1")), "{rest}");
            assert_eq!(body(&reply)["code"], "NOT_NOW", "{rest}");
        }
        for rest in ["", "/3", "?ids=2,3&sort_by=Created_Time", "/actions/count"] {
            assert_eq!(desk.get(rest).status(), 200, "{rest}");
        }
        drop(others);
        assert!(looking.into_iter().all(|looking| looking.join().unwrap() == 200));
    });
    assert_eq!(desk.get("/search?word=lead").status(), 200);
}

#[test]
fn whoever_reads_many_records_that_an_index_names_is_bounded_too() {
    let desk = Desk::new();
    let company = FieldName::parse("Company").unwrap();
    desk.store.set_indexes(&[(leads(), vec![company])].into());
    let at = |id: u64| {
        let company = if id < 4 { "Few" } else { "Many" };
        let json = format!(r#"{{"Company":"{company}","id":"{id}"}}"#);
        (id, Entry::Live(Record::parse(&json).unwrap()))
    };
    desk.write((1..=1_300).map(at));
    while desk.store.build_indexes(1_000).unwrap() {}
    let [many, few] = ["Many", "Few"].map(|company| format!("criteria=(Company:equals:{company})"));
    let both = |question: &str| ["search", "actions/count"].map(|it| format!("/{it}?{question}"));

    // Three slices: in nine seconds, and in more than ten.
    for (step, status) in [(3_000, 200), (6_000, 503)] {
        desk.clock.step.store(step, Ordering::Relaxed);
        for rest in both(&many) {
            assert_eq!(desk.get(&rest).status(), status, "{rest}");
        }
        for rest in both(&few) {
            let reply = desk.get(&rest);
            let told = (reply.status(), header(&reply, "Mirror-Search"));
            assert_eq!(told, (200, Some("index")), "{rest}");
        }
    }
    desk.clock.step.store(0, Ordering::Relaxed);
    let question = &both(&many)[0];
    thread::scope(|scope| {
        let others = desk.clock.hold_others();
        let looking: Vec<_> = (0..4).map(|_| scope.spawn(|| desk.get(question).status())).collect();
        while desk.clock.held.load(Ordering::SeqCst) < 4 {
            thread::sleep(Duration::from_millis(1));
        }
        for rest in both(&many) {
            assert_eq!(body(&desk.get(&rest))["code"], "NOT_NOW", "{rest}");
        }
        for rest in both(&few) {
            assert_eq!(desk.get(&rest).status(), 200, "{rest}");
        }
        drop(others);
        assert!(looking.into_iter().all(|looking| looking.join().unwrap() == 200));
    });
}

#[test]
fn deletions_age_by_upstreams_clock() {
    let desk = Desk::new();
    let gone = |days: u32| Entry::Tombstone { gone: LONG_AGO.after(DAY * days) };
    desk.write([(7, gone(0)), (8, gone(50)), (9, gone(100)), (10, gone(100))].into_iter());
    let lists = || {
        ["", "?type=recycle", "?type=permanent"].map(|kind| {
            let reply = desk.get(&format!("/deleted{kind}"));
            assert_eq!(reply.status(), if ids(&reply).is_empty() { 204 } else { 200 });
            ids(&reply)
        })
    };
    // Nobody has told the time yet.
    assert_eq!(lists(), [vec![10, 9, 8, 7], vec![10, 9, 8, 7], vec![]]);
    let at = |days: u32| LONG_AGO.after(DAY * days);
    desk.publish(Some(at(100)), Ledger::default());
    assert_eq!(lists(), [vec![10, 9, 8, 7], vec![10, 9, 8], vec![7]]);
    // Upstream's clock goes before what was proved, which is as good where nothing else is known.
    let proved = Ledger { complete_through: Some(at(130)), ..Ledger::default() };
    desk.publish(Some(at(100)), proved.clone());
    assert_eq!(lists()[2], [7]);
    desk.publish(None, proved);
    assert_eq!(lists(), [vec![10, 9, 8], vec![10, 9], vec![8]]);
    let page = desk.get("/deleted?per_page=2&page=2");
    assert_eq!((ids(&page), &body(&page)["info"]["more_records"]), (vec![8], &json!(false)));
}

#[test]
fn a_module_without_stamps_has_no_order_by_them() {
    let desk = Desk::new();
    desk.write((1..=3).map(live));
    assert_eq!(ids(&desk.get("?sort_by=Modified_Time")), [3, 2, 1], "it is not known yet");
    desk.publish(None, Ledger { unstamped: true, ..Ledger::default() });
    let reply = desk.get("?sort_by=Modified_Time");
    assert_eq!((reply.status(), &body(&reply)["details"]["api_name"]), (400, &json!("sort_by")));
    assert_eq!(ids(&desk.get("?sort_by=Created_Time&sort_order=asc")), [1, 2, 3]);
}

#[test]
fn a_search_says_how_it_found_what_it_found() {
    let desk = Desk::new();
    desk.write((1..=3).map(live));
    for (rest, how) in [
        ("/search?word=lead", Some("scan")),
        ("/search?email=a@b.example", Some("scan")),
        ("/search?criteria=(id:equals:2)", Some("index")),
        ("/search?criteria=((id:equals:2)and(Last_Name:equals:x))", Some("index")),
        ("/search?criteria=((id:equals:2)or(id:equals:3))", Some("scan")),
        ("/actions/count?criteria=(id:equals:9)", Some("index")),
        ("/actions/count", None),
        ("/2", None),
        ("", None),
    ] {
        assert_eq!(header(&desk.get(rest), "Mirror-Search"), how, "{rest}");
    }
    assert_eq!(ids(&desk.get("/search?criteria=(id:equals:2)")), [2]);
    assert_eq!(body(&desk.get("/actions/count?criteria=(id:equals:9)")), json!({"count": 0}));
}

#[test]
fn two_who_look_through_a_large_module_find_what_one_finds() {
    let desk = Desk::new();
    // A third of them lies far from the others; enough for the second to set out.
    let all: Vec<u64> = (1..=4_000).chain((1..=2_000).map(|id| id << 40)).collect();
    for some in all.chunks(2_000) {
        desk.write(some.iter().copied().map(live));
    }
    let gone = |id| (id, Entry::Tombstone { gone: LONG_AGO });
    desk.write((1..=4_000).filter(|id| id % 5 == 0).map(gone));
    let left: Vec<u64> = all.into_iter().filter(|id| *id > 4_000 || id % 5 != 0).collect();
    let downwards: Vec<u64> = left.iter().rev().copied().collect();
    for turn in 0..20 {
        let count = &body(&desk.get("/actions/count?word=lead"))["count"];
        assert_eq!(*count, left.len(), "turn {turn}");
        for (order, rows) in [("asc", &left), ("desc", &downwards)] {
            let found = ids(&desk.get(&format!("/search?word=lead&page=10&sort_order={order}")));
            assert_eq!(found, rows[1_800..2_000], "{order}, turn {turn}");
        }
        for id in [7, 1 << 40, 2_000 << 40] {
            let question = format!("/search?criteria=(Last_Name:equals:Lead%20{id})");
            assert_eq!(ids(&desk.get(&question)), [id], "turn {turn}");
        }
        assert_eq!(desk.get("/search?word=nobody").status(), 204);
    }
}
