//! Records are kept as upstream wrote them, text by text, on every road into the mirror and out.

use super::old_leads;
use crate::agent::{Fields, Place, fields, rows};

/// What is hard to keep: digits, nulls, depth, texts beyond ASCII, escapes as they were written.
const HARD: [(&str, &str); 24] = [
    ("Trailing_Zeros", "1.500"),
    ("Beyond_Double", "1e400"),
    ("Tiny", "-1E-400"),
    ("Minus_Zero", "-0"),
    ("Minus_Zero_Point", "-0.0"),
    ("Exponent", "1.0E+2"),
    ("Big_Integer", "123456789012345678901234567890"),
    ("Beyond_53_Bits", "9007199254740993"),
    ("Long_Fraction", "0.1000000000000000055511151231257827021181583404541015625"),
    ("Nothing", "null"),
    ("Yes", "true"),
    ("No", "false"),
    ("Empty_Text", "\"\""),
    ("Empty_List", "[]"),
    ("Empty_Object", "{}"),
    ("Umlaut", "\"Zoë Åkesson 佐藤 Дёмина 🦀\""),
    ("Escapes", r#""\u00e9\/\"\\\n\t\u0000\ud83e\udd80""#),
    ("Controls", "\"a\u{7f}\u{2028}b\""),
    ("Lookup", r#"{"name":"Ada","id":"6756839000000421001"}"#),
    ("Depth", r#"[[[{"a":[1,[2,[3.10,{"b":null}]]]}]]]"#),
    ("Twice_Quoted", r#""{\"data\":[]}""#),
    ("$approval", r#"{"delegate":false,"approve":false}"#),
    ("$zia_owner_assignment", "null"),
    ("Spaces", "\"  two  \""),
];

#[test]
fn every_field_keeps_its_text() {
    let mut place = Place::new("verbatim");
    let id = old_leads(&mut place.upstream(), 2)[0];
    let other = old_leads(&mut place.upstream(), 1)[0];
    place.upstream().edit("Leads", id, &HARD);
    place.begin();
    assert_same(&place, id, "by bootstrap");

    // Through a callback: another record gets the same values.
    place.upstream().edit("Leads", other, &HARD);
    place.carry();
    place.until_reads("Leads", other, "Trailing_Zeros", "1.500");
    assert_same(&place, other, "by callback");

    // Only the digits change, not the number.
    place.upstream().edit("Leads", id, &[("Trailing_Zeros", "1.5")]);
    place.carry();
    place.until_reads("Leads", id, "Trailing_Zeros", "1.5");
    place.upstream().edit("Leads", id, &[("Trailing_Zeros", "1.5000"), ("Nothing", "0")]);
    place.carry();
    place.until_reads("Leads", id, "Trailing_Zeros", "1.5000");
    assert_same(&place, id, "after edits");

    // A kill in between: the texts come from the disk, or are fetched again.
    place.kill().begin().until_settled();
    assert_same(&place, id, "after a restart");
    assert_same(&place, other, "after a restart");

    let truth = truth(&place, id);
    let get = place.run(&["get", "Leads", &id.to_string(), "--json"]);
    assert_eq!((get.code, fields(&get.out)), (0, truth.clone()));
    let list = place.run(&["list", "Leads", "--json"]);
    assert!(rows(&list.out).contains(&truth), "{}", list.out);
    let chosen = "Beyond_Double,Depth,Escapes";
    let target = format!("/crm/v2/Leads/{id}?fields={chosen}");
    let some = rows(&place.get(&target).text()).remove(0);
    assert_eq!(some.keys().collect::<Vec<_>>(), ["Beyond_Double", "Depth", "Escapes", "id"]);
    assert!(some.iter().all(|(name, raw)| truth[name] == *raw), "{some:?}");
}

fn truth(place: &Place, id: u64) -> Fields {
    place.truth("Leads", false).remove(&id).unwrap()
}

/// The same texts, read alone, by id among others, and in the list.
fn assert_same(place: &Place, id: u64, road: &str) {
    let truth = truth(place, id);
    assert_eq!(place.record("Leads", id).as_ref(), Some(&truth), "{road}");
    let named = place.get(&format!("/crm/v2/Leads?ids={id}")).text();
    assert_eq!(rows(&named), std::slice::from_ref(&truth), "{road}");
    assert_eq!(place.records("Leads")[&id], truth, "{road}");
}
