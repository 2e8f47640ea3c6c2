//! What the mirror holds: records under their names, live or remembered as deleted.
//!
//! A record's content is kept as upstream wrote it, value by value: big integers, the digits of
//! decimals, nulls, nested objects and unknown fields come through unread. Only the order of the
//! record's own keys is ours, so that two equal observations are equal bytes.
//!
//! This file knows nothing of requests, pages or disks.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;

use super::time::UpstreamTime;

/// The API name of a module: `Leads`, `Price_Books`, `ns__Custom`. Names are case-sensitive
/// upstream (facts §1.6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ModuleName(Box<str>);

/// Longest module name: upstream's API names stay below this, and keys of the store stay small.
pub const MODULE_NAME_LIMIT: usize = 100;

impl ModuleName {
    /// A letter, then letters, digits and underscores, at most [`MODULE_NAME_LIMIT`] bytes.
    pub fn parse(text: &str) -> Result<ModuleName, NameError> {
        api_name(text, MODULE_NAME_LIMIT).map(|name| ModuleName(name.into()))
    }

    /// The module of what the platform told of the extension: ours, and none of upstream's.
    pub fn platform() -> ModuleName {
        ModuleName(PLATFORM.into())
    }

    /// Whether it is the module of what the platform told.
    pub fn is_platform(&self) -> bool {
        &*self.0 == PLATFORM
    }

    /// A name that stands in our own store or feed: upstream's, or the one that is ours.
    pub fn of_ours(text: &str) -> Result<ModuleName, NameError> {
        if text == PLATFORM { Ok(ModuleName::platform()) } else { ModuleName::parse(text) }
    }

    /// The name as upstream writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// No module of upstream's can have this name.
const PLATFORM: &str = "$platform";

/// The API name of a field: `Last_Name`, `$approved`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// A letter or `$`, then letters, digits and underscores, at most 100 bytes.
    pub fn parse(text: &str) -> Result<FieldName, NameError> {
        api_name(text.strip_prefix('$').unwrap_or(text), 100)
            .map(|_| FieldName(text.into()))
            .map_err(|_| NameError(text.into()))
    }

    /// The name as upstream writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not an API name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameError(Box<str>);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(60).collect();
        write!(f, "'{}' is not an API name: letters, digits and underscores", shown.escape_debug())
    }
}

impl std::error::Error for NameError {}

fn api_name(text: &str, limit: usize) -> Result<&str, NameError> {
    let starts = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && goes_on && text.len() <= limit { Ok(text) } else { Err(NameError(text.into())) }
}

/// The id of a record: a whole number of up to 64 bits, which upstream writes as a string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(u64);

impl RecordId {
    /// The id with this number.
    pub const fn new(number: u64) -> RecordId {
        RecordId(number)
    }

    /// The number, for keys in order.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for RecordId {
    type Err = IdError;

    /// Decimal digits without sign and without leading zeros.
    fn from_str(text: &str) -> Result<RecordId, IdError> {
        let canonical = text.len() == 1 || !text.starts_with('0');
        if !canonical || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IdError);
        }
        text.parse().map(RecordId).map_err(|_| IdError)
    }
}

/// The id of a channel: a whole number of up to 64 bits, negative ones included (facts §1.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(i128);

impl ChannelId {
    /// The id with this number.
    pub fn new(number: u64) -> ChannelId {
        ChannelId(number.into())
    }
}

impl FromStr for ChannelId {
    type Err = IdError;

    /// Decimal digits, perhaps a minus sign before them, without leading zeros.
    fn from_str(text: &str) -> Result<ChannelId, IdError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let canonical = digits.len() == 1 || !digits.starts_with('0');
        if digits.is_empty() || !canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IdError);
        }
        let number: i128 = text.parse().map_err(|_| IdError)?;
        let fits = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number);
        if fits { Ok(ChannelId(number)) } else { Err(IdError) }
    }
}

/// A text that is not an id of up to 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is a whole number of up to 64 bits")
    }
}

impl std::error::Error for IdError {}

/// Display as the bare text, Debug the same: these values appear in logs and messages.
macro_rules! shown_as_text {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )+};
}
shown_as_text!(ModuleName, FieldName, RecordId, ChannelId);

/// Ids are written as strings, as upstream does, and read from strings and integers alike: never
/// through a floating-point number, which would change the last digits.
macro_rules! id_in_json {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer
                    .deserialize_any(IdVisitor)
                    .and_then(|text| text.parse().map_err(|error: IdError| D::Error::custom(error)))
            }
        }
    };
}
id_in_json!(RecordId);
id_in_json!(ChannelId);

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: a string of digits or a whole number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl<'de> Deserialize<'de> for ModuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        // A callback that names our own module is refused as one of a module that is not mirrored.
        ModuleName::of_ours(&text).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        FieldName::parse(&text).map_err(D::Error::custom)
    }
}

/// A record as upstream last showed it.
///
/// Two records are equal when upstream showed the same values for the same fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    id: RecordId,
    modified: Option<UpstreamTime>,
    json: Box<str>,
}

type Fields<'a> = BTreeMap<Name<'a>, &'a RawValue>;

/// The name of a field as it stands in a record: copied only where it is written with escapes. A
/// bare [`Cow`] would always be read as a copy.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Borrow<str> for Name<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Record {
    /// Reads a record from the JSON object that upstream sent.
    pub fn parse(json: &str) -> Result<Record, RecordError> {
        Record::parse_by(json, "id", "Modified_Time")
    }

    /// The same, where upstream has other names for the id and the modification time.
    pub fn parse_by(json: &str, id: &str, modified: &str) -> Result<Record, RecordError> {
        Record::from_fields(&parse_fields(json)?, id, modified)
    }

    /// A record whose text this program has written itself, with what was read from it then.
    pub fn from_parts(id: RecordId, modified: Option<UpstreamTime>, json: Box<str>) -> Record {
        Record { id, modified, json }
    }

    /// The record's id.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// When upstream says that the record was last modified. Formula and roll-up fields do not
    /// move it, and some modules have none (facts §2.4, §4.3).
    pub fn modified(&self) -> Option<UpstreamTime> {
        self.modified
    }

    /// The record as a JSON object, its keys in order.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// This record with the fields of another pass over it added: from v3 on upstream shows at
    /// most 50 fields a call (facts §4.2).
    pub fn joined(&self, pass: &Record) -> Result<Record, RecordError> {
        let mut fields = parse_fields(&self.json)?;
        fields.append(&mut parse_fields(&pass.json)?);
        Record::from_fields(&fields, "id", "Modified_Time")
    }

    /// The JSON object of these fields alone; `id` always comes along, as upstream does it.
    /// Fields that the record does not have are left out.
    pub fn select(&self, wanted: &[FieldName]) -> Result<String, RecordError> {
        let mut fields = parse_fields(&self.json)?;
        fields.retain(|Name(name), _| {
            name == "id" || wanted.iter().any(|want| want.as_str() == name)
        });
        serde_json::to_string(&fields).map_err(RecordError::from)
    }

    fn from_fields(fields: &Fields<'_>, id: &str, modified: &str) -> Result<Record, RecordError> {
        let id = fields.get(id).ok_or(RecordError::NoId)?;
        let id: RecordId = serde_json::from_str(id.get()).map_err(|_| RecordError::NoId)?;
        let modified = fields
            .get(modified)
            .and_then(|time| serde_json::from_str::<Option<UpstreamTime>>(time.get()).ok())
            .flatten();
        let json = serde_json::to_string(fields)?.into_boxed_str();
        Ok(Record { id, modified, json })
    }
}

fn parse_fields(json: &str) -> Result<Fields<'_>, RecordError> {
    #[derive(serde::Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Fields<'a>);
    let Borrowed(fields) = serde_json::from_str(json)?;
    Ok(fields)
}

/// A text that is not a record.
#[derive(Debug)]
pub enum RecordError {
    /// Not a JSON object.
    NotAnObject(serde_json::Error),
    /// No `id`, or one that is not a whole number of up to 64 bits.
    NoId,
}

impl From<serde_json::Error> for RecordError {
    fn from(error: serde_json::Error) -> RecordError {
        RecordError::NotAnObject(error)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::NotAnObject(error) => write!(f, "a record is not a JSON object: {error}"),
            RecordError::NoId => f.write_str("a record has no id that is a whole number"),
        }
    }
}

impl std::error::Error for RecordError {}

/// What the mirror knows of an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Upstream has the record.
    Live(Record),
    /// Upstream has it no longer; kept so that late news of it is recognised.
    Tombstone {
        /// When it was deleted, or when we saw that it was gone.
        gone: UpstreamTime,
    },
}

/// What a committed change did to a record, seen by a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The record is new or its content changed.
    Upsert,
    /// The record is gone.
    Delete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_digit_by_digit() {
        let text = r#"{"b":1.500,"id":"18446744073709551615","a":12345678901234567890123,
            "nested":{"z":1,"a":[null,1e400]},"t":"\u00e9","n":null}"#;
        let record = Record::parse(text).unwrap();
        assert_eq!(record.id(), RecordId::new(u64::MAX));
        let same = r#"{"a":12345678901234567890123,"b":1.500,"id":"18446744073709551615","n":null,"nested":{"z":1,"a":[null,1e400]},"t":"\u00e9"}"#;
        assert_eq!(record.json(), same);
        assert_eq!(Record::parse(same).unwrap(), record, "order of keys is of no matter");
    }

    #[test]
    fn names_are_copied_only_where_they_are_written_with_escapes() {
        let text = r#"{"\u0069d":"7","A":1,"A":2}"#;
        let fields = parse_fields(text).unwrap();
        let is_copied = |Name(name): &Name<'_>| matches!(name, Cow::Owned(_));
        assert_eq!(fields.keys().map(is_copied).collect::<Vec<_>>(), [false, true]);
        assert_eq!(Record::parse(text).unwrap().json(), r#"{"A":2,"id":"7"}"#);
    }

    #[test]
    fn ids_are_exact_as_strings_and_as_numbers() {
        let check = |json: &str| serde_json::from_str::<RecordId>(json).ok().map(|id| id.0);
        assert_eq!(check("\"9007199254740993\""), Some(9_007_199_254_740_993));
        assert_eq!(check("9007199254740993"), Some(9_007_199_254_740_993));
        assert_eq!(check("18446744073709551615"), Some(u64::MAX));
        for bad in ["18446744073709551616", "1e3", "1.0", "-1", "\"\"", "\"01\"", "\"+1\"", "null"]
        {
            assert_eq!(check(bad), None, "{bad}");
        }
        assert_eq!("-9223372036854775808".parse::<ChannelId>().unwrap().0, i64::MIN.into());
        assert!(
            "-".parse::<ChannelId>().is_err()
                && "18446744073709551616".parse::<ChannelId>().is_err()
        );
    }

    #[test]
    fn names_are_api_names() {
        for good in ["Leads", "Price_Books", "ns__Custom1"] {
            assert_eq!(ModuleName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "..", "Leads/1", "Leads?x", "1Leads", "Le ads", "Löads", "_x"] {
            assert!(ModuleName::parse(bad).is_err(), "{bad}");
        }
        let ours = ModuleName::platform();
        assert!(ModuleName::parse(ours.as_str()).is_err(), "nobody can have it mirrored");
        assert_eq!(ModuleName::of_ours(ours.as_str()), Ok(ours.clone()));
        assert!(ours.is_platform() && !ModuleName::of_ours("Leads").unwrap().is_platform());
        assert!(FieldName::parse("$approved").is_ok() && FieldName::parse("$").is_err());
    }

    #[test]
    fn passes_join_and_fields_are_selected() {
        let first =
            Record::parse(r#"{"id":"7","A":1,"Modified_Time":"2026-01-01T00:00:00Z"}"#).unwrap();
        let joined = first.joined(&Record::parse(r#"{"id":"7","B":2}"#).unwrap()).unwrap();
        assert_eq!(
            joined.json(),
            r#"{"A":1,"B":2,"Modified_Time":"2026-01-01T00:00:00Z","id":"7"}"#
        );
        assert_eq!(joined.modified(), first.modified());
        let names = [FieldName::parse("B").unwrap(), FieldName::parse("None").unwrap()];
        assert_eq!(joined.select(&names).unwrap(), r#"{"B":2,"id":"7"}"#);
    }
}
