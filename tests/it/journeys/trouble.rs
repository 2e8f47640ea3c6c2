//! Records that upstream denies: set aside where the status shows it, and released when it can be.

use super::old_leads;
use crate::agent::Place;

#[test]
fn a_denied_record_is_set_aside_and_holds_up_no_other() {
    let mut place = Place::new("quarantine");
    let ids = old_leads(&mut place.upstream(), 5);
    place.begin();
    place.upstream().faults.deny("Leads", Some(ids[2]));
    place.upstream().mass_update("Leads", &ids, &[("Phone", "\"1\"")]);
    place.carry();
    for (at, &id) in ids.iter().enumerate().filter(|(at, _)| *at != 2) {
        place.until_reads("Leads", id, "Phone", "\"1\"");
        assert_ne!(at, 2);
    }
    place.until("it is set aside", |place| {
        (place.status()["inbox"]["quarantined"] == 1).then_some(())
    });
    let status = place.status();
    assert_eq!(status["inbox"]["waiting"], 0, "{status}");
    assert_eq!(place.record("Leads", ids[2]).unwrap().get("Phone"), None, "as it was");
    let line = format!("Leads/{} is set aside: status 403 NO_PERMISSION", ids[2]);
    place.until_printed(&line);
    assert_eq!(place.printed().matches(&line).count(), 1);
    assert!(place.run(&["status"]).out.contains("1 set aside"));

    // It stays so over a restart, and is released when a callback finds it readable.
    place.stop();
    place.start();
    assert_eq!(place.status()["inbox"]["quarantined"], 1);
    place.upstream().faults.calm();
    place.upstream().edit("Leads", ids[2], &[("Phone", "\"2\"")]);
    place.carry();
    place.until_reads("Leads", ids[2], "Phone", "\"2\"");
    place.until_settled();
    assert_eq!(place.status()["inbox"]["quarantined"], 0);
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}

#[test]
fn a_module_that_is_denied_holds_up_no_other() {
    let mut place = Place::new("denied-module");
    let ids = old_leads(&mut place.upstream(), 2);
    place.upstream().model.add("Deals");
    place.upstream().faults.deny("Deals", None);
    place.modules(&[("Deals", ""), ("Leads", "")]);
    place.start();
    place.until("the leads are mirrored", |place| {
        (place.records("Leads") == place.truth("Leads", false)).then_some(())
    });
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.until("the channel is open", |place| {
        (place.status()["channel"]["state"] == "open").then_some(())
    });
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"2\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"2\"");
    // The channel and callbacks come before what is left of a scan.
    let heard = place.until("the leads are proved", |place| {
        let heard = place.get("/readyz");
        (!heard.text().contains("Leads")).then_some(heard)
    });
    assert_eq!(heard.status, 503);
    assert!(heard.text().contains("Deals"), "{}", heard.text());
    let error = place.status()["upstream"]["last_error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("Deals: status 403 NO_PERMISSION"), "{error}");
    place.upstream().faults.calm();
    assert_eq!(place.ask("POST", "/sync?module=Deals", &[]).status, 202);
    place.ready();
}
