//! The same questions to upstream and to the mirror of it: equal answers, but for what README says
//! differs. Records and questions come from a seed.
//!
//! Left out of the comparison: the words of refusals, what page tokens look like and when they
//! expire, who deleted a record and when, and which fields a reply without `fields` may have (from
//! v3 on upstream wants them named).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::agent::{Place, rows};
use crate::scratch::{Seed, seeds};
use crate::sim::{Heard, Moment, Upstream, http, stamp};

const RECORDS: usize = 60;
const QUESTIONS: usize = 250;
const NAMES: [&str; 8] =
    ["Lovelace", "García", "van den Berg", "Müller", "O’Neill", "Nowak", "Ångström", "Ada Nowak"];
const FIELDS: [&str; 10] = [
    "Last_Name",
    "Email",
    "Secondary_Email",
    "Phone",
    "Home_Phone",
    "Amount",
    "Opt_Out",
    "Owner",
    "Created_Time",
    "Modified_Time",
];
const VERSIONS: [&str; 8] = ["v2", "v2.1", "v3", "v4", "v5", "v6", "v7", "v8"];

/// A question to both.
#[derive(Clone, Debug)]
struct Question {
    path: String,
    parameters: Vec<(String, String)>,
    since: Option<String>,
}

/// Both who answer, and what chance says next.
struct Pair {
    place: Place,
    token: String,
    dice: fastrand::Rng,
    ids: Vec<u64>,
}

#[test]
fn both_answer_alike() {
    for seed in seeds(2) {
        let _seed = Seed(seed);
        let mut pair = Pair::new(seed);
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        for _ in 0..QUESTIONS {
            let question = pair.question();
            *statuses.entry(pair.check(&question)).or_default() += 1;
        }
        // Else the dice are loaded, and nothing much was compared.
        for status in [200, 204, 304, 400] {
            let seen = statuses.get(&status).copied().unwrap_or_default();
            assert!(seen >= 5, "{status} was answered {seen} times of {QUESTIONS}: {statuses:?}");
        }
        pair.check_deletions();
    }
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut place = Place::new("like-upstream");
        let mut dice = fastrand::Rng::with_seed(seed);
        let ids = records(&mut place.upstream(), &mut dice);
        if seed % 2 == 1 {
            place.modules(&[("Leads", r#"index = ["Last_Name", "Owner", "Opt_Out", "Email"]"#)]);
        }
        place.begin();
        place.until("the indexes are whole", |place| {
            let indexes = place.status()["modules"]["Leads"]["indexes"].clone();
            indexes.as_object()?.values().all(|phase| phase == "whole").then_some(())
        });
        let truth = place.truth("Leads", false);
        place.until("all is there", |place| (place.records("Leads") == truth).then_some(()));
        let token = place.upstream().issue_token();
        Pair { place, token, dice, ids }
    }

    /// Asks both, page by page where tokens lead on; the status of the first answer.
    fn check(&mut self, question: &Question) -> u16 {
        let (mut ours, mut theirs) = (question.clone(), question.clone());
        let mut first = None;
        loop {
            let (here, there) = (self.ask_mirror(&ours), self.ask_upstream(&theirs));
            compare(question, &here, &there);
            first.get_or_insert(here.status);
            let next = |heard: &Heard| {
                heard.value()["info"]["next_page_token"].as_str().map(str::to_owned)
            };
            let numbered = question.parameters.iter().any(|(name, _)| name.starts_with("page"));
            match (next(&here), next(&there)) {
                (Some(here), Some(there)) if !numbered => {
                    for (question, token) in [(&mut ours, here), (&mut theirs, there)] {
                        question.parameters.retain(|(name, _)| name != "page_token");
                        question.parameters.push(("page_token".to_owned(), token));
                    }
                }
                _ => return first.unwrap(),
            }
        }
    }

    fn ask_mirror(&self, question: &Question) -> Heard {
        let since = question.since.as_deref().map(|since| ("If-Modified-Since", since));
        self.place.ask("GET", &question.target(), &Vec::from_iter(since))
    }

    fn ask_upstream(&self, question: &Question) -> Heard {
        let shown = format!("Zoho-oauthtoken {}", self.token);
        let mut headers = vec![("Authorization", shown.as_str())];
        headers.extend(question.since.as_deref().map(|since| ("If-Modified-Since", since)));
        http(self.place.loopback.addr(), "GET", &question.target(), &headers, b"").unwrap()
    }

    fn question(&mut self) -> Question {
        let dice = &mut self.dice;
        let version = VERSIONS[dice.usize(0..VERSIONS.len())];
        let base = format!("/crm/{version}/Leads");
        let mut question = Question { path: base.clone(), parameters: Vec::new(), since: None };
        match dice.u8(0..10) {
            0..2 => {
                question.path = format!("{base}/{}", self.some_id());
                self.add_fields(&mut question, false);
                self.add_since(&mut question);
            }
            2..6 => {
                self.add_fields(&mut question, !version.starts_with("v2"));
                self.add_since(&mut question);
                if self.dice.u8(0..4) == 0 {
                    let ids: Vec<String> =
                        (0..self.dice.usize(1..8)).map(|_| self.some_id()).collect();
                    question.add("ids", &ids.join(","));
                }
                self.add_place(&mut question, &["Created_Time", "Modified_Time", "id"]);
            }
            6..9 => {
                question.path = format!("{base}/search");
                self.add_search(&mut question);
                self.add_fields(&mut question, false);
                self.add_place(&mut question, &["Created_Time", "Modified_Time", "id"]);
            }
            _ => {
                question.path = format!("{base}/actions/count");
                if self.dice.bool() {
                    self.add_search(&mut question);
                }
            }
        }
        question
    }

    fn some_id(&mut self) -> String {
        match self.dice.u8(0..6) {
            0 => "7".to_owned(),
            1 => (self.ids[0] + 1).to_string(),
            _ => self.ids[self.dice.usize(0..self.ids.len())].to_string(),
        }
    }

    fn add_fields(&mut self, question: &mut Question, needed: bool) {
        if needed || self.dice.u8(0..3) == 0 {
            let mut fields: Vec<&str> = FIELDS.to_vec();
            self.dice.shuffle(&mut fields);
            fields.truncate(self.dice.usize(1..6));
            question.add("fields", &fields.join(","));
        }
    }

    /// Around the stamps that there are, and beyond them.
    fn add_since(&mut self, question: &mut Question) {
        question.since = match self.dice.u8(0..8) {
            0..4 => return,
            4..6 => Some(stamp(at(self.dice.i64(-2..12)).unix(), 330)),
            6 => Some("2199-01-01T00:00:00Z".to_owned()),
            _ => Some("yesterday".to_owned()),
        };
    }

    fn add_place(&mut self, question: &mut Question, orders: &[&str]) {
        let dice = &mut self.dice;
        if dice.bool() {
            question.add("sort_by", orders[dice.usize(0..orders.len())]);
        }
        if dice.bool() {
            question.add("sort_order", if dice.bool() { "asc" } else { "desc" });
        }
        if dice.u8(0..3) > 0 {
            question.add("per_page", &dice.u8(5..40).to_string());
        }
        if question.is_wrong() {
            // One mistake a question: of two, each may name another first.
            return;
        }
        let (name, value) = match dice.u8(0..24) {
            0..4 => ("page", dice.u8(1..5).to_string()),
            4 => ("page", "2001".to_owned()),
            5 => ("page", "0".to_owned()),
            6 => ("per_page", "201".to_owned()),
            7 => ("sort_by", "Last_Name".to_owned()),
            8 => ("cvid", "7".to_owned()),
            9 if !question.path.ends_with("search") => ("page_token", "c8582".to_owned()),
            _ => return,
        };
        question.parameters.retain(|(given, _)| given != name);
        question.add(name, &value);
    }

    fn add_search(&mut self, question: &mut Question) {
        let dice = &mut self.dice;
        let (name, text) = match dice.u8(0..12) {
            0..6 => ("criteria", criteria(dice, &self.ids)),
            6..8 => ("email", address(dice).to_uppercase()),
            8 => ("phone", phone(dice).replace('-', " ")),
            9..11 => ("word", NAMES[dice.usize(0..NAMES.len())].to_lowercase()),
            _ => return,
        };
        question.add(name, &text);
    }

    /// What was deleted: the same records in the same lists, pages as long.
    fn check_deletions(&mut self) {
        let deleted: Vec<u64> = self.ids.iter().copied().step_by(5).collect();
        for id in &deleted {
            assert!(self.place.upstream().delete("Leads", *id));
        }
        self.place.carry();
        let gone = deleted.len();
        self.place.until("all deletions are known", |place| {
            (place.status()["modules"]["Leads"]["records"] == RECORDS - gone).then_some(())
        });
        for (parameters, since) in [
            ("", None),
            ("type=all", None),
            ("type=recycle&per_page=5", None),
            ("type=recycle&per_page=5&page=3", None),
            ("per_page=5&page=4", None),
            ("type=permanent", None),
            ("type=permanent", Some("2026-01-01T00:00:00Z")),
            ("", Some("2026-01-01T00:00:00Z")),
            ("", Some("2199-01-01T00:00:00Z")),
            ("type=bin", None),
            ("page=0", None),
            ("page_token=7", None),
        ] {
            let path = format!("/crm/v8/Leads/deleted?{parameters}");
            let since = since.map(str::to_owned);
            let question = Question { path, parameters: Vec::new(), since };
            let (here, there) = (self.ask_mirror(&question), self.ask_upstream(&question));
            assert_eq!(here.status, there.status, "{question:?}\n{}", here.text());
            assert_eq!(here.value()["info"], there.value()["info"], "{question:?}");
            if here.value()["info"]["more_records"] == false && !parameters.contains("page=") {
                assert_eq!(kinds(&here), kinds(&there), "{question:?}");
            }
        }
        let question = Question {
            path: "/crm/v2/Leads/actions/count".to_owned(),
            parameters: Vec::new(),
            since: None,
        };
        assert_eq!(self.check(&question), 200);
    }
}

/// The ids of deleted records, each with the list that it stands in.
fn kinds(heard: &Heard) -> BTreeMap<String, String> {
    let value = heard.value();
    let rows = value["data"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["id"]), text(&row["type"]))).collect()
}

impl Question {
    fn add(&mut self, name: &str, value: &str) {
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    fn is_wrong(&self) -> bool {
        let asks = |name: &str| self.parameters.iter().any(|(given, _)| given == name);
        let asks_nothing = !["criteria", "email", "phone", "word"].into_iter().any(asks);
        let is_odd = |(_, value): &(String, String)| value.contains("sounds_like");
        self.since.as_deref() == Some("yesterday")
            || self.parameters.iter().any(is_odd)
            || self.path.ends_with("search") && asks_nothing
    }

    fn target(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        let query = query.finish();
        format!("{}{}{query}", self.path, if query.is_empty() { "" } else { "?" })
    }
}

fn compare(question: &Question, here: &Heard, there: &Heard) {
    let told = || format!("{question:?}\nmirror: {}\nupstream: {}", here.text(), there.text());
    assert_eq!(here.status, there.status, "{}", told());
    match here.status {
        200 if question.path.ends_with("count") => assert_eq!(here.value(), there.value()),
        200 => {
            assert_eq!(rows(&here.text()), rows(&there.text()), "{}", told());
            assert_eq!(info(here), info(there), "{}", told());
        }
        204 | 304 => assert_eq!((here.text(), there.text()), (String::new(), String::new())),
        _ => assert_eq!(here.value()["code"], there.value()["code"], "{}", told()),
    }
}

/// What a page says of itself, but for what a token looks like and when it expires.
fn info(heard: &Heard) -> Value {
    let mut info = heard.value()["info"].take();
    if let Some(info) = info.as_object_mut() {
        info.remove("page_token_expiry");
        if let Some(token) = info.get_mut("next_page_token") {
            *token = token.is_string().into();
        }
    }
    info
}

/// A moment of a day long ago, so that many records share one.
fn at(second: i64) -> Moment {
    Moment::from_unix(1_780_000_000 + second)
}

fn records(upstream: &mut Upstream, dice: &mut fastrand::Rng) -> Vec<u64> {
    let quoted = |text: &str| Value::from(text).to_string();
    (0..RECORDS)
        .map(|_| {
            let id = upstream.model.new_id();
            let maybe = |raw: String, dice: &mut fastrand::Rng| match dice.u8(0..6) {
                0 => "null".to_owned(),
                _ => raw,
            };
            let owner = format!(r#"{{"name":"{}","id":"{}"}}"#, name(dice), dice.u8(1..4));
            let values = [
                ("Last_Name", quoted(name(dice))),
                ("Email", maybe(quoted(&address(dice)), dice)),
                ("Secondary_Email", maybe(quoted(&address(dice)), dice)),
                ("Phone", maybe(quoted(&phone(dice)), dice)),
                ("Home_Phone", maybe(quoted(&phone(dice)), dice)),
                ("Amount", maybe(format!("{}.{}0", dice.u8(0..30), dice.u8(0..10)), dice)),
                ("Opt_Out", dice.bool().to_string()),
                ("Owner", maybe(owner, dice)),
                ("Tag", format!(r#"[{{"name":{},"id":"9"}}]"#, quoted(name(dice)))),
            ];
            let values: Vec<(&str, &str)> =
                values.iter().map(|(name, raw)| (*name, raw.as_str())).collect();
            upstream.load("Leads", id, at(dice.i64(0..10)), &values);
            id
        })
        .collect()
}

fn name(dice: &mut fastrand::Rng) -> &'static str {
    NAMES[dice.usize(0..NAMES.len())]
}

fn address(dice: &mut fastrand::Rng) -> String {
    format!("person{}@example.com", dice.u8(0..12))
}

fn phone(dice: &mut fastrand::Rng) -> String {
    format!("+49 30 555-{:02}", dice.u8(0..12))
}

fn criteria(dice: &mut fastrand::Rng, ids: &[u64]) -> String {
    let moment = |dice: &mut fastrand::Rng| stamp(at(dice.i64(0..10)).unix(), 0);
    let condition = |dice: &mut fastrand::Rng| match dice.u8(0..14) {
        0 => format!("(Last_Name:equals:{})", name(dice)),
        1 => format!("(Last_Name:starts_with:{})", name(dice).split(' ').next().unwrap()),
        2 => format!("(Last_Name:in:{},{})", name(dice), name(dice)),
        3 => format!("(Owner:equals:{})", dice.u8(1..4)),
        4 => format!("(Owner:not_equal:{})", name(dice)),
        5 => format!("(Amount:between:{},{})", dice.u8(0..15), dice.u8(15..30)),
        6 => format!("(Amount:greater_than:{}.5)", dice.u8(0..30)),
        7 => format!("(Amount:less_equal:{})", dice.u8(0..30)),
        8 => format!("(Opt_Out:equals:{})", dice.bool()),
        9 => "(Email:equals:null)".to_owned(),
        10 => format!("(Created_Time:greater_equal:{})", moment(dice)),
        11 => format!("(Modified_Time:less_than:{})", moment(dice)),
        12 => format!("(id:equals:{})", ids[dice.usize(0..ids.len())]),
        _ => format!("(Nowhere:equals:{})", dice.u8(..)),
    };
    match dice.u8(0..10) {
        0..4 => condition(dice),
        4..6 => format!("({}and{})", condition(dice), condition(dice)),
        6..9 => format!("({}or{}or{})", condition(dice), condition(dice), condition(dice)),
        _ => "(Last_Name:sounds_like:x)".to_owned(),
    }
}
