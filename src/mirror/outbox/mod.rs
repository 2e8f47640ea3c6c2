//! Calls to functions of upstream's that local programs leave here: what one is, and what can
//! become of it. When each is sent is said in [`plan`]; what came back is read in [`answer`].
//!
//! A call is accepted once it is on disk, and sent until the function has answered: at least once,
//! in the order of acceptance for each function. Its id goes with it each time, so that a function
//! can recognise a repetition.

pub mod answer;
pub mod plan;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::time::UpstreamTime;

/// Longest API name of a function: upstream allows fewer letters (100 of a field's name), and a
/// name is a part of every key of the store's index in memory.
pub const FUNCTION_NAME_LIMIT: usize = 100;

/// Longest `Idempotency-Key`: a UUID has 36 letters, a digest in hexadecimal 128.
pub const KEY_LIMIT: usize = 255;

/// The API name of a function, as it stands in its address (facts §7).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(String);

impl FunctionName {
    /// A name: letters, digits and `_`, a letter first.
    pub fn parse(text: &str) -> Result<FunctionName, BadFunctionName> {
        let right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = text.len() <= FUNCTION_NAME_LIMIT
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(right);
        if good { Ok(FunctionName(text.to_owned())) } else { Err(BadFunctionName) }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FunctionName {
    type Error = BadFunctionName;

    fn try_from(text: String) -> Result<FunctionName, BadFunctionName> {
        FunctionName::parse(&text)
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> String {
        name.0
    }
}

/// What was given cannot be the API name of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadFunctionName;

impl fmt::Display for BadFunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API name has letters, digits and '_', a letter first, and at most 100")
    }
}

/// How we prove to a function who we are (facts §7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Auth {
    /// By the key of the credentials file, in the address.
    ApiKey,
    /// By the access token that everything else is asked with.
    OAuth,
}

impl Auth {
    /// Every way.
    pub const ALL: [Auth; 2] = [Auth::ApiKey, Auth::OAuth];

    /// The word, in the configuration and in the address of a call.
    pub const fn as_str(self) -> &'static str {
        match self {
            Auth::ApiKey => "apikey",
            Auth::OAuth => "oauth",
        }
    }
}

/// The id of a call. The number is its place in the order of acceptance; the rest is chosen at
/// random, so that a store that began anew never gives an id a second time: a function would take
/// a new call for a repetition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId {
    /// Its place.
    pub number: u64,
    /// The rest.
    pub salt: u64,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.salt)
    }
}

/// What was given is not the id of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadCallId;

impl fmt::Display for BadCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not the id of a call; write it as it was given, such as 7-00c0ffee00c0ffee")
    }
}

impl FromStr for CallId {
    type Err = BadCallId;

    fn from_str(text: &str) -> Result<CallId, BadCallId> {
        let (number, salt) = text.split_once('-').ok_or(BadCallId)?;
        let number = number.parse().map_err(|_| BadCallId)?;
        let salt = u64::from_str_radix(salt, 16).map_err(|_| BadCallId)?;
        let id = CallId { number, salt };
        // One way to write it, so that ids can be compared as texts.
        if id.to_string() == text { Ok(id) } else { Err(BadCallId) }
    }
}

/// In which form the content goes to the function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As it came, under the media type that it came with: JSON, a form, or a form with files.
    AsItCame,
    /// Anything else, as the one file of a form.
    File,
}

/// A call as it is kept, without its content and its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// The function.
    pub function: FunctionName,
    /// The part of its id that was chosen at random.
    pub salt: u64,
    /// The form of the content.
    pub form: Form,
    /// Its media type; empty when there is no content.
    pub media_type: String,
    /// Bytes of the content.
    pub bytes: u32,
    /// Of the whole content: tells a repetition under one key from another call.
    pub fingerprint: String,
    /// The `Idempotency-Key` it came with.
    pub key: Option<String>,
    /// When (upstream) it was accepted, or first tried where upstream had not told its time.
    pub since: Option<UpstreamTime>,
    /// How often it was sent.
    pub attempts: u32,
    /// How often it was denied.
    pub denials: u32,
    /// Parts of the answer that are kept.
    pub answer_parts: u16,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

impl Item {
    /// Its id under this number.
    pub fn id(&self, number: u64) -> CallId {
        CallId { number, salt: self.salt }
    }
}

/// What became of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It is to be sent, perhaps again.
    Waiting {
        /// What stood in its way last.
        why: Option<String>,
    },
    /// The function has answered.
    Sent {
        /// When (upstream).
        at: Option<UpstreamTime>,
    },
    /// It was given up: the quarantine of calls. A person can have it tried again.
    Failed {
        /// When (upstream).
        at: Option<UpstreamTime>,
        /// Why.
        why: String,
    },
}

impl State {
    /// Which of the three.
    pub fn standing(&self) -> Standing {
        match self {
            State::Waiting { .. } => Standing::Waiting,
            State::Sent { .. } => Standing::Sent,
            State::Failed { .. } => Standing::Failed,
        }
    }

    /// When (upstream) it ended, if it has and that is known.
    pub fn ended(&self) -> Option<UpstreamTime> {
        match self {
            State::Waiting { .. } => None,
            State::Sent { at } | State::Failed { at, .. } => *at,
        }
    }

    /// What stood in its way, if anything.
    pub fn why(&self) -> Option<&str> {
        match self {
            State::Waiting { why } => why.as_deref(),
            State::Sent { .. } => None,
            State::Failed { why, .. } => Some(why),
        }
    }
}

/// A state without what it carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// To be sent.
    Waiting,
    /// Answered.
    Sent,
    /// Given up.
    Failed,
}

impl Standing {
    /// Every one.
    pub const ALL: [Standing; 3] = [Standing::Waiting, Standing::Sent, Standing::Failed];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Sent => "sent",
            Standing::Failed => "failed",
        }
    }

    /// The standing of this word.
    pub fn parse(text: &str) -> Option<Standing> {
        Standing::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_an_address_can_carry() {
        for good in ["a", "kiosk_checkin", "ns__Function7", &"x".repeat(100)] {
            assert_eq!(FunctionName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "7a", "_a", "a b", "a/b", "a?b", "a%2fb", "é", &"x".repeat(101)] {
            assert!(FunctionName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_written_in_one_way() {
        let id = CallId { number: 7, salt: 0x00c0_ffee };
        assert_eq!(id.to_string(), "7-0000000000c0ffee");
        assert_eq!("7-0000000000c0ffee".parse(), Ok(id));
        for bad in ["", "7", "7-", "-7", "7-c0ffee", "07-0000000000c0ffee", "7-0000000000C0FFEE"] {
            assert_eq!(bad.parse::<CallId>(), Err(BadCallId), "{bad}");
        }
    }

    #[test]
    fn a_call_is_read_as_it_was_written() {
        for state in [
            State::Waiting { why: None },
            State::Sent { at: Some(UpstreamTime::from_unix(7)) },
            State::Failed { at: None, why: "status 400".into() },
        ] {
            let item = Item {
                function: FunctionName::parse("a").unwrap(),
                salt: u64::MAX,
                form: Form::AsItCame,
                media_type: "application/json".into(),
                bytes: 2,
                fingerprint: "00".into(),
                key: Some("k".into()),
                since: None,
                attempts: 1,
                denials: 0,
                answer_parts: 0,
                state,
            };
            let text = serde_json::to_string(&item).unwrap();
            assert_eq!(serde_json::from_str::<Item>(&text).unwrap(), item, "{text}");
        }
    }
}
