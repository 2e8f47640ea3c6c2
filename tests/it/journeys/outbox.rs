//! Calls to functions: left here without a network, delivered when there is one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::agent::{PATIENCE, Place};
use crate::sim::{Aim, Conduct, Fault, Heard, Run, ZAPIKEY};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const FUNCTION: &str = "kiosk_checkin";

/// Leaves a call here; its id.
fn leave(place: &Place, function: &str, body: &Value) -> String {
    let heard =
        place.send("POST", &format!("/outbox/{function}"), &[JSON], body.to_string().as_bytes());
    assert_eq!(heard.status, 202, "{}", heard.text());
    let value = heard.value();
    assert_eq!((&value["function"], &value["state"]), (&json!(function), &json!("waiting")));
    value["id"].as_str().unwrap().to_owned()
}

fn call(place: &Place, id: &str) -> Value {
    place.get(&format!("/outbox/{id}")).value()
}

fn until_state(place: &mut Place, id: &str, state: &str) -> Value {
    place.until(&format!("{id} is {state}"), |place| {
        let call = call(place, id);
        (call["state"] == state).then_some(call)
    })
}

fn until_empty(place: &mut Place) {
    place.until("nothing waits in the outbox", |place| {
        (place.status()["outbox"]["waiting"] == 0).then_some(())
    });
}

/// The ids of a function's runs, the first of each.
fn first_runs(runs: &[Run]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    runs.iter().filter(|run| seen.insert(&run.id)).map(|run| run.id.clone()).collect()
}

/// A pull-only place: what is tried here needs no channel.
fn place(name: &str, functions: &[(&str, &str)]) -> Place {
    let mut place = Place::new(name);
    place.without("channel").without("callbacks").functions(functions);
    place
}

#[test]
fn a_call_left_without_a_network_survives_a_kill_and_is_delivered_in_order() {
    let mut place = place("outbox", &[(FUNCTION, "apikey"), ("other", "apikey")]);
    place.upstream().faults.offline(true);
    place.start();
    let ids: Vec<String> =
        (0..20).map(|number| leave(&place, FUNCTION, &json!({ "guest": number }))).collect();
    let other = leave(&place, "other", &json!([1]));
    assert_eq!(call(&place, &ids[3])["state"], "waiting");
    assert_eq!(place.status()["outbox"]["waiting"], 21);
    place.kill().start();
    assert_eq!(place.status()["outbox"]["waiting"], 21, "an acknowledgement is durable");
    place.upstream().faults.offline(false);
    assert_eq!(place.ask("POST", &format!("/outbox/{}/retry", ids[0]), &[]).status, 202);
    until_empty(&mut place);
    let runs = place.upstream().functions.runs(FUNCTION).to_vec();
    assert_eq!(runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>(), ids, "each once");
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(run.body, json!({ "guest": number }).to_string());
        assert_eq!((&run.header, run.media_type.as_str()), (&run.id, "application/json"));
    }
    let sent = call(&place, &ids[7]);
    assert_eq!((&sent["state"], &sent["attempts"]), (&json!("sent"), &json!(1)));
    assert_eq!(sent["answer"]["output"], json!({ "id": ids[7], "got": { "guest": 7 } }));
    assert_eq!(call(&place, &other)["answer"]["output"]["got"], json!([1]));
    let status = place.status();
    assert_eq!(status["outbox"]["sent"], 21);
    assert_eq!(status["outbox"]["calls_today"], 21, "{status}");
    let metrics = place.get("/metrics").text();
    assert!(metrics.contains("crmirror_outbox_waiting 0"), "{metrics}");
    // After a restart what was answered can be read, and is not sent again.
    place.stop();
    place.start();
    assert_eq!(call(&place, &ids[7]), sent);
    assert_eq!(place.upstream().functions.runs(FUNCTION).len(), 20);
}

#[test]
fn kills_at_any_moment_repeat_at_most_what_was_in_the_air() {
    let mut place = place("outbox-kill", &[(FUNCTION, "apikey")]);
    place.start();
    let mut ids = Vec::new();
    for round in 0..8 {
        let wanted = place.upstream().functions.runs(FUNCTION).len() + round;
        for number in 0..15 {
            ids.push(leave(&place, FUNCTION, &json!({ "round": round, "number": number })));
        }
        place.until("some are sent", |place| {
            (place.upstream().functions.runs(FUNCTION).len() > wanted).then_some(())
        });
        place.kill().start();
    }
    until_empty(&mut place);
    let runs = place.upstream().functions.runs(FUNCTION).to_vec();
    assert_eq!(first_runs(&runs), ids, "all, and in order");
    assert!(runs.len() <= ids.len() + 8, "one for each kill: {} of {}", runs.len(), ids.len());
}

#[test]
fn a_key_makes_a_repetition_the_same_call() {
    let mut place = place("outbox-key", &[(FUNCTION, "apikey"), ("other", "apikey")]);
    place.upstream().faults.offline(true);
    place.start();
    let key = ("Idempotency-Key", "8a1f-7");
    let post = |place: &Place, function: &str, body: &[u8]| {
        place.send("POST", &format!("/outbox/{function}"), &[JSON, key], body)
    };
    let first = post(&place, FUNCTION, b"{\"a\":1}");
    assert_eq!(first.status, 202);
    let id = first.value()["id"].as_str().unwrap().to_owned();
    place.kill().start();
    let again = post(&place, FUNCTION, b"{\"a\":1}");
    assert_eq!((again.status, again.value()["id"].as_str()), (200, Some(id.as_str())));
    let other = post(&place, FUNCTION, b"{\"a\":2}");
    assert_eq!((other.status, other.value()["details"]["id"].as_str()), (422, Some(id.as_str())));
    assert_eq!(post(&place, "other", b"{\"a\":2}").status, 202, "a key is a function's");
    place.upstream().faults.offline(false);
    place.kill().start();
    until_state(&mut place, &id, "sent");
    let again = post(&place, FUNCTION, b"{\"a\":1}");
    assert_eq!((again.status, &again.value()["state"]), (200, &json!("sent")));
    assert_eq!(place.upstream().functions.runs(FUNCTION).len(), 1);
}

#[test]
fn headers_that_could_be_taken_for_others_are_refused() {
    let mut place = place("outbox-headers", &[(FUNCTION, "apikey")]);
    place.upstream().faults.offline(true);
    place.start();
    let status = |headers: &[(&str, &str)]| {
        place.send("POST", &format!("/outbox/{FUNCTION}"), headers, b"{}").status
    };
    // Bytes outside of ASCII do not come through: two such keys would be one.
    for key in ["zo\u{eb}", "zo\u{e9}", "a\tb", ""] {
        assert_eq!(status(&[JSON, ("Idempotency-Key", key)]), 400, "{key:?}");
    }
    let twice = [JSON, ("Idempotency-Key", "one"), ("idempotency-key", "other")];
    assert_eq!(status(&twice), 400, "nobody knows which of the two is meant");
    assert_eq!(status(&[JSON, ("Content-Type", "text/plain")]), 400);
    for media_type in ["; ;\"", "json", "/", "a b/c", "multipart/form-data; boundary=\u{e9}"] {
        assert_eq!(status(&[("Content-Type", media_type)]), 400, "{media_type}");
    }
    assert_eq!(place.get("/outbox").value()["info"]["count"], 0, "nothing is kept of them");
    assert_eq!(status(&[JSON, ("Idempotency-Key", "zo??, ~")]), 202);
    assert_eq!(status(&[("Content-Type", "application/vnd.a+json; charset=\"utf-8\"")]), 202);
}

#[test]
fn a_call_is_withdrawn_while_it_waits_and_not_later() {
    let mut place = place("outbox-drop", &[(FUNCTION, "apikey")]);
    place.upstream().faults.offline(true);
    place.start();
    let (one, other) = (leave(&place, FUNCTION, &json!(1)), leave(&place, FUNCTION, &json!(2)));
    let delete = |place: &Place, id: &str| place.ask("DELETE", &format!("/outbox/{id}"), &[]);
    // It may be in the air for a moment.
    place.until("it is withdrawn", |place| (delete(place, &one).status == 204).then_some(()));
    assert_eq!(place.get(&format!("/outbox/{one}")).status, 204);
    place.upstream().faults.offline(false);
    place.kill().start();
    until_state(&mut place, &other, "sent");
    let refused = delete(&place, &other);
    assert_eq!((refused.status, &refused.value()["details"]["state"]), (409, &json!("sent")));
    assert_eq!(place.ask("POST", &format!("/outbox/{other}/retry"), &[]).status, 409);
    let runs = place.upstream().functions.runs(FUNCTION).to_vec();
    assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&other]);
}

#[test]
fn what_is_denied_is_set_aside_and_can_be_tried_again() {
    let mut place = place("outbox-denied", &[(FUNCTION, "apikey"), ("other", "apikey")]);
    let body = r#"{"why":"the guest is unknown"}"#.to_owned();
    let denies = Conduct::Own(409, "X-Guest", "unknown", body);
    place.upstream().functions.add(FUNCTION).manner = denies;
    place.start();
    let denied = leave(&place, FUNCTION, &json!("denied"));
    let other = leave(&place, "other", &json!("other"));
    until_state(&mut place, &other, "sent");
    let failed = until_state(&mut place, &denied, "failed");
    assert_eq!((&failed["attempts"], &failed["why"]), (&json!(3), &json!("status 409")));
    assert_eq!(failed["answer"]["status"], 409);
    assert_eq!(failed["answer"]["headers"]["x-guest"], "unknown");
    assert_eq!(failed["answer"]["body"], json!({ "why": "the guest is unknown" }));
    assert_eq!(place.status()["outbox"]["failed"], 1);
    place.until_printed("has failed: status 409");
    place.upstream().functions.add(FUNCTION).manner = Conduct::Says("plain".into());
    // The next goes on.
    let next = leave(&place, FUNCTION, &json!("next"));
    let next = until_state(&mut place, &next, "sent");
    assert!(place.status()["outbox"]["trouble"].is_null(), "it is over");
    assert_eq!(next["answer"]["output"], "plain");
    let tried = place.ask("POST", &format!("/outbox/{denied}/retry"), &[]);
    assert_eq!((tried.status, tried.value()["id"].as_str()), (202, Some(denied.as_str())));
    let sent = until_state(&mut place, &denied, "sent");
    assert_eq!(sent["attempts"], 4);
    let listed = place.get("/outbox?state=sent&limit=2").value();
    assert_eq!(
        (&listed["info"]["count"], &listed["info"]["more_records"]),
        (&json!(2), &json!(true))
    );
    let last = listed["info"]["last"].as_str().unwrap();
    let rest = place.get(&format!("/outbox?state=sent&limit=2&after={last}")).value();
    assert_eq!((&rest["info"]["count"], &rest["info"]["more_records"]), (&json!(1), &json!(false)));
    assert_eq!(place.get("/outbox?state=failed").value()["calls"], json!([]));
}

#[test]
fn a_token_that_is_refused_is_replaced_once_for_many() {
    let mut place = place("outbox-oauth", &[("by_token", "oauth"), ("by_token_too", "oauth")]);
    place.begin();
    let first = leave(&place, "by_token", &json!(1));
    until_state(&mut place, &first, "sent");
    let before = place.token_calls();
    place.upstream().accounts.expire_access();
    let ids = ["by_token", "by_token_too", "by_token"].map(|name| leave(&place, name, &json!(2)));
    ids.iter().for_each(|id| drop(until_state(&mut place, id, "sent")));
    assert_eq!(place.token_calls(), before + 1, "one for all");
    // A missing scope is not mended by a token, and no call's fault.
    place.upstream().accounts.withhold("ZohoCRM.functions.execute.CREATE");
    let id = leave(&place, "by_token", &json!(3));
    place.until("it is told", |place| {
        let trouble = place.status()["outbox"]["trouble"].clone();
        trouble.as_str().is_some_and(|why| why.contains("OAUTH_SCOPE_MISMATCH")).then_some(())
    });
    assert_eq!(call(&place, &id)["state"], "waiting");
    assert_eq!(place.token_calls(), before + 1);
}

#[test]
fn a_slow_function_holds_up_neither_the_mirror_nor_a_stop() {
    let mut place = Place::new("outbox-slow");
    place.functions(&[(FUNCTION, "apikey")]);
    place.begin();
    place.loopback.hang(PATIENCE * 4);
    let functions = Aim::path("/crm/v2/functions");
    place.upstream().faults.script(1, functions, Fault::TimeOutAfter);
    let id = leave(&place, FUNCTION, &json!("slow"));
    place.until("it runs", |place| {
        (!place.upstream().functions.runs(FUNCTION).is_empty()).then_some(())
    });
    assert_eq!(place.ask("DELETE", &format!("/outbox/{id}"), &[]).status, 409, "it is in the air");
    let lead = place.upstream().create("Leads", &[("Last_Name", "\"Meanwhile\"")]);
    place.carry();
    place.until_reads("Leads", lead, "Last_Name", "\"Meanwhile\"");
    assert_eq!(call(&place, &id)["state"], "waiting");
    assert_eq!(place.stop().0, Some(0));
    // What was in the air is sent again, under the same id.
    place.start();
    until_state(&mut place, &id, "sent");
    let runs = place.upstream().functions.runs(FUNCTION).to_vec();
    assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&id, &id]);
}

#[test]
fn each_form_arrives_as_it_is_told() {
    let mut place = place("outbox-forms", &[(FUNCTION, "apikey")]);
    place.start();
    let form = "application/x-www-form-urlencoded";
    let files = "multipart/form-data; boundary=B";
    let parts = "--B\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a\"\r\n\r\n\
                 x\r\n--B--\r\n";
    let long = format!("\"{}\"", "x".repeat(300_000));
    for (media_type, body) in [
        ("application/json; charset=utf-8", "{\"a\": 1.50}"),
        ("application/json", long.as_str()),
        (form, "a=1&b=%20"),
        (files, parts),
        ("image/png", "\u{7f}PNG"),
        ("", ""),
    ] {
        let headers = (!media_type.is_empty()).then_some(("Content-Type", media_type));
        let headers: Vec<_> = headers.into_iter().collect();
        let heard = place.send("POST", "/outbox/kiosk_checkin", &headers, body.as_bytes());
        assert_eq!(heard.status, 202, "{media_type}: {}", heard.text());
        let id = heard.value()["id"].as_str().unwrap().to_owned();
        until_state(&mut place, &id, "sent");
        let run = place.upstream().functions.runs(FUNCTION).last().unwrap().clone();
        if media_type == "image/png" {
            assert!(run.media_type.starts_with("multipart/form-data; boundary="), "{run:?}");
            assert!(run.body.contains("Content-Type: image/png\r\n\r\n\u{7f}PNG\r\n--"), "{run:?}");
        } else {
            assert_eq!((run.media_type.as_str(), run.body.as_str()), (media_type, body));
        }
    }
}

#[test]
fn what_cannot_be_a_call_is_refused_and_leaves_nothing() {
    let mut place = place("outbox-wrong", &[(FUNCTION, "apikey")]);
    place.set("local.allow_origins", "[\"http://kiosk.local\"]");
    place.start();
    let check = |target: &str, headers: &[(&str, &str)], body: &[u8], status: u16, code: &str| {
        let heard = place.send("POST", target, headers, body);
        assert_eq!(
            (heard.status, heard.value()["code"].as_str()),
            (status, Some(code)),
            "{target}"
        );
    };
    let ours = "/outbox/kiosk_checkin";
    check("/outbox/unknown", &[JSON], b"{}", 400, "INVALID_FUNCTION");
    check("/outbox/kiosk_checkin?x=1", &[JSON], b"{}", 400, "INVALID_DATA");
    check(ours, &[JSON], b"{", 400, "INVALID_DATA");
    check(ours, &[], b"{}", 400, "INVALID_DATA");
    check(ours, &[("Content-Type", "multipart/form-data")], b"x", 400, "INVALID_DATA");
    check(ours, &[JSON, ("Idempotency-Key", &"k".repeat(256))], b"{}", 400, "INVALID_DATA");
    check("/outbox/7/retry", &[], b"", 400, "INVALID_DATA");
    assert_eq!(place.send("POST", ours, &[JSON], &vec![b' '; (1 << 20) + 1]).status, 413);
    for target in ["/outbox?state=lost", "/outbox?after=7", "/outbox?limit=0", "/outbox/7"] {
        assert_eq!(place.get(target).status, 400, "{target}");
    }
    assert_eq!(place.ask("POST", "/outbox", &[]).status, 405);
    assert_eq!(place.ask("PUT", ours, &[]).status, 405);
    assert_eq!(place.get("/outbox/a/b").status, 404);
    // Pages: a form can be posted by any page without asking first.
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let as_page = |headers: &[(&str, &str)]| {
        place.send("POST", ours, &[&[form], headers].concat(), b"a=1").status
    };
    assert_eq!(as_page(&[("Origin", "http://evil.example")]), 403);
    assert_eq!(as_page(&[("Origin", "null")]), 403);
    assert_eq!(as_page(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(as_page(&[("Host", "evil.example")]), 421);
    assert_eq!(place.get("/outbox").value()["calls"], json!([]), "nothing is left of all that");
    assert_eq!(as_page(&[("Origin", "http://kiosk.local")]), 202);
    let asks = [
        ("Origin", "http://kiosk.local"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type, idempotency-key"),
    ];
    let preflight = place.ask("OPTIONS", ours, &asks);
    assert_eq!(preflight.status, 204);
    let allowed = |preflight: &Heard, name: &str| preflight.header(name).unwrap().to_lowercase();
    assert!(allowed(&preflight, "access-control-allow-headers").contains("idempotency-key"));
    assert!(allowed(&preflight, "access-control-allow-methods").contains("delete"));
    let foreign = place.ask("OPTIONS", ours, &[("Origin", "http://evil.example"), asks[1]]);
    assert!(foreign.header("access-control-allow-methods").is_none());
}

#[test]
fn the_key_is_shown_nowhere() {
    let mut place = place("outbox-secret", &[(FUNCTION, "apikey"), ("missing", "apikey")]);
    place.verbosity("trace,ureq=trace,rustls=trace");
    place.start();
    let aim = || Aim::path("/crm/v2/functions");
    for fault in [Fault::Unauthorised, Fault::Html(500), Fault::ResetBefore, Fault::CreditsGone] {
        place.upstream().faults.script(1, aim(), fault);
        leave(&place, FUNCTION, &json!(1));
        place.kill().start();
    }
    place.upstream().functions.add(FUNCTION).manner = Conduct::Blabs;
    place.kill().start();
    until_empty(&mut place);
    let blabbed = leave(&place, FUNCTION, &json!(2));
    let blabbed = until_state(&mut place, &blabbed, "sent");
    assert_eq!(blabbed["answer"]["body"]["params"]["zapikey"], "(secret)");
    assert_eq!(blabbed["answer"]["headers"]["x-address"], "(secret)");
    place.get("/outbox");
    place.get("/metrics");
    place.run(&["status"]);
    place.run(&["outbox", "list", "--json"]);
    place.run(&["doctor", "--json", "--bundle", place.path("bundle").to_str().unwrap()]);
    let bundle = std::fs::read_to_string(place.path("bundle")).unwrap();
    place.stop();
    let mut seen = place.printed() + &place.answered() + &bundle;
    for entry in std::fs::read_dir(place.path("store/mirror.sled")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            seen += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    let encoded: String = form_urlencoded::byte_serialize(ZAPIKEY.as_bytes()).collect();
    assert!(!seen.contains(ZAPIKEY) && !seen.contains(&encoded));
    // Without it the daemon says what is missing.
    place.write_credentials(&crate::agent::credentials("s", Some("r")));
    for command in ["check", "run"] {
        let ended = place.run(&[command]);
        assert_eq!(ended.code, 78, "{ended:?}");
        assert!(ended.err.contains("zapikey is missing"), "{ended:?}");
    }
}

#[test]
fn the_commands_do_what_the_interface_does() {
    let mut place = place("outbox-commands", &[(FUNCTION, "apikey")]);
    place.upstream().faults.offline(true);
    place.start();
    std::fs::write(place.path("photo"), b"PNG").unwrap();
    let photo = place.path("photo");
    let send = |place: &Place, more: &[&str]| {
        let ended = place.run(&[&["send", FUNCTION], more].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out.trim().to_owned()
    };
    let ids = [
        send(&place, &["{\"a\":1}", "--idempotency-key", "k"]),
        send(&place, &["--data", "a=1", "--data", "b=é &"]),
        send(&place, &["--file", photo.to_str().unwrap(), "--type", "image/png"]),
        send(&place, &[]),
    ];
    assert_eq!(send(&place, &["{\"a\":1}", "--idempotency-key", "k"]), ids[0], "the same call");
    let ended = place.run(&["send", FUNCTION, "{\"a\":2}", "--idempotency-key", "k"]);
    assert_eq!(ended.code, 1);
    assert_eq!(place.run(&["send", "unknown"]).code, 2);
    assert_eq!(place.run(&["send", FUNCTION, "{"]).code, 1);
    let list = |place: &Place, more: &[&str]| {
        place.run(&[&["outbox", "list"], more].concat()).out.lines().count()
    };
    assert_eq!(list(&place, &[]), 5, "four and the titles");
    assert_eq!(list(&place, &["--json", "--limit", "3"]), 3);
    assert_eq!(list(&place, &["--json", "--state", "sent"]), 0);
    place.until("it is withdrawn", |place| {
        (place.run(&["outbox", "drop", &ids[3]]).code == 0).then_some(())
    });
    assert_eq!(place.run(&["outbox", "drop", &ids[3]]).code, 1);
    place.upstream().faults.offline(false);
    assert_eq!(place.run(&["outbox", "retry", &ids[0]]).code, 0);
    until_empty(&mut place);
    let shown = place.run(&["outbox", "show", &ids[0], "--json"]).out;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["answer"]["output"]["got"], json!({ "a": 1 }));
    assert!(place.run(&["outbox", "show", &ids[0]]).out.contains("state            sent"));
    let runs = place.upstream().functions.runs(FUNCTION).to_vec();
    assert_eq!(runs[1].body, "%61=%31&%62=%C3%A9%20%26");
    assert!(runs.len() == 3 && runs[2].body.contains("PNG"), "{runs:?}");
    assert_eq!(list(&place, &["--json", "--state", "sent"]), 3);
    place.stop();
    assert_eq!(place.run(&["send", FUNCTION]).code, 69);
    assert_eq!(place.run(&["outbox", "list"]).code, 69);
}

#[test]
fn without_a_function_nothing_of_it_runs() {
    let mut place = Place::new("outbox-none");
    place.without("channel").without("callbacks");
    place.start();
    assert!(place.status()["outbox"].is_null());
    assert!(!place.get("/metrics").text().contains("outbox"));
    assert_eq!(place.send("POST", "/outbox/a", &[JSON], b"{}").status, 400);
    assert_eq!(place.get("/outbox").value()["calls"], json!([]));
}
