//! Catch-ups on demand: what no callback brought.

use std::time::Duration;

use serde_json::json;

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Aim, Fault};

#[test]
fn a_sync_brings_what_callbacks_lost() {
    let mut place = Place::new("sync");
    let ids = old_leads(&mut place.upstream(), 5);
    place.begin();
    // Long ago by upstream's clock: the watermark must reach back to the last proof, not to now.
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"lost\"")]);
    place.upstream().delete("Leads", ids[1]);
    place.upstream().purge("Leads", ids[2]);
    let new = place.upstream().create("Leads", &[("Last_Name", "\"Lost\"")]);
    assert_eq!(place.upstream().take_callbacks().len(), 4);
    assert_ne!(place.records("Leads"), place.truth("Leads", false));

    let heard = place.ask("POST", "/sync", &[]);
    assert_eq!((heard.status, heard.value()["status"].as_str()), (202, Some("accepted")));
    let truth = place.truth("Leads", false);
    place.until("it has caught up", |place| (place.records("Leads") == truth).then_some(()));
    assert!(place.record("Leads", new).is_some());
    place.until("it is proved", |place| {
        let proved = place.status()["modules"]["Leads"].clone();
        // Stamps are whole seconds: the scan is over, whatever second that is.
        (proved["scan"].is_null() && proved["complete_through"].is_string()).then_some(())
    });
    for id in &ids[1..3] {
        assert_eq!(place.get(&format!("/crm/v2/Leads/{id}")).status, 204);
    }
    assert_eq!(place.status()["modules"]["Leads"]["records"], 4);

    // By the command, for one module, and as a sweep: what moved no stamp is found only so.
    place.upstream().touch_formula("Leads", ids[3], "Score", "7");
    place.upstream().revoke_permission("Leads", ids[4]);
    let ended = place.run(&["sync", "Leads", "--sweep"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let truth = place.truth("Leads", false);
    place.until("it is swept", |place| (place.records("Leads") == truth).then_some(()));
    assert_eq!(place.run(&["sync", "--json"]).out, "{\"status\":\"accepted\"}\n");
    let ended = place.run(&["sync", "Deals"]);
    assert_eq!(ended.code, 2, "as of every command that is asked for such a module: {ended:?}");
}

#[test]
fn whoever_waits_is_told_what_came_in() {
    let mut place = Place::new("sync-wait");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"lost\"")]);
    place.upstream().delete("Leads", ids[1]);
    assert_eq!(place.upstream().take_callbacks().len(), 2);
    let ended = place.run(&["sync", "--wait", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&told["changes"], &told["modules"]["Leads"]["records"]), (&json!(2), &json!(2)));
    assert_eq!(place.records("Leads"), place.truth("Leads", false), "it is there by then");
    let told = place.run(&["sync", "Leads", "--wait", "--sweep"]).out;
    assert!(told.contains("changes that came in: 0"), "{told}");
    place.stop();
    assert_eq!(place.run(&["sync", "--wait"]).code, 69);
}

#[test]
fn what_cannot_be_synced_is_refused() {
    let mut place = Place::new("no-sync");
    place.set("local.allow_origins", "[\"http://kiosk.local\"]");
    place.begin();
    for (target, name) in [
        ("/sync?module=Deals", "module"),
        ("/sync?module=", "module"),
        ("/sync?sweep=yes", "sweep"),
        ("/sync?modul=Leads", "modul"),
        ("/sync?sweep=true&sweep=true", "sweep"),
    ] {
        let heard = place.ask("POST", target, &[]);
        let value = heard.value();
        assert_eq!((heard.status, &value["code"]), (400, &json!("INVALID_DATA")), "{target}");
        assert_eq!(value["details"]["api_name"], name, "{target}");
    }
    assert_eq!(place.get("/sync").status, 405);
    assert_eq!(place.ask("DELETE", "/sync", &[]).status, 405);
    let page = |origin: &str| place.ask("POST", "/sync", &[("Origin", origin)]).status;
    assert_eq!(page("http://evil.example"), 403);
    assert_eq!(page("null"), 403);
    assert_eq!(page("http://kiosk.local"), 202);
}

#[test]
fn an_outage_is_shown_and_made_up_for() {
    let mut place = Place::new("outage");
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    place.upstream().faults.offline(true);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until("it is offline", |place| {
        (place.status()["upstream"]["state"] == "offline").then_some(())
    });
    let status = place.status();
    assert_eq!(status["inbox"]["waiting"], 1);
    assert!(status["upstream"]["last_error"].is_string(), "{status}");
    place.until_printed("upstream is unreachable; callbacks are kept");
    assert_eq!(place.record("Leads", ids[1]).unwrap()["Last_Name"], "\"Lead 0001\"");
    assert_eq!((place.get("/healthz").status, place.get("/readyz").status), (200, 200));

    // A restart without a network: reads work from the first second, callbacks are accepted.
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"2\"")]);
    let body = place.upstream().take_callbacks().remove(0).body;
    place.kill().start();
    assert_eq!(place.record("Leads", ids[1]).unwrap()["Last_Name"], "\"Lead 0001\"");
    assert_eq!(place.post(&body), 200, "kept, though upstream is not there");
    assert_eq!(place.status()["inbox"]["waiting"], 2);
    assert_eq!(place.get("/readyz").status, 200);

    place.upstream().faults.offline(false);
    assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    place.until_reads("Leads", ids[1], "Phone", "\"2\"");
    place.ready();
    assert_eq!(place.status()["upstream"]["state"], "online");
}

/// Upstream's list of the deleted hangs: the scan has passed the changed records by, and goes on.
fn hold_at_deleted(place: &mut Place) {
    place.loopback.hang(Duration::from_millis(300));
    let list = Aim::path("/crm/v2/Leads/deleted");
    place.upstream().faults.script(1, list, Fault::TimeOutBefore);
    place.start();
    place.until("the scan is at the list of the deleted", |place| {
        (!place.calls(|call| call.path.ends_with("/deleted")).is_empty()).then_some(())
    });
}

#[test]
fn a_catch_up_follows_a_scan_that_a_crash_cut_off() {
    let mut place = Place::new("cut-off");
    let ids = old_leads(&mut place.upstream(), 1);
    hold_at_deleted(&mut place);
    place.kill();
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"meanwhile\"")]);
    place.begin();
    place.until_reads("Leads", ids[0], "Phone", "\"meanwhile\"");
}

#[test]
fn a_sync_asked_for_while_a_scan_goes_on_follows_it() {
    let mut place = Place::new("sync-follows");
    let ids = old_leads(&mut place.upstream(), 1);
    hold_at_deleted(&mut place);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"passed by\"")]);
    assert!(place.upstream().take_callbacks().len() <= 1, "lost");
    assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
    place.until_reads("Leads", ids[0], "Phone", "\"passed by\"");
}
