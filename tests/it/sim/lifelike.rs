//! Leads as a CRM in use answers them, for measurements: what repeats in them repeats as it does
//! there, and what does not is made of words, numbers and dates that differ. Records of random
//! letters can be packed by nothing, and records of a few texts by anything.

use super::Upstream;
use super::clock::{Moment, stamp};

const SYLLABLES: [&str; 20] = [
    "ba", "ne", "ri", "to", "lu", "ska", "men", "dor", "gel", "fi", "chu", "wei", "ar", "ost",
    "in", "pla", "ver", "tu", "zo", "kam",
];
/// Words that people write; one in seven has a letter beyond ASCII.
const WORDS: usize = 6_000;
/// What a record has beside its fields: id and stamps.
const REST: usize = 110;

/// What leads are made of.
pub struct Lifelike {
    random: fastrand::Rng,
    words: Vec<String>,
}

impl Lifelike {
    /// The same seed, the same leads.
    pub fn new(seed: u64) -> Lifelike {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = || {
            let mut word: String =
                (0..random.usize(1..5)).map(|_| SYLLABLES[random.usize(..20)]).collect();
            if random.u8(..7) == 0 {
                word.push('ü');
            }
            word
        };
        let words = (0..WORDS).map(|_| word()).collect();
        Lifelike { random, words }
    }

    /// The fields of a lead that has about so many bytes: as many as fit, and a description.
    pub fn lead(&mut self, bytes: usize) -> Vec<(String, String)> {
        let mut size = REST + "Description".len();
        let mut values = Vec::new();
        for (name, raw) in self.fields() {
            let more = name.len() + raw.len() + 4;
            if size + more > bytes {
                break;
            }
            size += more;
            values.push((name.to_owned(), raw));
        }
        let mut text = String::new();
        while size + text.len() < bytes {
            text.push_str(&self.word(WORDS));
            text.push(if self.random.u8(..9) == 0 { ',' } else { ' ' });
        }
        values.push(("Description".to_owned(), quoted(&text)));
        values
    }

    fn fields(&mut self) -> Vec<(&'static str, String)> {
        let (first, last) = (self.word(400), self.word(3_000));
        let company = format!("{} {}", self.word(WORDS), self.word(WORDS));
        let (owner, maker) = (self.user(), self.user());
        vec![
            ("Phone", quoted(&self.number("+49", 9))),
            ("Last_Name", quoted(&last)),
            ("First_Name", quoted(&first)),
            ("Email", quoted(&format!("{first}.{last}{}@mail.example", self.random.u16(..999)))),
            ("Company", quoted(&company)),
            ("Owner", owner.clone()),
            ("Full_Name", quoted(&format!("{first} {last}"))),
            ("Lead_Source", self.choice(&["Cold Call", "Web Download", "Trade Show", "Partner"])),
            ("Lead_Status", self.choice(&["Contacted", "Not Contacted", "Lost Lead"])),
            ("Street", quoted(&format!("{} {}", self.word(WORDS), self.random.u8(1..120)))),
            ("City", quoted(&self.word(200))),
            ("Zip_Code", quoted(&self.number("", 5))),
            ("Country", self.maybe(30)),
            ("Mobile", quoted(&self.number("+49 17", 8))),
            ("Annual_Revenue", self.random.u32(..1_000_000).to_string()),
            ("No_of_Employees", self.random.u16(..5_000).to_string()),
            ("Website", quoted(&format!("www.{}.example", company.replace(' ', "-")))),
            ("Industry", self.maybe(20)),
            ("Designation", self.maybe(60)),
            ("Created_By", maker),
            ("Modified_By", owner),
            ("Last_Activity_Time", self.moment()),
            ("Secondary_Email", "null".to_owned()),
            ("Email_Opt_Out", self.random.bool().to_string()),
            ("Salutation", "null".to_owned()),
            ("Skype_ID", "null".to_owned()),
            ("Rating", "null".to_owned()),
            ("State", self.maybe(16)),
            ("Fax", "null".to_owned()),
            ("Tag", "[]".to_owned()),
            ("Twitter", "null".to_owned()),
            ("Converted_Date_Time", "null".to_owned()),
            ("$approved", "true".to_owned()),
            ("$converted", "false".to_owned()),
            ("$editable", "true".to_owned()),
            ("$currency_symbol", quoted("€")),
            ("$state", quoted("save")),
            (
                "$approval",
                r#"{"delegate":false,"approve":false,"reject":false,"resubmit":false}"#.to_owned(),
            ),
        ]
    }

    /// One of the first so many words, the earlier the likelier.
    fn word(&mut self, of: usize) -> String {
        let chance = self.random.f64();
        self.words[(chance * chance * of as f64) as usize].clone()
    }

    fn user(&mut self) -> String {
        let number = self.random.usize(..12);
        let (first, last) = (&self.words[number], &self.words[number + 40]);
        let id = 3_652_397_000_000_186_017 + number as u64 * 7_919;
        format!(r#"{{"name":"{first} {last}","id":"{id}","email":"{first}@company.example"}}"#)
    }

    fn maybe(&mut self, of: usize) -> String {
        if self.random.bool() { quoted(&self.word(of)) } else { "null".to_owned() }
    }

    fn choice(&mut self, of: &[&str]) -> String {
        quoted(of[self.random.usize(..of.len())])
    }

    fn number(&mut self, start: &str, digits: usize) -> String {
        let digits: String = (0..digits).map(|_| self.random.digit(10)).collect();
        format!("{start}{digits}")
    }

    fn moment(&mut self) -> String {
        quoted(&stamp(1_760_000_000 + self.random.i64(..30_000_000), 120))
    }
}

/// Adds a module with `records` leads of about `bytes` bytes each, one a second, the last now. Each
/// has a `Serial` of its own.
pub fn leads(upstream: &mut Upstream, module: &str, records: usize, bytes: usize) -> Vec<u64> {
    upstream.model.add(module);
    let now = upstream.now().unix();
    let mut lifelike = Lifelike::new(records as u64);
    let ids: Vec<u64> = (0..records).map(|_| upstream.model.new_id()).collect();
    for (number, &id) in ids.iter().enumerate() {
        let mut values = lifelike.lead(bytes - 22);
        values.push(("Serial".to_owned(), quoted(&format!("S-{number:07}"))));
        let age = i64::try_from(records - 1 - number).unwrap_or(0);
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, raw)| (name.as_str(), raw.as_str())).collect();
        upstream.load(module, id, Moment::from_unix(now - age), &values);
    }
    ids
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
