//! Access tokens: short lives, refusals, restarts, and an accounts service that says no.

use std::thread;
use std::time::{Duration, Instant};

use super::{at_once, old_leads};
use crate::agent::{Place, credentials};
use crate::sim::{Aim, Fault, REFRESH_TOKEN};

#[test]
fn records_keep_coming_while_tokens_end_every_two_seconds() {
    let mut place = Place::new("token-life");
    let ids = old_leads(&mut place.upstream(), 1);
    place.upstream().knobs.token_life = Duration::from_secs(2);
    place.begin();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0.. {
        if began.elapsed() > Duration::from_secs(5) {
            break;
        }
        let text = number.to_string();
        place.upstream().edit("Leads", ids[0], &[("Phone", &text)]);
        place.carry();
        let answered = Instant::now();
        place.until_reads("Leads", ids[0], "Phone", &text);
        slowest = slowest.max(answered.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    println!("{} token requests in 5 s, slowest read {slowest:?}", place.token_calls());
    assert!((3..=8).contains(&place.token_calls()), "{}", place.token_calls());
    assert!(slowest < Duration::from_secs(2), "no pause of the token's: {slowest:?}");
}

#[test]
fn a_refused_token_is_refreshed_once_for_many() {
    let mut place = Place::new("refused-token");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    assert_eq!(place.token_calls(), 1, "one for the whole start");
    place.upstream().accounts.expire_access();
    place.upstream().mass_update("Leads", &ids, &[("Phone", "\"1\"")]);
    place.carry();
    let truth = place.truth("Leads", false);
    place.until("all have arrived", |place| (place.records("Leads") == truth).then_some(()));
    assert_eq!(place.token_calls(), 2);

    // Upstream goes on refusing tokens: the accounts service is not asked again and again.
    place.upstream().faults.script(100, Aim::path("/crm/"), Fault::Unauthorised);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"2\"")]);
    place.carry();
    thread::sleep(Duration::from_secs(2));
    assert!(place.token_calls() <= 4, "{} token requests", place.token_calls());
    assert_eq!(place.status()["inbox"]["waiting"], 1);
}

#[test]
fn the_token_is_kept_over_restarts() {
    for pull_only in [false, true] {
        let mut place = Place::new("kept-token");
        let ids = old_leads(&mut place.upstream(), 1);
        if pull_only {
            place.without("channel");
        }
        place.begin();
        assert_eq!(place.token_calls(), 1);
        for round in 0..3 {
            if round % 2 == 0 {
                place.kill();
            } else {
                place.stop();
            }
            place.upstream().edit("Leads", ids[0], &[("Phone", &round.to_string())]);
            place.start();
            place.until_reads("Leads", ids[0], "Phone", &round.to_string());
            assert_eq!(place.token_calls(), 1, "pull_only: {pull_only}, round {round}");
        }
    }
}

#[test]
fn an_old_token_reply_is_understood() {
    let mut place = Place::new("old-reply");
    place.upstream().knobs.old_token_reply = true;
    place.upstream().knobs.token_life = Duration::from_secs(2);
    place.begin();
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
    place.until("a second is asked for", |place| (place.token_calls() == 2).then_some(()));
}

#[test]
fn a_wrong_client_secret_is_told_and_not_hammered() {
    let mut place = Place::new("wrong-secret");
    place.write_credentials(&credentials("mistyped-f00", Some(REFRESH_TOKEN)));
    place.start();
    let error = place.until("it is denied", |place| {
        let upstream = place.status()["upstream"].clone();
        (upstream["state"] == "denied").then(|| upstream["last_error"].as_str().unwrap().to_owned())
    });
    assert!(error.contains("invalid_client_secret"), "{error}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(place.token_calls(), 1);
    let printed = place.printed();
    assert!(printed.contains("upstream denies us a token"), "{printed}");
    assert!(!printed.contains("mistyped-f00") && !error.contains("mistyped-f00"));
    assert_eq!(printed.matches("invalid_client_secret").count(), 1, "told once: {printed}");
    assert_eq!((place.get("/healthz").status, place.get("/readyz").status), (200, 503));
    // Nothing can be judged yet: a callback is neither accepted nor refused for good.
    let body =
        r#"{"channel_id":1,"module":"Leads","ids":[1],"operation":"update","resource_uri":"x"}"#;
    let status = place.post(body);
    assert!(matches!(status, 403 | 503), "{status}");

    // A person mends it.
    place.write_credentials(&credentials(crate::sim::CLIENT_SECRET, Some(REFRESH_TOKEN)));
    place.stop();
    place.begin();
}

#[test]
fn a_withdrawn_refresh_token_leaves_reads_and_callbacks_alone() {
    let mut place = Place::new("withdrawn");
    let ids = old_leads(&mut place.upstream(), 1);
    place.begin();
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.upstream().accounts.revoke_all();
    place.carry();
    place.until("it is denied", |place| {
        (place.status()["upstream"]["state"] == "denied").then_some(())
    });
    let status = place.status();
    let error = status["upstream"]["last_error"].as_str().unwrap();
    assert!(error.contains("invalid_code") && error.contains("crmirror login"), "{error}");
    assert_eq!(status["inbox"]["waiting"], 1);
    assert_eq!(place.record("Leads", ids[0]).unwrap()["Last_Name"], "\"Lead 0000\"");
    let human = place.run(&["status"]);
    assert!(human.out.contains("denied") && human.out.contains("crmirror login"), "{human:?}");

    let code = "1000.grant-code";
    let soon = place.upstream().now().after(Duration::from_secs(600));
    place.upstream().accounts.add_code(code, soon);
    assert_eq!(place.run(&["login", "--code", code]).code, 0);
    place.stop();
    place.begin();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
}

#[test]
fn a_throttled_accounts_service_is_left_in_peace() {
    at_once(&[200, 400], |&status| {
        let mut place = Place::new("throttled-accounts");
        place.upstream().knobs.throttled_status = status;
        place.upstream().accounts.deny_next(1_000);
        place.start();
        thread::sleep(Duration::from_millis(2_500));
        assert_eq!(place.token_calls(), 1, "{status}");
        let shown = place.status();
        let error = shown["upstream"]["last_error"].as_str().unwrap_or_default();
        assert!(error.contains("too many were asked for"), "{shown}");
        assert_ne!(shown["upstream"]["state"], "denied", "it is over by itself: {shown}");
        // Asking for a catch-up does not make it impatient.
        assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(place.token_calls(), 1, "{status}");
    });
}

#[test]
fn errors_of_every_kind_are_got_over() {
    let faults = [
        [Fault::Html(200), Fault::EmptyOk, Fault::Truncated],
        [Fault::ResetBefore, Fault::ResetAfter, Fault::Unauthorised],
        [
            Fault::Status(500),
            Fault::Html(502),
            Fault::Redirect("http://captive.example/login".to_owned()),
        ],
    ];
    at_once(&faults, |faults| {
        let mut place = Place::new("errors");
        let ids = old_leads(&mut place.upstream(), 1);
        place.begin();
        for (number, fault) in faults.iter().enumerate() {
            let text = format!("\"{number}\"");
            place.upstream().edit("Leads", ids[0], &[("Phone", &text)]);
            place.upstream().faults.script(1, Aim::path("/crm/v2/Leads"), fault.clone());
            place.carry();
            place.until_reads("Leads", ids[0], "Phone", &text);
        }
        place.until_settled();
        place.until("it is mended", |place| {
            let upstream = &place.status()["upstream"];
            (upstream["state"] == "online" && upstream["last_error"].is_null()).then_some(())
        });
        assert!(place.calls(|call| call.path.contains("captive")).is_empty());
    });
}

#[test]
fn a_strange_api_address_never_gets_the_token() {
    let mut place = Place::new("strange-api");
    place.upstream().knobs.api_origin = "https://records.evil.example".to_owned();
    place.start();
    let error = place.until("it says so", |place| {
        place.status()["upstream"]["last_error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("no API address that can be trusted: set upstream.api"), "{error}");
    assert!(place.calls(|call| call.path.starts_with("/crm/")).is_empty());
    // What the configuration says, no reply changes.
    let origin = place.loopback.origin();
    place.stop();
    place.set("upstream.api", &format!("\"{origin}\"")).begin();
}

#[test]
fn the_environment_does_not_decide_where_secrets_go() {
    let mut place = Place::new("environment");
    place.begin();
    place.stop();
    let nobody = "http://127.0.0.1:1";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_crmirror"));
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy"] {
        command.env(name, nobody);
    }
    let ended =
        command.arg("--config").arg(place.write_config()).args(["channel", "show"]).output();
    let ended = ended.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
