//! How a record came to be here: each road, asked of the daemon and of the store without one.

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;

fn explained(place: &Place, id: u64) -> Value {
    let heard = place.get(&format!("/explain/Leads/{id}"));
    assert_eq!(heard.status, 200, "{}", heard.text());
    heard.value()
}

/// By which road the last change of a record came.
fn road(place: &Place, id: u64) -> Value {
    explained(place, id)["change"]["road"].clone()
}

/// Waits until a sync is done.
fn sync(place: &Place, words: &[&str]) {
    let ended = place.run(&[&["sync", "--wait"], words].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn each_road_is_told() {
    let mut place = Place::new("roads");
    let ids = old_leads(&mut place.upstream(), 7);
    place.begin();
    assert_eq!(road(&place, ids[0]), json!({ "page": "bootstrap" }));

    // A callback, and the fetch that it causes.
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"1\"")]);
    place.upstream().delete("Leads", ids[2]);
    place.carry();
    place.until_reads("Leads", ids[1], "Phone", "\"1\"");
    place.until("it is gone", |place| place.record("Leads", ids[2]).is_none().then_some(()));
    let edited = explained(&place, ids[1]);
    let fetch = &edited["change"]["road"]["fetch"];
    assert_eq!((&edited["state"], &edited["change"]["kind"]), (&json!("live"), &json!("upsert")));
    assert_eq!(fetch["reason"], "touched", "{edited}");
    let (heard, read) = (fetch["heard"].as_str().unwrap(), edited["change"]["read"].as_str());
    assert!(Some(heard) <= read, "it was received before it was read: {edited}");
    assert_eq!(edited["sequence"], edited["change"]["sequence"]);
    let gone = explained(&place, ids[2]);
    assert_eq!((&gone["state"], &gone["change"]["kind"]), (&json!("deleted"), &json!("delete")));
    assert_eq!(gone["change"]["road"]["fetch"]["reason"], "deleted", "{gone}");
    assert!(gone["gone"].is_string(), "{gone}");

    // What no callback told: a page of a catch-up, and a record that its list left in doubt.
    place.upstream().edit("Leads", ids[3], &[("Phone", "\"2\"")]);
    place.upstream().delete("Leads", ids[4]);
    place.upstream().take_callbacks();
    sync(&place, &[]);
    assert_eq!(road(&place, ids[3]), json!({ "page": "catch_up" }));
    let doubted = road(&place, ids[4]);
    assert_eq!(doubted["fetch"]["reason"], "scanned", "{doubted}");
    assert_eq!(doubted["fetch"]["reading"], "catch_up", "{doubted}");

    // What moved no stamp, or vanished without a word: only a sweep finds it.
    place.upstream().touch_formula("Leads", ids[5], "Score", "7");
    place.upstream().revoke_permission("Leads", ids[6]);
    sync(&place, &["Leads", "--sweep"]);
    assert_eq!(road(&place, ids[5]), json!({ "page": "sweep" }));
    assert_eq!(road(&place, ids[6])["fetch"]["reading"], "sweep");
    assert_eq!(explained(&place, 7)["state"], "never_seen");

    told_to_a_person(&mut place, &ids);
}

/// The same by the command, with a daemon and without.
fn told_to_a_person(place: &mut Place, ids: &[u64]) {
    let told = |place: &Place| -> Vec<String> {
        let each = ids.iter().chain([&7]).map(|id| {
            let ended = place.run(&["explain", "Leads", &id.to_string()]);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
            ended.out
        });
        each.collect()
    };
    let with_daemon = told(place);
    for (text, part) in with_daemon.iter().zip([
        "on a page of the bootstrap",
        "said: created or edited",
        "said: deleted",
        "on a page of a catch-up",
        "a catch-up left it in doubt",
        "on a page of a sweep",
        "a sweep left it in doubt",
        "was never seen here",
    ]) {
        assert!(text.contains(part) && text.contains("proved complete through"), "{text}");
    }
    let id = ids[1].to_string();
    let document: Value =
        serde_json::from_str(&place.run(&["explain", "Leads", &id, "--json"]).out).unwrap();
    assert_eq!(document, explained(place, ids[1]));
    place.stop();
    assert_eq!(told(place), with_daemon);
}

#[test]
fn what_waits_and_what_is_set_aside_is_told() {
    let mut place = Place::new("waits");
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    place.upstream().faults.deny("Leads", Some(ids[0]));
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    let set_aside = place.until("it is set aside", |place| {
        let told = explained(place, ids[0]);
        (!told["set_aside"].is_null()).then_some(told)
    });
    assert_eq!(set_aside["state"], "live", "{set_aside}");
    place.upstream().faults.offline(true);
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"1\"")]);
    place.carry();
    let waits = explained(&place, ids[1]);
    assert_eq!(waits["waiting"][0]["fetch"]["reason"], "touched", "{waits}");
    place.until("the status says what is wrong", |place| {
        let told = place.run(&["status"]).out;
        let all = [
            "! upstream cannot be reached",
            "! set aside, since upstream denies them: 1",
            "crmirror doctor",
        ];
        all.iter().all(|part| told.contains(part)).then_some(())
    });
    let text = place.run(&["explain", "Leads", &ids[1].to_string()]).out;
    assert!(text.contains("waits     to be fetched: a callback at "), "{text}");
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let mut place = Place::new("no-explanation");
    place.begin();
    for (target, status, code) in [
        ("/explain/Deals/7", 400, "INVALID_MODULE"),
        ("/explain/Leads/x", 400, "INVALID_DATA"),
        ("/explain/Leads/7?x=1", 400, "INVALID_DATA"),
        ("/explain/Leads", 404, "INVALID_URL_PATTERN"),
    ] {
        let heard = place.get(target);
        assert_eq!((heard.status, &heard.value()["code"]), (status, &json!(code)), "{target}");
    }
    assert_eq!(place.ask("POST", "/explain/Leads/7", &[]).status, 405);
    assert_eq!(place.run(&["explain", "Deals", "7"]).code, 2);
}
