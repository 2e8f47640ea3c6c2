//! Tokens, faults, and the two ways to the simulator: in process and behind a port.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crmirror::mirror::time::UpstreamTime;
use crmirror::secret::Secret;
use crmirror::upstream::transport::{Body, Method, Request, Transport, TransportError};
use serde_json::{Value, json};

use super::{START, World, channel, ids, world};
use crate::sim::{
    Aim, Asked, CLIENT_ID, CLIENT_SECRET, Fault, Loopback, Manners, NoAnswer, REFRESH_TOKEN,
    RealClock, RetryAfter, SimTransport, Upstream, data, http,
};

#[test]
fn tokens_are_given_end_and_are_throttled() {
    let mut world = world();
    world.upstream.knobs.token_life = Duration::from_secs(3_600);
    let form = |secret: &str, grant: &str| {
        let body = format!("client_id={CLIENT_ID}&client_secret={secret}&{grant}");
        Asked::new("POST", "/oauth/v2/token").body(&body)
    };
    let refresh = format!("grant_type=refresh_token&refresh_token={REFRESH_TOKEN}");
    let check = |world: &mut World, asked: Asked, error: &str| {
        let answer = world.upstream.answer(&asked).unwrap();
        assert_eq!((answer.status, &answer.value()["error"]), (200, &json!(error)));
    };
    check(&mut world, form("wrong", &refresh), "invalid_client_secret");
    let stale = "grant_type=refresh_token&refresh_token=x";
    check(&mut world, form(CLIENT_SECRET, stale), "invalid_code");
    let code = "grant_type=authorization_code&code=c-1";
    world.upstream.accounts.add_code("c-1", START.after(Duration::from_secs(180)));
    let login = world.upstream.answer(&form(CLIENT_SECRET, code)).unwrap().value();
    assert!(login["refresh_token"].is_string() && login["expires_in"] == 3_600);
    check(&mut world, form(CLIENT_SECRET, code), "invalid_code");

    world.upstream.accounts.expire_access();
    assert_eq!(world.code("/crm/v2/org"), "401 INVALID_TOKEN");
    let given = world.upstream.answer(&form(CLIENT_SECRET, &refresh)).unwrap().value();
    world.token = given["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/crm/v2/org").status, 200);
    world.upstream.accounts.withhold("ZohoCRM.org.READ");
    assert_eq!(world.code("/crm/v2/org"), "401 OAUTH_SCOPE_MISMATCH");
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(world.code("/crm/v2/Leads"), "401 INVALID_TOKEN");

    world.token = world.upstream.issue_token();
    (0..15).for_each(|_| drop(world.upstream.issue_token()));
    assert_eq!(world.code("/crm/v2/Leads"), "401 INVALID_TOKEN", "the 16th ends the oldest");
    world.upstream.knobs.throttle_tokens = true;
    for _ in 0..10 {
        assert!(
            world.upstream.answer(&form(CLIENT_SECRET, &refresh)).unwrap().value()["error"]
                .is_null()
        );
    }
    check(&mut world, form(CLIENT_SECRET, &refresh), "Access Denied");
    world.clock.advance(Duration::from_secs(600));
    assert!(
        world.upstream.answer(&form(CLIENT_SECRET, &refresh)).unwrap().value()["error"].is_null()
    );
}

#[test]
fn faults_come_as_scripted_with_or_without_effect() {
    let mut world = world();
    let id = world.upstream.create("Leads", &[("Last_Name", "\"X\"")]);
    let watch = Aim::path("/crm/v2/actions/watch").method("POST");
    world.upstream.faults.script(1, watch.clone(), Fault::TimeOutBefore);
    world.upstream.faults.script(1, watch, Fault::TimeOutAfter);
    let body = json!({"watch": [channel(Duration::from_secs(60))]}).to_string();
    let post = Asked::new("POST", "/crm/v2/actions/watch").token(&world.token).body(&body);
    assert_eq!(world.upstream.answer(&post).unwrap_err(), NoAnswer::TimedOut);
    assert!(world.upstream.live_channels().is_empty());
    assert_eq!(world.upstream.answer(&post).unwrap_err(), NoAnswer::TimedOut);
    assert_eq!(world.upstream.live_channels(), ["1000000068001"]);

    let mut meet = |fault: Fault| {
        world.upstream.faults.script(1, Aim::anything(), fault);
        world.get("/crm/v2/Leads")
    };
    assert_eq!(meet(Fault::Status(503)).status, 503);
    assert_eq!(meet(Fault::Html(200)).header("content-type"), Some("text/html"));
    assert_eq!(meet(Fault::Truncated).value(), Value::Null);
    assert_eq!(meet(Fault::CreditsGone).value()["code"], 429);
    assert_eq!(meet(Fault::Unauthorised).value()["code"], "INVALID_TOKEN");
    let huge = meet(Fault::Throttled(RetryAfter::Seconds(u64::MAX)));
    assert_eq!(huge.header("retry-after"), Some("18446744073709551615"));
    assert_eq!(world.get("/crm/v2/Leads").status, 200, "each is used up");

    world.upstream.faults.deny("Leads", Some(id));
    assert_eq!(world.code(&format!("/crm/v2/Leads?ids=5,{id}")), "403 NO_PERMISSION");
    assert_eq!(world.get("/crm/v2/Leads?ids=5").status, 204);
    world.upstream.faults.offline(true);
    let lost = world.upstream.answer(&Asked::new("GET", "/crm/v2/Leads"));
    assert_eq!(lost.unwrap_err(), NoAnswer::Unreachable);
    world.upstream.faults.calm();
    world.upstream.faults.at_random(7, 500);
    let good = (0..200).filter(|_| {
        let asked = Asked::new("GET", "/crm/v2/Leads").token(&world.token);
        world.upstream.answer(&asked).is_ok_and(|answer| !ids(&answer).is_empty())
    });
    assert!((60..140).contains(&good.count()));
}

fn fetch(url: &str, token: &str) -> Request {
    Request {
        method: Method::Get,
        url: url.to_owned(),
        token: Some(Secret::new(token.to_owned())),
        modified_since: Some(UpstreamTime::from_unix(START.unix())),
        body: Body::Empty,
    }
}

#[test]
fn in_process_it_is_a_transport_that_notes_strays() {
    let world = world();
    let upstream = Arc::new(Mutex::new(world.upstream));
    let transport = SimTransport::new(Arc::clone(&upstream));
    transport.before_each(|upstream, _| {
        upstream.create("Leads", &[("Last_Name", "\"X\"")]);
    });
    let url = "https://www.zohoapis.com/crm/v2/Leads?per_page=5";
    let reply = transport.send(&fetch(url, &world.token)).unwrap();
    assert_eq!((reply.status, reply.date.unwrap().unix()), (200, START.unix()));
    let throttled = Fault::Throttled(RetryAfter::Date(Duration::from_secs(90)));
    upstream.lock().unwrap().faults.script(1, Aim::anything(), throttled);
    let reply = transport.send(&fetch(url, &world.token)).unwrap();
    assert_eq!(reply.retry_after, Some(Duration::from_secs(90)));
    for foreign in [
        "https://www.zohoapis.com@evil.example/crm/v2/Leads",
        "https://accounts.zoho.com/crm/v2/Leads",
    ] {
        let error = transport.send(&fetch(foreign, &world.token)).unwrap_err();
        assert!(matches!(error, TransportError::Unreachable(_)), "{foreign}");
    }
    let upstream = upstream.lock().unwrap();
    let calls = upstream.calls();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[0].param("per_page"), Some("5"));
    assert_eq!(calls[0].modified_since.as_deref(), Some("2026-09-21T14:13:20+00:00"));
    assert_eq!(calls[3].outcome, Err(NoAnswer::Unreachable));
    assert_eq!(upstream.call_count(), (4, 2));
}

#[test]
fn behind_a_port_it_answers_resets_and_delivers() {
    let mut upstream = Upstream::new(Arc::new(RealClock));
    data::plausible(&mut upstream, 1, 30);
    let token = format!("Zoho-oauthtoken {}", upstream.issue_token());
    let upstream = Arc::new(Mutex::new(upstream));
    let loopback = Loopback::start(Arc::clone(&upstream));
    let headers = [("Authorization", token.as_str())];
    let ask = |target: &str| http(loopback.addr(), "GET", target, &headers, b"");
    let heard = ask("/crm/v2/Deals?per_page=3").unwrap();
    assert_eq!((heard.status, heard.value()["data"].as_array().map(Vec::len)), (200, Some(3)));
    assert!(heard.header("date").is_some());
    assert_eq!(ask("/crm/v2/Deals/1").unwrap().status, 204);
    upstream.lock().unwrap().faults.script(1, Aim::anything(), Fault::ResetAfter);
    assert!(ask("/crm/v2/Deals").is_err());

    // A second simulator plays the listener: it answers a callback with 404, which is an answer.
    let listener = Loopback::start(Arc::new(Mutex::new(Upstream::new(Arc::new(RealClock)))));
    let delivery = loopback.deliver_to(listener.addr(), Manners::default());
    let item = json!({"watch": [{
        "channel_id": "5", "events": ["Leads.all"], "notify_url": "https://kiosk.example/x",
    }]});
    let opened = http(
        loopback.addr(),
        "POST",
        "/crm/v2/actions/watch",
        &headers,
        item.to_string().as_bytes(),
    );
    assert_eq!(opened.unwrap().status, 201);
    let id = upstream.lock().unwrap().create("Leads", &[("Last_Name", "\"X\"")]);
    for _ in 0..1_000 {
        if let Some(delivered) = delivery.delivered().first() {
            assert_eq!((&delivered.ids[..], delivered.status), (&[id][..], Some(404)));
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no callback was delivered");
}
