//! Every parameter wrong in turn, on every route: each is refused by its name, and broken criteria
//! by the place where they break.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;
use crate::sim::Heard;

/// Longest value of a parameter.
const VALUE_LIMIT: usize = 8 << 10;

#[test]
fn every_parameter_is_refused_when_it_is_wrong() {
    let mut place = Place::new("wrong-reads");
    let ids = old_leads(&mut place.upstream(), 3);
    place.begin();
    let one = format!("/{}", ids[0]);
    by_name(&place, &one);
    by_place(&place);
    questions_exclude_each_other(&place);
    too_far_and_too_long(&place);
    times_that_are_none(&place, &one);
    // None of it was any harm.
    assert_eq!(place.get(&format!("/crm/v2/Leads{one}")).status, 200);
}

fn ask(place: &Place, rest: &str) -> Heard {
    place.get(&format!("/crm/v8/Leads{rest}"))
}

fn by_name(place: &Place, one: &str) {
    let (search, many) = ("/search?word=lead", "A,".repeat(600));
    let values: [(&str, &[&str]); 6] = [
        ("page", &["0", "-1", "x", "1.0", "", "99999999999999999999"]),
        ("per_page", &["0", "201", "x", "", "1e2"]),
        ("sort_by", &["Last_Name", "ID", "", "created_time"]),
        ("sort_order", &["up", "DESC", "", "ascending"]),
        ("fields", &["", "A;B", "Last_Name,", "1A", &many]),
        ("converted", &["true", "false", "", "Both"]),
    ];
    for route in ["?", &format!("{search}&")] {
        for (name, values) in values {
            for value in values {
                refused(place, &format!("{route}{name}={value}"), name);
            }
        }
        for name in ["cvid", "approved", "territory_id", "include_child", "type", "Page", "x"] {
            refused(place, &format!("{route}{name}=1"), name);
        }
    }
    for value in ["x", "1,", "-1", "01", "18446744073709551616", &"1,".repeat(101)] {
        refused(place, &format!("?ids={value}"), "ids");
    }
    for name in ["page", "ids", "sort_by", "per_page", "converted", "word"] {
        refused(place, &format!("{one}?{name}=1"), name);
    }
    for (route, names) in [
        (search, &["ids", "page_token", "criterion"][..]),
        ("/deleted?type=all", &["fields", "ids", "sort_by", "page_token", "word"][..]),
        ("/actions/count?word=lead", &["fields", "page", "cvid", "converted"][..]),
    ] {
        for name in names {
            refused(place, &format!("{route}&{name}=1"), name);
        }
    }
    for (name, values) in [
        ("type", &["", "bin", "ALL", "recycle,permanent"][..]),
        ("page", &["0", "x", "100001"][..]),
        ("per_page", &["0", "201"][..]),
    ] {
        for value in values {
            refused(place, &format!("/deleted?{name}={value}"), name);
        }
    }
    for route in ["/search", "/actions/count"] {
        for (name, values) in [
            ("email", &["", "zoe", "a+b@c.example"][..]),
            ("phone", &["", "12", "call+4711", &"1".repeat(31)][..]),
            ("word", &["", "x", "+", &"xy".repeat(51)][..]),
        ] {
            for value in values {
                refused(place, &format!("{route}?{name}={value}"), name);
            }
        }
    }
}

fn refused(place: &Place, rest: &str, name: &str) {
    let heard = ask(place, rest);
    let value = heard.value();
    let told = (heard.status, &value["code"], &value["details"]["api_name"]);
    assert_eq!(told, (400, &json!("INVALID_DATA"), &json!(name)), "{rest}: {value}");
    assert_eq!(value["status"], "error");
    let message = value["message"].as_str().unwrap();
    assert!(message.contains(name), "{rest}: {message}");
}

fn by_place(place: &Place) {
    for (criteria, position) in [
        ("", 1),
        ("(", 2),
        ("Last_Name", 1),
        ("(Last_Name:equals:x", 20),
        ("(Last_Name:sounds_like:x)", 12),
        ("(Last_Name:equals:x))", 21),
        ("(Last_Name:equals:x)xor(Phone:equals:1)", 21),
        ("(Last Name:equals:x)", 2),
        ("(Last_Name:equals:ö,x)", 20),
        ("(Amount:between:1)", 17),
        ("(Amount:greater_than:many)", 22),
    ] {
        for route in ["/search", "/actions/count"] {
            let query: String = form_urlencoded::byte_serialize(criteria.as_bytes()).collect();
            let heard = ask(place, &format!("{route}?criteria={query}"));
            let value = heard.value();
            let told = (heard.status, &value["code"], &value["details"]["position"]);
            assert_eq!(told, (400, &json!("INVALID_QUERY"), &json!(position)), "{criteria}");
            assert_eq!(value["details"]["api_name"], "criteria");
            assert!(value["details"]["reason"].is_string(), "{value}");
            let message = value["message"].as_str().unwrap();
            assert!(message.contains(&format!("character {position}")), "{message}");
        }
    }
}

fn questions_exclude_each_other(place: &Place) {
    let code = |rest: &str| {
        let heard = ask(place, rest);
        (heard.status, heard.value()["code"].as_str().unwrap_or("-").to_owned(), heard.value())
    };
    let (status, missing, value) = code("/search");
    assert_eq!((status, missing.as_str()), (400, "EXPECTED_PARAM_MISSING"));
    let expected = json!(["criteria", "email", "phone", "word"]);
    assert_eq!(value["details"]["expected_params"], expected);
    for rest in ["/search?word=ab&email=a@b", "/actions/count?phone=123&criteria=x&word=ab"] {
        let (status, ambiguous, value) = code(rest);
        assert_eq!((status, ambiguous.as_str()), (400, "AMBIGUITY_DURING_PROCESSING"), "{rest}");
        let due: Vec<&Value> = value["details"]["ambiguity_due_to"]
            .as_array()
            .unwrap()
            .iter()
            .map(|due| &due["param"])
            .collect();
        assert_eq!(due.len(), rest.matches('=').count(), "{value}");
    }
    assert_eq!(code("?page=1&page_token=1-2-3-4").1, "AMBIGUITY_DURING_PROCESSING");
}

fn too_far_and_too_long(place: &Place) {
    for (rest, code) in [
        ("?page=11", "DISCRETE_PAGINATION_LIMIT_EXCEEDED"),
        ("?page=2001&per_page=1&sort_by=Created_Time", "DISCRETE_PAGINATION_LIMIT_EXCEEDED"),
        ("/search?word=lead&page=11", "LIMIT_REACHED"),
        ("/search?word=lead&page=18446744073709551615", "LIMIT_REACHED"),
    ] {
        let heard = ask(place, rest);
        assert_eq!((heard.status, &heard.value()["code"]), (400, &json!(code)), "{rest}");
        assert_eq!(heard.value()["details"]["limit"], 2_000, "{rest}");
    }
    for rest in ["?page=10", "/search?word=lead&page=10", "/deleted?page=100000"] {
        assert_eq!(ask(place, rest).status, 204, "{rest}");
    }
    // What the gate lets through can be read; what is longer ends there.
    let long = "x".repeat(VALUE_LIMIT - 200);
    let heard = ask(place, &format!("/search?criteria=(Last_Name:equals:{long})"));
    assert_eq!((heard.status, heard.text()), (204, String::new()));
    for bytes in [VALUE_LIMIT + 1_000, 10 << 20] {
        let mut stream = TcpStream::connect(place.local).unwrap();
        let head = "GET /crm/v2/Leads/search?word=";
        // The gate may refuse, and close, before it has read everything.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'x'; bytes]);
        let _ = stream.write_all(b" HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.starts_with("HTTP/1.1 414 "), "{bytes} bytes: {reply}");
    }
}

fn times_that_are_none(place: &Place, one: &str) {
    for rest in ["", "/deleted", one] {
        for bad in [
            "yesterday",
            "2026-01-31",
            "2026-01-31T10:00:00",
            "1767225600",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            let target = format!("/crm/v2/Leads{rest}");
            let heard = place.ask("GET", &target, &[("If-Modified-Since", bad)]);
            let value = heard.value();
            assert_eq!((heard.status, &value["code"]), (400, &json!("INVALID_DATA")), "{bad}");
            assert_eq!(value["details"]["api_name"], "If-Modified-Since", "{bad}");
        }
    }
}
