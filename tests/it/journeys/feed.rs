//! `/changes` as a program on the device asks it, `wait_for`, and the command.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::no_reads::code;
use super::old_leads;
use crate::agent::{Place, fields};

fn changes(place: &Place, query: &str) -> (Vec<Value>, u64) {
    let heard = place.get(&format!("/changes{query}"));
    assert_eq!(heard.status, 200, "{query}: {}", heard.text());
    let document = heard.value();
    let changes = document["changes"].as_array().unwrap().clone();
    (changes, document["last_sequence"].as_u64().unwrap())
}

fn ids_of(changes: &[Value]) -> Vec<u64> {
    changes.iter().map(|change| change["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// A place with two modules, five records in one and one in the other, and one that is deleted.
fn mixed(name: &str) -> (Place, Vec<u64>) {
    let mut place = Place::new(name);
    place.upstream().model.add("Deals").with_fields(&["Stage"]);
    place.modules(&[("Leads", ""), ("Deals", "")]);
    let ids = old_leads(&mut place.upstream(), 5);
    place.begin();
    place.upstream().create("Deals", &[("Stage", "\"won\"")]);
    place.carry();
    place.until("the deal is here", |place| {
        (place.status()["modules"]["Deals"]["records"] == 1).then_some(())
    });
    place.upstream().edit("Leads", ids[2], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[2], "Phone", "\"1\"");
    place.upstream().delete("Leads", ids[4]);
    place.carry();
    place.until("it is gone", |place| place.record("Leads", ids[4]).is_none().then_some(()));
    (place, ids)
}

#[test]
fn changes_are_told_as_they_are_asked_for() {
    let (mut place, ids) = mixed("feed");
    let (all, last) = changes(&place, "");
    assert_eq!(all.len() as u64, last);
    assert_eq!(place.status()["sequence"], last);
    for (number, change) in all.iter().enumerate() {
        assert_eq!(change["sequence"], number + 1);
    }
    let deleted = all.last().unwrap();
    assert_eq!((&deleted["kind"], ids_of(&all).last()), (&json!("delete"), ids.last()));
    assert!(
        crmirror::mirror::time::UpstreamTime::parse(deleted["time"].as_str().unwrap()).is_some()
    );
    let keys: Vec<&String> = deleted.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "kind", "module", "sequence", "time"]);

    // By pieces, from anywhere, and only some of them.
    assert_eq!(changes(&place, "?since=0&limit=3"), (all[..3].to_vec(), 3));
    assert_eq!(
        changes(&place, &format!("?since={}", last - 1)),
        (all[all.len() - 1..].to_vec(), last)
    );
    for nothing in [format!("?since={last}"), "?since=now".to_owned()] {
        assert_eq!(changes(&place, &nothing), (Vec::new(), last));
    }
    let (deals, reached) = changes(&place, "?module=Deals");
    assert_eq!((deals.len(), &deals[0]["module"], reached), (1, &json!("Deals"), last));
    let (some, reached) = changes(&place, &format!("?ids={},{}", ids[2], ids[4]));
    assert_eq!((ids_of(&some), reached), (vec![ids[2], ids[4], ids[2], ids[4]], last));
    let (some, reached) = changes(&place, &format!("?ids={}&limit=1", ids[2]));
    assert_eq!((some.len(), sequence(&some[0])), (1, reached));
    assert!(changes(&place, &format!("?ids={}&module=Deals", ids[2])).0.is_empty());

    with_records(&place, &ids);
    what_waits(&mut place, &ids);
    who_has_to_begin_anew(&place, last);
    what_is_refused(&place);
}

fn sequence(change: &Value) -> u64 {
    change["sequence"].as_u64().unwrap()
}

/// Records as they are now, digit by digit; none where there is none any more.
fn with_records(place: &Place, ids: &[u64]) {
    let heard = place.get("/changes?module=Leads&include=record");
    for change in heard.value()["changes"].as_array().unwrap() {
        let gone = change["id"].as_str() == Some(&*ids[4].to_string());
        assert_eq!(change.get("record").is_none(), gone, "{change}");
    }
    let one = place.get(&format!("/crm/v2/Leads/{}", ids[2])).text();
    let record = one.strip_prefix("{\"data\":[").unwrap().strip_suffix("]}").unwrap();
    assert_eq!(heard.text().matches(record).count(), 2, "verbatim, in both of its changes");
    assert!(fields(record).contains_key("Phone"));
}

fn what_waits(place: &mut Place, ids: &[u64]) {
    let last = place.status()["sequence"].as_u64().unwrap();
    let began = Instant::now();
    assert_eq!(changes(place, &format!("?since={last}&wait=1")), (Vec::new(), last));
    assert!(began.elapsed() >= Duration::from_secs(1), "it did not wait");
    // What is not asked for does not end the wait; what is does.
    let local = place.local;
    std::thread::scope(|scope| {
        let target = format!("/changes?since={last}&wait=60&ids={}", ids[1]);
        let waiting = scope.spawn(move || crate::sim::http(local, "GET", &target, &[], b""));
        place.upstream().edit("Leads", ids[0], &[("Phone", "\"7\"")]);
        place.carry();
        place.until_reads("Leads", ids[0], "Phone", "\"7\"");
        assert!(!waiting.is_finished());
        place.upstream().edit("Leads", ids[1], &[("Phone", "\"8\"")]);
        place.carry();
        let heard = waiting.join().unwrap().unwrap().value();
        assert_eq!(ids_of(heard["changes"].as_array().unwrap()), [ids[1]]);
        assert_eq!(heard["last_sequence"], last + 2);

        // And a read waits until the mirror is where its app was told that it is.
        let target = format!("/crm/v2/Leads/{}?wait_for={}", ids[1], last + 3);
        let waiting = scope.spawn(move || crate::sim::http(local, "GET", &target, &[], b""));
        place.upstream().edit("Leads", ids[1], &[("Phone", "\"9\"")]);
        place.carry();
        let heard = waiting.join().unwrap().unwrap();
        assert_eq!(heard.value()["data"][0]["Phone"], "9");
    });
    let passed = place.get(&format!("/crm/v2/Leads?wait_for={last}"));
    assert_eq!(passed.status, 200);
    let in_vain = place.get("/crm/v2/Leads?wait_for=99999999");
    assert_eq!(code(&in_vain), (503, "NOT_YET".to_owned()));
    assert_eq!(in_vain.header("retry-after"), Some("1"));
    let at = place.status()["sequence"].to_string();
    assert_eq!(in_vain.header("mirror-sequence"), Some(at.as_str()));
    assert!(in_vain.header("mirror-complete-through").is_some());
    // Nobody waits for a module that is not there.
    let nowhere = place.get("/crm/v2/Nowhere?wait_for=99999999");
    assert_eq!(code(&nowhere), (400, "INVALID_MODULE".to_owned()));
}

fn who_has_to_begin_anew(place: &Place, last: u64) {
    let status = place.status();
    let generation = status["generation"].as_str().unwrap();
    let heard = place.get(&format!("/changes?since={last}&generation={generation}"));
    assert_eq!((heard.status, heard.header("mirror-generation")), (200, Some(generation)));
    for query in [format!("since={}", u64::MAX), "generation=none".to_owned()] {
        let heard = place.get(&format!("/changes?{query}"));
        assert_eq!(code(&heard), (410, "TOO_OLD".to_owned()), "{query}");
        let details = json!({"oldest": 1, "generation": generation});
        assert_eq!(heard.value()["details"], details, "{query}");
    }
    let events = [("Accept", "text/event-stream"), ("Last-Event-ID", "99999999")];
    assert_eq!(place.ask("GET", "/changes", &events).status, 410);
}

fn what_is_refused(place: &Place) {
    for (query, name) in [
        ("since=then", "since"),
        ("since=-1", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("wait=61", "wait"),
        ("include=records", "include"),
        ("ids=seven", "ids"),
        ("module=../x", "module"),
        ("colour=red", "colour"),
    ] {
        let heard = place.get(&format!("/changes?{query}"));
        assert_eq!((heard.status, &heard.value()["details"]["api_name"]), (400, &json!(name)));
    }
    assert_eq!(code(&place.get("/changes?module=Nowhere")), (400, "INVALID_MODULE".to_owned()));
    assert_eq!(place.get("/crm/v2/Leads?wait_for=then").status, 400);
    for name in ["wait", "limit"] {
        let stream = [("Accept", "application/x-ndjson")];
        assert_eq!(place.ask("GET", &format!("/changes?{name}=1"), &stream).status, 400);
    }
    assert_eq!(place.ask("POST", "/changes", &[]).status, 405);
    // What only gate and hall say to each other is nothing when somebody else says it.
    let said = [("X-Gate-Round", "3 0 0"), ("X-Gate-Again", "held 0 60000")];
    let heard = place.ask("GET", "/changes?limit=1", &said);
    assert_eq!((heard.status, &heard.value()["last_sequence"]), (200, &json!(1)));
    assert!(heard.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("x-gate")));
}

#[test]
fn the_command_tells_the_same_with_a_daemon_and_without() {
    let (mut place, ids) = mixed("feed-command");
    let commands: [&[&str]; 4] = [
        &["changes"],
        &["changes", "--json"],
        &["changes", "--since", "2", "--module", "Leads"],
        &["changes", "--module", "Deals", "--json"],
    ];
    let run = |place: &Place| {
        commands.map(|command| {
            let ended = place.run(command);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command:?}: {ended:?}");
            ended.out
        })
    };
    let with_daemon = run(&place);
    let (all, last) = changes(&place, "");
    let told: Vec<Value> =
        with_daemon[1].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told, all);
    assert_eq!(with_daemon[0].lines().count() as u64, last);
    let shown = format!("  delete  Leads/{}", ids[4]);
    assert!(with_daemon[0].lines().next_back().unwrap().ends_with(&shown), "{}", with_daemon[0]);
    assert_eq!(with_daemon[2].lines().count(), all.len() - 3);
    assert_eq!(place.run(&["changes", "--since", "99999999"]).code, 1);
    assert_eq!(place.run(&["changes", "--module", "Tasks"]).code, 2);

    // Who follows goes on over a restart, and ends well when asked.
    let mut following = Command::new(env!("CARGO_BIN_EXE_crmirror"))
        .arg("--config")
        .arg(place.write_config())
        .args(["changes", "--follow", "--json", "--since", &last.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    for round in 1..=2 {
        place.upstream().edit("Leads", ids[0], &[("Phone", &format!("\"{round}\""))]);
        place.carry();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((sequence(&line), ids_of(&[line])), (last + round, vec![ids[0]]));
        place.stop();
        if round == 1 {
            place.begin();
        }
    }
    let pid = rustix::process::Pid::from_child(&following);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(following.wait().unwrap().code(), Some(0));

    let without = run(&place);
    for (with, without) in with_daemon.iter().zip(&without) {
        assert!(without.starts_with(with.as_str()), "{with}\n{without}");
    }
    let absent = place.run(&["changes", "--follow"]);
    assert_eq!((absent.code, absent.out.as_str()), (69, ""));
    assert!(absent.err.contains("no daemon answers"), "{absent:?}");
    // One that hangs does not answer either, and starting it does nothing.
    assert!(absent.err.contains("systemctl restart crmirror"), "{absent:?}");
}
