//! What Zoho's platform tells of our extension: recorded, told on, acted upon; and what is not the
//! platform's is refused.
//!
//! `refused`: who is believed, and who is not. `wipe`: what is left of everything after a removal,
//! whatever happens on the way.

mod refused;
mod wipe;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{Place, credentials};
use crate::sim::{
    CLIENT_SECRET, Hashed, Heard, PLATFORM_EVENTS, PLATFORM_ORG, PLATFORM_SECRET, REFRESH_TOKEN,
    Told, http,
};

const PATH: &str = "/platform/7d01";
const CONTEXT: &str = "2398deio3qwnx3c9xwi3nc3njkh9jfico";

/// A place whose extension the platform tells of.
fn place(name: &str) -> Place {
    let mut place = Place::new(name);
    place.set("platform.notify_url", &format!("\"https://kiosk.example{PATH}\""));
    place.set("platform.desk", &format!("\"{}\"", place.loopback.origin()));
    place.write_credentials(&with_secret(PLATFORM_SECRET));
    place
}

fn with_secret(secret: &str) -> String {
    let mut keys: Value =
        serde_json::from_str(&credentials(CLIENT_SECRET, Some(REFRESH_TOKEN))).unwrap();
    keys["platform_secret"] = json!(secret);
    keys.to_string()
}

fn post(place: &Place, body: &str, hash: Option<&str>) -> Heard {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(hash.map(|hash| ("HASH", hash)));
    http(place.callbacks, "POST", PATH, &headers, body.as_bytes())
        .unwrap_or_else(|error| panic!("POST {body}: {error}"))
}

fn send(place: &Place, told: &Told) -> u16 {
    post(place, &told.body, Some(&told.hash)).status
}

/// The platform tells this, in the way that it hashes today.
fn tell(place: &Place, event: &str) {
    assert_eq!(send(place, &Told::new(event, CONTEXT, Hashed::Body)), 200, "{event}");
}

fn until_recorded(place: &mut Place, count: u64) {
    place.until("the events are recorded", |place| {
        (place.status()["platform"]["events"] == count).then_some(())
    });
}

fn until_state(place: &mut Place, state: &str) {
    place.until(&format!("the extension is {state}"), |place| {
        (place.status()["platform"]["state"] == state).then_some(())
    });
}

/// All changes of the platform's module, with their records.
fn changes(place: &Place) -> Vec<Value> {
    let heard = place.get("/changes?module=$platform&include=record&limit=1000");
    assert_eq!(heard.status, 200, "{}", heard.text());
    heard.value()["changes"].as_array().unwrap().clone()
}

#[test]
fn all_eight_events_are_recorded_and_told_on() {
    let mut place = place("platform-eight");
    place.set("platform.on_uninstall", "\"ignore\"");
    place.begin();
    let (forms, events) = ([Hashed::Fields, Hashed::Body], PLATFORM_EVENTS.iter().enumerate());
    for (number, event) in events {
        let told = Told::new(event, &format!("{CONTEXT}{number}"), forms[number % 2]);
        assert_eq!(send(&place, &told), 200, "{event}");
    }
    until_recorded(&mut place, 8);
    let status = place.status();
    assert_eq!(status["platform"]["state"], "installed");
    assert_eq!(status["platform"]["last_event"], "onUninstall");
    assert_eq!(status["platform"]["org"], PLATFORM_ORG.to_string());
    assert!(status["platform"]["last_event_time"].is_string());
    let of_platform = |change: &&Value| change["module"] == "$platform";
    let all = place.get("/changes?include=record").value();
    let told: Vec<Value> =
        all["changes"].as_array().unwrap().iter().filter(of_platform).cloned().collect();
    assert_eq!(told, changes(&place), "without a wish for it, and with");
    let names: Vec<&str> =
        told.iter().map(|change| change["record"]["event"].as_str().unwrap()).collect();
    assert_eq!(names, PLATFORM_EVENTS);
    for (number, change) in (1..).zip(&told) {
        assert_eq!(
            (&change["kind"], &change["id"]),
            (&json!("upsert"), &json!(number.to_string()))
        );
        let fields: Vec<&String> = change["record"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["event", "id", "orgId", "time"]);
    }
    // It is no module that could be read, searched or asked to catch up.
    assert_eq!(place.get("/crm/v2/$platform").status, 400);
    assert_eq!(place.get("/crm/v2/$platform/1").status, 400);
    assert_eq!(place.ask("POST", "/sync?module=$platform", &[]).status, 400);
    let metrics = place.get("/metrics").text();
    assert!(metrics.contains("\ncrmirror_platform_events_total 8\n"), "{metrics}");
    let shown = |place: &Place| {
        let table = place.run(&["platform", "events"]);
        let lines = place.run(&["platform", "events", "--json"]);
        assert_eq!((table.code, lines.code), (0, 0), "{table:?} {lines:?}");
        for event in PLATFORM_EVENTS {
            assert!(table.out.contains(event) && lines.out.contains(event), "{table:?}");
        }
        let followed = place.run(&["changes", "--module", "$platform"]);
        assert_eq!(followed.out.lines().count(), 8, "{followed:?}");
        (table.out, lines.out, followed.out)
    };
    let with_daemon = shown(&place);
    place.stop();
    assert_eq!(shown(&place), with_daemon, "the store says the same");
    place.start();
    until_recorded(&mut place, 8);
    tell(&place, "onUpdate");
    until_recorded(&mut place, 9);
    assert_eq!(changes(&place).len(), 9);
}

#[test]
fn an_authorisation_opens_the_channel_and_catches_up() {
    let mut place = place("platform-authorise");
    let ids = old_leads(&mut place.upstream(), 2);
    place.set("catch_up.every", "\"12h\"");
    place.begin();
    assert_eq!(place.run(&["channel", "close"]).code, 0);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"unannounced\"")]);
    assert!(place.upstream().take_callbacks().is_empty(), "nobody is told");
    tell(&place, "onInstall");
    until_recorded(&mut place, 1);
    thread::sleep(Duration::from_millis(300));
    assert!(place.upstream().live_channels().is_empty(), "to be installed is not enough");
    tell(&place, "onZohoAuthorise");
    place.until_reads("Leads", ids[0], "Phone", "\"unannounced\"");
    place.ready();
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"announced\"")]);
    place.carry();
    place.until_reads("Leads", ids[1], "Phone", "\"announced\"");
}

#[test]
fn a_removal_closes_the_channel_until_the_extension_is_back() {
    for back in ["onInstall", "onZohoAuthorise"] {
        let mut place = place("platform-close");
        let ids = old_leads(&mut place.upstream(), 1);
        place.set("catch_up.every", "\"1s\"");
        place.begin();
        tell(&place, "onUninstall");
        until_state(&mut place, "uninstalled");
        place.until("the channel is closed", |place| {
            place.upstream().live_channels().is_empty().then_some(())
        });
        place.upstream().edit("Leads", ids[0], &[("Phone", "\"later\"")]);
        for restart in ["no", "kill", "stop"] {
            if restart == "kill" {
                place.kill().start();
            } else if restart == "stop" {
                place.stop();
                place.start();
            }
            until_state(&mut place, "uninstalled");
            assert_eq!(place.ask("POST", "/channel?action=renew", &[]).status, 409);
            assert_eq!(place.ask("POST", "/sync", &[]).status, 503);
            thread::sleep(Duration::from_millis(1_500));
            assert!(place.upstream().live_channels().is_empty(), "{restart}");
            let reads = place.record("Leads", ids[0]).expect("what is here is readable");
            assert!(!reads.contains_key("Phone") || reads["Phone"] == "null", "{reads:?}");
            assert_eq!(place.status()["channel"]["state"], "none");
        }
        let status = place.run(&["status"]);
        assert!(status.out.contains("the extension is uninstalled"), "{status:?}");
        let doctor = place.run(&["doctor"]);
        assert!(doctor.out.contains("platform       the extension is uninstalled"), "{doctor:?}");
        tell(&place, "onUpdate");
        until_recorded(&mut place, 2);
        assert!(place.upstream().live_channels().is_empty());
        tell(&place, back);
        place.until_reads("Leads", ids[0], "Phone", "\"later\"");
        place.ready();
        assert_eq!(place.status()["platform"]["state"], "installed");
        assert!(!place.path("store/uninstalled").exists());
        place.kill().begin();
    }
}

#[test]
fn a_channel_is_not_renewed_by_command_while_the_extension_is_gone() {
    let mut place = place("platform-command");
    place.begin();
    tell(&place, "onUninstall");
    until_state(&mut place, "uninstalled");
    for running in [true, false] {
        if !running {
            place.stop();
        }
        let ended = place.run(&["channel", "renew"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("the channel stays closed until it is back"), "{ended:?}");
        assert_eq!(place.run(&["channel", "close"]).code, 0);
    }
    assert!(place.upstream().live_channels().is_empty());
}

#[test]
fn events_that_were_acknowledged_outlive_a_kill() {
    let mut place = place("platform-kill");
    place.set("platform.on_uninstall", "\"ignore\"");
    let mut told = 0;
    for round in 0..12_usize {
        place.start();
        for event in &PLATFORM_EVENTS[..=round % 8] {
            tell(&place, event);
            told += 1;
        }
        thread::sleep(Duration::from_millis(round as u64 % 4));
        place.kill();
    }
    place.start();
    until_recorded(&mut place, told);
    let ids: BTreeSet<u64> = changes(&place)
        .iter()
        .map(|change| change["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids, (1..=told).collect(), "none is lost");
}

#[test]
fn desk_is_called_with_the_context_that_came_last() {
    let mut place = place("platform-invoke");
    place.start();
    let call = ["platform", "invoke", "get", "https://desk.zoho.com/api/v1/tickets"];
    let ended = place.run(&call);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("the platform has told nothing yet"), "{ended:?}");
    tell(&place, "onInstall");
    let newer = Told::new("onZohoAuthorise", "a-newer-context", Hashed::Body);
    assert_eq!(send(&place, &newer), 200);
    place.upstream().desk.context = Some("a-newer-context".to_owned());
    let ended = place.run(&call);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["called"], "https://desk.zoho.com/api/v1/tickets");
    assert_eq!((&answer["by"], &answer["with"]), (&json!("GET"), &Value::Null));
    let whole = [
        "platform",
        "invoke",
        "POST",
        "https://desk.zoho.com/api/v1/tickets?x={{installationId}}",
        "--data",
        "{\"subject\":\"ä & b=c\"}",
        "--query",
        "from=0",
        "--header",
        "orgId=387238",
        "--connection",
        "for_tickets",
    ];
    let ended = place.run(&whole);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("ä & b=c"), "{ended:?}");
    let parts = place.upstream().desk.calls.last().unwrap().clone();
    let part = |name: &str| parts.iter().find(|(key, _)| key == name).map(|(_, text)| text.clone());
    assert_eq!(part("headers").as_deref(), Some("{\"orgId\":\"387238\"}"));
    assert_eq!(part("queryParams").as_deref(), Some("{\"from\":\"0\"}"));
    assert_eq!(part("connectionLinkName").as_deref(), Some("for_tickets"));
    place.upstream().desk.context = None;
    let ended = place.run(&call);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("status 401: UNAUTHORIZED"), "{ended:?}");
    place.write_credentials(&with_secret("another-secret"));
    assert!(place.run(&call).err.contains("403: FORBIDDEN"));
    place.upstream().faults.offline(true);
    assert_eq!(place.run(&call).code, 69);
}

#[test]
fn neither_context_nor_secret_is_told_to_anybody() {
    let mut place = place("platform-secrets");
    place.verbosity("trace,ureq=trace,rustls=trace,sled=trace");
    place.set("platform.on_uninstall", "\"close\"");
    place.begin();
    for (number, event) in PLATFORM_EVENTS.iter().enumerate() {
        let form = [Hashed::Body, Hashed::Fields][number % 2];
        assert_eq!(send(&place, &Told::new(event, CONTEXT, form)), 200);
        let other = Told::of(7, event, CONTEXT, form, PLATFORM_SECRET);
        assert_eq!(send(&place, &other), 403);
        post(&place, &Told::new(event, CONTEXT, form).body[1..], Some(&other.hash));
    }
    until_recorded(&mut place, 8);
    place.upstream().desk.context = Some(CONTEXT.to_owned());
    place.run(&["platform", "invoke", "GET", "https://desk.zoho.com/api/v1/tickets"]);
    place.run(&["platform", "events", "--json"]);
    place.run(&["status", "--json"]);
    for target in ["/status", "/changes?include=record", "/metrics", "/", "/openapi.json"] {
        place.get(target);
    }
    let bundle = place.path("bundle.json");
    place.run(&["doctor", "--bundle", bundle.to_str().unwrap()]);
    let seed = place.path("seed");
    place.run(&["export", "--all", seed.to_str().unwrap()]);
    place.stop();
    let bundle = fs::read_to_string(bundle).unwrap();
    assert!(bundle.contains("\"verify\": \"enforce\""), "{bundle}");
    let texts = [place.printed(), place.answered(), bundle];
    for secret in [CONTEXT, PLATFORM_SECRET, PATH] {
        for text in &texts {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(place.path("store/platform.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // It is in that one file and in no other.
    let found = traces(&place.path("store"), &[CONTEXT.to_owned()]);
    assert_eq!(found, [(place.path("store/platform.json"), CONTEXT.to_owned())]);
    assert_eq!(traces(&seed, &[CONTEXT.to_owned()]), []);
}

/// Which of these texts lie where, in all files below here, looked for byte by byte.
fn traces(top: &Path, texts: &[String]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for file in files(top) {
        let bytes = fs::read(&file).unwrap();
        for text in texts {
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push((file.clone(), text.clone()));
            }
        }
    }
    found
}

fn files(top: &Path) -> Vec<PathBuf> {
    if top.is_file() {
        return vec![top.to_owned()];
    }
    let inside = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path());
    inside.flat_map(|path| files(&path)).collect()
}
