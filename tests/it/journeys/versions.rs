//! Versions from v3 on, whole records, and modules of which only some fields are mirrored.

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Call, data};

fn reads(call: &Call) -> bool {
    call.path.starts_with("/crm/v8/Leads") && call.method == "GET"
}

#[test]
fn v8_brings_a_module_of_120_fields_whole() {
    let mut place = Place::new("v8");
    let ids = data::wide(&mut place.upstream(), "Leads", 120, 75);
    place.set("upstream.api_version", "\"v8\"");
    place.begin();
    assert_eq!(place.records("Leads"), place.truth("Leads", false), "by bootstrap");
    place.upstream().forget_calls();
    let text = "\"another\"";
    place.upstream().edit("Leads", ids[3], &[("Field_000", text), ("Field_119", text)]);
    place.carry();
    place.until_reads("Leads", ids[3], "Field_119", text);
    assert_eq!(place.records("Leads"), place.truth("Leads", false), "by callback");
    assert_eq!(place.record("Leads", ids[3]).unwrap().len(), 123);
    let fetches = place.calls(|call| reads(call) && call.param("ids").is_some());
    assert!(fetches.len() >= 3, "three passes at least: {fetches:?}");

    place.upstream().mass_update("Leads", &ids, &[("Field_060", text)]);
    place.carry();
    let truth = place.truth("Leads", false);
    place.until("all have arrived", |place| (place.records("Leads") == truth).then_some(()));
    for call in place.calls(reads) {
        let fields = call.param("fields").map_or(0, |fields| fields.split(',').count());
        let is_deleted = call.path.ends_with("/deleted");
        assert!(is_deleted || (1..=50).contains(&fields), "{fields} fields: {call:?}");
        assert_eq!(call.outcome, if is_deleted { call.outcome } else { Ok(200) }, "{call:?}");
    }
    assert!(place.calls(|call| !call.path.starts_with("/crm/v8/")).is_empty());
}

#[test]
fn a_record_that_changes_between_two_passes_is_read_again() {
    let mut place = Place::new("torn");
    let ids = data::wide(&mut place.upstream(), "Leads", 120, 1);
    place.set("upstream.api_version", "\"v8\"");
    place.begin();
    place.loopback.latency(std::time::Duration::from_millis(150));
    for text in ["\"1\"", "\"2\"", "\"3\"", "\"4\""] {
        // Stamps are whole seconds: the next edit is to show as one.
        std::thread::sleep(std::time::Duration::from_millis(1_010));
        place.upstream().edit("Leads", ids[0], &[("Field_000", text), ("Field_119", text)]);
        place.carry();
        let record = place.record("Leads", ids[0]).unwrap();
        assert_eq!(record["Field_000"] == text, record["Field_119"] == text, "torn");
    }
    place.until_reads("Leads", ids[0], "Field_119", "\"4\"");
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}

#[test]
fn whole_records_bring_what_only_a_single_record_shows() {
    for version in ["v2", "v8"] {
        let mut place = Place::new("whole");
        let ids = old_leads(&mut place.upstream(), 8);
        place.upstream().model.add("Leads").with_whole_only("Visits");
        let visits = r#"[{"id":"7","Seconds":12.50}]"#;
        place.upstream().edit("Leads", ids[0], &[("Visits", visits)]);
        place.set("upstream.api_version", &format!("\"{version}\""));
        place.modules(&[("Leads", "whole_records = true")]);
        place.begin();
        assert_eq!(place.records("Leads"), place.truth("Leads", true), "{version} by bootstrap");
        place.upstream().edit("Leads", ids[1], &[("Visits", visits), ("Phone", "\"1\"")]);
        place.carry();
        place.until_reads("Leads", ids[1], "Visits", visits);
        place.upstream().delete("Leads", ids[2]);
        place.carry();
        place.until_settled();
        place.until("it is gone", |place| place.record("Leads", ids[2]).is_none().then_some(()));
        assert_eq!(place.records("Leads"), place.truth("Leads", true), "{version} by callback");
        let single = format!("/crm/{version}/Leads/{}", ids[1]);
        assert!(!place.calls(|call| call.path == single).is_empty(), "{version}");
    }
}

#[test]
fn only_the_chosen_fields_are_mirrored() {
    for version in ["v2", "v8"] {
        let mut place = Place::new("chosen");
        let ids = old_leads(&mut place.upstream(), 3);
        place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\""), ("Secret_Note", "\"x\"")]);
        place.set("upstream.api_version", &format!("\"{version}\""));
        place.modules(&[("Leads", "fields = [\"Last_Name\", \"Phone\"]")]);
        place.begin();
        let keys =
            |place: &Place| place.record("Leads", ids[0]).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(keys(&place), ["Last_Name", "Modified_Time", "Phone", "id"], "{version}");
        place.upstream().edit("Leads", ids[0], &[("Phone", "\"2\""), ("Secret_Note", "\"y\"")]);
        place.carry();
        place.until_reads("Leads", ids[0], "Phone", "\"2\"");
        assert_eq!(keys(&place), ["Last_Name", "Modified_Time", "Phone", "id"], "{version}");
    }
}
