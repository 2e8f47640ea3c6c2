//! What upstream sends of its own accord: one callback per channel that covers a change, shaped as
//! live captures show it (facts §2.1).

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;

use serde_json::{Map, Value, json};

use super::Upstream;
use super::channels::Channel;
use super::clock::Moment;
use super::model::Model;

/// What a channel may be told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Verb {
    Create,
    Edit,
    Delete,
}

impl Verb {
    pub(super) const ALL: [Verb; 3] = [Verb::Create, Verb::Edit, Verb::Delete];

    /// As a channel asks for it.
    pub(super) fn asked(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Edit => "edit",
            Verb::Delete => "delete",
        }
    }

    /// As a callback says it: another word (facts §2.1).
    fn said(self) -> &'static str {
        match self {
            Verb::Create => "insert",
            Verb::Edit => "update",
            Verb::Delete => "delete",
        }
    }
}

/// A record's id and the values that a change set.
pub(super) type Changed = (u64, Vec<(String, String)>);

/// A callback that upstream wants to send.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Where to: the channel's `notify_url`.
    pub url: String,
    /// What: JSON.
    pub body: String,
    /// The channel.
    pub channel_id: String,
    /// The module.
    pub module: String,
    /// `insert`, `update` or `delete`.
    pub operation: &'static str,
    /// The records.
    pub ids: Vec<u64>,
    /// When the change happened.
    pub at: Moment,
}

/// Callbacks on their way: waiting to be taken, or handed on as they come.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Callback>,
    forward: Option<Sender<Callback>>,
}

impl Outbox {
    fn push(&mut self, callback: Callback) {
        let unsent = match &self.forward {
            Some(sender) => sender.send(callback).err().map(|error| error.0),
            None => Some(callback),
        };
        if let Some(callback) = unsent {
            self.forward = None;
            self.waiting.push_back(callback);
        }
    }
}

impl Upstream {
    /// Takes the callbacks that wait to be sent, oldest first. What becomes of them is the test's
    /// choice: lost, doubled, late, out of order.
    pub fn take_callbacks(&mut self) -> Vec<Callback> {
        self.outbox.waiting.drain(..).collect()
    }

    /// Hands callbacks on as they come, those that wait first.
    pub fn forward_callbacks(&mut self, to: Sender<Callback>) {
        let waiting = self.take_callbacks();
        self.outbox.forward = Some(to);
        waiting.into_iter().for_each(|callback| self.outbox.push(callback));
    }

    /// Tells every live channel that covers the change, and has Books' rule fire for records of
    /// its own; records that the user may not see are left out.
    pub(super) fn announce(&mut self, module: &str, verb: Verb, changed: &[Changed]) {
        let now = self.now();
        let rows = &self.model.known(module).rows;
        let seen: Vec<&Changed> =
            changed.iter().filter(|(id, _)| !rows.get(id).is_some_and(|row| row.hidden)).collect();
        for channel in self.channels.live(now) {
            if channel.covers(module, verb) {
                for some in seen.chunks(self.knobs.ids_per_callback.max(1)) {
                    let origin = &self.knobs.api_origin;
                    self.outbox.push(callback(channel, origin, module, verb, some, now));
                }
            }
            for (other, id) in related(&self.model, channel, module, &seen) {
                let told = &[&(id, Vec::new())];
                let origin = &self.knobs.api_origin;
                self.outbox.push(callback(channel, origin, &other, Verb::Edit, told, now));
            }
        }
        let entity = self.model.known(module).entity.filter(|_| self.webhooks.ruled);
        if let Some(entity) = entity {
            let ids: Vec<u64> = seen.iter().map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.fire(entity.singular(), id));
        }
    }
}

/// Records in other modules that the changed ones point to: a channel that did not say
/// `notify_on_related_action: false` is told of them too (facts §1.2).
fn related(
    model: &Model,
    channel: &Channel,
    module: &str,
    changed: &[&Changed],
) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    if !channel.related {
        return found;
    }
    let own = model.modules().find(|known| known.name == module);
    let rows = changed.iter().filter_map(|(id, _)| own?.rows.get(id));
    for raw in rows.flat_map(|row| row.values.values()).filter(|raw| raw.starts_with('{')) {
        let Ok(Value::Object(lookup)) = serde_json::from_str(raw) else { continue };
        let Some(id) = lookup.get("id").and_then(Value::as_str) else { continue };
        let Ok(id) = id.parse::<u64>() else { continue };
        for other in model.modules().filter(|other| other.name != module) {
            let told = channel.covers(&other.name, Verb::Edit) && other.rows.contains_key(&id);
            if told && !found.contains(&(other.name.clone(), id)) {
                found.push((other.name.clone(), id));
            }
        }
    }
    found
}

fn callback(
    channel: &Channel,
    origin: &str,
    module: &str,
    verb: Verb,
    changed: &[&Changed],
    now: Moment,
) -> Callback {
    let (_, query) = channel.notify_url.split_once('?').unwrap_or(("", ""));
    let params: BTreeMap<String, String> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let names = |values: &[(String, String)]| -> Vec<String> {
        values.iter().map(|(name, _)| name.clone()).collect()
    };
    let fields: Vec<Value> = changed
        .iter()
        .filter(|_| verb != Verb::Create)
        .map(|(id, values)| json!({ id.to_string(): names(values) }))
        .collect();
    let mut body = json!({
        "server_time": now.millis(),
        "query_params": params,
        "module": module,
        "resource_uri": format!("{origin}/crm/v2/{module}"),
        "ids": changed.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        "affected_fields": fields,
        "operation": verb.said(),
        "channel_id": channel.id,
        "token": channel.token,
    });
    if channel.affected_values && verb != Verb::Create {
        body["affected_values"] = changed.iter().map(|change| affected(change)).collect();
    }
    Callback {
        url: channel.notify_url.clone(),
        body: body.to_string(),
        channel_id: channel.id.clone(),
        module: module.to_owned(),
        operation: verb.said(),
        ids: changed.iter().map(|(id, _)| *id).collect(),
        at: now,
    }
}

fn affected((id, values): &Changed) -> Value {
    let values: Map<String, Value> = values
        .iter()
        .map(|(name, raw)| (name.clone(), serde_json::from_str(raw).unwrap_or(Value::Null)))
        .collect();
    json!({"record_id": id.to_string(), "values": values})
}
