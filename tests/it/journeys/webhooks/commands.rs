//! `crmirror books`: what it shows, what it changes, and what it says when that cannot be done.

use serde_json::{Value, json};

use super::{NAME, begin, books, place, webhooks};
use crate::agent::Place;

const SECRET: &str = "abcdefgh12345678";

/// What a command prints that succeeds.
fn told(place: &Place, args: &[&str]) -> String {
    let ended = place.run(args);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{args:?}");
    ended.out
}

/// The same as JSON.
fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&told(place, &[args, &["--json"]].concat())).unwrap()
}

/// A file that describes a webhook.
fn file(place: &Place, settings: &Value) -> String {
    let file = place.path("webhook.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn webhooks_are_shown_and_changed() {
    let mut place = place("webhooks-commands");
    begin(&mut place);
    let by_hand = json!({
        "webhook_name": "by hand", "entity": "bill", "method": "PUT",
        "url": "https://a.example/b", "secret": SECRET,
    });
    let created = json(&place, &["books", "webhooks", "create", &file(&place, &by_hand)]);
    let id = created["webhook_id"].as_str().unwrap().to_owned();
    assert_eq!(created["webhook_name"], "by hand");
    let listed = json(&place, &["books", "webhooks", "list", "--sort", "webhook_name"]);
    let names: Vec<&Value> =
        listed["webhooks"].as_array().unwrap().iter().map(|row| &row["webhook_name"]).collect();
    assert_eq!(names, ["by hand", NAME]);
    let listed = told(&place, &["books", "webhooks", "list", "--entity", "bill"]);
    assert!(listed.starts_with("id ") && listed.contains("by hand"), "{listed}");
    assert!(!listed.contains(NAME), "{listed}");
    assert_eq!(told(&place, &["books", "webhooks", "list", "--limit", "1"]).lines().count(), 2);
    let described = file(&place, &json!({ "description": "made by hand" }));
    json(&place, &["books", "webhooks", "update", &id, &described]);
    let shown = told(&place, &["books", "webhooks", "show", &id]);
    assert!(shown.contains("made by hand") && !shown.contains(SECRET), "{shown}");
    assert_eq!(json(&place, &["books", "webhooks", "show", &id])["entity"], "bill");
    assert!(json(&place, &["books", "webhooks", "editpage"])["entities"].is_array());
    let deleted = told(&place, &["books", "webhooks", "delete", &id]);
    assert_eq!(deleted, format!("the webhook {id} is deleted\n"));
}

#[test]
fn histories_are_shown_and_sent_again() {
    let mut place = place("histories-commands");
    begin(&mut place);
    // More than a page.
    (1..=230).for_each(|number| place.upstream().fire("invoice", number));
    let announced = place.upstream().take_announced();
    for (number, callback) in announced.into_iter().enumerate() {
        let status = if number < 3 { 503 } else { 200 };
        place.upstream().answered(callback.history, Some(status));
    }
    let rows = json(&place, &["books", "histories", "list", "--failed"])["histories"].clone();
    let ids: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["history_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "the oldest three, on the second page");
    let listed = told(&place, &["books", "histories", "list", "--failed", "--limit", "2"]);
    assert!(listed.contains("503") && listed.lines().count() == 3, "{listed}");
    assert_eq!(told(&place, &["books", "histories", "list"]).lines().count(), 1 + 200);
    assert_eq!(json(&place, &["books", "histories", "show", ids[0]])["history_id"], ids[0]);
    let resent = told(&place, &["books", "histories", "resend", ids[0]]);
    assert_eq!(resent, "1 asked for again\n");
    json(&place, &["books", "histories", "resend", ids[1], ids[2]]);
    let posts = place.calls(|call| call.method == "POST" && call.path.contains("histories"));
    let ours: Vec<&str> = posts.iter().map(|call| call.path.rsplit('/').next().unwrap()).collect();
    assert!(ours.ends_with(&["resend", "bulkresend"]), "{ours:?}");
}

/// One line that says what is wrong, and the exit code of the contract.
#[test]
fn what_cannot_be_done_is_told() {
    let mut place = place("webhooks-wrong-commands");
    begin(&mut place);
    let own = webhooks(&place).pop_first().unwrap().0.to_string();
    let file = file(&place, &json!({ "secret": SECRET }));
    for (args, code, told) in [
        (&["books", "webhooks", "show", "7"][..], 1, "1002"),
        (&["books", "webhooks", "update", &own, &file], 1, "leave 'secret' out"),
        (&["books", "webhooks", "create", &file], 1, "'webhook_name' is missing"),
        (&["books", "webhooks", "create", "no-such-file"], 1, "no-such-file cannot be read"),
        (&["books", "webhooks", "show", "x"], 2, "'x'"),
        (&["books", "webhooks", "list", "--sort", "x"], 2, "webhook_name created_time"),
        (&["books", "webhooks", "list", "--entity", "lead"], 2, "invoice"),
        (&["books", "webhooks", "prune", "--failed"], 2, "--failed does not go"),
        (&["books", "histories", "resend"], 2, "resend ID..."),
        (&["books"], 2, "webhooks or histories"),
    ] {
        let ended = place.run(args);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{args:?}: {ended:?}");
        assert!(ended.err.contains(told) && !ended.err.contains(SECRET), "{args:?}: {ended:?}");
    }
    place.upstream().faults.offline(true);
    assert_eq!(place.run(&["books", "webhooks", "list"]).code, 69);
    place.upstream().faults.offline(false);
    place.further("");
    let ended = place.run(&["books", "webhooks", "list"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("[books]"), "{ended:?}");
}

#[test]
fn prune_deletes_ours_and_nothing_else() {
    let mut place = place("webhooks-prune");
    let second = "[[books.webhook]]\nname = \"second\"\nentity = \"bill\"\n\
                  notify_url = \"https://kiosk.example/books/bill/1\"\n";
    place.further(&format!("{}{second}", books("")));
    begin(&mut place);
    place.until("both are there", |place| (webhooks(place).len() == 2).then_some(()));
    place.until("both are ready", |place| {
        (place.status()["books"]["webhooks"]["second"]["state"] == "ready").then_some(())
    });
    let file = place.path("foreign.json");
    let foreign = json!({
        "webhook_name": NAME, "entity": "invoice", "method": "POST",
        "url": "https://kiosk-8.example/",
    });
    std::fs::write(&file, foreign.to_string()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(place.run(&["books", "webhooks", "create", file]).code, 0);
    place.stop();
    // The second is declared no longer.
    place.further(&books(""));
    let pruned = place.run(&["books", "webhooks", "prune", "--json"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    let pruned: Value = serde_json::from_str(&pruned.out).unwrap();
    let names: Vec<&Value> =
        pruned["deleted"].as_array().unwrap().iter().map(|each| &each["name"]).collect();
    assert_eq!(names, [NAME, "second"]);
    let left: Vec<Value> = webhooks(&place).into_values().collect();
    assert_eq!(left, [foreign]);
    let again = place.run(&["books", "webhooks", "prune"]);
    assert_eq!((again.code, again.out.as_str()), (0, "Books has no webhook of ours\n"));
    begin(&mut place);
    assert_eq!(webhooks(&place).len(), 2, "declared, and so created again");
    let told = place.run(&["books", "webhooks", "prune"]).out;
    assert!(told.contains("the running daemon creates what is declared again"), "{told}");
}
