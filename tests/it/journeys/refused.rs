//! Callbacks that are not upstream's: refused, and nobody is asked anything because of them.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place};
use crate::sim::{Heard, http, http_over};

/// Long enough for a daemon to do what it must not.
const A_WHILE: Duration = Duration::from_millis(300);

fn with(body: &Value, key: &str, value: Value) -> String {
    let mut body = body.clone();
    body[key] = value;
    body.to_string()
}

/// Addresses of records that are not ours: `own` is the port of our `origin`, `port` a stranger's.
fn foreign_uris(origin: &str, own: &str, port: u16) -> Vec<String> {
    vec![
        format!("http://127.0.0.1:{port}/crm/v2/Leads"),
        format!("https://127.0.0.1:{own}/crm/v2/Leads"),
        format!("http://localhost:{own}/crm/v2/Leads"),
        format!("http://127.0.0.2:{own}/crm/v2/Leads"),
        "http://127.0.0.1/crm/v2/Leads".to_owned(),
        "https://www.zohoapis.com/crm/v2/Leads".to_owned(),
        format!("http://127.0.0.1:{own}@127.0.0.1:{port}/crm/v2/Leads"),
        format!("http://user@127.0.0.1:{own}/crm/v2/Leads"),
        format!("http://user:word@127.0.0.1:{own}/crm/v2/Leads"),
        format!("{origin}@127.0.0.1:{port}/crm/v2/Leads"),
        format!("{origin}.example/crm/v2/Leads"),
        format!("{origin}/crm/v2/Contacts"),
        format!("{origin}/crm/v2/Deals"),
        format!("{origin}/crm/v2/leads"),
        format!("{origin}/crm/v2/.."),
        format!("{origin}/crm/v2/Leads/.."),
        format!("{origin}/crm/v2/Leads/../../oauth/v2/token"),
        format!("{origin}/crm/v2/Leads/../../../x"),
        format!("{origin}/crm/v2/../v2/Leads"),
        format!("{origin}/crm/v2/%2e%2e/Leads"),
        format!("{origin}/crm/v2/Leads%2f..%2fContacts"),
        format!("{origin}/crm/v2/Leads/"),
        format!("{origin}/crm/v2/Leads/1"),
        format!("{origin}/crm/v2/Leads?ids=1"),
        format!("{origin}/crm/v2/Leads#x"),
        format!("{origin}/crm/v2/Leads\r\nX: y"),
        format!("{origin}//crm/v2/Leads"),
        format!("{origin}\\crm\\v2\\Leads"),
        format!("{origin}/crm/Leads"),
        format!("{origin}/bigin/v2/Leads"),
        format!("{origin}/"),
        origin.to_owned(),
        format!("//127.0.0.1:{own}/crm/v2/Leads"),
        "/crm/v2/Leads".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ]
}

#[test]
fn a_forged_callback_is_refused_and_causes_no_request_to_anybody() {
    let mut place = Place::new("forged");
    let ids = old_leads(&mut place.upstream(), 1);
    place.modules(&[("Leads", ""), ("Contacts", "")]);
    place.upstream().model.add("Contacts");
    place.upstream().model.add("Deals");
    place.begin();
    let good = place.callback("update", &ids);
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    let origin = place.loopback.origin();
    let (_, own) = origin.rsplit_once(':').unwrap();

    let mut forged: Vec<String> = Vec::new();
    let token = good["token"].as_str().unwrap();
    for wrong in ["", "x", &token[1..], &token.to_uppercase(), &format!("{token} ")] {
        forged.push(with(&good, "token", json!(wrong)));
    }
    forged.push(with(&good, "token", Value::Null));
    for wrong in [json!("1"), json!(7), json!(u64::MAX), json!("1000000068001")] {
        forged.push(with(&good, "channel_id", wrong));
    }
    for uri in foreign_uris(&origin, own, port) {
        forged.push(with(&good, "resource_uri", json!(uri)));
    }
    let of_contacts = with(&good, "module", json!("Contacts"));
    forged.push(of_contacts);
    let mut unknown = good.clone();
    unknown["module"] = json!("Deals");
    unknown["resource_uri"] = json!(format!("{origin}/crm/v2/Deals"));
    forged.push(unknown.to_string());

    let before = place.upstream().call_count();
    let sequence = place.status()["sequence"].clone();
    for body in &forged {
        let heard = http(place.callbacks, "POST", CALLBACK_PATH, &[], body.as_bytes()).unwrap();
        assert_eq!(heard.status, 403, "{body}");
        assert!(!heard.text().contains(token), "{}", heard.text());
    }
    thread::sleep(A_WHILE);
    assert_eq!(place.upstream().call_count(), before, "{:?}", place.calls(|_| true).last());
    assert!(stranger.accept().is_err(), "a stranger was called");
    let status = place.status();
    assert_eq!(status["callbacks"]["refused"], forged.len());
    assert_eq!(status["callbacks"]["accepted"], 0);
    assert_eq!((&status["inbox"]["waiting"], &status["sequence"]), (&json!(0), &sequence));

    // The same, unforged, is acted on: the test can tell the difference.
    assert_eq!(place.post(&good.to_string()), 200);
    place.until("it is fetched", |place| {
        (place.upstream().call_count().0 == before.0 + 1).then_some(())
    });
}

#[test]
fn what_is_no_callback_is_told_so() {
    let mut place = Place::new("no-callback");
    let ids = old_leads(&mut place.upstream(), 1);
    place.begin();
    let good = place.callback("update", &ids);
    let before = place.upstream().call_count();

    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        body.to_string()
    };
    let text = good.to_string();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{}",
        "<html></html>",
        "a=b&c=d",
        &text[..text.len() - 1],
        &format!("{text}{text}"),
        &without("channel_id"),
        &without("module"),
        &without("ids"),
        &without("operation"),
        &without("resource_uri"),
        &with(&good, "ids", json!([])),
        &with(&good, "ids", json!("7")),
        &with(&good, "ids", json!([-1])),
        &with(&good, "ids", json!([1.5])),
        &with(&good, "ids", json!(["7x"])),
        &with(&good, "ids", json!([null])),
        &text.replace(&ids[0].to_string(), "18446744073709551616"),
        &with(&good, "operation", json!("explode")),
        &with(&good, "operation", json!(7)),
        &with(&good, "module", json!("../Leads")),
        &with(&good, "module", json!("")),
        &with(&good, "channel_id", json!("x")),
        &with(&good, "token", json!(7)),
        &"[".repeat(100_000),
    ] {
        assert_eq!(place.post(body), 400, "{}", &body[..body.len().min(300)]);
    }

    let ask = |method: &str, target: &str, body: &[u8]| -> Heard {
        http(place.callbacks, method, target, &[], body).unwrap()
    };
    for target in ["/", "/callback", "/callback/", "/callback/4f1c9a/", "/callback/4F1C9A", "/x"] {
        assert_eq!(ask("POST", target, text.as_bytes()).status, 404, "{target}");
    }
    for target in ["/status", "/crm/v2/Leads", "/sync", "/healthz", "/callback/4f1c9%61"] {
        assert_eq!(ask("GET", target, b"").status, 404, "{target}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let heard = ask(method, CALLBACK_PATH, b"");
        assert_eq!((heard.status, heard.header("allow")), (405, Some("POST")), "{method}");
    }
    let large = format!("{text}{}", " ".repeat((1 << 20) + 1));
    assert_eq!(ask("POST", CALLBACK_PATH, large.as_bytes()).status, 413);
    let announced = [("Content-Length", "18446744073709551615")];
    let stream = std::net::TcpStream::connect(place.callbacks).unwrap();
    let heard = http_over(stream, "h", "PUT", CALLBACK_PATH, &announced, b"").unwrap();
    assert!(matches!(heard.status, 400 | 413), "{}", heard.status);

    thread::sleep(A_WHILE);
    assert_eq!(place.upstream().call_count(), before);
    assert_eq!(place.status()["callbacks"]["accepted"], 0);
    assert_eq!(place.get("/healthz").status, 200);
}
