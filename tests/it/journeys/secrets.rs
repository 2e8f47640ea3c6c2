//! No secret is ever printed, at any level, whatever goes wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place, credentials};
use crate::sim::{Aim, CLIENT_SECRET, Fault, REFRESH_TOKEN};

/// Every kind of fault that a daemon may want to talk about.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Unauthorised,
        Fault::Html(200),
        Fault::Truncated,
        Fault::ResetBefore,
        Fault::EmptyOk,
        Fault::Status(500),
        Fault::CreditsGone,
        Fault::Redirect("http://captive.example/".to_owned()),
    ]
}

/// Commands, and logins that fail and succeed.
fn log_in(place: &mut Place, secrets: &mut BTreeSet<String>) {
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["channel", "show", "--json"],
        &["doctor"],
        &["doctor", "--json"],
    ] {
        place.run(command);
    }
    let code = "1000.a-grant-code-of-our-own";
    assert_eq!(place.run(&["login", "--code", code]).code, 1);
    let soon = place.upstream().now().after(Duration::from_secs(600));
    place.upstream().accounts.add_code(code, soon);
    assert_eq!(place.run(&["login", "--code", code]).code, 0);
    secrets.insert(code.to_owned());
    let kept = std::fs::read_to_string(place.path("credentials.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    secrets.insert(kept["refresh_token"].as_str().unwrap().to_owned());
    let wrong = "a-secret-that-is-wrong";
    place.write_credentials(&credentials(wrong, Some(REFRESH_TOKEN)));
    secrets.insert(wrong.to_owned());
    place.upstream().accounts.expire_access();
    place.stop();
    place.start();
    place.until("it is denied", |place| {
        (place.status()["upstream"]["state"] == "denied").then_some(())
    });
    place.write_credentials("{\"client_secret\": \"a-secret-that-is-wrong\", ");
    place.run(&["check"]);
}

#[test]
fn no_secret_is_printed_over_a_journey_with_errors() {
    let mut place = Place::new("secrets");
    let ids = old_leads(&mut place.upstream(), 3);
    place.verbosity("trace,ureq=trace,rustls=trace,sled=trace,tiny_http=trace");
    let reader = "a-token-that-readers-show";
    place.guard(reader).set("local.allow_origins", "[\"http://kiosk.local\"]");
    let mut secrets = BTreeSet::from([CLIENT_SECRET, REFRESH_TOKEN, reader].map(str::to_owned));
    place.begin();
    collect(&place, &mut secrets);
    for (number, fault) in faults().into_iter().enumerate() {
        place.upstream().faults.script(1, Aim::path("/crm/v2/actions"), fault.clone());
        place.upstream().faults.script(1, Aim::path("/oauth/"), fault.clone());
        place.upstream().faults.script(1, Aim::path("/crm/v2/Leads"), fault);
        place.upstream().edit("Leads", ids[0], &[("Phone", &number.to_string())]);
        place.carry();
        place.kill().start();
        place.run(&["channel", "show"]);
        look_everywhere(&place, reader, ids[0]);
        place.upstream().faults.calm();
        place.kill().start();
        place.until_reads("Leads", ids[0], "Phone", &number.to_string());
        assert_eq!(place.run(&["channel", "renew"]).code, 0);
        collect(&place, &mut secrets);
    }
    // Callbacks, good ones and forged ones.
    let good = place.callback("update", &ids);
    assert_eq!(place.post(&good.to_string()), 200);
    for key in ["channel_id", "resource_uri", "module", "token"] {
        let mut forged = good.clone();
        forged[key] = serde_json::json!(format!("{}1", good[key].as_str().unwrap()));
        place.post(&forged.to_string());
    }
    place.post(&good.to_string()[1..]);
    log_in(&mut place, &mut secrets);
    collect(&place, &mut secrets);
    place.stop();

    let printed = place.printed();
    assert!(
        printed.contains("trace: ") || printed.contains("debug: ") || printed.contains("info: ")
    );
    println!("{} secrets are in none of {} bytes", secrets.len(), printed.len());
    assert!(secrets.len() > 12, "the journey had too few: {secrets:?}");
    let answered = place.answered();
    assert!(answered.contains("INVALID_TOKEN") && answered.contains("complete_through"));
    for secret in &secrets {
        assert!(!printed.contains(secret.as_str()), "{secret} was printed");
        assert!(!answered.contains(secret.as_str()), "{secret} was answered");
    }
    assert!(!answered.contains(CALLBACK_PATH), "the path was answered");
    // The path is the address's secret part; only the command that shows the channel shows it.
    let logged = printed.lines().filter(|line| line.contains(CALLBACK_PATH));
    let logged: Vec<&str> =
        logged.filter(|line| line.contains(": ") && !line.contains("Leads")).collect();
    assert!(logged.is_empty(), "{logged:?}");
    let status = place.path("store/identity.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(status).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "the identity is its owner's alone: {mode:o}");
}

/// Asks for all there is, with the token, with half of it, and as a page would.
fn look_everywhere(place: &Place, reader: &str, id: u64) {
    let half = format!("Bearer {}", &reader[..reader.len() / 2]);
    let one = format!("/crm/v2/Leads/{id}");
    for target in ["/", "/status", "/healthz", "/readyz", "/metrics", "/changes", &one, "/sync"] {
        place.ask("GET", target, &[]);
        place.ask("GET", target, &[("Authorization", &half)]);
        place.ask("POST", target, &[("Origin", "http://kiosk.local")]);
        place.ask("GET", &format!("{target}?token={reader}"), &[("Authorization", &half)]);
    }
}

/// What upstream knows of secrets now: channel tokens, and access tokens by their number.
fn collect(place: &Place, secrets: &mut BTreeSet<String>) {
    for call in place.calls(|call| call.path.ends_with("/actions/watch") && !call.body.is_empty()) {
        let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
        secrets.insert(body["watch"][0]["token"].as_str().unwrap().to_owned());
    }
    secrets.extend(place.channel()["token"].as_str().map(str::to_owned));
    // Its end is a number: the last one covers what is longer, not what is shorter.
    secrets.insert("1000.simulated-access-token-".to_owned());
    let issued = place.upstream().accounts.issued();
    secrets.extend((1..=issued).map(|number| format!("simulated-access-token-{number}")));
}
