//! The local interface as `/openapi.json` describes it: every operation is asked with every
//! parameter that it names, and what comes back has to be what was said. `.ci/openapi` has a
//! stranger's tool look for what nobody thought of.

mod description;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use self::description::{Description, Operation, Question, without_query};
use crate::agent::Place;
use crate::readme;
use crate::sim::{Aim, Fault, Heard, Moment, ORGANIZATION, http};

/// The id of a call in the examples.
const CALL: &str = "17-5f0c9a1be77d2c11";
const TOKEN: &str = "a-token-of-32-visible-characters";

/// A place with the record of the examples and others, of which one is deleted.
fn place(name: &str) -> Place {
    let mut place = Place::new(name);
    place.set("books.organization_id", &format!("\"{ORGANIZATION}\""));
    place.set("books.entities", "[\"invoice\"]");
    {
        let mut upstream = place.upstream();
        upstream.add_entity("invoices").with_fields(&["total"]);
        let long_ago = Moment::from_unix(upstream.now().unix() - 90 * 86_400);
        upstream.load("invoices", 5_843_104_000_000_424_162, long_ago, &[("total", "1.50")]);
        let at = Moment::from_unix(upstream.now().unix() - 90 * 86_400);
        for (id, name) in (5_843_104_000_000_424_162..).zip(["Moriarty", "Bell", "Gone"]) {
            let values =
                [("Last_Name", format!("\"{name}\"")), ("Email", "\"zoe@example.com\"".to_owned())];
            let values = values.each_ref().map(|(field, value)| (*field, value.as_str()));
            upstream.load("Leads", id, at, &values);
        }
    }
    place
}

/// Statuses that were seen, by the name of the operation.
type Seen = BTreeMap<String, BTreeSet<String>>;

fn ask(place: &Place, question: &Question, headers: &[(&str, &str)]) -> Heard {
    let own = question.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<_> = own.chain(headers.iter().copied()).collect();
    http(place.local, &question.method, &question.target, &headers, question.body.as_bytes())
        .unwrap_or_else(|error| panic!("{} {}: {error}", question.method, question.target))
}

/// Asks, and holds the answer against the description.
fn check(
    place: &Place,
    operation: &Operation<'_>,
    question: &Question,
    headers: &[(&str, &str)],
    seen: &mut Seen,
) -> Heard {
    let heard = ask(place, question, headers);
    if let Err(why) = operation.judge(&heard) {
        let Question { method, target, .. } = question;
        panic!("{method} {target} {headers:?}: {why}\n{} {}", heard.status, heard.text());
    }
    seen.entry(operation.name()).or_default().insert(heard.status.to_string());
    heard
}

#[test]
fn every_operation_is_answered_as_it_is_described() {
    let mut place = place("openapi");
    place.functions(&[("kiosk_checkin", "apikey")]);
    place.begin();
    let call = waiting_call(&place);
    place.upstream().delete("Leads", 5_843_104_000_000_424_164);
    place.carry();
    place.until("it is gone", |place| {
        (place.status()["modules"]["Leads"]["records"] == 2).then_some(())
    });
    let document = place.get("/openapi.json").text().replace(CALL, &call);
    let description = Description::of(serde_json::from_str(&document).unwrap());
    let mut seen = Seen::new();
    let shown = description.operation("getCall");
    check(&place, &shown, &shown.plain(), &[], &mut seen);
    for operation in description.operations() {
        for question in operation.good_questions() {
            let heard = check(&place, &operation, &question, &[], &mut seen);
            assert!(heard.status < 400, "{question:?}: {} {}", heard.status, heard.text());
        }
        for question in operation.bad_questions() {
            let heard = check(&place, &operation, &question, &[], &mut seen);
            assert_eq!(heard.status, 400, "{question:?}");
        }
        what_is_refused(&place, &operation, &mut seen);
        other_methods(&place, &description, &operation);
    }
    lists_go_on(&place, &description, &mut seen);
    let list = description.operation("listRecords");
    let wrong = Question { target: "/crm/v9/Leads".into(), ..list.plain() };
    check(&place, &list, &wrong, &[], &mut seen);
    let changes = description.operation("listChanges");
    let lost = Question { target: "/changes?since=9000000000000000000".into(), ..changes.plain() };
    check(&place, &changes, &lost, &[], &mut seen);

    for operation in description.operations() {
        let seen = &seen[&operation.name()];
        assert!(
            seen.iter().any(|status| status.starts_with('2')),
            "{}: {seen:?}",
            operation.name()
        );
    }
    for (name, status) in [
        ("listRecords", "200"),
        ("listRecords", "304"),
        ("listRecords", "404"),
        ("searchRecords", "200"),
        ("searchRecords", "204"),
        ("listDeleted", "200"),
        ("listDeleted", "304"),
        ("getRecord", "200"),
        ("getRecord", "304"),
        ("listOfBooks", "200"),
        ("getOfBooks", "200"),
        ("listChanges", "410"),
        ("leaveCall", "202"),
        ("getCall", "200"),
        ("getCall", "204"),
    ] {
        assert!(seen[name].contains(status), "{name} never answered {status}: {:?}", seen[name]);
    }
}

/// What each operation refuses alike.
fn what_is_refused(place: &Place, operation: &Operation<'_>, seen: &mut Seen) {
    let plain = operation.plain();
    let mut refused = |question: &Question, headers: &[(&str, &str)], expected: u16| {
        let heard = check(place, operation, question, headers, seen);
        assert_eq!(heard.status, expected, "{} {headers:?}", question.target);
    };
    refused(&plain, &[("Host", "evil.example")], 421);
    refused(&plain, &[("X-Long", &"x".repeat(17 << 10))], 431);
    refused(&plain.with("x", &"x".repeat(9 << 10)), &[], 414);
    if operation.name() != "grantToken" {
        refused(&plain.with("x", "1"), &[], 400);
    }
    if operation.declares("403") && plain.method == "POST" {
        refused(&plain, &[("Origin", "http://evil.example")], 403);
    }
}

fn other_methods(place: &Place, description: &Description, operation: &Operation<'_>) {
    let plain = operation.plain();
    let same = description.operations().filter(|other| other.path() == operation.path());
    let allowed: BTreeSet<String> = same.map(|other| other.plain().method).collect();
    let head = allowed.contains("GET").then(|| "HEAD".to_owned());
    let told: BTreeSet<String> = allowed.iter().cloned().chain(head).collect();
    let told = told.into_iter().collect::<Vec<_>>().join(", ");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        if allowed.contains(method) {
            continue;
        }
        let heard = ask(place, &Question { method: method.into(), ..operation.plain() }, &[]);
        assert_eq!(heard.status, 405, "{method} {}", plain.target);
        assert_eq!(heard.header("allow"), Some(told.as_str()), "{}", plain.target);
    }
}

/// A call that goes on waiting, behind one that fails; its id.
fn waiting_call(place: &Place) -> String {
    let functions = Aim::path("/crm/v2/functions");
    place.upstream().faults.script(u32::MAX, functions, Fault::Status(500));
    let json = [("Content-Type", "application/json")];
    let leave = || place.send("POST", "/outbox/kiosk_checkin", &json, b"1").value()["id"].clone();
    leave();
    leave().as_str().unwrap().to_owned()
}

/// A token has no example that would hold.
fn lists_go_on(place: &Place, description: &Description, seen: &mut Seen) {
    let list = description.operation("listRecords");
    let first = list.plain().with("per_page", "1");
    let info = check(place, &list, &first, &[], seen).value()["info"].clone();
    let next = first.with("page_token", info["next_page_token"].as_str().unwrap());
    assert_eq!(check(place, &list, &next, &[], seen).status, 200);
    let changes = description.operation("listChanges");
    let generation = place.status()["generation"].as_str().unwrap().to_owned();
    let held = changes.plain().with("generation", &generation);
    assert_eq!(check(place, &changes, &held, &[], seen).status, 200);
}

#[test]
fn streams_are_what_they_are_said_to_be() {
    let mut place = place("openapi-streams");
    place.begin();
    let description = Description::of(place.get("/openapi.json").value());
    let forms = description.operation("listChanges").media_types("200");
    assert_eq!(forms.len(), 3, "{forms:?}");
    for form in forms.iter().filter(|form| *form != "application/json") {
        let mut stream = TcpStream::connect(place.local).unwrap();
        stream.set_read_timeout(Some(crate::agent::PATIENCE)).unwrap();
        let request = format!("GET /changes HTTP/1.1\r\nHost: localhost\r\nAccept: {form}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
        let kind = lines.find(|line| line.starts_with("Content-Type: ")).unwrap();
        assert_eq!(kind, format!("Content-Type: {form}"));
        let told = lines.find_map(|line| {
            let json = line.strip_prefix("data: ").unwrap_or(&line);
            json.starts_with('{').then(|| serde_json::from_str::<Value>(json).unwrap())
        });
        description.fits("Change", &told.unwrap()).unwrap();
    }
}

#[test]
fn where_a_token_is_asked_for_is_told_and_what_is_not_ready_says_so() {
    let mut place = place("openapi-token");
    place.without("channel").guard(TOKEN);
    place.upstream().faults.offline(true);
    place.start();
    let description = Description::of(place.get("/openapi.json").value());
    let shown = format!("Bearer {TOKEN}");
    let mut seen = Seen::new();
    for operation in description.operations() {
        let plain = operation.plain();
        let stranger = check(&place, &operation, &plain, &[], &mut seen);
        assert_eq!(stranger.status == 401, !operation.is_for_everybody(), "{}", plain.target);
        check(&place, &operation, &plain, &[("Authorization", &shown)], &mut seen);
    }
    for (name, status) in
        [("askForChannel", "409"), ("getReadiness", "503"), ("getOrganisation", "503")]
    {
        assert!(seen[name].contains(status), "{name}: {:?}", seen[name]);
    }
}

#[test]
fn readme_and_the_description_have_the_same_routes() {
    let mut place = Place::new("openapi-readme");
    place.start();
    let description = Description::of(place.get("/openapi.json").value());
    let described: BTreeSet<String> = description
        .operations()
        .map(|operation| format!("{} {}", operation.plain().method, operation.path()))
        .collect();
    let mut told = BTreeSet::new();
    let of_books = readme::table("| request of Books' copy | reply |");
    for row in readme::table("| request | reply |").into_iter().chain(of_books) {
        let marks = readme::marked(&row[0]);
        let (method, first) = marks[0].split_once(' ').unwrap();
        let others = marks.iter().filter_map(|mark| mark.strip_prefix('…'));
        let others = others.map(|path| format!("/crm/v2{path}"));
        for path in others.chain([first.to_owned()]) {
            let path = without_query(&path).replace("/v2/", "/{version}/");
            // One place in a path has one name, whatever stands there.
            let path = path.replace("/outbox/{function}", "/outbox/{name}");
            let path = path.replace("/outbox/{id}", "/outbox/{name}");
            told.insert(format!("{method} {}", path.replace("oauth/{version}", "oauth/v2")));
        }
    }
    let told: BTreeSet<String> =
        told.into_iter().map(|route| route.replace("{Module}", "{module}")).collect();
    assert_eq!(described, told);
}
