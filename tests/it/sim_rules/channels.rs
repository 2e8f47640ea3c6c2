//! The life of channels, what is wrong with them, and the callbacks they bring.

use std::time::Duration;

use serde_json::{Value, json};

use super::{DAY, World, channel, world};
use crate::sim::Asked;

#[test]
fn a_channel_is_opened_renewed_and_ends_by_itself() {
    let mut world = world();
    let answer = world.watch("POST", channel(Duration::from_secs(7_200)));
    assert_eq!(answer.status, 201);
    let granted = &answer.value()["watch"][0]["details"]["events"][0];
    assert_eq!(granted["channel_expiry"], "2026-09-21T21:43:20+05:30", "the account's own offset");
    assert_eq!(granted["resource_uri"], "https://www.zohoapis.com/crm/v2/Leads");
    let shown = world.get("/crm/v8/actions/watch?channel_id=1000000068001").value();
    assert_eq!(shown["watch"][0]["token"], "t-1");
    assert_eq!(shown["watch"][0]["events"], json!(["Leads.create", "Leads.edit", "Leads.delete"]));

    let granted = world.watch("PUT", channel(2 * DAY)).value();
    let ends = &granted["watch"][0]["details"]["events"][0]["channel_expiry"];
    assert_eq!(ends, "2026-09-21T20:43:20+05:30", "more than the maximum is an hour");
    world.clock.advance(Duration::from_secs(3_599));
    assert_eq!(world.upstream.live_channels().len(), 1);
    world.clock.advance(Duration::from_secs(1));
    let answer = world.watch("PUT", channel(Duration::from_secs(7_200)));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.value()["watch"][0]["code"], "NOT_SUBSCRIBED");
    assert_eq!(world.get("/crm/v2/actions/watch").status, 204);

    world.upstream.knobs.grant_at_most = Some(Duration::from_secs(4));
    world.watch("POST", channel(Duration::from_secs(7_200)));
    assert!(world.upstream.drop_channel("1000000068001"));
    world.watch("POST", channel(Duration::from_secs(7_200)));
    world.upstream.knobs.post_on_live_refused = true;
    let again = world.watch("POST", channel(Duration::from_secs(7_200)));
    assert_eq!((again.status, &again.value()["watch"][0]["code"]), (202, &json!("ALREADY_USED")));
    world.clock.advance(Duration::from_secs(4));
    assert!(world.upstream.live_channels().is_empty());
}

#[test]
fn what_is_wrong_with_a_channel_is_said_per_item() {
    let mut world = world();
    let mut check = |key: &str, value: Value, code: &str| {
        let mut item = channel(Duration::from_secs(60));
        item[key] = value;
        let answer = world.watch("POST", item).value();
        assert_eq!(answer["watch"][0]["code"], code, "{key}");
        assert_eq!(answer["watch"][0]["details"]["api_name"], key);
    };
    check("channel_expiry", json!("2026-09-21T20:43:20.5+05:30"), "INVALID_DATA");
    check("channel_expiry", json!("2026-09-21T20:43:20"), "INVALID_DATA");
    check("channel_expiry", json!("2020-01-01T00:00:00Z"), "INVALID_DATA");
    check("token", json!("x".repeat(51)), "INVALID_DATA");
    check("notify_url", json!(format!("https://x/{}", "y".repeat(256))), "INVALID_DATA");
    check("events", json!(["Leads.insert"]), "INVALID_DATA");
    check("events", json!(["Nonsense.all"]), "INVALID_DATA");
    check("events", json!(vec!["Leads.edit"; 51]), "INVALID_DATA");
    check("events", Value::Null, "MANDATORY_NOT_FOUND");
    check("channel_id", json!("99999999999999999999"), "INVALID_DATA");
    check("surprise", json!(1), "INVALID_DATA");
    let both = json!({"watch": [channel(Duration::from_secs(60)), {"channel_id": 5}]}).to_string();
    let answer = world.ask(Asked::new("POST", "/crm/v2/actions/watch").body(&both));
    assert_eq!(answer.status, 202, "2xx does not mean success");
}

#[test]
fn patch_loses_a_token_that_is_not_sent_again() {
    let mut world = world();
    world.watch("POST", channel(Duration::from_secs(60)));
    let missing = world.watch("PATCH", json!({"channel_id": 1_000_000_068_001u64}));
    assert_eq!(missing.value()["watch"][0]["code"], "MANDATORY_NOT_FOUND", "events must be sent");
    let patch = json!({"channel_id": "1000000068001", "events": ["Leads.edit"]});
    assert_eq!(world.watch("PATCH", patch).status, 200);
    let shown = world.get("/crm/v2/actions/watch").value();
    assert_eq!(shown["watch"][0]["token"], Value::Null);
    assert_eq!(shown["watch"][0]["notify_on_related_action"], false, "the rest is kept");
    let close = "/crm/v2/actions/watch?channel_ids=1000000068001,5";
    let closed = world.ask(Asked::new("DELETE", close));
    assert_eq!(
        (closed.status, &closed.value()["watch"][1]["code"]),
        (202, &json!("NOT_SUBSCRIBED"))
    );
}

#[test]
fn callbacks_look_like_the_captured_ones() {
    let mut world = world();
    let before = world.upstream.create("Leads", &[("Last_Name", "\"A\"")]);
    world.watch("POST", channel(Duration::from_secs(60)));
    let id = world.upstream.create("Leads", &[("Last_Name", "\"B\"")]);
    world.upstream.knobs.ids_per_callback = 2;
    let many = world.upstream.mass_create("Leads", 3, &[("Last_Name", "\"C\"")]);
    world.upstream.mass_update("Leads", &[before, id], &[("Phone", "\"1\"")]);
    world.upstream.delete("Leads", id);
    world.upstream.merge("Leads", before, many[0]);
    world.upstream.revoke_permission("Leads", many[1]);
    world.upstream.edit("Leads", many[1], &[("Phone", "\"2\"")]);
    let callbacks = world.upstream.take_callbacks();
    let said: Vec<(&str, usize)> =
        callbacks.iter().map(|callback| (callback.operation, callback.ids.len())).collect();
    assert_eq!(said, [("insert", 1), ("insert", 2), ("insert", 1), ("update", 2), ("delete", 1)]);
    let body: Value = serde_json::from_str(&callbacks[3].body).unwrap();
    let (before, id) = (before.to_string(), id.to_string());
    let expected = json!({
        "server_time": 1_790_000_000_000u64,
        "query_params": {"n": "1"},
        "module": "Leads",
        "resource_uri": "https://www.zohoapis.com/crm/v2/Leads",
        "ids": [&before, &id],
        "affected_fields": [{&before: ["Phone"]}, {&id: ["Phone"]}],
        "operation": "update",
        "channel_id": "1000000068001",
        "token": "t-1",
    });
    assert_eq!(body, expected);
    world.clock.advance(Duration::from_secs(60));
    world.upstream.create("Leads", &[("Last_Name", "\"D\"")]);
    assert!(world.upstream.take_callbacks().is_empty(), "the channel has ended");
}

#[test]
fn related_records_are_announced_unless_one_says_no() {
    let mut world = world();
    let lead = world.upstream.create("Leads", &[("Last_Name", "\"A\"")]);
    world.upstream.model.add("Deals");
    let mut item = channel(Duration::from_secs(60));
    item["events"] = json!(["Leads.all", "Deals.all"]);
    item.as_object_mut().unwrap().remove("notify_on_related_action");
    world.watch("POST", item.clone());
    let lookup = format!(r#"{{"name":"A","id":"{lead}"}}"#);
    world.upstream.create("Deals", &[("Lead", &lookup)]);
    let told = |world: &mut World| -> Vec<String> {
        world.upstream.take_callbacks().into_iter().map(|callback| callback.module).collect()
    };
    assert_eq!(told(&mut world), ["Deals", "Leads"]);
    item["notify_on_related_action"] = json!(false);
    world.watch("PUT", item);
    world.upstream.create("Deals", &[("Lead", &lookup)]);
    assert_eq!(told(&mut world), ["Deals"]);
}
