//! From a start to a local read, by way of callbacks.

use std::thread;
use std::time::{Duration, Instant};

use super::old_leads;
use crate::agent::Place;
use crate::sim::data;

#[test]
fn started_with_nothing_else_it_is_complete_within_seconds() {
    let mut place = Place::new("start");
    data::plausible(&mut place.upstream(), 7, 300);
    place.modules(&[("Leads", ""), ("Contacts", ""), ("Deals", "")]);
    let began = Instant::now();
    place.begin();
    let took = began.elapsed();
    println!("from start to an open channel and 300 records: {} ms", took.as_millis());
    assert!(took < Duration::from_secs(20), "{took:?}");

    let status = place.status();
    let id = status["channel"]["id"].as_str().unwrap().to_owned();
    assert_eq!(place.upstream().live_channels(), [id]);
    for module in ["Leads", "Contacts", "Deals"] {
        assert_eq!(place.records(module), place.truth(module, false), "{module}");
        let of_module = &status["modules"][module];
        assert_eq!(of_module["records"], place.truth(module, false).len(), "{of_module}");
        assert!(of_module["complete_through"].is_string(), "{of_module}");
    }
    assert_eq!(status["upstream"]["state"], "online");
}

#[test]
fn what_changes_upstream_is_readable_soon() {
    let mut place = Place::new("edit");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    let mut lags = Vec::new();
    for number in 0..20 {
        let text = format!("\"+49 30 555-{number:04}\"");
        place.upstream().edit("Leads", ids[1], &[("Phone", &text)]);
        place.carry();
        let answered = Instant::now();
        place.until_reads("Leads", ids[1], "Phone", &text);
        lags.push(answered.elapsed());
    }
    lags.sort_unstable();
    println!("from a callback's answer to the read, at best every 10 ms: p50 {:?}", lags[10]);

    let new = place.upstream().create("Leads", &[("Last_Name", "\"Holmes\"")]);
    place.carry();
    place.until_reads("Leads", new, "Last_Name", "\"Holmes\"");
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
    assert_eq!(place.status()["modules"]["Leads"]["records"], 4);
}

#[test]
fn a_deleted_record_stays_deleted_when_an_old_edit_arrives_late() {
    let mut place = Place::new("delete");
    let ids = old_leads(&mut place.upstream(), 2);
    place.begin();
    let before = place.status()["sequence"].as_u64().unwrap();
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    let late = place.upstream().take_callbacks().remove(0);
    place.upstream().delete("Leads", ids[0]);
    place.carry();
    let target = format!("/crm/v2/Leads/{}", ids[0]);
    place.until("it is gone", |place| (place.get(&target).status == 204).then_some(()));

    assert_eq!(place.post(&late.body), 200);
    place.until_settled();
    let heard = place.get(&target);
    assert_eq!((heard.status, heard.text().as_str()), (204, ""));
    assert_eq!(place.get(&format!("/crm/v2/Leads?ids={}", ids[0])).status, 204);
    let status = place.status();
    assert_eq!(status["modules"]["Leads"]["records"], 1);
    assert_eq!(status["sequence"].as_u64().unwrap(), before + 1, "one change: it was deleted");
}

#[test]
fn two_hundred_callbacks_cause_a_handful_of_fetches() {
    const CALLERS: usize = 8;
    let mut place = Place::new("burst");
    let ids = old_leads(&mut place.upstream(), 200);
    place.begin();
    let callbacks = {
        let mut upstream = place.upstream();
        upstream.forget_calls();
        for &id in &ids {
            upstream.edit("Leads", id, &[("Phone", &format!("\"{id}\""))]);
        }
        upstream.take_callbacks()
    };
    assert_eq!(callbacks.len(), 200);
    thread::scope(|scope| {
        for some in callbacks.chunks(200 / CALLERS) {
            let place = &place;
            scope.spawn(move || some.iter().for_each(|one| assert_eq!(place.post(&one.body), 200)));
        }
    });
    let truth = place.truth("Leads", false);
    place.until("all have arrived", |place| (place.records("Leads") == truth).then_some(()));
    place.until_settled();
    let fetches = place.calls(|call| call.path == "/crm/v2/Leads" && call.param("ids").is_some());
    let asked: Vec<usize> =
        fetches.iter().map(|call| call.param("ids").unwrap().split(',').count()).collect();
    println!("200 callbacks caused {} fetches of {asked:?} records", asked.len());
    assert!(asked.len() < 50, "{asked:?}");
    assert!(asked.iter().all(|count| *count <= 50), "{asked:?}");
    assert_eq!(place.status()["callbacks"]["accepted"], 200);
}
