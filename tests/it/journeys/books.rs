//! Zoho Books beside CRM: mirrored, kept complete, read in Books' own shape, with its limits and
//! its troubles kept to itself. Calls of Books are paced, so that there are few records here.

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Call, Manner, Moment, ORGANIZATION, Upstream};

/// An id below those that upstream gives to new records.
const FIRST: u64 = 6_756_839_000_000_100_001;

/// Invoices that were there long before the story begins, each with a line item.
fn old_invoices(upstream: &mut Upstream, count: u64) -> Vec<u64> {
    upstream.add_entity("invoices").with_fields(&["invoice_number", "total"]);
    let at = upstream.now().unix() - 90 * 86_400;
    let ids: Vec<u64> = (FIRST..FIRST + count).collect();
    for (number, id) in ids.iter().enumerate() {
        let items = r#"[{"line_item_id":"9007199254740993","rate":12.500,"quantity":2}]"#;
        let invoice_number = format!("\"INV-{number:04}\"");
        let values =
            [("invoice_number", &*invoice_number), ("total", "25.00"), ("line_items", items)];
        upstream.load("invoices", *id, Moment::from_unix(at + number as i64), &values);
    }
    ids
}

/// A place that mirrors invoices too.
fn place(name: &str, count: u64) -> (Place, Vec<u64>) {
    let mut place = Place::new(name);
    let ids = old_invoices(&mut place.upstream(), count);
    place.set("books.organization_id", &format!("\"{ORGANIZATION}\""));
    place.set("books.entities", "[\"invoice\"]");
    (place, ids)
}

fn is_of_books(call: &Call) -> bool {
    call.path.starts_with("/books/")
}

/// All invoices as the mirror lists them.
fn listed(place: &Place, query: &str) -> Vec<Value> {
    let heard = place.get(&format!("/books/v3/invoices{query}"));
    assert_eq!(heard.status, 200, "{query}: {}", heard.text());
    assert_eq!(heard.value()["code"], 0);
    heard.value()["invoices"].as_array().unwrap().clone()
}

fn ids_of(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["invoice_id"].as_str().unwrap().parse().unwrap()).collect()
}

/// Waits until the mirror has what upstream has.
fn until_same(place: &mut Place) {
    place.until("the invoices are the same", |place| {
        let truth = place.upstream().truth("invoices", true);
        let same = |(id, json): (&u64, &String)| {
            let heard = place.get(&format!("/books/v3/invoices/{id}"));
            heard.text().contains(json.as_str())
        };
        (listed(place, "").len() == truth.len() && truth.iter().all(same)).then_some(())
    });
}

fn refused(place: &Place, method: &str, target: &str, status: u16, code: i64) {
    let heard = place.ask(method, target, &[]);
    let value = heard.value();
    assert_eq!((heard.status, &value["code"]), (status, &json!(code)), "{target}: {value}");
    assert!(value["message"].is_string());
}

#[test]
fn records_are_read_in_books_own_shape_with_a_network_and_without() {
    let (mut place, ids) = place("books", 4);
    place.begin();
    let one = format!("/books/v3/invoices/{}", ids[0]);
    let truth = place.upstream().truth("invoices", true)[&ids[0]].clone();
    assert!(truth.contains("12.500"), "with its line items: {truth}");
    let expected = format!(r#"{{"code":0,"message":"success","invoice":{truth}}}"#);
    let reads = |place: &Place| {
        let heard = place.get(&format!("{one}?organization_id={ORGANIZATION}"));
        assert_eq!((heard.status, heard.text()), (200, expected.clone()));
        for header in ["mirror-complete-through", "mirror-sequence", "etag"] {
            assert!(heard.header(header).is_some(), "{header}");
        }
        let newest: Vec<u64> = ids.iter().rev().copied().collect();
        assert_eq!(ids_of(&listed(place, "?filter_by=Status.All")), newest);
        assert_eq!(ids_of(&listed(place, "?per_page=3&page=2")), newest[3..]);
        assert_eq!(ids_of(&listed(place, &format!("?per_page=2&below={}", ids[3]))), newest[1..3]);
        assert_eq!(ids_of(&listed(place, "?sort_column=last_modified_time&sort_order=A")), ids);
        assert_eq!(listed(place, "?last_modified_time=2100-01-01T00:00:00-0700"), [Value::Null; 0]);
        heard.header("etag").unwrap().to_owned()
    };
    let tag = reads(&place);
    assert_eq!(place.ask("GET", &one, &[("If-None-Match", &tag)]).status, 304);
    let page = place.get("/books/v3/invoices?per_page=3").value();
    let context = json!({"page": 1, "per_page": 3, "has_more_page": true,
        "sort_column": "invoice_id", "sort_order": "D"});
    assert_eq!(page["page_context"], context);

    refused(&place, "GET", "/books/v3/invoices/7", 404, 1002);
    refused(&place, "GET", "/books/v3/invoices/INV-1", 400, 2);
    refused(&place, "GET", "/books/v3/bills", 404, 5);
    refused(&place, "GET", "/books/v2/invoices", 404, 5);
    refused(&place, "GET", "/books/v3/settings/webhooks", 404, 5);
    refused(&place, "GET", "/books/v3/invoices?organization_id=7", 400, 2);
    for wrong in
        ["status=paid", "per_page=201", "sort_column=total", "page=2&below=7", "wait_for=x"]
    {
        refused(&place, "GET", &format!("/books/v3/invoices?{wrong}"), 400, 2);
    }
    refused(&place, "DELETE", &one, 405, 5);
    let heard = place.get("/crm/v2/invoices");
    assert_eq!((heard.status, &heard.value()["code"]), (400, &json!("INVALID_MODULE")));

    place.upstream().faults.offline(true);
    reads(&place);
    place.kill().start();
    reads(&place);
}

#[test]
fn what_changed_is_found_by_a_catch_up_and_what_went_away_by_a_sweep() {
    for sort in [Manner::Obeys, Manner::Ignores, Manner::Denies] {
        let (mut place, ids) = place("books-scans", 3);
        place.upstream().books.undocumented_sort = sort;
        place.begin();
        place.upstream().edit("invoices", ids[1], &[("total", "26.10")]);
        let made = place.upstream().create("invoices", &[("total", "1")]);
        assert_eq!(place.run(&["sync", "invoices"]).code, 0);
        until_same(&mut place);
        assert_eq!(listed(&place, "?per_page=1")[0]["invoice_id"], json!(made.to_string()));
        place.upstream().delete("invoices", ids[0]);
        assert_eq!(place.run(&["sync", "invoices", "--sweep"]).code, 0);
        until_same(&mut place);
        refused(&place, "GET", &format!("/books/v3/invoices/{}", ids[0]), 404, 1002);
        let changes = place.get("/changes?module=invoices&include=record").value();
        let last = changes["changes"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["kind"], &last["id"]), (&json!("delete"), &json!(ids[0].to_string())));
        let minute = place.calls(is_of_books).len();
        assert!(minute < 60, "{sort:?}: {minute} calls");
    }
}

#[test]
fn commands_know_its_records() {
    let (mut place, ids) = place("books-commands", 2);
    place.begin();
    let truth = place.upstream().truth("invoices", true);
    let reads = |place: &Place| {
        let out = |args: &[&str]| {
            let ended = place.run(args);
            assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
            ended.out
        };
        let id = ids[0].to_string();
        assert_eq!(out(&["get", "invoices", &id, "--json"]).trim_end(), truth[&ids[0]]);
        let exported = out(&["export", "invoices"]);
        let expected: Vec<&str> = truth.values().rev().map(String::as_str).collect();
        assert_eq!(exported.lines().collect::<Vec<_>>(), expected);
        assert!(out(&["list", "invoices", "--fields", "total"]).contains("25.00"));
        assert!(out(&["changes"]).contains(&format!("invoices/{id}")));
        assert!(out(&["explain", "invoices", &id]).contains(&id));
        assert_eq!(place.run(&["list", "bills"]).code, 2, "it is not mirrored");
    };
    reads(&place);
    let status = place.status();
    assert_eq!(status["modules"]["invoices"]["records"], 2);
    let calls = status["books"]["calls_today"].as_u64().unwrap();
    assert_eq!(status["books"]["ceiling"], 1_000);
    assert_eq!(calls, place.calls(is_of_books).len() as u64);
    let spent = status["credits"]["spent_today"].as_u64().unwrap();
    let of_crm = place.calls(|call| call.path.starts_with("/crm/"));
    assert_eq!(spent, of_crm.iter().map(|call| call.credits).sum::<u64>(), "CRM's alone");
    assert!(place.run(&["status"]).out.contains("of 1000 calls today"));
    assert!(place.get("/metrics").text().contains("crmirror_books_calls_ceiling 1000"));

    // A restart forgets no call: the ceiling would be none.
    place.kill().start();
    assert!(place.status()["books"]["calls_today"].as_u64().unwrap() >= calls);
    place.stop();
    reads(&place);
}

#[test]
fn its_limits_pause_books_alone() {
    for code in [44, 45] {
        let (mut place, _) = place("books-limits", 2);
        let leads = old_leads(&mut place.upstream(), 1);
        place.upstream().books.refusals = (u32::MAX, code);
        place.start();
        place.until("Books says so", |place| {
            let told = place.status()["books"]["last_error"].to_string();
            told.contains(&format!("code {code}")).then_some(())
        });
        place.until("CRM is mirrored", |place| place.record("Leads", leads[0]).map(drop));
        for mark in ["1", "2", "3"] {
            place.upstream().edit("Leads", leads[0], &[("Phone", mark)]);
            place.until("the channel is open", |place| {
                (place.status()["channel"]["state"] == "open").then_some(())
            });
            place.carry();
            assert_eq!(place.run(&["sync", "Leads"]).code, 0);
            place.until_reads("Leads", leads[0], "Phone", mark);
        }
        assert_eq!(place.calls(is_of_books).len(), 1, "it is left in peace");
    }
}

#[test]
fn a_scope_that_is_not_granted_costs_no_tokens_and_nothing_of_crm() {
    let (mut place, _) = place("books-scope", 1);
    let leads = old_leads(&mut place.upstream(), 1);
    place.set("books.entities", "[\"invoice\", \"contact\"]");
    {
        let mut upstream = place.upstream();
        upstream.accounts.withhold("ZohoBooks.invoices.READ");
        upstream.add_entity("contacts").with_fields(&["contact_name"]);
        let inactive = [("contact_name", "\"Bowman\""), ("status", "\"inactive\"")];
        upstream.create("contacts", &inactive);
    }
    place.start();
    place.until("contacts are mirrored, inactive ones too", |place| {
        let rows = place.get("/books/v3/contacts").value();
        (rows["contacts"][0]["contact_name"] == "Bowman").then_some(())
    });
    place.until("it is said what to do", |place| {
        let told = place.status()["books"]["last_error"].to_string();
        (told.contains("invoices") && told.contains("scopes")).then_some(())
    });
    place.until("CRM is mirrored", |place| place.record("Leads", leads[0]).map(drop));
    assert_eq!(place.run(&["sync"]).code, 0);
    place.until("it is tried again", |place| {
        let denied = place.calls(|call| call.path == "/books/v3/invoices");
        (denied.len() >= 2).then_some(())
    });
    assert!(place.token_calls() <= 3, "{} tokens", place.token_calls());
    assert_eq!(place.status()["upstream"]["state"], "online");
}

#[test]
fn books_is_mirrored_without_crm() {
    let (mut place, ids) = place("books-alone", 1);
    place.modules(&[]).without("channel").begin();
    assert_eq!(ids_of(&listed(&place, "")), ids);
    place.kill();
    place.upstream().edit("invoices", ids[0], &[("total", "26.10")]);
    place.start();
    until_same(&mut place);
    assert!(place.token_calls() <= 3, "{} tokens", place.token_calls());
}
