//! What the local interface refuses, and to whom: asked of the daemon that `reads` has started.

use crate::agent::Place;
use crate::sim::Heard;

pub(super) fn what_is_refused(place: &Place, ids: &[u64]) {
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    for target in ["/crm/v2/Deals", "/crm/v2/Deals/1", "/crm/v2/leads", "/crm/v2/..", "/crm/v8/x/1"]
    {
        assert_eq!(code(&place.get(target)), (400, "INVALID_MODULE".to_owned()), "{target}");
    }
    for (target, name) in [
        ("/crm/v2/Leads?colour=red", "colour"),
        ("/crm/v2/Leads?cvid=1", "cvid"),
        ("/crm/v2/Leads?approved=both", "approved"),
        ("/crm/v2/Leads?page=0", "page"),
        ("/crm/v2/Leads?page=x", "page"),
        ("/crm/v2/Leads?per_page=201", "per_page"),
        ("/crm/v2/Leads?per_page=0", "per_page"),
        ("/crm/v2/Leads?sort_order=up", "sort_order"),
        ("/crm/v2/Leads?sort_by=Shoe_Size", "sort_by"),
        ("/crm/v2/Leads?ids=seven", "ids"),
        ("/crm/v2/Leads?fields=A;B", "fields"),
        ("/crm/v2/Leads?page=1&page=1", "page"),
        ("/crm/v2/Leads/seven", "id"),
        (&format!("{one}?page=1"), "page"),
        ("/status?x=1", "x"),
        ("/healthz?x=1", "x"),
        ("/metrics?x=1", "x"),
        ("/?x=1", "x"),
    ] {
        let expected = (400, "INVALID_DATA".to_owned(), name.to_owned());
        assert_eq!(refusal(&place.get(target)), expected, "{target}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for target in ["/crm/v2/Leads", &one, "/crm/v2/Leads/upsert", "/crm/v2/coql"] {
            let heard = place.ask(method, target, &[]);
            assert_eq!(
                code(&heard),
                (405, "INVALID_REQUEST_METHOD".to_owned()),
                "{method} {target}"
            );
        }
        assert_eq!(place.ask(method, "/status", &[]).status, 405, "{method}");
    }
    for path in ["/actions/watch", "/1/Notes", "/deleted/1", "/search/", "//"] {
        assert_eq!(place.get(&format!("/crm/v2/Leads{path}")).status, 404, "{path}");
    }
    for target in ["/crm/v9/Leads", "/crm/v1/Leads", "/crm/x/Leads", "/nowhere", "/crm", "//status"]
    {
        assert_eq!(place.get(target).status, 404, "{target}");
    }
}

pub(super) fn hosts_and_origins(place: &Place, ids: &[u64]) {
    let one = format!("/crm/v2/Leads/{}", ids[0]);
    let host = |host: &str| place.ask("GET", &one, &[("Host", host)]).status;
    for good in
        ["localhost", "localhost:8687", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]:8687"]
    {
        assert_eq!(host(good), 200, "{good}");
    }
    for bad in [
        "evil.example",
        "localhost.evil.example",
        "192.168.1.7",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "10.0.0.1:8687",
    ] {
        assert_eq!(host(bad), 421, "{bad}");
        assert_eq!(place.ask("POST", "/sync", &[("Host", bad)]).status, 421, "{bad}");
        assert_eq!(place.ask("GET", "/status", &[("Host", bad)]).status, 421, "{bad}");
    }
    let page = place.ask("GET", &one, &[("Origin", "http://evil.example")]);
    assert_eq!(page.header("access-control-allow-origin"), None);
}

pub(super) fn code(heard: &Heard) -> (u16, String) {
    (heard.status, heard.value()["code"].as_str().unwrap_or("-").to_owned())
}

fn refusal(heard: &Heard) -> (u16, String, String) {
    let name = heard.value()["details"]["api_name"].as_str().unwrap_or("-").to_owned();
    (heard.status, code(heard).1, name)
}
