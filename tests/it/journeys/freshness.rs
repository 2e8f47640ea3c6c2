//! How old what is read may be: as old as the reader allows, and it says how old it is.

use serde_json::Value;

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Call, Heard};

fn body(heard: &Heard) -> Value {
    serde_json::from_str(&heard.text()).unwrap()
}

/// What was asked of the module's list upstream.
fn scans(place: &Place) -> usize {
    place.calls(|call: &Call| call.path.ends_with("/Leads")).len()
}

/// Ages are whole seconds: what was proved in this one is as new as can be told.
fn let_it_age(place: &mut Place, target: &str) {
    place.until("it has aged", |place| (age(place, target) > Some(0)).then_some(()));
}

fn age(place: &Place, target: &str) -> Option<u64> {
    let heard = place.get(target);
    assert_eq!(heard.status, 200, "{}", heard.text());
    heard.header("age").map(|age| age.parse().unwrap())
}

#[test]
fn a_read_is_as_new_as_it_asks_to_be() {
    let mut place = Place::new("freshness");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    let target = format!("/crm/v2/Leads/{}", ids[1]);
    let before = scans(&place);
    for query in ["", "?max_staleness=1h", "?max_staleness=7d"] {
        assert!(age(&place, &format!("{target}{query}")) < Some(3_600), "{query}");
    }
    assert_eq!(scans(&place), before, "what is new enough costs nothing");

    // Nobody tells of this one.
    place.upstream().edit("Leads", ids[1], &[("Phone", "\"new\"")]);
    drop(place.upstream().take_callbacks());
    let_it_age(&mut place, &target);
    assert!(!place.get(&target).text().contains("\"new\""));
    let heard = place.get(&format!("{target}?max_staleness=0s"));
    assert_eq!(heard.status, 200);
    assert!(heard.text().contains("\"new\""), "{}", heard.text());
    assert!(scans(&place) > before);
    for rest in ["", "/search?word=lead", "/deleted", "/actions/count"] {
        let mark = if rest.contains('?') { '&' } else { '?' };
        let heard = place.get(&format!("/crm/v2/Leads{rest}{mark}max_staleness=1h"));
        assert!(heard.status < 300 && heard.header("age").is_some(), "{rest}: {}", heard.text());
    }

    // A picture on a page elsewhere asks without an origin.
    let_it_age(&mut place, &target);
    let before = scans(&place);
    for header in [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")] {
        let heard = place.ask("GET", &format!("{target}?max_staleness=0s"), &[header]);
        assert_eq!(heard.status, 403, "{header:?}");
    }
    assert_eq!(scans(&place), before);

    for bad in ["60", "-1s", "soon", ""] {
        let heard = place.get(&format!("{target}?max_staleness={bad}"));
        assert_eq!(heard.status, 400, "{bad}");
        assert_eq!(body(&heard)["details"]["api_name"], "max_staleness");
    }
}

#[test]
fn what_cannot_be_had_newer_is_said_to_be_old() {
    let mut place = Place::new("stale");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    let target = format!("/crm/v2/Leads/{}", ids[0]);
    let_it_age(&mut place, &target);
    place.upstream().faults.offline(true);
    let heard = place.get(&format!("{target}?max_staleness=0s"));
    let told = body(&heard);
    assert_eq!((heard.status, &told["code"]), (503, &"STALE".into()), "{told}");
    assert!(told["details"]["age"].is_u64() && heard.header("age").is_some(), "{told}");
    assert!(heard.header("retry-after").is_some());
    assert!(age(&place, &target).is_some(), "whoever does not mind is answered");
    assert_eq!(place.get(&format!("{target}?max_staleness=1h")).status, 200);

    // Nobody knows upstream's time now, so nobody is told an age.
    place.kill().start();
    assert_eq!(age(&place, &target), None);
    let heard = place.get(&format!("{target}?max_staleness=1h"));
    assert_eq!((heard.status, &body(&heard)["details"]["age"]), (503, &Value::Null));

    place.upstream().faults.offline(false);
    assert_eq!(place.run(&["sync"]).code, 0);
    place.ready();
    assert_eq!(place.get(&format!("{target}?max_staleness=1m")).status, 200);
}
