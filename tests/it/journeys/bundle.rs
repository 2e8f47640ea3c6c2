//! `crmirror doctor --bundle`: everything that helps a stranger to help, and nothing that harms.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place};
use crate::sim::{CLIENT_SECRET, REFRESH_TOKEN};

const READER: &str = "a-token-that-readers-show";

/// Writes a bundle, and reads it.
fn bundle(place: &Place, code: i32) -> (String, Value) {
    let path = place.path("bundle.json");
    let ended = place.run(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.out.contains("bundle.json has no secrets"), "{ended:?}");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let text = std::fs::read_to_string(&path).unwrap();
    let document = serde_json::from_str(&text).unwrap();
    (text, document)
}

/// Every secret of the place: what upstream was sent and gave, what files hold.
fn secrets(place: &Place) -> Vec<String> {
    let mut secrets = [CLIENT_SECRET, REFRESH_TOKEN, READER, CALLBACK_PATH, "q=HIDDEN"]
        .map(str::to_owned)
        .to_vec();
    for call in place.calls(|call| call.path.ends_with("/actions/watch") && !call.body.is_empty()) {
        let body: Value = serde_json::from_str(&call.body).unwrap();
        secrets.push(body["watch"][0]["token"].as_str().unwrap().to_owned());
    }
    secrets.push("simulated-access-token".to_owned());
    let identity = std::fs::read_to_string(place.path("store/identity.json")).unwrap();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    secrets.push(identity["access"]["token"].as_str().unwrap().to_owned());
    let tokens = identity["channel"]["tokens"].as_array().unwrap();
    secrets.extend(tokens.iter().map(|kept| kept["token"].as_str().unwrap().to_owned()));
    secrets
}

#[test]
fn a_bundle_helps_and_holds_no_secret_and_no_record() {
    let mut place = Place::new("bundle");
    let url = format!("\"http://{}{CALLBACK_PATH}?q=HIDDEN\"", place.callbacks);
    place.set("channel.notify_url", &url);
    let ids = old_leads(&mut place.upstream(), 3);
    place.guard(READER).begin();
    // A fault that repeats the address, and one that sets a record aside.
    place.upstream().faults.deny("Leads", Some(ids[0]));
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"555-0199\"")]);
    place.carry();
    place.until("it is set aside", |place| {
        (place.status()["inbox"]["quarantined"] == 1).then_some(())
    });
    let (running, document) = bundle(&place, 0);
    assert_eq!(document["status"]["inbox"]["quarantined"], 1);
    assert_eq!(document["configuration"]["modules"][0]["name"], "Leads");
    assert_eq!(
        document["configuration"]["channel"]["notify_url"],
        format!("http://{}/…", place.callbacks)
    );
    assert!(document["system"]["kernel"].is_string() && document["findings"].is_array());
    place
        .set("channel.notify_url", &format!("\"https://nowhere.invalid{CALLBACK_PATH}?q=HIDDEN\""));
    let (astray, _) = bundle(&place, 0);
    place.stop();
    let (stopped, document) = bundle(&place, 0);
    assert_eq!(document["status"], Value::Null);
    let secrets = secrets(&place);
    assert!(secrets.len() > 8, "{secrets:?}");
    for text in [&running, &astray, &stopped] {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in the bundle: {text}");
        }
        for content in ["Lead 000", "555-0199", "Last_Name"] {
            assert!(!text.contains(content), "{content} is of a record: {text}");
        }
    }
}

#[test]
fn a_bundle_is_made_of_what_there_is() {
    let mut place = Place::new("bundle-wrong");
    place.set("upstream.colour", "\"red\"");
    let (text, document) = bundle(&place, 78);
    assert_eq!((&document["configuration"], &document["status"]), (&Value::Null, &Value::Null));
    assert!(text.contains("colour") && !text.contains(CALLBACK_PATH), "{text}");
    let ended = place.run(&["doctor", "--bundle", "/nowhere/at/all.json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("/nowhere/at/all.json cannot be written"), "{ended:?}");
}
