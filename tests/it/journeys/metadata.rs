//! What upstream says of itself, read at the local interface: online, offline, denied, not there
//! yet; and the token that SDKs ask for first.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crmirror::clock::DeviceClock;
use crmirror::mirror::document::{Document, DocumentName};
use crmirror::mirror::record::ModuleName;
use crmirror::mirror::time::UpstreamTime;
use crmirror::server::asked::{Asked, Peer};
use crmirror::server::board::Board;
use crmirror::server::local::Local;
use crmirror::store::Store;
use serde_json::json;

use super::old_leads;
use crate::agent::Place;
use crate::scratch::Scratch;
use crate::sim::{self, Heard, http};

const TOKEN: &str = "a-token-of-32-visible-characters";
/// What upstream serves too, word for word.
const VERBATIM: [&str; 4] =
    ["settings/modules", "settings/fields?module=Leads", "org", "users?type=CurrentUser"];

/// What upstream itself answers.
fn upstreams(place: &Place, target: &str) -> (u16, String) {
    let mut upstream = place.upstream();
    let token = upstream.issue_token();
    let asked = sim::Asked::new("GET", &format!("/crm/v2/{target}")).token(&token);
    let answer = upstream.answer(&asked).unwrap();
    (answer.status, answer.text().to_owned())
}

fn told(heard: &Heard) -> (u16, String) {
    (heard.status, heard.text())
}

fn refusal(heard: &Heard) -> (u16, String) {
    let body = heard.value();
    let name = body["details"]["api_name"].as_str().or(body["details"]["param"].as_str());
    (heard.status, format!("{} {}", body["code"].as_str().unwrap(), name.unwrap_or("-")))
}

#[test]
fn metadata_is_upstreams_own_online_and_offline_and_after_a_restart() {
    let mut place = Place::new("metadata");
    old_leads(&mut place.upstream(), 3);
    place.upstream().model.add("Deals").with_fields(&["Stage"]);
    place.begin();
    let expected: Vec<_> = VERBATIM.iter().map(|target| upstreams(&place, target)).collect();
    for round in ["online", "offline", "after a restart"] {
        for (target, expected) in VERBATIM.iter().zip(&expected) {
            for version in ["v2", "v8"] {
                let heard = place.get(&format!("/crm/{version}/{target}"));
                assert_eq!(told(&heard), *expected, "{round}: {target}");
                assert!(heard.header("mirror-complete-through").unwrap().starts_with("20"));
            }
        }
        what_is_cut_out_and_what_is_refused(&place);
        match round {
            "online" => place.upstream().faults.offline(true),
            _ => drop(place.kill().start()),
        }
    }
    let of_documents = |call: &sim::Call| {
        let path = call.path.trim_start_matches("/crm/v2/");
        path.starts_with("settings") || path == "org" || path == "users"
    };
    let asked = place.calls(of_documents);
    assert_eq!(asked.iter().filter(|call| call.outcome.is_ok()).count(), 4 + VERBATIM.len());
}

fn what_is_cut_out_and_what_is_refused(place: &Place) {
    let all = place.get("/crm/v2/settings/fields?module=Leads&type=all").value();
    let last = all["fields"].as_array().unwrap().last().unwrap().clone();
    let id = last["id"].as_str().unwrap();
    let one = place.get(&format!("/crm/v2/settings/fields/{id}?module=Leads"));
    assert_eq!(one.value(), json!({"fields": [last]}));
    assert_eq!(place.get("/crm/v2/settings/fields/7?module=Leads").status, 204);
    let modules = place.get("/crm/v2/settings/modules").value();
    for module in modules["modules"].as_array().unwrap() {
        for name in ["api_name", "id"] {
            let target = format!("/crm/v2/settings/modules/{}", module[name].as_str().unwrap());
            assert_eq!(place.get(&target).value(), json!({"modules": [module]}), "{target}");
        }
    }
    let user = place.get("/crm/v2/users?type=CurrentUser").value();
    let id = user["users"][0]["id"].as_str().unwrap();
    assert_eq!(place.get(&format!("/crm/v2/users/{id}")).value(), user);
    for (target, expected) in [
        ("settings/modules?status=visible", "INVALID_DATA status"),
        ("settings/modules/Nowhere", "INVALID_MODULE -"),
        ("settings/fields", "REQUIRED_PARAM_MISSING module"),
        ("settings/fields?module=Deals", "INVALID_MODULE -"),
        ("settings/fields?module=Leads&type=unused", "INVALID_DATA type"),
        ("settings/fields?module=Leads&include=x", "INVALID_DATA include"),
        ("org?include=x", "INVALID_DATA include"),
        ("users", "INVALID_DATA type"),
        ("users?type=AllUsers", "INVALID_DATA type"),
        ("users?type=CurrentUser&page=1", "INVALID_DATA page"),
        ("users/7", "INVALID_DATA id"),
    ] {
        let heard = place.get(&format!("/crm/v2/{target}"));
        assert_eq!(refusal(&heard), (400, expected.to_owned()), "{target}");
    }
    for target in ["settings", "settings/layouts", "org/photo", "users/7/photo"] {
        assert_eq!(place.get(&format!("/crm/v2/{target}")).status, 404, "{target}");
    }
    assert_eq!(place.ask("PUT", "/crm/v2/org", &[]).status, 405);
}

#[test]
fn what_was_never_read_is_said_to_be_so() {
    let mut place = Place::new("no-metadata");
    place.upstream().faults.offline(true);
    place.start();
    for target in VERBATIM.iter().chain(&["settings/modules/Leads", "users/7"]) {
        let heard = place.get(&format!("/crm/v2/{target}"));
        assert_eq!(refusal(&heard).1, "NOT_MIRRORED_YET -", "{target}");
        assert_eq!((heard.status, heard.header("retry-after")), (503, Some("10")), "{target}");
    }
}

#[test]
fn what_upstream_denies_is_told_in_its_own_words_and_asked_for_once_a_start() {
    let mut place = Place::new("denied-metadata");
    let ids = old_leads(&mut place.upstream(), 1);
    place.upstream().accounts.withhold("ZohoCRM.org.READ");
    place.upstream().accounts.withhold("ZohoCRM.settings.modules.READ");
    place.begin();
    let expected = upstreams(&place, "org");
    assert_eq!(expected.0, 401);
    assert!(expected.1.contains("OAUTH_SCOPE_MISMATCH"), "{}", expected.1);
    place.kill();
    place.upstream().faults.offline(true);
    place.start();
    assert_eq!(told(&place.get("/crm/v2/org")), expected, "offline too");
    place.kill();
    place.upstream().faults.offline(false);
    place.begin();
    for target in ["org", "settings/modules", "settings/modules/Leads"] {
        assert_eq!(told(&place.get(&format!("/crm/v2/{target}"))), expected, "{target}");
    }
    for target in [VERBATIM[1], VERBATIM[3]] {
        assert_eq!(told(&place.get(&format!("/crm/v2/{target}"))), upstreams(&place, target));
    }
    // It is nobody's trouble.
    assert!(place.status()["upstream"]["last_error"].is_null());
    place.until_printed("upstream denies the organisation with status 401");
    place.upstream().edit("Leads", ids[0], &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", ids[0], "Phone", "\"1\"");
    let asked = place.calls(|call| call.path == "/crm/v2/org" && call.outcome.is_ok()).len();
    assert_eq!(asked, 3, "once by each start that could, once by this test");
}

#[test]
fn where_records_are_read_by_their_fields_these_are_read_once() {
    let mut place = Place::new("fields-once");
    old_leads(&mut place.upstream(), 1);
    place.set("upstream.api_version", "\"v8\"").begin();
    let asked = place.calls(|call| call.path == "/crm/v8/settings/fields").len();
    assert_eq!(asked, 1, "the reply is both kept and used");
    let kept = told(&place.get("/crm/v8/settings/fields?module=Leads"));
    assert_eq!(kept, upstreams(&place, VERBATIM[1]));
}

#[test]
fn a_module_without_field_metadata_says_nothing_here_too() {
    let scratch = Scratch::new("metadata-204");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let module = ModuleName::parse("Leads").unwrap();
    let read = UpstreamTime::from_unix(1_750_000_000);
    let nothing = Document { read, status: 204, body: String::new() };
    store.set_document(&DocumentName::Fields(module.clone()), &nothing).unwrap();
    let (bell, _rung) = mpsc::sync_channel(1);
    let (board, clock) = (Arc::new(Board::default()), Arc::new(DeviceClock));
    let local = Local::new(vec![module], Vec::new(), store, board, bell, clock);
    for target in ["settings/fields?module=Leads", "settings/fields/7?module=Leads"] {
        let asked = Asked {
            method: "GET".to_owned(),
            target: format!("/crm/v8/{target}"),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        let reply = local.respond(&asked);
        assert_eq!((reply.status(), reply.body().len()), (204, 0), "{target}");
        let through = ("Mirror-Complete-Through", "2025-06-15T15:06:40+00:00".to_owned());
        assert!(reply.headers().contains(&through), "{:?}", reply.headers());
    }
}

/// Asks for a token as an SDK does.
fn ask_for_token(place: &Place, host: &str, refresh: &str) -> Heard {
    let body = format!(
        "client_id=1000.A&client_secret=B&grant_type=refresh_token&refresh_token={refresh}"
    );
    let headers = [("Host", host), ("Content-Type", "application/x-www-form-urlencoded")];
    http(place.local, "POST", "/oauth/v2/token", &headers, body.as_bytes()).unwrap()
}

#[test]
fn a_token_is_given_whose_api_is_here() {
    let mut place = Place::new("local-token");
    place.upstream().faults.offline(true);
    place.start();
    let address = place.local.to_string();
    for host in [address.as_str(), "localhost:8687"] {
        let given = ask_for_token(&place, host, "1000.whatever").value();
        assert_eq!(given["api_domain"], format!("http://{host}"));
        assert_eq!((&given["token_type"], &given["expires_in"]), (&json!("Bearer"), &json!(3_600)));
        let shown = format!("Zoho-oauthtoken {}", given["access_token"].as_str().unwrap());
        assert_eq!(place.ask("GET", "/crm/v2/Leads", &[("Authorization", &shown)]).status, 204);
    }
    assert_eq!(ask_for_token(&place, "evil.example", "1000.whatever").status, 421);
    assert_eq!(ask_for_token(&place, &address, "").value(), json!({"error": "invalid_code"}));
    assert_eq!(place.get("/oauth/v2/token").status, 405);
    assert_eq!(place.ask("POST", "/oauth/v2/token/revoke", &[]).status, 404);
}

#[test]
fn behind_a_reader_token_only_who_shows_it_is_given_one() {
    let mut place = Place::new("guarded-token");
    let ids = old_leads(&mut place.upstream(), 1);
    place.guard(TOKEN).begin();
    let host = "kiosk-7.lan:8687";
    for wrong in ["1000.whatever", "no-token-is-needed-here", &TOKEN[..31]] {
        let refused = ask_for_token(&place, host, wrong);
        assert_eq!(told(&refused), (200, r#"{"error":"invalid_code"}"#.to_owned()), "{wrong}");
    }
    let given = ask_for_token(&place, host, TOKEN).value();
    assert_eq!(given["api_domain"], format!("http://{host}"));
    let shown = format!("Zoho-oauthtoken {}", given["access_token"].as_str().unwrap());
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    let read = |headers: &[(&str, &str)]| http(place.local, "GET", &one, headers, b"").unwrap();
    assert_eq!(read(&[("Authorization", &shown)]).status, 200);
    assert_eq!(read(&[]).status, 401);
    let other = http(place.local, "POST", "/oauth/v2/token/x", &[], b"").unwrap();
    assert_eq!(other.status, 401, "only that very path is open");
    thread::sleep(Duration::from_millis(50));
    assert!(!place.printed().contains(TOKEN));
}
