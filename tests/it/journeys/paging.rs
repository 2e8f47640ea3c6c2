//! Pages of a module that changes while it is paged.

use std::collections::{BTreeMap, BTreeSet};

use super::old_leads;
use crate::agent::{Place, rows};

const COUNT: usize = 120;

/// Page by page, and between two pages records come, go and change. What was there throughout is
/// shown once; and what merely changed, too, unless the list is in the order of changes.
#[test]
fn page_tokens_lose_nothing_and_double_nothing() {
    let mut place = Place::new("paging");
    let ids = old_leads(&mut place.upstream(), COUNT);
    place.begin();
    let mut touched = ids.iter().copied().step_by(3);
    let mut gone = BTreeSet::new();
    for order in ["id&sort_order=asc", "id", "Created_Time", "Modified_Time&sort_order=asc"] {
        let list = format!("/crm/v3/Leads?per_page=17&fields=Phone&sort_by={order}");
        let (mut next, mut changed) = (list.clone(), BTreeSet::new());
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        let there: BTreeSet<u64> = ids.iter().copied().filter(|id| !gone.contains(id)).collect();
        loop {
            let heard = place.get(&next);
            assert_eq!(heard.status, 200, "{next}: {}", heard.text());
            for row in rows(&heard.text()) {
                *seen.entry(row["id"].trim_matches('"').parse().unwrap()).or_default() += 1;
            }
            match heard.value()["info"]["next_page_token"].as_str() {
                Some(token) => next = format!("{list}&page_token={token}"),
                None => break,
            }
            let mut pick = || touched.next().filter(|id| there.contains(id));
            for id in [pick(), pick()].into_iter().flatten() {
                changed.insert(id);
                if changed.len() % 2 == 0 {
                    gone.insert(id);
                    place.upstream().delete("Leads", id);
                } else {
                    place.upstream().edit("Leads", id, &[("Phone", "\"moved\"")]);
                }
            }
            place.upstream().create("Leads", &[("Last_Name", "\"New\"")]);
            place.carry();
            place.until_settled();
        }
        assert!(seen.len() > 80, "{order}: {}", seen.len());
        for id in there.difference(&changed) {
            assert_eq!(seen.get(id), Some(&1), "{order}: {id} was there throughout");
        }
        let twice = seen.iter().find(|(_, times)| **times > 1);
        assert!(twice.is_none() || order.starts_with("Modified_Time"), "{order}: {twice:?}");
        touched = ids.iter().copied().step_by(3);
    }
    assert!(gone.len() > 8, "too little happened: {}", gone.len());
}

#[test]
fn a_token_belongs_to_its_list() {
    let mut place = Place::new("tokens-bound");
    old_leads(&mut place.upstream(), 5);
    place.begin();
    let list = "/crm/v2/Leads?per_page=2";
    let since = [("If-Modified-Since", "2001-01-01T00:00:00Z")];
    let token = place.get(list).value()["info"]["next_page_token"].as_str().unwrap().to_owned();
    assert_eq!(place.get(&format!("{list}&page_token={token}")).status, 200);
    assert_eq!(place.get(&format!("/crm/v8/Leads?page_token={token}&per_page=2")).status, 200);
    let mismatch = |target: &str, headers: &[(&str, &str)]| {
        let heard = place.ask("GET", target, headers);
        let (value, code) = (heard.value(), "TOKEN_BOUND_DATA_MISMATCH");
        assert_eq!((heard.status, &value["code"]), (400, &code.into()), "{target}");
        assert_eq!(value["details"]["param_name"], "page_token", "{target}");
    };
    for other in ["", "?per_page=3", "?per_page=2&sort_order=asc", "?per_page=2&fields=Phone"] {
        let with = if other.is_empty() { "?" } else { "&" };
        mismatch(&format!("/crm/v2/Leads{other}{with}page_token={token}"), &[]);
    }
    mismatch(&format!("{list}&page_token={token}"), &since);
    for token in ["", "7", "-", "d-2-7", &token[1..], &token.to_uppercase(), "%C3%A9"] {
        mismatch(&format!("{list}&page_token={token}"), &[]);
    }
    // It outlives the daemon: nothing was remembered for it.
    place.kill().begin();
    assert_eq!(place.get(&format!("{list}&page_token={token}")).status, 200);
}
