//! Channels: what one holds, how long it lives, and how a request's item describes one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::callbacks::Verb;
use super::clock::Moment;
use super::knobs::Knobs;
use super::model::Model;
use super::route::Version;
use crmirror::mirror::time::UpstreamTime;

/// The life of a channel that asks for none, or for more than it may (facts §1.2, §1.3).
const DEFAULT_LIFE: Duration = Duration::from_secs(3_600);
/// Limits of an item (facts §1.2).
const EVENTS_LIMIT: usize = 50;
const TOKEN_LIMIT: usize = 50;
const NOTIFY_URL_LIMIT: usize = 255;

/// A channel.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) events: Events,
    pub(super) notify_url: String,
    /// Seconds since 1970; from this second on the channel is gone.
    pub(super) ends: i64,
    pub(super) token: Option<String>,
    pub(super) related: bool,
    pub(super) affected_values: bool,
}

/// Module to verbs.
pub(super) type Events = BTreeMap<String, BTreeSet<Verb>>;

impl Channel {
    pub(super) fn covers(&self, module: &str, verb: Verb) -> bool {
        self.events.get(module).is_some_and(|verbs| verbs.contains(&verb))
    }
}

/// All channels of the user.
#[derive(Default)]
pub(super) struct Channels(BTreeMap<String, Channel>);

impl Channels {
    pub(super) fn live(&self, now: Moment) -> impl Iterator<Item = &Channel> {
        self.0.values().filter(move |channel| now.unix() < channel.ends)
    }

    pub(super) fn live_one(&mut self, id: &str, now: Moment) -> Option<&mut Channel> {
        self.0.get_mut(id).filter(|channel| now.unix() < channel.ends)
    }

    pub(super) fn insert(&mut self, channel: Channel) {
        self.0.insert(channel.id.clone(), channel);
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// Upstream collects what has expired.
    pub(super) fn collect(&mut self, now: Moment) {
        self.0.retain(|_, channel| now.unix() < channel.ends);
    }
}

/// What an item of a request says, checked; what it leaves out is `None`.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) events: Option<Events>,
    pub(super) notify_url: Option<String>,
    pub(super) ends: Option<i64>,
    pub(super) token: Option<String>,
    pub(super) related: Option<bool>,
    pub(super) affected_values: Option<bool>,
    pub(super) delete_events: bool,
}

/// Why an item is turned down.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) details: Value,
    pub(super) message: &'static str,
}

impl Problem {
    pub(super) fn not_subscribed() -> Problem {
        Problem {
            code: "NOT_SUBSCRIBED",
            details: json!({}),
            message: "Not subscribed for actions-watch of the given channel",
        }
    }

    pub(super) fn missing(key: &str, at: usize) -> Problem {
        let code = "MANDATORY_NOT_FOUND";
        Problem { code, details: place(key, at), message: "required field not found" }
    }

    fn invalid(key: &str, at: usize) -> Problem {
        Problem { code: "INVALID_DATA", details: place(key, at), message: "invalid data" }
    }

    pub(super) fn body(&self) -> Value {
        json!({
            "code": self.code,
            "details": self.details,
            "message": self.message,
            "status": "error",
        })
    }
}

fn place(key: &str, at: usize) -> Value {
    json!({"api_name": key, "json_path": format!("$.watch[{at}].{key}")})
}

/// Reads item number `at` of a request's `watch`.
pub(super) fn read_item(
    item: &Value,
    at: usize,
    version: Version,
    model: &Model,
    knobs: &Knobs,
    now: Moment,
) -> Result<Item, Problem> {
    const KEYS: [&str; 8] = [
        "channel_id",
        "events",
        "notify_url",
        "channel_expiry",
        "token",
        "notify_on_related_action",
        "return_affected_field_values",
        "_delete_events",
    ];
    let keys = item.as_object().ok_or_else(|| Problem::invalid("watch", at))?;
    if let Some(unknown) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Problem::invalid(unknown, at));
    }
    let text = |key: &'static str, limit: usize| match &item[key] {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= limit => Ok(Some(text.clone())),
        _ => Err(Problem::invalid(key, at)),
    };
    let flag = |key: &'static str| match &item[key] {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        _ => Err(Problem::invalid(key, at)),
    };
    let notify_url = text("notify_url", NOTIFY_URL_LIMIT)?;
    if notify_url.as_ref().is_some_and(|url| !url.starts_with("http")) {
        return Err(Problem::invalid("notify_url", at));
    }
    Ok(Item {
        id: channel_id(&item["channel_id"], at)?,
        events: events(&item["events"], at, model)?,
        notify_url,
        ends: match text("channel_expiry", 40)? {
            Some(asked) => Some(
                granted(&asked, version, knobs, now)
                    .ok_or_else(|| Problem::invalid("channel_expiry", at))?,
            ),
            None => None,
        },
        token: text("token", TOKEN_LIMIT)?,
        related: flag("notify_on_related_action")?,
        affected_values: flag("return_affected_field_values")?,
        delete_events: flag("_delete_events")?.unwrap_or(false),
    })
}

/// When a channel that does not say ends.
pub(super) fn default_end(knobs: &Knobs, now: Moment) -> i64 {
    capped(now.after(DEFAULT_LIFE).unix(), knobs, now)
}

/// When a channel ends that asks to live until `asked`: with more than its version's maximum it
/// silently gets an hour (facts §1.3). Fractions of a second are invalid (facts §1.2).
fn granted(asked: &str, version: Version, knobs: &Knobs, now: Moment) -> Option<i64> {
    let ends = UpstreamTime::parse(asked).filter(|_| !asked.contains('.'))?.unix();
    let days = if version.is_at_least(4) { 7 } else { 1 };
    let latest = now.after(Duration::from_secs(days * 86_400)).unix();
    match ends {
        ends if ends <= now.unix() => None,
        ends if ends > latest => Some(default_end(knobs, now)),
        ends => Some(capped(ends, knobs, now)),
    }
}

fn capped(ends: i64, knobs: &Knobs, now: Moment) -> i64 {
    knobs.grant_at_most.map_or(ends, |life| ends.min(now.after(life).unix()))
}

/// A whole number of up to 64 bits, as a string or as a number (facts §1.2).
fn channel_id(value: &Value, at: usize) -> Result<String, Problem> {
    let text = match value {
        Value::Null => return Err(Problem::missing("channel_id", at)),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_whole = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    if is_whole { Ok(text) } else { Err(Problem::invalid("channel_id", at)) }
}

fn events(value: &Value, at: usize, model: &Model) -> Result<Option<Events>, Problem> {
    let listed = match value {
        Value::Null => return Ok(None),
        Value::Array(listed) if (1..=EVENTS_LIMIT).contains(&listed.len()) => listed,
        _ => return Err(Problem::invalid("events", at)),
    };
    let mut events = Events::new();
    for event in listed {
        let (module, verbs) = event
            .as_str()
            .and_then(|event| event.rsplit_once('.'))
            .filter(|(module, _)| model.module(module).is_ok())
            .and_then(|(module, verb)| Some((module, verbs(verb)?)))
            .ok_or_else(|| Problem::invalid("events", at))?;
        events.entry(module.to_owned()).or_default().extend(verbs);
    }
    Ok(Some(events))
}

fn verbs(text: &str) -> Option<Vec<Verb>> {
    if text == "all" {
        return Some(Verb::ALL.to_vec());
    }
    Verb::ALL.into_iter().find(|verb| verb.asked() == text).map(|verb| vec![verb])
}
