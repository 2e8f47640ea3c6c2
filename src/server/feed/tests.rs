//! What a reader is told of a store that holds more than one answer does.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::mirror::record::Record;
use crate::mirror::time::UpstreamTime;
use crate::server::again::ROUND_HEADER;
use crate::server::asked::Peer;
use crate::server::query::Target;
use crate::store::{CHANGE_LIMIT, Commit, Write};

struct Feed {
    directory: PathBuf,
    store: Store,
    modules: Vec<ModuleName>,
}

impl Feed {
    fn new(name: &str) -> Feed {
        let name = format!("crmirror-feed-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        let (store, _) = Store::open(&directory).unwrap();
        Feed { directory, store, modules: vec![ModuleName::parse("Leads").unwrap()] }
    }

    fn commit(&self, module: &str, ids: impl Iterator<Item = u64>, padding: usize) {
        let text = "x".repeat(padding);
        let write = |id: u64| Write {
            id: RecordId::new(id),
            entry: Entry::Live(Record::parse(&format!(r#"{{"id":"{id}","t":"{text}"}}"#)).unwrap()),
            change: Some(ChangeKind::Upsert),
        };
        let commit = Commit {
            writes: ids.map(write).collect(),
            ..Commit::new(ModuleName::parse(module).unwrap(), UpstreamTime::EPOCH)
        };
        self.store.commit(commit).unwrap();
    }

    fn ask(&self, query: &str, headers: &[(&str, &str)]) -> Reply {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let asked = Asked {
            method: "GET".into(),
            target: format!("/changes?{query}"),
            headers: headers.iter().map(owned).collect(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        let parameters = Target::parse(&asked.target).unwrap().parameters;
        changes(&self.store, &self.modules, parameters, &asked).unwrap()
    }

    /// How many changes an answer has, and how far it reaches.
    fn told(&self, query: &str) -> (usize, u64) {
        let reply = self.ask(query, &[]);
        let body: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(reply.status(), 200, "{body}");
        (body["changes"].as_array().unwrap().len(), body["last_sequence"].as_u64().unwrap())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn one_answer_looks_only_so_far_and_says_how_far() {
    let feed = Feed::new("far");
    for _ in 0..5 {
        feed.commit("Leads", 0..5_000, 0);
    }
    let (none, reached) = feed.told("ids=7000");
    assert_eq!((none, reached), (0, LOOK_LIMIT as u64));
    assert_eq!(feed.told(&format!("ids=7000&since={reached}")), (0, 25_000));
    assert_eq!(feed.told("since=24000&limit=1000"), (1_000, 25_000));
    // With time to wait it is asked to go on at once, since there is more behind that.
    let again = feed.ask("ids=7000&wait=5", &[]).asks_again().unwrap();
    assert_eq!((again.after, again.mode), (LOOK_LIMIT as u64, Mode::Held));
    let round = format!("{} 1000 1000", again.after);
    let again = feed.ask("ids=7000&wait=5", &[(ROUND_HEADER, &round)]).asks_again().unwrap();
    assert_eq!((again.after, again.within), (25_000, Duration::from_secs(4)));
}

#[test]
fn one_answer_is_only_so_long() {
    let feed = Feed::new("long");
    feed.commit("Leads", 0..40, 100_000);
    let (some, reached) = feed.told("include=record");
    assert_eq!((some, reached), (11, 11), "the one that goes over the limit is the last");
    assert_eq!(feed.told("limit=1000"), (40, 40));
    assert!(feed.ask("include=record", &[]).body().len() < told::BYTES_LIMIT + 200_000);
}

#[test]
fn what_is_not_configured_is_not_told() {
    let feed = Feed::new("modules");
    feed.commit("Deals", 0..3, 0);
    feed.commit("Leads", 0..1, 0);
    assert_eq!(feed.told("include=record"), (1, 4));
    assert_eq!(feed.ask("module=Deals", &[]).status(), 400);
}

#[test]
fn who_was_away_too_long_begins_anew() {
    let feed = Feed::new("old");
    for _ in 0..CHANGE_LIMIT / 5_000 + 1 {
        feed.commit("Leads", 0..5_000, 0);
    }
    assert_eq!(feed.told("limit=1"), (1, 5_001));
    assert_eq!(feed.told("since=5000&limit=1"), (1, 5_001));
    for since in [0, 1, 4_999] {
        let reply = feed.ask(&format!("since={since}"), &[]);
        let body: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!((reply.status(), &body["details"]["oldest"]), (410, &5_001.into()), "{since}");
    }
    // A stream that fell behind ends; its reader comes again, and is told then.
    let events = [("accept", "text/event-stream"), (ROUND_HEADER, "4999 1 1")];
    assert_eq!(feed.ask("", &events).asks_again(), None);
}

#[test]
fn a_stream_says_something_every_so_often() {
    let feed = Feed::new("quiet");
    feed.commit("Leads", 0..2, 0);
    let piece = |round: &str, query: &str| {
        let reply = feed.ask(query, &[("accept", "text/event-stream"), (ROUND_HEADER, round)]);
        let again = reply.asks_again().unwrap();
        let body = String::from_utf8(reply.body().to_vec()).unwrap();
        (body, again.after, again.within.as_secs())
    };
    assert_eq!(piece("2 90000 5000", ""), (String::new(), 2, 15));
    assert_eq!(piece("0 90000 5000", "ids=9"), (String::new(), 2, 15), "none of its business");
    assert_eq!(piece("0 90000 20000", "ids=9"), (": nothing new\nid: 2\n\n".to_owned(), 2, 20));
    let (told, after, within) = piece("1 90000 19000", "");
    assert!(told.starts_with("id: 2\nevent: change\ndata: {"), "{told}");
    assert_eq!((after, within), (2, 20));
}
