//! Lists and their walls, stamps, deletions, queries, digits.

use std::collections::BTreeSet;
use std::time::Duration;

use crmirror::mirror::time::UpstreamTime;
use serde_json::{Value, json};

use super::{DAY, START, World, ids, world};
use crate::sim::{Asked, data, lifelike};

/// Walks a list by page tokens to its end.
fn walk(world: &mut World, target: &str) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut next = target.to_owned();
    loop {
        let answer = world.get(&next);
        assert_eq!(answer.status, 200, "{}", answer.text());
        seen.extend(ids(&answer));
        match answer.value()["info"]["next_page_token"].as_str() {
            Some(token) => next = format!("{target}&page_token={token}"),
            None => return seen,
        }
    }
}

#[test]
fn page_numbers_end_at_2000_records_and_page_tokens_go_on() {
    let mut world = world();
    let all: BTreeSet<u64> =
        world.upstream.mass_create("Leads", 2_345, &[("Last_Name", "\"X\"")]).into_iter().collect();
    assert_eq!(ids(&world.get("/crm/v2/Leads?page=10")).len(), 200);
    assert_eq!(world.code("/crm/v2/Leads?page=11"), "400 DISCRETE_PAGINATION_LIMIT_EXCEEDED");
    let seen = walk(&mut world, "/crm/v8/Leads?fields=id&sort_order=asc");
    assert_eq!(seen.len(), all.len());
    assert!(seen.is_sorted() && seen.into_iter().collect::<BTreeSet<_>>() == all);
    let newest = all.last().copied();
    assert_eq!(ids(&world.get("/crm/v2/Leads?per_page=1")).first().copied(), newest, "desc");
}

#[test]
fn page_tokens_are_bound_to_their_parameters_and_to_a_day() {
    let mut world = world();
    world.upstream.mass_create("Leads", 3, &[("Last_Name", "\"X\"")]);
    let first = world.get("/crm/v8/Leads?fields=id&per_page=2").value();
    let token = first["info"]["next_page_token"].as_str().unwrap();
    let same = format!("/crm/v8/Leads?fields=id&per_page=2&page_token={token}");
    assert_eq!(ids(&world.get(&same)).len(), 1);
    let check = |world: &mut World, target: &str, code: &str| {
        assert_eq!(world.code(&target.replace("TOKEN", token)), format!("400 {code}"));
    };
    check(&mut world, &format!("{same}&page=1"), "AMBIGUITY_DURING_PROCESSING");
    check(
        &mut world,
        "/crm/v8/Leads?fields=id&per_page=1&page_token=TOKEN",
        "TOKEN_BOUND_DATA_MISMATCH",
    );
    let nonsense = "/crm/v8/Leads?fields=id&page_token=c8582nonsense";
    check(&mut world, nonsense, "TOKEN_BOUND_DATA_MISMATCH");
    world.clock.advance(DAY);
    check(&mut world, &same, "EXPIRED_VALUE");
    world.upstream.knobs.page_tokens_in_v2 = false;
    assert_eq!(world.get("/crm/v2/Leads?per_page=2").value()["info"].get("next_page_token"), None);
    check(&mut world, "/crm/v2/Leads?per_page=2&page_token=TOKEN", "INVALID_DATA");
}

#[test]
fn numbered_pages_shift_when_a_record_goes_and_tokens_keep_their_place() {
    let mut world = world();
    let made = world.upstream.mass_create("Leads", 4, &[("Last_Name", "\"X\"")]);
    let target = "/crm/v2/Leads?per_page=2&sort_order=asc";
    let token = world.get(target).value()["info"]["next_page_token"].as_str().unwrap().to_owned();
    world.upstream.delete("Leads", made[0]);
    assert_eq!(ids(&world.get(&format!("{target}&page=2"))), made[3..], "one is never seen");
    let by_token = format!("{target}&page_token={token}");
    assert_eq!(ids(&world.get(&by_token)), made[2..]);
    world.upstream.knobs.page_tokens_shift = true;
    assert_eq!(ids(&world.get(&by_token)), made[3..]);
}

#[test]
fn what_a_mirror_has_no_business_asking_for_is_refused() {
    let mut world = world();
    let many = vec!["A"; 51].join(",");
    let check = |world: &mut World, target: &str, code: &str| {
        assert_eq!(world.code(target), code, "{target}");
    };
    check(&mut world, "/crm/v8/Leads", "400 REQUIRED_PARAM_MISSING");
    check(&mut world, &format!("/crm/v8/Leads?fields={many}"), "400 LIMIT_EXCEEDED");
    check(&mut world, "/crm/v2/Leads?ids=7,x", "400 INVALID_DATA");
    check(&mut world, "/crm/v2/Leads?per_page=201", "400 INVALID_DATA");
    check(&mut world, "/crm/v2/Leads?page=1&page=2", "400 INVALID_DATA");
    check(&mut world, "/crm/v2/Leads?cvid=7", "400 INVALID_DATA");
    check(&mut world, "/crm/v2/Leads?sort_by=Last_Name", "400 INVALID_DATA");
    check(&mut world, "/crm/v2/leads", "400 INVALID_MODULE");
    check(&mut world, "/crm/v9/Leads", "404 INVALID_URL_PATTERN");
    check(&mut world, "/crm/v2/Leads/../Deals", "404 INVALID_URL_PATTERN");
    check(&mut world, "/crm/v2/settings/fields", "400 REQUIRED_PARAM_MISSING");
    check(&mut world, "/crm/v2/users?type=AllUsers", "400 INVALID_DATA");
    assert_eq!(
        world.ask(Asked::new("PUT", "/crm/v2/Leads")).value()["code"],
        "INVALID_REQUEST_METHOD"
    );
    let http_date =
        Asked::new("GET", "/crm/v2/Leads").header("If-Modified-Since", &START.http_date());
    assert_eq!(world.ask(http_date).status, 400, "ISO 8601 is wanted, not an HTTP date");
}

#[test]
fn digits_survive_and_only_single_records_are_whole() {
    let mut world = world();
    let values = [
        ("A", "1.500"),
        ("B", "12345678901234567890123"),
        ("C", "null"),
        ("Visits", r#"[{"x":1e3}]"#),
    ];
    world.upstream.create_as("Leads", 9_007_199_254_740_993, &values);
    let stamps =
        r#""Created_Time":"2026-09-21T19:43:20+05:30","Modified_Time":"2026-09-21T19:43:20+05:30""#;
    let listed = format!(
        r#"{{"A":1.500,"B":12345678901234567890123,"C":null,{stamps},"id":"9007199254740993"}}"#
    );
    let whole = listed.replace(r#","id""#, r#","Visits":[{"x":1e3}],"id""#);
    assert!(world.get("/crm/v2/Leads?ids=9007199254740993,5").text().contains(&listed));
    let one = world.get("/crm/v8/Leads/9007199254740993");
    assert_eq!(one.text(), format!(r#"{{"data":[{whole}]}}"#));
    assert_eq!(world.upstream.truth("Leads", true)[&9_007_199_254_740_993], whole);
    let some = world.get("/crm/v8/Leads?fields=A,Unknown,Visits");
    assert!(some.text().contains(r#"[{"A":1.500,"id":"9007199254740993"}]"#), "{}", some.text());
    assert_eq!(world.get("/crm/v2/Leads/8").status, 204);
    assert_eq!(world.get("/crm/v2/Leads?ids=8").status, 204);
}

#[test]
fn if_modified_since_names_a_second_and_includes_it() {
    let mut world = world();
    let id = world.upstream.create("Leads", &[("Last_Name", "\"X\"")]);
    let later = START.after(Duration::from_secs(1));
    assert_eq!(ids(&world.get_since("/crm/v2/Leads", START)), [id]);
    assert_eq!(world.get_since("/crm/v2/Leads", later).status, 304);
    assert_eq!(world.get_since(&format!("/crm/v2/Leads/{id}"), later).status, 304);
    world.clock.advance(Duration::from_millis(1_900));
    world.upstream.touch_formula("Leads", id, "Score", "7");
    assert_eq!(world.get_since("/crm/v2/Leads", later).status, 304, "a formula moves no stamp");
    world.upstream.edit("Leads", id, &[("Last_Name", "\"Y\"")]);
    assert_eq!(ids(&world.get_since("/crm/v2/Leads", later)), [id], "stamps are whole seconds");
    world.upstream.knobs.modified_since_exclusive = true;
    assert_eq!(world.get_since("/crm/v2/Leads", later).status, 304);
}

#[test]
fn deletions_are_remembered_for_60_and_120_days() {
    let mut world = world();
    let made = world.upstream.mass_create("Leads", 5, &[("Last_Name", "\"X\"")]);
    let [binned, purged, merged, kept, hidden] = made[..] else { unreachable!() };
    world.upstream.delete("Leads", binned);
    world.upstream.purge("Leads", purged);
    world.upstream.merge("Leads", kept, merged);
    world.upstream.revoke_permission("Leads", hidden);
    assert_eq!(world.upstream.ids("Leads"), [kept]);
    let feed =
        |world: &mut World, of: &str| ids(&world.get(&format!("/crm/v2/Leads/deleted?type={of}")));
    assert_eq!(feed(&mut world, "all"), [purged, binned], "newest first; no merge, no permission");
    assert_eq!(feed(&mut world, "recycle"), [binned]);
    assert_eq!(feed(&mut world, "permanent"), [purged]);
    let later = START.after(Duration::from_secs(1));
    assert_eq!(world.get_since("/crm/v2/Leads/deleted", later).status, 304);
    world.clock.advance(61 * DAY);
    assert_eq!(feed(&mut world, "permanent"), [purged, binned]);
    assert!(!world.upstream.restore("Leads", binned), "the recycle bin keeps 60 days");
    world.clock.advance(60 * DAY);
    assert_eq!(world.get("/crm/v2/Leads/deleted?type=all").status, 204);
}

#[test]
fn a_restored_record_is_back_in_the_lists_with_its_old_stamp() {
    let mut world = world();
    let id = world.upstream.create("Leads", &[("Last_Name", "\"X\"")]);
    world.clock.advance(DAY);
    assert!(world.upstream.delete("Leads", id) && world.upstream.restore("Leads", id));
    assert_eq!(world.get("/crm/v2/Leads/deleted?type=all").status, 204);
    assert_eq!(ids(&world.get("/crm/v2/Leads")), [id]);
    assert_eq!(world.get_since("/crm/v2/Leads", START.after(DAY)).status, 304);
    assert!(world.upstream.convert("Leads", id));
    assert_eq!(world.get("/crm/v2/Leads").status, 204, "converted leads leave the lists");
    assert_eq!(ids(&world.get("/crm/v2/Leads?converted=both")), [id]);
    assert_eq!(world.get("/crm/v2/Leads/actions/count").text(), r#"{"count":0}"#);
}

#[test]
fn a_second_full_of_records_is_paged_by_id_with_a_query() {
    let mut world = world();
    let made = world.upstream.mass_create("Leads", 250, &[("Last_Name", "\"X\"")]);
    let time = UpstreamTime::from_unix(START.unix());
    let query = format!(
        "select id, Last_Name, Modified_Time from Leads where ((Modified_Time = '{time}') and \
         (id > '{}')) order by id asc limit 0, 200",
        made[9]
    );
    let answer = world.coql("v2", &query);
    assert_eq!(ids(&answer), made[10..210]);
    assert_eq!(answer.value()["info"], json!({"count": 200, "more_records": true}));
    let query = "select id from Leads where id > '0' order by id asc limit 0, 2000";
    assert_eq!(world.coql("v2", query).value()["code"], "LIMIT_EXCEEDED");
    assert_eq!(ids(&world.coql("v8", query)), made);
    let nonsense = "select id from Leads where Last_Name = 'X'";
    assert_eq!(world.coql("v8", nonsense).value()["code"], "SYNTAX_ERROR");
    let none = "select id from Leads where (Modified_Time > '2039-01-01T00:00:00+00:00')";
    assert_eq!(world.coql("v8", none).status, 204);
}

#[test]
fn generated_records_are_as_many_and_as_large_as_asked_for() {
    let mut world = world();
    data::plausible(&mut world.upstream, 42, 300);
    let counts: Vec<usize> =
        ["Leads", "Contacts", "Deals"].map(|module| world.upstream.ids(module).len()).to_vec();
    assert_eq!(counts, [150, 90, 60]);
    let all = world.upstream.truth("Leads", true);
    let mut again = self::world();
    data::plausible(&mut again.upstream, 42, 300);
    assert_eq!(again.upstream.truth("Leads", true), all, "the same seed, the same records");
    let (lead, before) = all.first_key_value().unwrap();
    assert!(data::edit(&mut again.upstream, &mut fastrand::Rng::with_seed(1), "Leads", *lead));
    assert_ne!(again.upstream.truth("Leads", true)[lead], *before);
    assert!(all.values().all(|json| serde_json::from_str::<Value>(json).is_ok()));
    let ids = data::wide(&mut world.upstream, "Wide", 120, 2);
    let fields = world.get("/crm/v8/settings/fields?module=Wide").value();
    assert_eq!(fields["fields"].as_array().map(Vec::len), Some(123));
    assert_eq!(ids.len(), 2);
    data::bulky(&mut world.upstream, "Bulky", 50, 1_500);
    lifelike::leads(&mut world.upstream, "Lifelike", 50, 1_500);
    for module in ["Bulky", "Lifelike"] {
        for json in world.upstream.truth(module, true).values() {
            assert!((1_300..1_800).contains(&json.len()), "{} bytes: {json}", json.len());
        }
    }
}
