//! What doctor says of those beside CRM: Zoho Books and its webhooks, the extension, the outbox.

use serde_json::{Value, json};

use super::{check, examine, place};
use crate::agent::{Place, credentials};
use crate::journeys::webhooks::carry;
use crate::sim::{
    CLIENT_SECRET, Conduct, Hashed, ORGANIZATION, PLATFORM_SECRET, REFRESH_TOKEN, Told, http,
};

const NAME: &str = "kiosk-invoices";
const WEBHOOK_PATH: &str = "/books/invoice/91c2";
const PLATFORM_PATH: &str = "/platform/7d01";
const FUNCTION: &str = "kiosk_checkin";

/// A device that mirrors invoices, of which a webhook tells.
fn with_books(name: &str) -> Place {
    let mut place = place(name);
    place.upstream().add_entity("invoices");
    declare(&mut place, ORGANIZATION, WEBHOOK_PATH);
    place
}

fn declare(place: &mut Place, organization: &str, path: &str) {
    let url = format!("http://{}{path}", place.callbacks);
    place.further(&format!(
        "[books]\norganization_id = \"{organization}\"\n[[books.webhook]]\nname = \"{NAME}\"\n\
         entity = \"invoice\"\nnotify_url = \"{url}\"\n"
    ));
}

fn begin(place: &mut Place) {
    place.begin();
    place.until("the webhook is ready, and its histories were looked at", |place| {
        let books = &place.status()["books"];
        let ready = books["webhooks"][NAME]["state"] == "ready";
        (ready && books["histories"]["since"].is_string()).then_some(())
    });
}

/// Upstream's number of the one webhook.
fn webhook(place: &Place) -> u64 {
    let upstream = place.upstream();
    *upstream.webhooks.all().first_key_value().unwrap().0
}

fn line(place: &Place, name: &str) -> Value {
    let (_, findings) = examine(place);
    findings.into_iter().find(|finding| finding["check"] == name).unwrap_or_default()
}

#[test]
fn books_is_looked_at_by_three_calls_that_change_nothing() {
    let mut place = with_books("doctor-books");
    begin(&mut place);
    check(&place, 0, "books", "ok", &[ORGANIZATION, "invoices"]);
    check(&place, 0, "webhooks", "ok", &[NAME, "no callback since"]);
    check(&place, 0, "histories", "warn", &["nothing has triggered", "workflow rule"]);
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
    check(&place, 0, "webhooks", "ok", &["the last callback came at 20"]);
    check(&place, 0, "histories", "ok", &["nothing waits"]);
    check(&place, 0, "callbacks", "ok", &["leads here"]);
    place.until("the invoice is looked for", |place| {
        (place.status()["inbox"]["waiting"] == 0).then_some(())
    });
    place.upstream().forget_calls();
    assert_eq!(place.run(&["doctor"]).code, 0);
    let calls = place.calls(|call| call.path.starts_with("/books/"));
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    let settings = "/books/v3/settings/webhooks";
    assert_eq!(paths, ["/books/v3/invoices", settings, &format!("{settings}/histories")]);
    assert!(calls.iter().all(|call| call.method == "GET"), "{calls:?}");
    // Without a daemon it is the same, but that nobody knows when the last one came.
    place.stop();
    check(&place, 0, "books", "ok", &[ORGANIZATION]);
    assert_eq!(line(&place, "webhooks")["says"], format!("{NAME} as declared"));
}

#[test]
fn a_webhook_that_is_gone_changed_or_switched_off() {
    let mut place = with_books("doctor-webhook");
    begin(&mut place);
    let id = webhook(&place);
    place.upstream().webhooks.set(id, "is_active", "false");
    check(&place, 1, "webhooks", "fail", &[NAME, "switched off", "Automation"]);
    place.upstream().webhooks.set(id, "is_active", "true");
    place.upstream().webhooks.set(id, "entity", "bill");
    check(&place, 0, "webhooks", "warn", &["its entity is another", "restart crmirror"]);
    place.upstream().webhooks.set(id, "entity", "invoice");
    declare(&mut place, ORGANIZATION, "/books/invoice/91c3");
    check(&place, 0, "webhooks", "warn", &["its address is another"]);
    let text = place.run(&["doctor"]).out;
    let part = format!("{NAME}: http://{} leads to a crmirror that does not know", place.callbacks);
    assert!(text.contains(&format!("warn     callbacks      {part}")), "{text}");
    assert!(!text.contains("91c3"), "the path is a secret: {text}");
    declare(&mut place, ORGANIZATION, WEBHOOK_PATH);
    place.upstream().webhooks.remove(id);
    check(&place, 1, "webhooks", "fail", &["does not have", "restart crmirror"]);
    place.stop();
    check(&place, 0, "webhooks", "warn", &["does not have", "crmirror run"]);
}

#[test]
fn callbacks_of_books_that_nobody_answered_are_told() {
    let mut place = with_books("doctor-histories");
    begin(&mut place);
    place.upstream().fire("invoice", 7);
    assert_eq!(carry(&place), [200]);
    place.upstream().fire("invoice", 8);
    let lost = place.upstream().take_announced().remove(0);
    place.upstream().answered(lost.history, None);
    let parts = ["1 callback could not", "histories list --failed"];
    check(&place, 0, "histories", "warn", &parts);
    place.stop();
    check(&place, 0, "histories", "warn", &["crmirror run"]);
}

#[test]
fn books_that_is_denied_does_not_hide_crm() {
    let mut place = with_books("doctor-denied");
    place.upstream().accounts.withhold("ZohoBooks.invoices.READ");
    check(&place, 1, "books", "fail", &["57", "scopes for Books in README"]);
    assert_eq!(line(&place, "webhooks")["state"], "warn", "it can be looked at all the same");
    declare(&mut place, "4711", WEBHOOK_PATH);
    let (code, findings) = examine(&place);
    let states = |name: &str| {
        let of_name = findings.iter().filter(|finding| finding["check"] == name);
        of_name.map(|finding| finding["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(code, 1);
    for (name, state) in [("token", "ok"), ("api", "ok"), ("books", "fail"), ("webhooks", "fail")] {
        assert_eq!(states(name), [json!(state)], "{name}: {findings:#?}");
    }
}

#[test]
fn books_alone_tells_whether_the_token_is_accepted() {
    let mut place = with_books("doctor-books-alone");
    place.modules(&[]).without("channel");
    check(&place, 0, "token", "ok", &["granted"]);
    check(&place, 0, "api", "skipped", &["no module of CRM"]);
    begin(&mut place);
    check(&place, 0, "token", "ok", &["accepted"]);
    place.stop();
    let asked = place.token_calls();
    place.upstream().accounts.expire_access();
    check(&place, 0, "token", "ok", &["accepted"]);
    assert_eq!(place.token_calls(), asked + 1);
    place.upstream().accounts.withhold("ZohoBooks.invoices.READ");
    check(&place, 1, "books", "fail", &["57", "scopes for Books in README"]);
}

#[test]
fn an_extension_that_is_removed_is_told_with_and_without_a_daemon() {
    let mut place = place("doctor-extension");
    let url = format!("\"http://{}{PLATFORM_PATH}\"", place.callbacks);
    place.set("platform.notify_url", &url);
    check(&place, 1, "platform", "fail", &["no platform_secret"]);
    let mut keys: Value =
        serde_json::from_str(&credentials(CLIENT_SECRET, Some(REFRESH_TOKEN))).unwrap();
    keys["platform_secret"] = json!(PLATFORM_SECRET);
    place.write_credentials(&keys.to_string());
    place.begin();
    check(&place, 0, "platform", "warn", &["told nothing yet", "callbackListener"]);
    tell(&mut place, "onInstall", "installed");
    check(&place, 0, "platform", "ok", &["last onInstall at 20"]);
    tell(&mut place, "onUninstall", "uninstalled");
    let parts = ["is uninstalled", "last onUninstall at 20", "authorise"];
    let closed = ["closed, since the extension was removed"];
    check(&place, 0, "platform", "warn", &parts);
    check(&place, 0, "channel", "warn", &closed);
    place.stop();
    check(&place, 0, "platform", "warn", &parts);
    check(&place, 0, "channel", "warn", &closed);
}

fn tell(place: &mut Place, event: &str, state: &str) {
    let told = Told::new(event, "a-context-of-the-extension", Hashed::Body);
    let headers = [("HASH", told.hash.as_str())];
    let heard = http(place.callbacks, "POST", PLATFORM_PATH, &headers, told.body.as_bytes());
    assert_eq!(heard.unwrap().status, 200);
    place.until("the event is recorded", |place| {
        let platform = &place.status()["platform"];
        (platform["state"] == state && platform["last_event"] == event).then_some(())
    });
}

#[test]
fn calls_that_wait_and_calls_that_failed() {
    let mut place = place("doctor-outbox");
    place.functions(&[(FUNCTION, "apikey")]).set("outbox.calls_per_day", "20");
    check(&place, 0, "outbox", "skipped", &["neither a daemon nor the store"]);
    place.begin();
    check(&place, 0, "outbox", "ok", &["0 wait, 0 failed, 20 of 20 runs left"]);
    let leave = |place: &Place| {
        let json = [("Content-Type", "application/json")];
        let left = place.send("POST", &format!("/outbox/{FUNCTION}"), &json, b"{}");
        assert_eq!(left.status, 202);
    };
    place.upstream().functions.add(FUNCTION).manner = Conduct::Broken;
    leave(&place);
    place.until("it has failed", |place| (place.status()["outbox"]["failed"] == 1).then_some(()));
    check(&place, 0, "outbox", "warn", &["1 failed, 17 of 20", "outbox retry ID"]);
    place.upstream().faults.offline(true);
    leave(&place);
    place.until("it waits", |place| place.status()["outbox"]["trouble"].is_string().then_some(()));
    let (_, findings) = examine(&place);
    let outbox = findings.iter().find(|finding| finding["check"] == "outbox").unwrap();
    let says = outbox["says"].as_str().unwrap();
    assert!(says.contains("1 wait, the oldest for") && says.contains("runs left"), "{outbox}");
    assert_eq!(outbox["state"], "warn");
    place.upstream().faults.offline(false);
    place.stop();
    let (state, says) =
        (line(&place, "outbox")["state"].clone(), line(&place, "outbox")["says"].clone());
    assert!(state == "warn" && says.as_str().unwrap().starts_with("1 wait"), "{says}");
}
