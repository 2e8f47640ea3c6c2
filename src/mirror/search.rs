//! What a search asks of a record: criteria, an e-mail address, a phone number, or words.
//!
//! Upstream looks for an address in the fields that are e-mails, and for a number in those that are
//! phones (facts §4.5). Where nobody knows which those are, any text of the record counts whose
//! whole value is this address, or this number: more fields, and never a part of a text. Like
//! criteria, this judges one record at a time and knows neither store nor index.

use std::fmt;

use super::criteria::{self, Criteria, Folded, Lookup, Sieve, any_text, terms_of_text};
use super::members::members;
use super::record::{FieldName, RecordId};
use super::time::UpstreamTime;

/// Fewest and most characters of `word`, as upstream has it: one letter would find nearly all.
const WORD_LIMITS: (usize, usize) = (2, 100);
/// Fewest and most digits of `phone`: the longest number in the world has 15, an extension some.
const DIGITS_LIMITS: (usize, usize) = (3, 30);

/// What a search asks.
#[derive(Clone, Debug)]
pub enum Search {
    /// That the record meets these.
    Criteria(Criteria),
    /// That a text of the record is this address, regardless of case.
    Email(Address, Within),
    /// That a text of the record is a number with these digits.
    Phone(Number, Within),
    /// That each of these is in a text of the record, at the start of a word, regardless of case.
    Words(Words),
}

/// Where a search looks.
#[derive(Clone, Debug)]
pub enum Within {
    /// In every field.
    Everything,
    /// In these alone.
    Fields(Vec<FieldName>),
}

impl Within {
    fn has(&self, name: &str) -> bool {
        match self {
            Within::Everything => true,
            Within::Fields(fields) => fields.iter().any(|field| field.as_str() == name),
        }
    }
}

/// An e-mail address to look for.
#[derive(Clone, Debug)]
pub struct Address {
    text: Box<str>,
    folded: Folded,
}

/// A phone number to look for: its digits.
#[derive(Clone, Debug)]
pub struct Number(Box<str>);

/// Words to look for.
#[derive(Clone, Debug)]
pub struct Words(Vec<Folded>);

impl Address {
    /// Something with an `@` and no blanks in it.
    pub fn parse(text: &str) -> Result<Address, Unsearchable> {
        let text = text.trim();
        if text.contains('@') && !text.contains(char::is_whitespace) {
            return Ok(Address { text: text.into(), folded: Folded::new(text) });
        }
        Err(Unsearchable("is an e-mail address: the whole of it"))
    }
}

impl Number {
    /// 3 to 30 digits, with whatever people write between them.
    pub fn parse(text: &str) -> Result<Number, Unsearchable> {
        let digits: String = digits(text).collect();
        let (fewest, most) = DIGITS_LIMITS;
        if is_number(text) && (fewest..=most).contains(&digits.len()) {
            return Ok(Number(digits.into()));
        }
        Err(Unsearchable("is a phone number of 3 to 30 digits; in an address + is written %2B"))
    }
}

impl Words {
    /// 2 to 100 characters, blanks between the words.
    pub fn parse(text: &str) -> Result<Words, Unsearchable> {
        let (fewest, most) = WORD_LIMITS;
        let words: Vec<Folded> = text.split_whitespace().map(Folded::new).collect();
        if !words.is_empty() && (fewest..=most).contains(&text.trim().chars().count()) {
            return Ok(Words(words));
        }
        Err(Unsearchable("is words of 2 to 100 characters together"))
    }
}

impl Search {
    /// Whether the record with this JSON is one that is looked for.
    pub fn matches(&self, json: &str) -> bool {
        match self {
            Search::Criteria(criteria) => criteria.match_json(json),
            // A list or a lookup is not an address, nor a number, whatever is in it.
            Search::Email(address, within) => any_value(json, within, |value| {
                value.starts_with('"') && any_text(value, |text| address.folded.is(text))
            }),
            Search::Phone(number, within) => any_value(json, within, |value| {
                value.starts_with('"') && any_text(value, |text| number.is(text))
            }),
            Search::Words(Words(words)) => words.iter().all(|word| {
                let starts = |value: &str| any_text(value, |text| starts_a_word(text, word));
                any_value(json, &Within::Everything, starts)
            }),
        }
    }

    /// Says of the JSON of one record after another whether it is one that is looked for.
    pub fn judge(&self) -> impl Fn(&[u8]) -> bool + use<'_> {
        let sieve = self.sieve();
        move |json| {
            sieve.as_ref().is_none_or(|sieve| sieve.passes(json))
                && std::str::from_utf8(json).is_ok_and(|json| self.matches(json))
        }
    }

    fn sieve(&self) -> Option<Sieve> {
        match self {
            Search::Criteria(criteria) => criteria.sieve(),
            Search::Email(address, _) => Sieve::of(address.folded.text()),
            // Digits are written with other signs between them.
            Search::Phone(..) => None,
            Search::Words(Words(words)) => {
                words.iter().filter_map(|word| Sieve::of(word.text())).reduce(Sieve::finer)
            }
        }
    }

    /// The only record that can be a match, when the search names one by its id.
    pub fn only(&self) -> Option<RecordId> {
        let Search::Criteria(criteria) = self else { return None };
        let (field, text) = criteria.equality()?;
        text.parse().ok().filter(|_| field.as_str() == "id")
    }

    /// What to look up in indexes of these fields to find all records that can match; `None` when
    /// that takes a look at all records.
    pub fn lookup(&self, indexed: impl Fn(&FieldName) -> bool) -> Option<Lookup> {
        match self {
            Search::Criteria(criteria) => criteria.lookup(indexed),
            Search::Email(address, Within::Fields(fields)) if fields.iter().all(indexed) => {
                let terms = terms_of_text(&address.text);
                let mut lookup = Lookup::default();
                fields
                    .iter()
                    .for_each(|field| lookup.join(Lookup::of(field.clone(), terms.clone())));
                Some(lookup)
            }
            // A number is written in more than one way, and a word may be anywhere.
            Search::Email(..) | Search::Phone(..) | Search::Words(_) => None,
        }
    }
}

impl Number {
    fn is(&self, text: &str) -> bool {
        is_number(text) && digits(text).eq(self.0.chars())
    }
}

/// Whether a text is written as phone numbers are: a name with a number in it is none.
fn is_number(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_digit() || " +-./()\u{a0}".contains(letter))
}

fn digits(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(char::is_ascii_digit)
}

fn starts_a_word(text: &str, word: &Folded) -> bool {
    let mut inside = false;
    text.char_indices().any(|(at, letter)| {
        let begins = !inside;
        inside = letter.is_alphanumeric();
        begins && word.starts(&text[at..])
    })
}

/// The moment that a field of the record with this JSON shows.
pub fn moment(json: &str, field: &FieldName) -> Option<UpstreamTime> {
    let value = criteria::values(json, std::slice::from_ref(field)).pop()??;
    serde_json::from_str(value.get()).ok()
}

/// Whether a value of the record with this JSON passes the test, in one of these fields.
fn any_value(json: &str, within: &Within, test: impl Fn(&str) -> bool) -> bool {
    members(json).any(|(name, value)| within.has(name) && test(value))
}

/// A text that cannot be searched for: what to write instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsearchable(&'static str);

impl fmt::Display for Unsearchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unsearchable {}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"Created_Time":"2026-01-31T10:00:00+05:30","Email":"Zoe@Example.COM",
        "Fax":"0049 30/555-1234","Huge":1e400,"Name":"Ms. Zoë van den Berg-O\u2019Neill",
        "Note":"ask zoe@example.com, room 4711","Owner":{"name":"Ada Lovelace","id":"7",
        "email":"ada@example.com"},"Tag":[{"name":"Fair 2026","id":"9"}],"id":"12345"}"#;

    #[test]
    fn an_address_is_the_whole_of_a_text() {
        let finds = |text: &str| {
            Search::Email(Address::parse(text).unwrap(), Within::Everything).matches(RECORD)
        };
        assert!(finds("zoe@example.com") && finds(" ZOE@EXAMPLE.com "));
        for other in ["zoe@example.co", "oe@example.com", "ada@example.com"] {
            assert!(!finds(other), "{other}");
        }
        for bad in ["", "zoe", "zoe @example.com"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_its_digits() {
        let finds = |text: &str| {
            Search::Phone(Number::parse(text).unwrap(), Within::Everything).matches(RECORD)
        };
        assert!(finds("0049305551234") && finds("(0049) 30 555.1234") && finds("12345"));
        for other in ["4711", "305551234", "00493055512345", "+49 30 5551234"] {
            assert!(!finds(other), "{other}");
        }
        for bad in ["", "12", "call 555", "555-CALL-NOW", &"1".repeat(31)] {
            assert!(Number::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn where_the_kinds_of_fields_are_known_only_those_count() {
        let field = |name: &str| FieldName::parse(name).unwrap();
        let among = |names: &[&str]| Within::Fields(names.iter().copied().map(field).collect());
        let email = |names: &[&str]| {
            Search::Email(Address::parse("zoe@example.com").unwrap(), among(names))
        };
        assert!(email(&["Work", "Email"]).matches(RECORD) && !email(&["Fax"]).matches(RECORD));
        assert!(!email(&[]).matches(RECORD));
        let lookup = email(&["Work", "Email"]).lookup(|_| true).unwrap();
        let looked: Vec<&str> = lookup.fields().map(|(field, _)| field.as_str()).collect();
        assert_eq!(looked, ["Email", "Work"]);
        let whole = |field: &FieldName| field.as_str() == "Email";
        assert!(email(&["Work", "Email"]).lookup(whole).is_none(), "one of them has no index");
        let anywhere = Search::Email(Address::parse("a@b").unwrap(), Within::Everything);
        assert!(anywhere.lookup(|_| true).is_none());
    }

    #[test]
    fn words_are_found_where_words_start() {
        let finds = |text: &str| Search::Words(Words::parse(text).unwrap()).matches(RECORD);
        for good in ["ZOË", "van berg", "o’neill", "neill ada", "fair 20", "example.com", "den b"]
        {
            assert!(finds(good), "{good}");
        }
        for other in ["oë", "erg", "zoe berlin", "zo\u{eb}e", "1e400", "lovelace-ada"] {
            assert!(!finds(other), "{other}");
        }
        for bad in ["", " ", "x", &"xy".repeat(51)] {
            assert!(Words::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_record_is_named_and_a_moment_is_read() {
        let only = |text: &str| Search::Criteria(Criteria::parse(text).unwrap()).only();
        assert_eq!(only("(id:equals:12345)"), Some(RecordId::new(12_345)));
        assert_eq!(only("((Email:equals:x)and(id:equals:7))"), None, "the first is the hint");
        for other in ["(id:equals:x)", "(id:in:1,2)", "(id:equals:1)or(id:equals:2)"] {
            assert_eq!(only(other), None, "{other}");
        }
        let field = |name: &str| FieldName::parse(name).unwrap();
        let read = |name: &str| moment(RECORD, &field(name)).map(|time| time.to_string());
        assert_eq!(read("Created_Time").as_deref(), Some("2026-01-31T04:30:00+00:00"));
        assert_eq!((read("Email"), read("Nowhere")), (None, None));
        assert!(
            !Search::Email(Address::parse("a@b").unwrap(), Within::Everything).matches("no record")
        );
    }
}
