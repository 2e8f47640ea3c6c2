//! Plausible records, from a seed: people, companies and sums as a CRM holds them, with what makes
//! them hard to keep: nulls, decimals, lookups, nested lists, names beyond ASCII.

use std::time::Duration;

use super::Upstream;
use super::clock::Moment;

const FIRST_NAMES: [&str; 12] = [
    "Ada",
    "Zoë",
    "Bjørn",
    "Chidi",
    "Łucja",
    "Mei",
    "Óscar",
    "Priya",
    "Søren",
    "Yuki 由紀",
    "Ümit",
    "Анна",
];
const LAST_NAMES: [&str; 12] = [
    "Lovelace",
    "García",
    "Nkemelu",
    "O’Neill",
    "Müller",
    "Sato 佐藤",
    "Åkesson",
    "Iyer",
    "Дёмина",
    "van den Berg",
    "Rangoni \"Of\" Test",
    "Nowak",
];
const COMPANIES: [&str; 8] = [
    "Rangoni of Florence",
    "Çelik & Söhne",
    "Café Zoë",
    "King (Manufacturing) Co.",
    "株式会社みらい",
    "Nordlys A/S",
    "Bengaluru Textiles",
    "Feltz Printing\nService",
];
const SOURCES: [&str; 4] = ["Cold Call", "Web Download", "Trade Show", "Employee Referral"];
const STAGES: [&str; 4] = ["Qualification", "Proposal/Price Quote", "Closed Won", "Closed Lost"];

/// Adds `Leads`, `Contacts` and `Deals` with `count` records altogether, made over the last year,
/// without callbacks.
pub fn plausible(upstream: &mut Upstream, seed: u64, count: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    for module in ["Leads", "Contacts", "Deals"] {
        upstream.model.add(module);
    }
    upstream.model.add("Leads").with_whole_only("Interests").with_whole_only("Visits");
    upstream.model.add("Deals").with_whole_only("Product_Details");
    let mut contacts: Vec<(u64, String)> = Vec::new();
    for number in 0..count {
        let id = upstream.model.new_id();
        let at = past(&mut random, upstream.now());
        let (module, values) = match number % 10 {
            0..5 => ("Leads", lead(&mut random)),
            5..8 => {
                let (name, values) = contact(&mut random);
                contacts.push((id, name));
                ("Contacts", values)
            }
            _ => ("Deals", deal(&mut random, &contacts)),
        };
        load(upstream, module, id, at, &values);
    }
}

/// Adds `invoices` of Zoho Books, a day apart, each with a line item.
pub fn invoices(upstream: &mut Upstream, count: usize) {
    upstream.add_entity("invoices");
    let now = upstream.now().unix();
    for number in 0..count {
        let id = upstream.model.new_id();
        let at = Moment::from_unix(now - 86_400 * (count - number) as i64);
        let company = quoted(COMPANIES[number % COMPANIES.len()]);
        let items = r#"[{"line_item_id":"982000000567021","name":"Gerät","rate":12.50}]"#;
        let values = values(&[
            ("invoice_number", quoted(&format!("INV-{number:05}"))),
            ("customer_name", company),
            ("status", quoted("sent")),
            ("total", "25.00".to_owned()),
            ("line_items", items.to_owned()),
        ]);
        load(upstream, "invoices", id, at, &values);
    }
}

/// Adds a module whose records have `fields` fields beside `id` and the stamps.
pub fn wide(upstream: &mut Upstream, module: &str, fields: usize, records: usize) -> Vec<u64> {
    upstream.model.add(module);
    let now = upstream.now();
    let ids: Vec<u64> = (0..records).map(|_| upstream.model.new_id()).collect();
    for &id in &ids {
        let values: Vec<(String, String)> = (0..fields)
            .map(|field| (format!("Field_{field:03}"), format!("\"{field} of {id}\"")))
            .collect();
        load(upstream, module, id, now, &values);
    }
    ids
}

/// Adds a module with `records` records of about `bytes` bytes each, one a second, the last now.
/// Each has a `Serial` of its own.
pub fn bulky(upstream: &mut Upstream, module: &str, records: usize, bytes: usize) -> Vec<u64> {
    upstream.model.add(module);
    let now = upstream.now().unix();
    let mut random = fastrand::Rng::with_seed(records as u64);
    let ids: Vec<u64> = (0..records).map(|_| upstream.model.new_id()).collect();
    for (number, &id) in ids.iter().enumerate() {
        let mut values = lead(&mut random);
        values.push(("Serial".to_owned(), quoted(&format!("S-{number:07}"))));
        let size: usize = values.iter().map(|(name, raw)| name.len() + raw.len() + 4).sum();
        let filler: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(bytes.saturating_sub(size + 130))
            .collect();
        values.push(("Description".to_owned(), quoted(&filler)));
        let age = i64::try_from(records - 1 - number).unwrap_or(0);
        load(upstream, module, id, Moment::from_unix(now - age), &values);
    }
    ids
}

/// Edits a lead, contact or deal as a person might. False when the record is not there.
pub fn edit(upstream: &mut Upstream, random: &mut fastrand::Rng, module: &str, id: u64) -> bool {
    let source = quoted(pick(random, &SOURCES));
    match module {
        "Deals" => {
            let stage = quoted(pick(random, &STAGES));
            upstream.edit(module, id, &[("Stage", &stage), ("Amount", &sum(random))])
        }
        _ => upstream.edit(module, id, &[("Phone", &phone(random)), ("Lead_Source", &source)]),
    }
}

fn lead(random: &mut fastrand::Rng) -> Vec<(String, String)> {
    let (first, last) = (pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
    values(&[
        ("First_Name", if random.bool() { quoted(first) } else { "null".to_owned() }),
        ("Last_Name", quoted(last)),
        ("Full_Name", quoted(&format!("{first} {last}"))),
        ("Company", quoted(pick(random, &COMPANIES))),
        ("Email", email(random)),
        ("Phone", phone(random)),
        ("Annual_Revenue", sum(random)),
        ("No_of_Employees", random.u32(1..5_000).to_string()),
        ("Lead_Source", quoted(pick(random, &SOURCES))),
        ("Email_Opt_Out", random.bool().to_string()),
        ("Score", format!("{}", random.i64(i64::MIN..i64::MAX))),
        ("Tag", r#"[{"name":"Fair 2026","id":"6756839000000613007","color_code":null}]"#.into()),
        ("Owner", owner()),
        ("$approved", "true".to_owned()),
        ("$currency_symbol", quoted("€")),
        ("Interests", r#"["Kiosk","Offline","Überweisung"]"#.to_owned()),
        ("Visits", visits(random)),
    ])
}

fn contact(random: &mut fastrand::Rng) -> (String, Vec<(String, String)>) {
    let name = format!("{} {}", pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
    let last = name.rsplit(' ').next().unwrap_or(&name).to_owned();
    let values = values(&[
        ("Last_Name", quoted(&last)),
        ("Full_Name", quoted(&name)),
        ("Email", email(random)),
        ("Phone", phone(random)),
        ("Mailing_Street", if random.bool() { quoted("Königstraße 7/3") } else { "null".into() }),
        ("Date_of_Birth", quoted(&format!("19{}-0{}-1{}", random.u8(50..99), 4, 2))),
        ("Owner", owner()),
    ]);
    (name, values)
}

fn deal(random: &mut fastrand::Rng, contacts: &[(u64, String)]) -> Vec<(String, String)> {
    let company = pick(random, &COMPANIES);
    let contact = match contacts.len() {
        0 => "null".to_owned(),
        count => {
            let (id, name) = &contacts[random.usize(0..count)];
            format!(r#"{{"name":{},"id":"{id}"}}"#, quoted(name))
        }
    };
    values(&[
        ("Deal_Name", quoted(&format!("{company} {}", random.u16(1..500)))),
        ("Stage", quoted(pick(random, &STAGES))),
        ("Amount", sum(random)),
        ("Probability", random.u8(0..=100).to_string()),
        ("Expected_Revenue", format!("{}.50", random.u32(0..90_000))),
        ("Contact_Name", contact),
        ("Closing_Date", quoted("2027-03-31")),
        ("Owner", owner()),
        (
            "Product_Details",
            r#"[{"product":{"name":"Gerät","id":"6756839000000700001"},
            "quantity":2,"list_price":19.90,"line_tax":[{"percentage":7.5}]}]"#
                .replace("\n            ", ""),
        ),
    ])
}

fn load(upstream: &mut Upstream, module: &str, id: u64, at: Moment, values: &[(String, String)]) {
    let values: Vec<(&str, &str)> =
        values.iter().map(|(name, raw)| (name.as_str(), raw.as_str())).collect();
    upstream.load(module, id, at, &values);
}

fn values(list: &[(&str, String)]) -> Vec<(String, String)> {
    list.iter().map(|(name, raw)| ((*name).to_owned(), raw.clone())).collect()
}

fn past(random: &mut fastrand::Rng, now: Moment) -> Moment {
    let year = Duration::from_secs(365 * 86_400).as_secs() as i64;
    Moment::from_unix(now.unix() - random.i64(0..year))
}

fn pick<'a>(random: &mut fastrand::Rng, list: &[&'a str]) -> &'a str {
    list[random.usize(0..list.len())]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn email(random: &mut fastrand::Rng) -> String {
    if random.u8(0..8) == 0 {
        return "null".to_owned();
    }
    quoted(&format!("person{}@example.com", random.u32(0..100_000)))
}

fn phone(random: &mut fastrand::Rng) -> String {
    quoted(&format!("+49 30 555-{:04}", random.u16(0..10_000)))
}

/// A sum with the zeros that a floating-point number would lose.
fn sum(random: &mut fastrand::Rng) -> String {
    format!("{}.{:02}0", random.u32(0..1_000_000), random.u8(0..100))
}

fn owner() -> String {
    let owner = r#"{"name":"Ada Lovelace","id":"6756839000000421001","email":"ada@example.com"}"#;
    owner.to_owned()
}

fn visits(random: &mut fastrand::Rng) -> String {
    let id = random.u64(1..u64::MAX);
    format!(r#"[{{"id":"{id}","Page":"/preise","Seconds":12.50,"Clicks":[1,[2,null]]}}]"#)
}
