//! The search language: what it finds, what it refuses and where, and that no text breaks it.

use crmirror::mirror::criteria::{CONDITION_LIMIT, Criteria, DEPTH_LIMIT, TEXT_LIMIT, VALUE_LIMIT};
use crmirror::mirror::record::Record;

const BURNS: &str = r#"{
    "id": "5725767000000411001",
    "Last_Name": "Burns, B",
    "First_Name": "Mönch (jr)",
    "Path": "C:\\temp\\",
    "Quoted": "say \"hi\" \u00e9",
    "Email": "Anna@Example.com",
    "Zip_Code": "0123",
    "Company": null,
    "Fax": "",
    "Amount": 1200.50,
    "Big": 9007199254740993,
    "Huge": 123456789012345678901234567890.10,
    "Loss": -3,
    "Opt_Out": false,
    "Birthday": "1990-02-28",
    "Created_Time": "2026-01-31T23:30:00+05:30",
    "Owner": {"name": "Patricia Boyle", "id": "5725767000000411777", "email": "p@example.com"},
    "Languages": ["English", "Français"],
    "Tag": [{"name": "vip", "id": "77"}, {"name": "2026", "id": "78"}],
    "Interests": [ ],
    "$approved": true
}"#;

#[track_caller]
fn check_against(record: &str, criteria: &str, found: bool) {
    let record = Record::parse(record).expect("the test's own record is one");
    let parsed = Criteria::parse(criteria).unwrap_or_else(|error| panic!("{criteria}: {error}"));
    assert_eq!(parsed.matches(&record), found, "{criteria}");
}

#[track_caller]
fn check(criteria: &str, found: bool) {
    check_against(BURNS, criteria, found);
}

#[track_caller]
fn refused(criteria: &str, position: usize, message: &str) {
    let error = match Criteria::parse(criteria) {
        Ok(parsed) => panic!("{criteria} was read as {parsed:?}"),
        Err(error) => error,
    };
    assert!(error.message().contains(message), "{criteria}: {error}");
    assert_eq!(error.position(), position, "{criteria}: {error}");
}

#[test]
fn texts_are_equal_whatever_their_case() {
    check("(Email:equals:anna@example.COM)", true);
    check("(Email:equals:anna@example)", false);
    check("(Email:not_equal:anna@example.com)", false);
    check("(Email:not_equal:bob@example.com)", true);
    check("(First_Name:starts_with:MÖ)", true);
    check("(First_Name:starts_with:MO)", false);
    check("(First_Name:starts_with:Mönch \\(jr\\) and more)", false);
    check("(Email:contains:@EXAMPLE.)", true);
    check("(Email:contains:bob)", false);
    check("(Quoted:equals:say \"HI\" É)", true);
    check("(Zip_Code:equals:0123)", true);
    check("(Zip_Code:equals:123)", false);
}

#[test]
fn values_are_escaped_as_upstream_says() {
    check(r"((Last_Name:equals:Burns\, B)and(First_Name:starts_with:M))", true);
    check(r"(First_Name:equals:Mönch \(jr\))", true);
    check(r"(Path:equals:C:\temp\\)", true);
    check(r"(Path:equals:C:\\temp\\)", true);
    check(r"(Path:starts_with:c:\t)", true);
    check(r"Path:equals:C:\temp\", true);
    check(r"(Last_Name:in:Smith,Burns\, B)", true);
}

#[test]
fn one_condition_may_stand_alone_and_blanks_do_not_matter() {
    check("Email:equals:anna@example.com", true);
    check("Created_Time:between:2026-01-31T00:00:00+00:00,2026-02-01T00:00:00+00:00", true);
    check(" ( ( Email : equals : anna@example.com ) AND ( Loss : Equals : -3 ) ) ", true);
    check("(Opt_Out:equals:false)AND(Company:equals:null)", true);
    check("((((((Loss:equals:-3))))))", true);
}

#[test]
fn and_binds_tighter_than_or() {
    let (yes, no) = ("(Loss:equals:-3)", "(Loss:equals:4)");
    check(&format!("{yes}or{no}and{no}"), true);
    check(&format!("{no}and{no}or{yes}"), true);
    check(&format!("({yes}or{no})and{no}"), false);
    check(&format!("({yes}and({no}or({yes}and{yes})))"), true);
    check(&format!("{no} OR {no} Or {no}"), false);
}

#[test]
fn numbers_are_exact() {
    check("(Big:equals:9007199254740993)", true);
    check("(Big:equals:9007199254740992)", false);
    check("(Big:greater_than:9007199254740992)", true);
    check("(Big:less_than:9007199254740993)", false);
    check("(Big:less_equal:9007199254740993)", true);
    check("(Amount:equals:1200.5)", true);
    check("(Amount:equals:12.005e2)", true);
    check("(Amount:between:1200.49,1200.51)", true);
    check("(Amount:between:1200.51,1300)", false);
    check("(Huge:equals:123456789012345678901234567890.1)", true);
    check("(Huge:greater_equal:123456789012345678901234567890.11)", false);
    check("(Loss:less_than:0)", true);
    check("(Loss:less_than:-3.0001)", false);
    check("(Loss:in:1,2,-3)", true);
    check("(Loss:not_equal:-3.0)", false);
    check("(Loss:not_equal:three)", true);
    check("(Amount:greater_than:2026-01-01)", false);
    check("(id:greater_than:5725767000000411000)", true);
}

#[test]
fn times_are_moments_and_days() {
    check("(Created_Time:equals:2026-01-31T18:00:00Z)", true);
    check("(Created_Time:equals:2026-01-31T18:00:01Z)", false);
    check("(Created_Time:greater_than:2026-01-31T17:59:59+00:00)", true);
    check("(Created_Time:less_than:2026-01-31T23:00:00+05:30)", false);
    check("(Created_Time:between:2026-01-01,2026-01-31)", true);
    check("(Created_Time:greater_than:2026-01-31)", false);
    check("(Birthday:equals:1990-02-28)", true);
    check("(Birthday:less_than:1990-03-01)", true);
    check("(Birthday:in:1989-01-01,1990-02-28)", true);
    check("(Birthday:not_equal:1990-02-28)", false);
    check("(Birthday:greater_than:5)", false);
}

#[test]
fn booleans_lookups_and_lists() {
    check("(Opt_Out:equals:false)", true);
    check("(Opt_Out:not_equal:FALSE)", false);
    check("($approved:equals:true)", true);
    check("(Owner:equals:patricia boyle)", true);
    check("(Owner:equals:5725767000000411777)", true);
    check("(Owner:equals:p@example.com)", false);
    check("(Owner:in:1,5725767000000411777)", true);
    check("(Owner:not_equal:5725767000000411777)", false);
    check("(Owner:starts_with:Pat)", true);
    check("(Owner:starts_with:57)", false);
    check("(Languages:equals:français)", true);
    check("(Languages:in:German,English)", true);
    check("(Languages:not_equal:English)", false);
    check("(Languages:not_equal:German)", true);
    check("(Tag:equals:VIP)", true);
    check("(Tag:equals:78)", true);
}

#[test]
fn an_empty_field_is_null_and_nothing_else() {
    for empty in ["Company", "Fax", "Interests"] {
        check(&format!("({empty}:equals:null)"), true);
        check(&format!("({empty}:not_equal:null)"), false);
        check(&format!("({empty}:not_equal:x)"), false);
        check(&format!("({empty}:in:x,null)"), true);
        check(&format!("({empty}:contains:null)"), false);
        check(&format!("({empty}:less_than:5)"), false);
    }
    check("(Email:equals:null)", false);
    check("(Email:not_equal:null)", true);
    check_against(r#"{"id":"1","Last_Name":"Null"}"#, "(Last_Name:equals:Null)", true);
}

#[test]
fn a_field_that_the_record_does_not_have_matches_nothing() {
    for condition in ["equals:x", "not_equal:x", "equals:null", "not_equal:null", "less_than:5"] {
        check(&format!("(Absent:{condition})"), false);
    }
    check("(email:equals:anna@example.com)", false);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    refused("", 0, "expected a condition");
    refused("()", 1, "expected a condition");
    refused("(Email)", 1, "expected a condition");
    refused("(Email:equals)", 7, "expected a condition");
    refused("(Email:equals:)", 14, "null");
    refused("(Loss:in:1,,2)", 11, "null");
    refused("(Last Name:equals:x)", 1, "not an API name");
    refused("(Émail:equals:x)", 1, "not an API name");
    refused("(Email:is:x)", 7, "no operator 'is'; use one of equals, not_equal");
    refused("(Email:ends_with:x)", 7, "no operator");
    refused("(Last_Name:equals:Burns, B)", 23, "\\,");
    refused("(First_Name:equals:M (jr))", 21, "\\(");
    refused("(Email:equals:x", 15, "expected 'and', 'or' or ')'");
    refused("(Email:equals:x))", 16, "closes nothing");
    refused("(Email:equals:x)(Loss:equals:1)", 16, "expected 'and' or 'or'");
    refused("(Email:equals:x)and", 19, "expected a condition");
    refused("(Email:equals:x)andLoss:equals:1", 16, "expected 'and' or 'or'");
    refused("(Email:greater_than:x)", 20, "no order");
    refused("(T:less_than:2026-01-31T10:00:00 05:30)", 13, "%2B");
    refused("(Loss:between:1)", 14, "two values");
    refused("(Loss:between:1,2,3)", 14, "two values");
    refused("(Loss:between:1,2026-01-01)", 16, "two numbers or two dates");
}

#[test]
fn an_error_counts_characters_for_people() {
    let error = Criteria::parse("(First_Name:equals:ÄÖ(x))").unwrap_err();
    assert_eq!((error.position(), error.character()), (23, 22));
    assert_eq!(error.to_string(), "criteria, character 22: a bracket in a value is written \\(");
}

#[test]
fn everything_has_a_limit() {
    let nested = |depth| format!("{}Loss:equals:-3{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(DEPTH_LIMIT), true);
    refused(&nested(DEPTH_LIMIT + 1), DEPTH_LIMIT + 1, "nested deeper");
    refused(&"(".repeat(TEXT_LIMIT), DEPTH_LIMIT + 1, "nested deeper");

    let conditions = |count| vec!["(Loss:equals:-3)"; count].join("and");
    check(&conditions(CONDITION_LIMIT), true);
    assert!(Criteria::parse(&conditions(CONDITION_LIMIT + 1)).is_err());

    let values = |count| format!("(Loss:in:{}-3)", "1,".repeat(count - 1));
    check(&values(VALUE_LIMIT), true);
    assert!(Criteria::parse(&values(VALUE_LIMIT + 1)).is_err());

    let long = |bytes: usize| format!("Email:equals:{}", "x".repeat(bytes - 13));
    check(&long(TEXT_LIMIT), false);
    refused(&long(TEXT_LIMIT + 1), TEXT_LIMIT, "longer than");
    refused(&"é".repeat(TEXT_LIMIT), TEXT_LIMIT, "longer than");
}

#[test]
fn criteria_name_their_fields_and_what_an_index_may_use() {
    let hint = |text: &str| {
        let criteria = Criteria::parse(text).unwrap();
        criteria.equality().map(|(field, text)| format!("{field}={text}"))
    };
    assert_eq!(hint("(Email:equals:A@B)").as_deref(), Some("Email=a@b"));
    assert_eq!(hint("((Loss:less_than:3)and(id:in:7))").as_deref(), Some("id=7"));
    assert_eq!(hint("((A:equals:1)or(A:equals:1))"), None);
    assert_eq!(hint("(A:in:1,2)"), None);
    assert_eq!(hint("(A:equals:null)"), None);
    assert_eq!(hint("(A:not_equal:1)"), None);

    let criteria = Criteria::parse("((B:equals:1)and((A:equals:2)or(B:equals:3)))").unwrap();
    let fields: Vec<&str> = criteria.fields().iter().map(|field| field.as_str()).collect();
    assert_eq!(fields, ["B", "A"]);
}

/// An expression written with no more brackets than `and` before `or` needs, and its truth.
fn expression(random: &mut fastrand::Rng, depth: usize) -> (String, bool) {
    let mut any = Vec::new();
    let mut truth = false;
    for _ in 0..random.usize(1..=3) {
        let mut all = Vec::new();
        let mut part_truth = true;
        for _ in 0..random.usize(1..=3) {
            let (text, holds) = match (depth, random.bool()) {
                (0, holds) | (_, holds @ true) => {
                    (format!("Loss:equals:{}", if holds { "-3" } else { "4" }), holds)
                }
                (_, false) => expression(random, depth - 1),
            };
            all.push(format!("({text})"));
            part_truth &= holds;
        }
        any.push(all.join("and"));
        truth |= part_truth;
    }
    (any.join(" or "), truth)
}

#[test]
fn expressions_mean_what_their_parts_mean() {
    let record = Record::parse(BURNS).unwrap();
    let mut judged = 0;
    for seed in 0..500 {
        let (text, truth) = expression(&mut fastrand::Rng::with_seed(seed), 2);
        let parsed = match Criteria::parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                assert!(error.message().contains("conditions"), "seed {seed}: {error}: {text}");
                continue;
            }
        };
        assert_eq!(parsed.matches(&record), truth, "seed {seed}: {text}");
        judged += 1;
    }
    assert!(judged > 400, "most expressions must stay within the limits: {judged} did");
}

#[test]
fn numbers_are_ordered_as_integers_are() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let near = random.i128(-1_000..1_000) * 10_i128.pow(random.u32(0..30));
        let other = near + random.i128(-2..=2);
        let record = format!(r#"{{"id":"1","N":{near}}}"#);
        check_against(&record, &format!("(N:less_than:{other}.0)"), near < other);
        check_against(&record, &format!("(N:greater_equal:{other}0e-1)"), near >= other);
        check_against(&record, &format!("(N:equals:{other})"), near == other);
    }
}

#[test]
fn no_text_breaks_reading_or_judging() {
    const PIECES: [&str; 24] = [
        "(",
        ")",
        ":",
        ",",
        "\\",
        " ",
        "and",
        "or",
        "null",
        "Email",
        "Owner",
        "Tag",
        "Amount",
        "equals",
        "in",
        "between",
        "less_than",
        "contains",
        "2026-01-31",
        "T10:00:00+05:30",
        "-1e9",
        "é",
        "\u{0}",
        "2026-é",
    ];
    let record = Record::parse(BURNS).unwrap();
    let starts = [
        r"((Last_Name:equals:Burns\, B)and(First_Name:starts_with:M))",
        "((Created_Time:between:2026-01-01,2026-02-01T00:00:00Z)or(Amount:less_than:1e3))",
        "(Tag:in:vip,78,null)",
        "",
    ];
    let mut read = 0;
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = starts[random.usize(..starts.len())].to_owned();
        for _ in 0..random.usize(1..12) {
            let places: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let from = places[random.usize(..places.len())];
            let to = places[random.usize(..places.len())].clamp(from, from + 3);
            let to = if text.is_char_boundary(to) { to } else { from };
            let random_letter = random.char(..).to_string();
            let piece = match random.u8(0..4) {
                0 => "",
                1 => random_letter.as_str(),
                _ => PIECES[random.usize(..PIECES.len())],
            };
            text.replace_range(from..to, piece);
        }
        match Criteria::parse(&text) {
            Ok(criteria) => {
                criteria.matches(&record);
                read += 1;
            }
            Err(error) => assert!(error.position() <= text.len(), "seed {seed}: {error}: {text}"),
        }
    }
    assert!(read > 100, "the mutations must not all be refused: {read} were read");
}
