//! `/crm/vN/actions/watch`: channels are opened, renewed, changed, closed and shown (facts §1).
//!
//! Every item of a request is judged on its own; the status says little.

use serde_json::{Value, json};

use super::Upstream;
use super::callbacks::Verb;
use super::channels::{Channel, Events, Item, Problem, default_end, read_item};
use super::clock::{Moment, stamp};
use super::route::Version;
use super::wire::{Answer, Asked};

/// Items of one request (facts §1.2).
const ITEMS_LIMIT: usize = 50;
/// Rows of one page.
const PAGE_LIMIT: u64 = 200;

const SUBSCRIBED: &str = "Successfully subscribed for actions-watch of the given module";
const UPDATED: &str = "Successfully updated the subscribe details";
const EVENTS_REMOVED: &str = "Successfully removed the subscribe details";
const UNSUBSCRIBED: &str = "Successfully un-subscribed from actions-watch";

impl Upstream {
    pub(super) fn watch(
        &mut self,
        version: Version,
        asked: &Asked,
        now: Moment,
    ) -> Result<Answer, Answer> {
        self.channels.collect(now);
        match asked.method.as_str() {
            "GET" => self.show_channels(asked, now),
            "DELETE" => self.close_channels(asked, now),
            "POST" => {
                let answers = self.each_item(version, asked, now, Upstream::open_channel)?;
                Ok(watched(answers, 201, self.knobs.watch_error_status))
            }
            "PUT" => {
                let answers = self.each_item(version, asked, now, Upstream::replace_channel)?;
                Ok(watched(answers, 200, 400))
            }
            "PATCH" => {
                let answers = self.each_item(version, asked, now, Upstream::change_channel)?;
                Ok(watched(answers, 200, 400))
            }
            _ => Err(Answer::refusal(400, "INVALID_REQUEST_METHOD", json!({}), "not a method")),
        }
    }

    fn each_item(
        &mut self,
        version: Version,
        asked: &Asked,
        now: Moment,
        act: impl Fn(&mut Upstream, Item, usize, Moment) -> Result<Value, Problem>,
    ) -> Result<Vec<Result<Value, Problem>>, Answer> {
        asked.allow(&[])?;
        let body: Value = serde_json::from_slice(&asked.body)
            .map_err(|_| Answer::refusal(400, "INVALID_DATA", json!({}), "the body is not JSON"))?;
        let Some(items) = body["watch"].as_array().filter(|items| !items.is_empty()) else {
            let details = json!({"api_name": "watch", "json_path": "$.watch"});
            let message = "required field not found";
            return Err(Answer::refusal(400, "MANDATORY_NOT_FOUND", details, message));
        };
        if items.len() > ITEMS_LIMIT {
            let details = json!({"api_name": "watch", "limit": ITEMS_LIMIT});
            return Err(Answer::refusal(400, "LIMIT_EXCEEDED", details, "too many channels"));
        }
        let each = items.iter().enumerate().map(|(at, item)| {
            let item = read_item(item, at, version, &self.model, &self.knobs, now)?;
            act(self, item, at, now)
        });
        Ok(each.collect())
    }

    /// POST: creates, and renews what is live (facts §1.4).
    fn open_channel(&mut self, item: Item, at: usize, now: Moment) -> Result<Value, Problem> {
        let is_live = self.channels.live_one(&item.id, now).is_some();
        if is_live && self.knobs.post_on_live_refused {
            return Err(Problem {
                code: "ALREADY_USED",
                details: json!({"api_name": "channel_id"}),
                message: "the channel id is in use",
            });
        }
        if !is_live && self.channels.live(now).count() >= self.knobs.channels_at_most {
            return Err(Problem {
                code: "LIMIT_REACHED",
                details: json!({"limit": self.knobs.channels_at_most}),
                message: "no more channels can be opened",
            });
        }
        self.put_in_place(item, at, now)
    }

    /// PUT: what is sent stays, everything else goes (facts §1.1).
    fn replace_channel(&mut self, item: Item, at: usize, now: Moment) -> Result<Value, Problem> {
        if self.channels.live_one(&item.id, now).is_none() {
            return Err(Problem::not_subscribed());
        }
        self.put_in_place(item, at, now)
    }

    fn put_in_place(&mut self, item: Item, at: usize, now: Moment) -> Result<Value, Problem> {
        let channel = Channel {
            id: item.id,
            events: item.events.ok_or_else(|| Problem::missing("events", at))?,
            notify_url: item.notify_url.ok_or_else(|| Problem::missing("notify_url", at))?,
            ends: item.ends.unwrap_or_else(|| default_end(&self.knobs, now)),
            token: item.token,
            related: item.related.unwrap_or(true),
            affected_values: item.affected_values.unwrap_or(false),
        };
        let details = self.granted_details(&channel, true);
        self.channels.insert(channel);
        Ok(success(details, SUBSCRIBED))
    }

    /// PATCH: parts change, but events must be sent, and a token that is not sent again is lost
    /// (facts §1.4).
    fn change_channel(&mut self, item: Item, at: usize, now: Moment) -> Result<Value, Problem> {
        let channel = self.channels.live_one(&item.id, now).ok_or_else(Problem::not_subscribed)?;
        let events = item.events.ok_or_else(|| Problem::missing("events", at))?;
        if item.delete_events {
            remove_events(&mut channel.events, &events);
        } else {
            channel.events = events;
            channel.token = item.token;
            channel.ends = item.ends.unwrap_or(channel.ends);
            channel.related = item.related.unwrap_or(channel.related);
            channel.affected_values = item.affected_values.unwrap_or(channel.affected_values);
            if let Some(url) = item.notify_url {
                channel.notify_url = url;
            }
        }
        let channel = channel.clone();
        let details = self.granted_details(&channel, !item.delete_events);
        if channel.events.is_empty() {
            self.channels.remove(&channel.id);
        }
        let message = if item.delete_events { EVENTS_REMOVED } else { UPDATED };
        Ok(success(details, message))
    }

    fn close_channels(&mut self, asked: &Asked, now: Moment) -> Result<Answer, Answer> {
        asked.allow(&["channel_ids"])?;
        let ids = asked.param("channel_ids").unwrap_or_default();
        if ids.is_empty() {
            let details = json!({"param": "channel_ids"});
            let message = "One of the expected parameter is missing";
            return Err(Answer::refusal(400, "EXPECTED_PARAM_MISSING", details, message));
        }
        let mut answers = Vec::new();
        for id in ids.split(',') {
            let Some(channel) = self.channels.live_one(id, now).cloned() else {
                answers.push(Err(Problem::not_subscribed()));
                continue;
            };
            self.channels.remove(id);
            for module in channel.events.keys() {
                answers.push(Ok(success(self.resource(module, id), UNSUBSCRIBED)));
            }
        }
        Ok(watched(answers, 200, 400))
    }

    fn show_channels(&mut self, asked: &Asked, now: Moment) -> Result<Answer, Answer> {
        asked.allow(&["page", "per_page", "channel_id", "module"])?;
        let page = asked.count("page", 1, u64::MAX)?;
        let per_page = asked.count("per_page", PAGE_LIMIT, PAGE_LIMIT)?;
        let mut rows = Vec::new();
        for channel in self.channels.live(now) {
            let wanted = asked.param("channel_id").is_none_or(|id| id == channel.id);
            for (module, verbs) in channel.events.iter().filter(|_| wanted) {
                if asked.param("module").is_none_or(|name| name == module) {
                    let mut row = self.resource(module, &channel.id);
                    row["channel_expiry"] = self.shown_end(channel);
                    row["events"] =
                        verbs.iter().map(|verb| format!("{module}.{}", verb.asked())).collect();
                    row["notify_url"] = json!(channel.notify_url);
                    row["token"] = json!(channel.token);
                    row["notify_on_related_action"] = json!(channel.related);
                    row["return_affected_field_values"] = json!(channel.affected_values);
                    row["fields"] = Value::Null;
                    row["notification_condition"] = Value::Null;
                    rows.push(row);
                }
            }
        }
        let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let total = rows.len();
        let shown: Vec<Value> = rows.into_iter().skip(skip).take(per_page as usize).collect();
        if shown.is_empty() {
            return Ok(Answer::empty(204));
        }
        let more = skip + shown.len() < total;
        let info =
            json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
        Ok(Answer::json(200, &json!({"watch": shown, "info": info})))
    }

    /// One row per module (facts §1.3).
    fn granted_details(&self, channel: &Channel, with_end: bool) -> Value {
        let row = |module: &String| {
            let mut row = self.resource(module, &channel.id);
            if with_end {
                row["channel_expiry"] = self.shown_end(channel);
            }
            row
        };
        json!({"events": channel.events.keys().map(row).collect::<Vec<_>>()})
    }

    /// The address is of v2 whatever the version of the call (facts §1.3).
    fn resource(&self, module: &str, channel: &str) -> Value {
        let id = self.model.module(module).map_or(0, |module| module.id);
        json!({
            "resource_uri": format!("{}/crm/v2/{module}", self.knobs.api_origin),
            "resource_id": id.to_string(),
            "resource_name": module,
            "channel_id": channel,
        })
    }

    fn shown_end(&self, channel: &Channel) -> Value {
        json!(stamp(channel.ends, self.knobs.offset_minutes))
    }
}

fn remove_events(events: &mut Events, removed: &Events) {
    for (module, verbs) in removed {
        if let Some(left) = events.get_mut(module) {
            left.retain(|verb: &Verb| !verbs.contains(verb));
        }
    }
    events.retain(|_, verbs| !verbs.is_empty());
}

fn success(details: Value, message: &str) -> Value {
    json!({"code": "SUCCESS", "details": details, "message": message, "status": "success"})
}

/// `failed` is the status when all went wrong; some of many is 202 (facts §1.5).
fn watched(answers: Vec<Result<Value, Problem>>, done: u16, failed: u16) -> Answer {
    let wrong = answers.iter().filter(|answer| answer.is_err()).count();
    let status = match wrong {
        0 => done,
        wrong if wrong == answers.len() => failed,
        _ => 202,
    };
    let items: Vec<Value> =
        answers.into_iter().map(|answer| answer.unwrap_or_else(|problem| problem.body())).collect();
    Answer::json(status, &json!({"watch": items}))
}
