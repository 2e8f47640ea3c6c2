//! Webhooks of Zoho Books: set up at the start, received, asked for again, shown by commands.

mod commands;
mod outage;

use std::collections::BTreeMap;

use serde_json::Value;

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Aim, Call, Fault, ORGANIZATION, Writes, http};
use crmirror::store::Store;

const NAME: &str = "kiosk-invoices";
const PATH: &str = "/books/invoice/91c2";
const URL: &str = "https://kiosk.example/books/invoice/91c2?of=books";
const SETTINGS: &str = "/books/v3/settings/webhooks";

/// What the configuration says of Books, with further lines in the webhook's section.
fn books(more: &str) -> String {
    format!(
        "[books]\norganization_id = \"{ORGANIZATION}\"\n[[books.webhook]]\nname = \"{NAME}\"\n\
         entity = \"invoice\"\nnotify_url = \"{URL}\"\n{more}\n"
    )
}

/// A place whose webhook is declared; nothing runs yet.
fn place(name: &str) -> Place {
    let mut place = Place::new(name);
    for entity in ["invoices", "bills"] {
        place.upstream().add_entity(entity);
    }
    place.further(&books(""));
    place
}

/// Starts the daemon, and waits until the webhook is as it is declared.
fn begin(place: &mut Place) {
    place.begin();
    until_ready(place);
}

fn until_ready(place: &mut Place) {
    place.until("the webhook is ready", |place| (state(place) == "ready").then_some(()));
}

fn state(place: &Place) -> String {
    place.status()["books"]["webhooks"][NAME]["state"].as_str().unwrap_or_default().to_owned()
}

/// The webhooks upstream: their ids and settings.
fn webhooks(place: &Place) -> BTreeMap<u64, Value> {
    let upstream = place.upstream();
    let all = upstream.webhooks.all().iter();
    all.map(|(id, webhook)| (*id, webhook.settings.clone())).collect()
}

/// Calls that change settings.
fn changes(place: &Place) -> Vec<Call> {
    place.calls(|call| call.path.starts_with(SETTINGS) && call.method != "GET")
}

/// Carries what Books wants to send; what was answered to each.
pub(super) fn carry(place: &Place) -> Vec<u16> {
    let announced = place.upstream().take_announced();
    let each = announced.into_iter().map(|callback| {
        let headers: Vec<(&str, &str)> =
            callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (target, body) = (callback.target(), callback.body.as_bytes());
        let status = http(place.callbacks, "POST", target, &headers, body).unwrap().status;
        place.upstream().answered(callback.history, Some(status));
        status
    });
    each.collect()
}

/// The ids of invoices that wait in the store of a place where nothing runs.
fn inbox(place: &Place) -> Vec<u64> {
    let (store, _) = Store::open(&place.path("store")).unwrap();
    let waiting = store.inbox().unwrap().into_iter();
    waiting
        .filter(|item| item.arrival.module.as_str() == "invoices")
        .map(|item| item.arrival.id.number())
        .collect()
}

#[test]
fn it_is_created_with_a_secret_and_what_it_signs_is_durable() {
    let mut place = place("webhooks-created");
    begin(&mut place);
    let all = webhooks(&place);
    assert_eq!(all.len(), 1);
    let (id, settings) = all.first_key_value().unwrap();
    let text = |key: &str| settings[key].as_str().unwrap();
    assert_eq!((text("webhook_name"), text("entity"), text("method")), (NAME, "invoice", "POST"));
    assert_eq!(text("url"), URL);
    let secret = text("secret").to_owned();
    assert!((12..=50).contains(&secret.len()), "{}", secret.len());
    assert_eq!(place.status()["books"]["webhooks"][NAME]["id"], id.to_string());
    // Nobody may fetch them meanwhile: what waits is what was acknowledged.
    place.upstream().faults.offline(true);
    let kinds = [Writes::Default, Writes::Form, Writes::Raw];
    let kinds = kinds.into_iter().flat_map(|writes| [(writes, false), (writes, true)]);
    let mut sent = Vec::new();
    for (record, (writes, base64)) in (90_071_992_547_409_931_u64..).zip(kinds) {
        place.upstream().webhooks.writes = writes;
        place.upstream().webhooks.base64 = base64;
        place.upstream().fire("invoice", record);
        assert_eq!(carry(&place), [200], "{writes:?} {base64}");
        sent.push(record);
    }
    assert_eq!(place.status()["inbox"]["waiting"], sent.len());
    place.kill();
    assert_eq!(inbox(&place), sent);
    // What was kept is good for the next run, without a word from upstream.
    place.start();
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
}

#[test]
fn who_cannot_sign_is_refused_and_nothing_is_kept() {
    let mut place = place("webhooks-forged");
    begin(&mut place);
    place.upstream().fire("invoice", 7);
    let good = place.upstream().take_announced().remove(0);
    let signature = good.headers.iter().find(|(name, _)| name.starts_with('X')).unwrap().1.clone();
    let ask = |method: &str, target: &str, signature: &[&str], body: &str| {
        let headers: Vec<(&str, &str)> =
            signature.iter().map(|code| ("X-Zoho-Webhook-Signature", *code)).collect();
        http(place.callbacks, method, target, &headers, body.as_bytes()).unwrap().status
    };
    let target = format!("{PATH}?of=books");
    let body = good.body.as_str();
    let signed = signature.as_str();
    let wrong = signed.replace(&signed[..1], if signed.starts_with('0') { "1" } else { "0" });
    assert_eq!(ask("POST", &target, &[], body), 403, "unsigned");
    assert_eq!(ask("POST", &target, &[&wrong], body), 403, "another signature");
    assert_eq!(ask("POST", &target, &[&signed[1..]], body), 403, "a part of it");
    assert_eq!(ask("POST", &target, &[""], body), 403, "an empty one");
    assert_eq!(ask("POST", &target, &[&wrong, signed], body), 403, "a right one behind a wrong");
    assert_eq!(ask("POST", &target, &[&format!("{signed},{wrong}")], body), 403, "a list");
    assert_eq!(ask("POST", PATH, &[signed], body), 403, "another query");
    assert_eq!(ask("POST", &target, &[signed], &body.replace('7', "8")), 403, "another body");
    assert_eq!(ask("POST", &target, &[], "{"), 403, "who cannot sign is told nothing");
    assert_eq!(ask("GET", &target, &[signed], body), 405);
    assert_eq!(ask("POST", "/books/invoice/91c3", &[signed], body), 404);
    // Signed well, and unreadable or of another entity.
    let secret = webhooks(&place).into_values().next().unwrap()["secret"].clone();
    let secret = crmirror::secret::Secret::new(secret.as_str().unwrap().to_owned());
    for body in ["", "{", "[]", r#"{"invoice":{}}"#, r#"{"bill":{"bill_id":"7"}}"#, "a=b"] {
        let pairs: &[u8] = if body == "a=b" { b"abofbooks" } else { b"ofbooks" };
        let json = if body == "a=b" { "" } else { body };
        let code = secret.code_of(&[pairs, json.as_bytes()]);
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(ask("POST", &target, &[&code], body), 400, "{body}");
    }
    let metrics = place.get("/metrics").text();
    let refused = "crmirror_callbacks_refused_total";
    assert!(metrics.contains(&format!("{refused}{{reason=\"wrong_signature\"}} 9")), "{metrics}");
    assert!(metrics.contains(&format!("{refused}{{reason=\"unreadable\"}} 5")), "{metrics}");
    assert_eq!(place.status()["callbacks"]["accepted"], 0);
    assert_eq!(ask("POST", &target, &[signed], body), 200, "the good one is good all the same");
    place.upstream().faults.offline(true);
    place.kill();
    assert!(inbox(&place).iter().all(|id| *id == 7));
}

#[test]
fn without_a_secret_the_path_alone_protects_and_that_is_said() {
    let mut place = place("webhooks-unsigned");
    place.further(&books("secret = false"));
    begin(&mut place);
    let settings = webhooks(&place).into_values().next().unwrap();
    assert!(settings["secret"].is_null(), "{settings}");
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
    assert!(place.printed().contains("nothing is signed there"));
    assert!(place.run(&["check"]).err.contains("nothing is signed there"));
}

#[test]
fn it_is_brought_back_to_what_is_declared_and_a_foreign_one_is_left_alone() {
    let mut place = place("webhooks-differ");
    begin(&mut place);
    let (id, before) = webhooks(&place).pop_first().unwrap();
    place.kill();
    place.upstream().forget_calls();
    begin(&mut place);
    assert!(changes(&place).is_empty(), "a start finds it as it should be");
    for (key, value) in
        [("url", "https://other.example/"), ("entity", "bill"), ("webhook_name", "renamed")]
    {
        place.kill();
        place.upstream().webhooks.set(id, key, value);
        begin(&mut place);
        assert_eq!(webhooks(&place), BTreeMap::from([(id, before.clone())]), "{key}");
    }
    // Removed by a person: it is created again, with another secret, and both are good for a while.
    place.kill();
    place.upstream().fire("invoice", 7);
    let late = place.upstream().take_announced().remove(0);
    place.upstream().webhooks.remove(id);
    begin(&mut place);
    let (again, settings) = webhooks(&place).pop_first().unwrap();
    assert_ne!((again, &settings["secret"]), (id, &before["secret"]));
    place.upstream().fire("invoice", 8);
    assert_eq!(carry(&place), [200]);
    let headers: Vec<(&str, &str)> =
        late.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let target = format!("{PATH}?of=books");
    let heard = http(place.callbacks, "POST", &target, &headers, late.body.as_bytes());
    assert_eq!(heard.unwrap().status, 200);
    // Another device's, of the same name: ours is created beside it.
    place.kill();
    std::fs::remove_file(place.path("store/identity.json")).unwrap();
    place.upstream().webhooks.set(again, "url", "https://kiosk-8.example/");
    let foreign = webhooks(&place).remove(&again).unwrap();
    begin(&mut place);
    let all = webhooks(&place);
    assert_eq!((all.len(), &all[&again]), (2, &foreign));
}

#[test]
fn whether_upstream_has_the_secret_is_made_sure_of() {
    let mut place = place("webhooks-unsure");
    // It is created, and we do not hear of it.
    let aim = Aim::path(SETTINGS).method("POST");
    place.upstream().faults.script(1, aim, Fault::ResetAfter);
    begin(&mut place);
    let methods: Vec<String> = changes(&place).into_iter().map(|call| call.method).collect();
    assert_eq!(methods, ["POST", "PUT"]);
    assert_eq!(webhooks(&place).len(), 1);
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
    // The identity is lost: upstream never shows the secret, so that it gets another.
    place.kill();
    let secret = webhooks(&place).pop_first().unwrap().1["secret"].clone();
    std::fs::remove_file(place.path("store/identity.json")).unwrap();
    begin(&mut place);
    let all = webhooks(&place);
    assert_eq!(all.len(), 1);
    assert_ne!(all.first_key_value().unwrap().1["secret"], secret);
    place.upstream().fire("invoice", 8);
    assert_eq!(carry(&place), [200]);
}

#[test]
fn trouble_with_books_stops_nothing_of_crm() {
    let mut place = place("webhooks-trouble");
    let ids = old_leads(&mut place.upstream(), 1);
    for (number, refusing) in
        [(401, 57), (429, 44), (429, 45), (429, 1070), (400, 15), (500, 1)].into_iter().enumerate()
    {
        place.upstream().webhooks.refusing = Some(refusing);
        place.begin();
        let value = format!("\"{number}\"");
        place.upstream().edit("Leads", ids[0], &[("Phone", &value)]);
        place.carry();
        place.until_reads("Leads", ids[0], "Phone", &value);
        let why = place.until("it is told", |place| {
            place.status()["upstream"]["last_error"].as_str().map(str::to_owned)
        });
        assert!(why.contains("Books") && why.contains(&refusing.1.to_string()), "{why}");
        assert_eq!(place.status()["upstream"]["state"], "online");
        assert_ne!(state(&place), "ready");
        place.kill();
    }
    place.upstream().webhooks.refusing = None;
    begin(&mut place);
    place.until("nothing is wrong", |place| {
        place.status()["upstream"]["last_error"].is_null().then_some(())
    });
}

#[test]
fn its_secret_is_nowhere_but_in_the_identity() {
    let mut place = place("webhooks-secret");
    place.verbosity("trace,ureq=trace,rustls=trace,sled=trace,tiny_http=trace");
    begin(&mut place);
    let (id, settings) = webhooks(&place).pop_first().unwrap();
    let secret = settings["secret"].as_str().unwrap().to_owned();
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
    let headers = [("X-Zoho-Webhook-Signature", secret.as_str())];
    let forged = http(place.callbacks, "POST", PATH, &headers, b"{").unwrap();
    assert_eq!(forged.status, 403);
    for fault in [Fault::Status(500), Fault::Truncated, Fault::Html(200), Fault::EmptyOk] {
        place.kill();
        place.upstream().webhooks.set(id, "url", "https://other.example/");
        place.upstream().faults.script(1, Aim::path(SETTINGS).method("PUT"), fault);
        begin(&mut place);
    }
    let bundle = place.path("bundle.json");
    place.run(&["doctor", "--bundle", bundle.to_str().unwrap()]);
    for args in [
        &["books", "webhooks", "show", &id.to_string()][..],
        &["books", "webhooks", "show", &id.to_string(), "--json"],
        &["books", "webhooks", "list", "--json"],
        &["status"],
        &["status", "--json"],
    ] {
        assert_eq!(place.run(args).code, 0, "{args:?}");
    }
    place.get("/");
    place.get("/metrics");
    place.stop();
    let bundle = std::fs::read_to_string(bundle).unwrap();
    for (what, text) in
        [("printed", place.printed()), ("answered", place.answered()), ("bundle", bundle)]
    {
        assert!(text.len() > 100 && !text.contains(&secret), "{what}");
    }
    let kept = std::fs::read_to_string(place.path("store/identity.json")).unwrap();
    assert!(kept.contains(&secret), "the identity keeps it");
}
