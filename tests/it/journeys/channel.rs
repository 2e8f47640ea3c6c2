//! The channel: opened, renewed in time, lost and opened again, shown and closed.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Aim, Call, Fault};
use crmirror::mirror::time::UpstreamTime;

const WATCH: &str = "/crm/v2/actions/watch";

fn methods(place: &Place) -> Vec<String> {
    let calls = place.calls(|call| call.path.ends_with("/actions/watch"));
    calls.into_iter().map(|call| call.method).collect()
}

fn count(place: &Place, method: &str) -> usize {
    methods(place).iter().filter(|made| *made == method).count()
}

fn sent(call: &Call) -> Value {
    let body: Value = serde_json::from_str(&call.body).unwrap();
    body["watch"][0].clone()
}

#[test]
fn a_short_life_is_renewed_again_and_again() {
    let mut place = Place::new("short-life");
    let ids = old_leads(&mut place.upstream(), 1);
    place.upstream().knobs.grant_at_most = Some(Duration::from_secs(4));
    place.begin();
    let began = Instant::now();
    let mut tokens = Vec::new();
    while began.elapsed() < Duration::from_secs(12) {
        assert_eq!(place.upstream().live_channels().len(), 1, "after {:?}", began.elapsed());
        let token = place.channel()["token"].clone();
        if tokens.last() != Some(&token) {
            assert!(!tokens.contains(&token), "a token came again");
            tokens.push(token);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (opened, renewed) = (count(&place, "POST"), count(&place, "PUT"));
    println!("12 s of a life of 4 s: {opened} opened, {renewed} renewed");
    assert_eq!(opened, 1);
    assert!((4..=12).contains(&renewed), "{renewed}");
    // The last look and the count are not the same moment.
    assert!(tokens.len().abs_diff(renewed + 1) <= 1, "{} tokens, {renewed}", tokens.len());
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    place.until("the status counts them", |place| {
        let made = count(place, "POST") + count(place, "PUT");
        (place.status()["channel"]["renewals"] == made).then_some(())
    });
}

#[test]
fn what_is_sent_is_what_upstream_takes() {
    let day = 24 * 3_600;
    for (version, lifetime, longest) in
        [("v2", "24h", day), ("v8", "7d", 7 * day), ("v2", "1h", day)]
    {
        let mut place = Place::new("sent");
        place.set("upstream.api_version", &format!("\"{version}\""));
        place.set("channel.lifetime", &format!("\"{lifetime}\""));
        place.upstream().model.add("Deals");
        place.modules(&[("Leads", ""), ("Deals", "operations = [\"edit\", \"delete\"]")]);
        let now = place.upstream().now();
        place.begin();
        let opened = place.calls(|call| call.method == "POST" && call.path.contains("watch"));
        assert_eq!(opened.len(), 1);
        let item = sent(&opened[0]);
        assert_eq!(item["notify_on_related_action"], false, "{item}");
        let mut events: Vec<&str> = item["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event.as_str().unwrap())
            .collect();
        events.sort_unstable();
        let wanted = ["Deals.delete", "Deals.edit", "Leads.create", "Leads.delete", "Leads.edit"];
        assert_eq!(events, wanted);
        let expiry = item["channel_expiry"].as_str().unwrap();
        assert!(!expiry.contains('.'), "{expiry}");
        let asked = UpstreamTime::parse(expiry).unwrap().unix() - now.unix();
        assert!(asked <= longest, "{version}: {asked}");
        let lifetime = if lifetime == "1h" { 3_600 } else { longest };
        assert!(asked > lifetime - 120, "{version}: {asked}");
        let token = item["token"].as_str().unwrap();
        assert!((32..=50).contains(&token.len()), "{}", token.len());
        assert!(item["channel_id"].as_str().unwrap().parse::<i64>().unwrap() > 0);
        let shown = UpstreamTime::parse(place.status()["channel"]["expires"].as_str().unwrap());
        assert_eq!(shown, UpstreamTime::parse(expiry), "granted as asked: {}", place.status());
        let renew_at = place.status()["channel"]["renew_at"].as_str().map(UpstreamTime::parse);
        let half = renew_at.flatten().unwrap().unix() - now.unix();
        assert!(half <= asked / 2 + 1, "renewed at or before half: {half} of {asked}");
    }
}

#[test]
fn related_actions_are_asked_for_when_wanted() {
    let mut place = Place::new("related");
    place.set("channel.related_actions", "true");
    place.begin();
    assert_eq!(place.channel()["notify_on_related_action"], true);
}

#[test]
fn a_channel_dropped_upstream_is_noticed_and_opened_again() {
    let mut place = Place::new("dropped");
    let ids = old_leads(&mut place.upstream(), 1);
    place.set("catch_up.every", "\"1s\"");
    place.begin();
    let id = place.upstream().live_channels().remove(0);
    assert!(place.upstream().drop_channel(&id));
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"unannounced\"")]);
    assert!(place.upstream().take_callbacks().is_empty());
    place.until("it is open again", |place| {
        (place.upstream().live_channels() == [id.clone()]).then_some(())
    });
    place.ready();
    place.until_reads("Leads", ids[0], "Phone", "\"unannounced\"");
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"announced\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"announced\"");
}

#[test]
fn an_error_within_a_202_is_not_taken_for_success() {
    let mut place = Place::new("item-error");
    place.upstream().knobs.channels_at_most = 0;
    place.start();
    let why = place.until("the error is shown", |place| {
        place.status()["upstream"]["last_error"].as_str().map(str::to_owned)
    });
    assert!(why.contains("LIMIT_REACHED"), "{why}");
    let status = place.status();
    assert_ne!(status["channel"]["state"], "open", "{status}");
    assert_eq!(status["channel"]["renewals"], 0, "{status}");
    // The rest goes on: records are mirrored without a channel.
    place.until("it is mirrored", |place| (place.get("/readyz").status == 200).then_some(()));
    let outcomes = place.calls(|call| call.method == "POST" && call.path == WATCH);
    assert!(outcomes.iter().all(|call| call.outcome == Ok(202)), "{outcomes:?}");
    assert!(outcomes.len() <= 3, "{} in a second", outcomes.len());
    place.upstream().knobs.channels_at_most = 100;
    place.ready();
    assert_eq!(place.status()["upstream"]["last_error"], Value::Null);
}

#[test]
fn a_channel_that_is_there_already_is_taken_over() {
    let mut place = Place::new("already-used");
    let ids = old_leads(&mut place.upstream(), 1);
    place.begin().kill();
    place.upstream().knobs.post_on_live_refused = true;
    // Upstream does not let us look at it, so that we cannot know.
    place.upstream().faults.script(1, Aim::path(WATCH).method("GET"), Fault::Html(403));
    place.upstream().forget_calls();
    place.begin();
    assert_eq!(methods(&place), ["GET", "POST", "PUT", "GET"]);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
}

#[test]
fn a_channel_that_is_gone_when_renewed_is_opened() {
    let mut place = Place::new("not-subscribed");
    place.begin();
    let id = place.upstream().live_channels().remove(0);
    place.upstream().drop_channel(&id);
    place.upstream().forget_calls();
    assert_eq!(place.run(&["channel", "renew"]).code, 0);
    assert_eq!(place.upstream().live_channels(), [id]);
    let made: Vec<String> = methods(&place).into_iter().filter(|made| made != "GET").collect();
    assert_eq!(made, ["PUT", "POST"]);
}

#[test]
fn a_channel_of_another_making_is_put_right() {
    let mut place = Place::new("differs");
    place.begin().kill();
    place.set("channel.related_actions", "true");
    place.upstream().forget_calls();
    place.begin();
    assert_eq!(place.channel()["notify_on_related_action"], true);
    assert_eq!(count(&place, "POST"), 0);
    let id = place.upstream().live_channels();
    place.kill().begin();
    assert_eq!(place.upstream().live_channels(), id, "the id is kept");
    assert_eq!(count(&place, "PUT"), 1, "a start finds it as it should be");
}

#[test]
fn an_expired_channel_is_opened_at_the_next_start() {
    let mut place = Place::new("expired");
    place.upstream().knobs.grant_at_most = Some(Duration::from_secs(2));
    place.begin().kill();
    place
        .until("it has expired", |place| place.upstream().live_channels().is_empty().then_some(()));
    place.upstream().knobs.grant_at_most = None;
    place.begin();
    assert_eq!(count(&place, "POST"), 2);
}

#[test]
fn show_renew_and_close_with_a_daemon_and_without() {
    let mut place = Place::new("channel-commands");
    assert_eq!(place.run(&["channel", "show"]).code, 1, "none was opened yet");
    place.begin();
    let id = place.upstream().live_channels().remove(0);
    for running in [true, false] {
        if !running {
            place.kill();
        }
        let shown = place.run(&["channel", "show", "--json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        let shown: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!((&shown["id"], &shown["state"]), (&json!(id), &json!("open")));
        assert_eq!(shown["modules"][0]["module"], "Leads");
        let table = place.run(&["channel", "show"]);
        assert!(table.out.contains("Leads.create") && table.out.contains(&id), "{table:?}");

        let token = place.channel()["token"].clone();
        let renewed = place.run(&["channel", "renew"]);
        assert_eq!(renewed.code, 0, "{renewed:?}");
        assert!(renewed.out.contains("open until 20"), "{renewed:?}");
        assert_ne!(place.channel()["token"], token);

        let closed = place.run(&["channel", "close"]);
        assert_eq!((closed.code, closed.out.as_str()), (0, "the channel is closed\n"));
        assert!(place.upstream().live_channels().is_empty());
        let shown = place.run(&["channel", "show", "--json"]);
        let shown: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(
            (shown["state"].as_str(), shown["modules"].as_array()),
            (Some("absent"), Some(&vec![]))
        );
        if running {
            assert_eq!(place.status()["channel"]["state"], "none");
            // It stays closed until a person wants it again.
            thread::sleep(Duration::from_millis(200));
            assert!(place.upstream().live_channels().is_empty());
        }
        let again = place.run(&["channel", "renew", "--json"]);
        let again: Value = serde_json::from_str(&again.out).unwrap_or_default();
        assert_eq!(again["state"], "open", "running: {running}");
        assert_eq!(place.upstream().live_channels(), std::slice::from_ref(&id));
    }
    assert_eq!(place.run(&["channel", "close"]).code, 0);
    assert_eq!(place.run(&["channel", "close"]).code, 0, "closed is closed");
    place.begin();
    assert_eq!(place.upstream().live_channels(), [id]);

    place.kill();
    place.upstream().faults.offline(true);
    for command in ["show", "renew", "close"] {
        let ended = place.run(&["channel", command]);
        assert_eq!((ended.code, ended.out.as_str()), (69, ""), "{command}: {ended:?}");
        assert_eq!(ended.err.matches("crmirror: ").count(), 1, "{command}: {ended:?}");
    }
}

#[test]
fn a_command_keeps_the_token_that_it_had_to_ask_for() {
    let mut place = Place::new("channel-token");
    place.begin();
    place.kill();
    place.upstream().accounts.expire_access();
    let before = place.token_calls();
    for _ in 0..3 {
        let shown = place.run(&["channel", "show"]);
        assert_eq!(shown.code, 0, "{shown:?}");
    }
    assert_eq!(place.token_calls() - before, 1);
    // Nor does the daemon need another.
    place.start();
    place.until("it is as before", |place| {
        (place.status()["channel"]["state"] == "open").then_some(())
    });
    assert_eq!(place.token_calls() - before, 1);
}

#[test]
fn a_pull_only_daemon_opens_no_channel_and_no_callback_listener() {
    let mut place = Place::new("pull-only");
    let ids = old_leads(&mut place.upstream(), 2);
    place.without("channel").without("callbacks").set("catch_up.every", "\"1s\"");
    place.begin();
    assert!(std::net::TcpStream::connect(place.callbacks).is_err());
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.upstream().delete("Leads", ids[1]);
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    let truth = place.truth("Leads", false);
    place.until("all have arrived", |place| (place.records("Leads") == truth).then_some(()));
    assert!(methods(&place).is_empty());
    assert_eq!(place.status()["channel"]["id"], Value::Null);
    let ended = place.run(&["channel", "show"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("[channel]"), "{ended:?}");
    assert_eq!(place.ask("POST", "/channel?action=renew", &[]).status, 409);
}
