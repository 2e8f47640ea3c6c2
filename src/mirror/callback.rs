//! From the bytes of a callback to a notification, or to a refusal.
//!
//! Everything a stranger sends is judged here, before anything is stored or fetched. The record's
//! content is never taken: encodings inside a callback differ from what the record shows
//! (facts §2.1), and the body is signed by nobody. A notification only says what to fetch.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::Deserialize;

use super::inbox::{Arrival, Reason};
use super::origin::{Origin, parse_resource};
use super::record::{ChannelId, ModuleName, RecordId};
use super::time::UpstreamTime;
use crate::secret::Secret;

/// What is known when a callback arrives.
pub struct Known<'a> {
    /// Our channel.
    pub channel: ChannelId,
    /// The tokens that upstream may echo now: the current one, and older ones until they expire.
    pub tokens: &'a [Secret],
    /// Where records are fetched from; `None` before upstream has named it.
    pub origin: Option<&'a Origin>,
    /// The modules that are mirrored.
    pub modules: &'a [ModuleName],
}

/// What an authentic callback says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The module of the records.
    pub module: ModuleName,
    /// The records: at least one.
    pub ids: Vec<RecordId>,
    /// What happened to them.
    pub operation: Operation,
    /// Upstream's clock in milliseconds, the nearest thing to an identity that a callback has.
    pub server_time: Option<i64>,
}

/// What happened to a record. Callbacks carry `insert`/`update`/`delete`, channels are
/// opened for `create`/`edit`/`delete`; both are understood (facts, first table).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It is new.
    #[serde(alias = "create")]
    Insert,
    /// It changed.
    #[serde(alias = "edit")]
    Update,
    /// It is gone.
    Delete,
}

/// Why a callback is turned away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not JSON, or a required key is missing or of a wrong kind.
    Unreadable(String),
    /// It names a channel that is not ours.
    UnknownChannel,
    /// Its token is not one of ours.
    WrongToken,
    /// Its `resource_uri` is not a module on the upstream API origin.
    ForeignResource,
    /// Its `resource_uri` speaks of another module than its `module`.
    ModuleMismatch,
    /// The module is not mirrored here.
    UnknownModule(ModuleName),
    /// Upstream has not named its API origin yet, so that nothing can be judged: try again.
    NotReady,
}

#[derive(Deserialize)]
struct Body {
    channel_id: ChannelId,
    #[serde(default)]
    token: Option<String>,
    module: ModuleName,
    ids: Vec<RecordId>,
    operation: Operation,
    resource_uri: String,
    #[serde(default)]
    server_time: Option<serde_json::Number>,
}

impl Notification {
    /// Judges a callback's body. Nothing of a refused one may be kept.
    pub fn judge(body: &[u8], known: &Known<'_>) -> Result<Notification, Refusal> {
        let body: Body = serde_json::from_slice(body).map_err(unreadable)?;
        if body.ids.is_empty() {
            return Err(Refusal::Unreadable("'ids' names no record".into()));
        }
        // The token is compared even when the channel is wrong, so that the time taken does not
        // tell a stranger which of the two was right.
        let token_is_ours = is_one_of(body.token.as_deref().unwrap_or_default(), known.tokens);
        if body.channel_id != known.channel {
            return Err(Refusal::UnknownChannel);
        }
        if !token_is_ours {
            return Err(Refusal::WrongToken);
        }
        let origin = known.origin.ok_or(Refusal::NotReady)?;
        let (_, module) =
            parse_resource(&body.resource_uri, origin).ok_or(Refusal::ForeignResource)?;
        if module != body.module {
            return Err(Refusal::ModuleMismatch);
        }
        if !known.modules.contains(&module) {
            return Err(Refusal::UnknownModule(module));
        }
        Ok(Notification {
            module,
            ids: body.ids,
            operation: body.operation,
            server_time: body.server_time.and_then(|time| time.as_i64()),
        })
    }

    /// What is to be fetched, heard of at this time: each record once.
    pub fn arrivals(&self, heard: Option<UpstreamTime>) -> Vec<Arrival> {
        let reason = match self.operation {
            Operation::Insert | Operation::Update => Reason::Touched,
            Operation::Delete => Reason::Deleted,
        };
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let arrival = |id| Arrival { heard, ..Arrival::new(self.module.clone(), id, reason) };
        ids.into_iter().map(arrival).collect()
    }

    /// A number that a repetition of the same callback shares; `None` when upstream gave no time,
    /// since then a repetition and a second edit look alike.
    pub fn fingerprint(&self) -> Option<u64> {
        let time = self.server_time?;
        let mut hasher = DefaultHasher::new();
        (time, &self.module, &self.ids, self.operation).hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// Whether `offered` is one of the tokens, in a time that depends on neither's content.
fn is_one_of(offered: &str, tokens: &[Secret]) -> bool {
    let found = tokens.iter().fold(false, |found, token| found | token.is(offered));
    !offered.is_empty() && found
}

/// Says what is wrong without repeating what was sent: the body may hold a token.
fn unreadable(error: serde_json::Error) -> Refusal {
    let place = format!("line {} column {}", error.line(), error.column());
    Refusal::Unreadable(match error.classify() {
        serde_json::error::Category::Data => match missing_key(&error) {
            Some(key) => format!("the required key '{key}' is missing"),
            None => format!("a value is not of the kind expected, at {place}"),
        },
        _ => format!("the body is not JSON, at {place}"),
    })
}

fn missing_key(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let key = text.strip_prefix("missing field `")?.split('`').next()?;
    Some(key.to_owned())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unreadable(why) => f.write_str(why),
            Refusal::UnknownChannel => f.write_str("the channel is not ours"),
            Refusal::WrongToken => f.write_str("the token is not the channel's"),
            Refusal::ForeignResource => {
                f.write_str("the resource_uri is not a module on the upstream API origin")
            }
            Refusal::ModuleMismatch => {
                f.write_str("the resource_uri and the module do not belong together")
            }
            Refusal::UnknownModule(module) => write!(f, "the module {module} is not mirrored here"),
            Refusal::NotReady => f.write_str("the upstream API origin is not known yet; try again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(body: &str) -> Result<Notification, Refusal> {
        let origin = Origin::parse("https://www.zohoapis.com").unwrap();
        let known = Known {
            channel: "1105420521999070702".parse().unwrap(),
            tokens: &[Secret::new("old".into()), Secret::new("new".into())],
            origin: Some(&origin),
            modules: &[ModuleName::parse("Leads").unwrap()],
        };
        Notification::judge(body.as_bytes(), &known)
    }

    /// A good callback with one key replaced; an empty replacement takes the key away.
    fn with(key: &str, value: &str) -> String {
        let mut keys = vec![
            ("server_time", "1750102639787"),
            ("query_params", "{}"),
            ("module", "\"Leads\""),
            ("resource_uri", "\"https://www.zohoapis.com/crm/v2/Leads\""),
            ("ids", "[\"6756839000000575405\"]"),
            ("affected_fields", "[]"),
            ("operation", "\"update\""),
            ("channel_id", "\"1105420521999070702\""),
            ("token", "\"new\""),
        ];
        keys.retain(|(name, _)| *name != key);
        keys.push((key, value));
        let pairs: Vec<String> = keys
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    }

    #[test]
    fn every_documented_form_is_understood() {
        let ids = |body: &str| judge(body).map(|n| n.ids.iter().map(|id| id.number()).collect());
        let one: Result<Vec<u64>, _> = Ok(vec![6_756_839_000_000_575_405]);
        assert_eq!(ids(&with("token", "\"new\"")), one);
        assert_eq!(ids(&with("token", "\"old\"")), one, "an older token until it expires");
        assert_eq!(ids(&with("channel_id", "1105420521999070702")), one, "as a number");
        assert_eq!(ids(&with("server_time", "")), one, "no server_time");
        assert_eq!(ids(&with("server_time", "1.5e12")), one, "an odd server_time");
        assert_eq!(ids(&with("extra", "{\"a\":[1]}")), one, "unknown keys");
        assert_eq!(ids(&with("ids", "[18446744073709551615,\"2\"]")), Ok(vec![u64::MAX, 2]));
        for (verb, operation) in [
            ("insert", Operation::Insert),
            ("create", Operation::Insert),
            ("update", Operation::Update),
            ("edit", Operation::Update),
            ("delete", Operation::Delete),
        ] {
            let judged = judge(&with("operation", &format!("\"{verb}\"")));
            assert_eq!(judged.map(|n| n.operation), Ok(operation), "{verb}");
        }
    }

    #[test]
    fn what_is_not_a_callback_is_unreadable_and_its_content_is_not_repeated() {
        let why = |body: &str| match judge(body) {
            Err(Refusal::Unreadable(why)) => why,
            other => panic!("{body}: {other:?}"),
        };
        for key in ["module", "ids", "operation", "channel_id", "resource_uri"] {
            assert_eq!(why(&with(key, "")), format!("the required key '{key}' is missing"));
        }
        for (key, value) in [
            ("ids", "[]"),
            ("ids", "\"7\""),
            ("ids", "[1.5]"),
            ("ids", "[18446744073709551616]"),
            ("operation", "\"hunter2\""),
            ("module", "\"../hunter2\""),
            ("channel_id", "{}"),
            ("token", "[\"hunter2\"]"),
        ] {
            assert!(!why(&with(key, value)).contains("hunter2"), "{key} {value}");
        }
        for body in ["", "hunter2", "[]", "{", "\u{0}"] {
            assert!(!why(body).contains("hunter2"));
        }
    }

    #[test]
    fn strangers_are_refused() {
        assert_eq!(judge(&with("channel_id", "\"1\"")), Err(Refusal::UnknownChannel));
        for token in ["\"newer\"", "\"ne\"", "\"\"", "null", ""] {
            assert_eq!(judge(&with("token", token)), Err(Refusal::WrongToken), "{token}");
        }
        let foreign = judge(&with("resource_uri", "\"https://evil.example/crm/v2/Leads\""));
        assert_eq!(foreign, Err(Refusal::ForeignResource));
        let other = judge(&with("resource_uri", "\"https://www.zohoapis.com/crm/v2/Deals\""));
        assert_eq!(other, Err(Refusal::ModuleMismatch));
    }

    #[test]
    fn a_repetition_has_the_same_fingerprint() {
        let print = |body: &str| judge(body).unwrap().fingerprint();
        assert_eq!(print(&with("token", "\"new\"")), print(&with("token", "\"old\"")));
        assert_ne!(print(&with("server_time", "1")), print(&with("server_time", "2")));
        assert_ne!(print(&with("ids", "[1]")), print(&with("ids", "[2]")));
        assert_eq!(print(&with("server_time", "")), None);
    }
}
