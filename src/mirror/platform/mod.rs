//! What Zoho's platform tells of an extension: that it was installed, authorised, set up, removed.
//!
//! All eight events have one payload (facts §6). Whether one is authentic is said in [`proof`];
//! what it leads to is decided here. The security context in it is a secret: it is kept beside the
//! store and is in no record.

pub mod invoke;
pub mod proof;

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Deserialize as Read, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::record::{Record, RecordId};
use super::time::UpstreamTime;
use crate::secret::Secret;

/// Longest security context that is taken: those seen have some dozens of letters (facts §6).
pub const CONTEXT_LIMIT: usize = 4 << 10;
/// Longest id of an organisation: 64 bits.
const ORG_DIGITS: usize = 20;

/// What happened to the extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Read)]
pub enum Event {
    /// A customer installed it.
    #[serde(rename = "onInstall")]
    Install,
    /// He authorised it at Zoho.
    #[serde(rename = "onZohoAuthorise")]
    ZohoAuthorise,
    /// He authorised it at a third party.
    #[serde(rename = "onTPAAuthorise")]
    TpaAuthorise,
    /// He took that back.
    #[serde(rename = "onTPARevoke")]
    TpaRevoke,
    /// He took a new version of it.
    #[serde(rename = "onUpdate")]
    Update,
    /// He added a parameter of its configuration.
    #[serde(rename = "onConfigParamAdd")]
    ConfigParamAdd,
    /// He deleted one.
    #[serde(rename = "onConfigParamDelete")]
    ConfigParamDelete,
    /// He removed it.
    #[serde(rename = "onUninstall")]
    Uninstall,
}

impl Event {
    /// All there are.
    pub const ALL: [Event; 8] = [
        Event::Install,
        Event::ZohoAuthorise,
        Event::TpaAuthorise,
        Event::TpaRevoke,
        Event::Update,
        Event::ConfigParamAdd,
        Event::ConfigParamDelete,
        Event::Uninstall,
    ];

    /// The name that the platform gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Install => "onInstall",
            Event::ZohoAuthorise => "onZohoAuthorise",
            Event::TpaAuthorise => "onTPAAuthorise",
            Event::TpaRevoke => "onTPARevoke",
            Event::Update => "onUpdate",
            Event::ConfigParamAdd => "onConfigParamAdd",
            Event::ConfigParamDelete => "onConfigParamDelete",
            Event::Uninstall => "onUninstall",
        }
    }

    /// The event of this name.
    pub fn parse(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// The organisation that has the extension: a whole number, sent as such or as a text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct OrgId(Box<str>);

impl OrgId {
    /// Reads its digits.
    pub fn parse(text: &str) -> Option<OrgId> {
        let is_number = (1..=ORG_DIGITS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| OrgId(text.into()))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OrgId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let digits = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        OrgId::parse(digits).ok_or_else(|| D::Error::custom("orgId is a whole number"))
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a callback of the platform says.
#[derive(Clone, PartialEq, Eq, Debug, Read)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// What happened.
    pub event: Event,
    /// Where.
    pub org_id: OrgId,
    /// With what the platform's APIs are called in this organisation's name.
    pub security_context: Secret,
}

impl Payload {
    /// Reads a callback's body. The error never repeats what is in it.
    pub fn parse(body: &[u8]) -> Result<Payload, String> {
        #[derive(Read)]
        struct Named<'a> {
            #[serde(borrow)]
            event: std::borrow::Cow<'a, str>,
        }
        let place = |error: &serde_json::Error| {
            format!("at line {}, column {}", error.line(), error.column())
        };
        if let Ok(Named { event }) = serde_json::from_slice(body) {
            if Event::parse(&event).is_none() {
                return Err("'event' is none of the eight of the platform".into());
            }
        }
        let payload: Payload = serde_json::from_slice(body)
            .map_err(|error| format!("not {{event, orgId, securityContext}}, {}", place(&error)))?;
        let length = payload.security_context.reveal().len();
        if length == 0 || length > CONTEXT_LIMIT {
            return Err(format!("'securityContext' has {length} bytes"));
        }
        Ok(payload)
    }
}

/// An event that was acknowledged and waits to be recorded: all of it but the secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Read)]
pub struct Announced {
    /// What happened.
    pub event: Event,
    /// Where.
    pub org: OrgId,
    /// When (upstream) we heard of it; `None` when upstream had not told its time by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<UpstreamTime>,
}

/// An event that was recorded, as its record says it.
#[derive(Clone, PartialEq, Eq, Debug, Read)]
pub struct Recorded {
    /// What happened.
    pub event: Event,
    /// Where.
    #[serde(rename = "orgId")]
    pub org: OrgId,
    /// When (upstream).
    pub time: UpstreamTime,
}

impl Recorded {
    /// The record of this number.
    pub fn record(&self, number: u64) -> Record {
        let id = RecordId::new(number);
        let json = json!({
            "event": self.event, "id": id, "orgId": self.org, "time": self.time,
        });
        Record::from_parts(id, None, json.to_string().into())
    }

    /// What a record of ours says.
    pub fn of(record: &Record) -> Option<Recorded> {
        serde_json::from_str(record.json()).ok()
    }
}

/// What is done when the extension is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUninstall {
    /// The channel is closed and nothing is fetched any more; the mirror stays.
    Close,
    /// The channel is closed, then mirror and tokens are erased.
    Wipe,
    /// Nothing.
    Ignore,
}

impl OnUninstall {
    /// All there are.
    pub const ALL: [OnUninstall; 3] = [OnUninstall::Close, OnUninstall::Wipe, OnUninstall::Ignore];

    /// What a configuration writes for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnUninstall::Close => "close",
            OnUninstall::Wipe => "wipe",
            OnUninstall::Ignore => "ignore",
        }
    }
}

/// How far a removal of the extension has come. It is kept until the extension is back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// The channel is closed, or is to be.
    Closed,
    /// All is to be erased.
    Wiping,
    /// All is erased.
    Wiped,
}

impl Removal {
    const ALL: [Removal; 3] = [Removal::Closed, Removal::Wiping, Removal::Wiped];

    /// The word that it is kept as.
    pub const fn as_str(self) -> &'static str {
        match self {
            Removal::Closed => "closed",
            Removal::Wiping => "wiping",
            Removal::Wiped => "wiped",
        }
    }

    /// The removal that is kept as this word.
    pub fn parse(word: &str) -> Option<Removal> {
        Removal::ALL.into_iter().find(|removal| removal.as_str() == word)
    }

    /// What the status calls it.
    pub const fn state(removal: Option<Removal>) -> &'static str {
        match removal {
            None => "installed",
            Some(Removal::Closed) => "uninstalled",
            Some(Removal::Wiping) => "wiping",
            Some(Removal::Wiped) => "wiped",
        }
    }
}

/// What an event leads to, beside its being recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// The channel is opened or renewed, and everything catches up.
    Open,
    /// The channel is closed and stays so.
    Close,
    /// Everything is erased.
    Wipe,
}

/// What this event leads to. Whoever installs the extension has still to authorise it; but after
/// a removal, to be installed again is enough to go on.
pub fn consequence(event: Event, on: OnUninstall, removal: Option<Removal>) -> Consequence {
    match (event, on) {
        (Event::ZohoAuthorise, _) => Consequence::Open,
        (Event::Install, _) if removal.is_some() => Consequence::Open,
        (Event::Uninstall, OnUninstall::Close) => Consequence::Close,
        (Event::Uninstall, OnUninstall::Wipe) => Consequence::Wipe,
        (Event::Uninstall, OnUninstall::Ignore)
        | (
            Event::Install
            | Event::TpaAuthorise
            | Event::TpaRevoke
            | Event::Update
            | Event::ConfigParamAdd
            | Event::ConfigParamDelete,
            _,
        ) => Consequence::Nothing,
    }
}

#[cfg(test)]
mod tests;
