//! The local interface, as a program on the device meets it. One daemon answers most of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::no_reads::{code, hosts_and_origins, what_is_refused};
use super::old_leads;
use crate::agent::{Place, rows};
use crate::sim::http_over;

const COUNT: usize = 450;

#[test]
fn the_local_interface_is_upstreams() {
    let mut place = Place::new("reads");
    let ids = old_leads(&mut place.upstream(), COUNT);
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\""), ("Amount", "1.500")]);
    place.begin();
    one_record(&mut place, &ids);
    lists(&place, &ids);
    every_page(&place, &ids);
    what_is_refused(&place, &ids);
    hosts_and_origins(&place, &ids);
    the_status(&mut place);
}

fn one_record(place: &mut Place, ids: &[u64]) {
    let target = format!("/crm/v2/Leads/{}", ids[0]);
    let heard = place.get(&target);
    assert_eq!(heard.status, 200);
    assert_eq!(heard.header("content-type"), Some("application/json;charset=UTF-8"));
    let through = heard.header("mirror-complete-through").unwrap();
    assert_eq!(place.status()["modules"]["Leads"]["complete_through"], through);
    let sequence = heard.header("mirror-sequence").unwrap().to_owned();
    assert_eq!(place.status()["sequence"].to_string(), sequence);
    let tag = heard.header("etag").unwrap().to_owned();
    for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = place.ask("GET", &target, &[("If-None-Match", &tags)]);
        assert_eq!((again.status, again.text().as_str()), (304, ""), "{tags}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(place.ask("GET", &target, &[("If-None-Match", "\"0\"")]).status, 200);
    for version in ["v2", "v2.1", "v3", "v8"] {
        let of_version = place.get(&target.replace("/v2/", &format!("/{version}/")));
        assert_eq!((of_version.status, of_version.text()), (200, heard.text()), "{version}");
    }
    let headers = [("Authorization", "Zoho-oauthtoken whatever"), ("Accept", "*/*")];
    assert_eq!(place.ask("GET", &target, &headers).text(), heard.text());
    let (head, body) = head_of(place, &target);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(&tag), "{head}");
    let length = format!("content-length: {}\r\n", heard.body.len());
    assert!(head.to_lowercase().contains(&length) && body.is_empty(), "{head} {body}");

    let some = place.get(&format!("{target}?fields=Amount,Nowhere"));
    let id = format!("\"{}\"", ids[0]);
    let shown = rows(&some.text()).remove(0);
    assert_eq!(
        shown.into_iter().collect::<Vec<_>>(),
        [("Amount".to_owned(), "1.500".to_owned()), ("id".to_owned(), id),]
    );
    assert_ne!(some.header("etag"), Some(tag.as_str()), "another representation");

    let missing = place.get("/crm/v2/Leads/1");
    assert_eq!((missing.status, missing.text().as_str()), (204, ""));
    assert!(missing.header("mirror-complete-through").is_some());

    // A change makes another tag.
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"2\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"2\"");
    let changed = place.ask("GET", &target, &[("If-None-Match", &tag)]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    assert_eq!(
        changed.header("mirror-sequence").unwrap(),
        (sequence.parse::<u64>().unwrap() + 1).to_string()
    );
}

/// What HEAD brings: the head, and what must not follow it.
fn head_of(place: &Place, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(place.local).unwrap();
    let request = format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

fn lists(place: &Place, ids: &[u64]) {
    let listed = |target: &str| -> (Vec<u64>, Value) {
        let heard = place.get(target);
        assert_eq!(heard.status, 200, "{target}: {}", heard.text());
        assert!(heard.header("mirror-complete-through").is_some(), "{target}");
        let shown = rows(&heard.text());
        let ids = shown.iter().map(|row| row["id"].trim_matches('"').parse().unwrap());
        (ids.collect(), heard.value()["info"].clone())
    };
    let mut newest: Vec<u64> = ids.to_vec();
    newest.sort_unstable_by(|one, other| other.cmp(one));
    let (first, info) = listed("/crm/v2/Leads");
    assert_eq!(first, newest[..200]);
    for (key, value) in [
        ("page", json!(1)),
        ("per_page", json!(200)),
        ("count", json!(200)),
        ("more_records", json!(true)),
    ] {
        assert_eq!(info[key], value, "{info}");
    }
    let (third, info) = listed("/crm/v2/Leads?page=3");
    assert_eq!(third, newest[400..]);
    assert_eq!(
        (&info["count"], &info["more_records"], &info["page"]),
        (&json!(50), &json!(false), &json!(3))
    );
    assert_eq!(place.get("/crm/v2/Leads?page=4").status, 204);
    assert_eq!(listed("/crm/v2/Leads?page=2&per_page=7").0, newest[7..14]);
    let (ascending, _) = listed("/crm/v2/Leads?sort_order=asc&per_page=3&sort_by=id");
    assert_eq!(ascending, newest.iter().rev().take(3).copied().collect::<Vec<_>>());
    let named = format!("/crm/v2/Leads?ids={},1,{}", newest[9], newest[3]);
    assert_eq!(listed(&named).0, [newest[3], newest[9]]);
    assert_eq!(place.get("/crm/v2/Leads?ids=1,2").status, 204);
    let some = rows(&place.get("/crm/v2/Leads?per_page=1&fields=Last_Name").text()).remove(0);
    assert_eq!(some.keys().collect::<Vec<_>>(), ["Last_Name", "id"]);
    assert_eq!(place.get("/crm/v2/Leads?page=10&per_page=200").status, 204);
    let code_of = |target: &str| code(&place.get(target));
    let wall = (400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED".to_owned());
    assert_eq!(code_of("/crm/v2/Leads?page=11&per_page=200"), wall);
    assert_eq!(code_of("/crm/v2/Leads?page=2001&per_page=1"), wall);
    assert_eq!(code_of(&format!("/crm/v2/Leads?page={}", u64::MAX)), wall);
}

/// By number and by token, up and down: every record once.
fn every_page(place: &Place, ids: &[u64]) {
    for order in ["asc", "desc"] {
        for per_page in [1_usize, 9, 60, 200] {
            let mut found: Vec<String> = Vec::new();
            let mut next = "page=1".to_owned();
            let mut page = 0;
            if per_page == 1 && order == "asc" {
                continue;
            }
            loop {
                let target = format!("/crm/v2/Leads?per_page={per_page}&sort_order={order}&{next}");
                let heard = place.get(&target);
                page += 1;
                let info = heard.value()["info"].clone();
                assert_eq!((heard.status, &info["page"]), (200, &json!(page)), "{target}");
                found.extend(rows(&heard.text()).into_iter().map(|row| row["id"].clone()));
                match info["next_page_token"].as_str() {
                    Some(token) => next = format!("page_token={token}"),
                    None => break,
                }
            }
            let mut wanted: Vec<u64> = ids.to_vec();
            wanted.sort_unstable();
            if order == "desc" {
                wanted.reverse();
            }
            let wanted: Vec<String> = wanted.iter().map(|id| format!("\"{id}\"")).collect();
            assert_eq!(found, wanted, "{order} {per_page}");
        }
    }
}

fn the_status(place: &mut Place) {
    let status = place.status();
    let has = |path: &str| {
        let mut at = &status;
        for key in path.split('.') {
            at = at.as_object().unwrap().get(key).unwrap_or_else(|| panic!("{path}: {status}"));
        }
        at.clone()
    };
    assert_eq!(has("version"), env!("CARGO_PKG_VERSION"));
    assert!(has("uptime_seconds").as_u64().unwrap() < 600);
    assert_eq!((has("upstream.state"), has("upstream.last_error")), (json!("online"), Value::Null));
    assert_eq!(has("channel.state"), "open");
    for key in ["channel.id", "channel.expires", "channel.renew_at"] {
        assert!(has(key).is_string(), "{key}: {status}");
    }
    for key in [
        "inbox.waiting",
        "inbox.oldest_seconds",
        "inbox.quarantined",
        "callbacks.refused",
        "callbacks.duplicate",
    ] {
        assert_eq!(has(key), 0, "{key}: {status}");
    }
    assert_eq!(has("callbacks.accepted"), 1);
    assert!(has("credits.spent_today").as_u64().unwrap() > 0);
    assert_eq!(has("credits.ceiling"), 2_500);
    assert_eq!(has("modules.Leads.records"), COUNT);
    for key in ["complete_through", "last_catch_up", "last_sweep"] {
        let text = has(&format!("modules.Leads.{key}"));
        assert!(crmirror::mirror::time::UpstreamTime::parse(text.as_str().unwrap()).is_some());
    }
    assert!(has("sequence").as_u64().unwrap() >= COUNT as u64);
    assert_eq!(place.get("/healthz").value(), json!({"status": "ok"}));
    assert_eq!(place.get("/readyz").value(), json!({"status": "ready"}));
}

#[test]
fn a_unix_socket_and_pages_that_may_read() {
    let mut place = Place::new("socket");
    let ids = old_leads(&mut place.upstream(), 1);
    let path = place.path("mirror.sock");
    place.set("local.socket", &format!("\"{}\"", path.display()));
    place.set("local.allow_origins", "[\"http://kiosk.local\"]");
    place.begin();
    let target = format!("/crm/v2/Leads/{}", ids[0]);
    let over_socket = |target: &str, host: &str| {
        let stream = UnixStream::connect(&path).unwrap();
        http_over(stream, host, "GET", target, &[], b"").unwrap()
    };
    assert_eq!(over_socket(&target, "localhost").text(), place.get(&target).text());
    assert_eq!(over_socket("/status", "whatever").status, 200, "nobody can rebind a socket");
    let page = place.ask("GET", &target, &[("Origin", "http://kiosk.local")]);
    assert_eq!(page.header("access-control-allow-origin"), Some("http://kiosk.local"));
    assert_eq!(place.ask("GET", &target, &[("Host", "kiosk.local")]).status, 200);

    // A socket that a crash left behind is no hindrance.
    place.kill().begin();
    assert_eq!(over_socket(&target, "localhost").status, 200);
}

#[test]
fn before_the_bootstrap_it_says_so() {
    let mut place = Place::new("not-ready");
    place.upstream().faults.offline(true);
    place.start();
    let heard = place.get("/readyz");
    assert_eq!(heard.status, 503);
    assert!(heard.text().contains("Leads"), "{}", heard.text());
    assert_eq!(place.get("/healthz").status, 200);
    let list = place.get("/crm/v2/Leads");
    assert_eq!((list.status, list.header("mirror-complete-through")), (204, Some("none")));
    place.until("it is offline", |place| {
        (place.status()["upstream"]["last_error"].is_string()).then_some(())
    });
    assert_eq!(place.status()["upstream"]["state"], "offline");
    place.upstream().faults.offline(false);
    place.ask("POST", "/sync", &[]);
    place.ready();
}
