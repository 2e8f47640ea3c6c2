//! Webhooks of Books: the settings, what a workflow makes of them, and the histories (facts §5.1 to
//! §5.4).
//!
//! A test says that a workflow fires ([`Upstream::fire`]), or that it fires at every change
//! ([`BooksWebhooks::ruled`]), and carries what comes of it ([`Upstream::take_announced`]); what a
//! listener answered it tells back ([`Upstream::answered`]).

use std::collections::{BTreeMap, VecDeque};

use ring::hmac;
use serde_json::{Value, json};

use super::clock::{Moment, stamp};
use super::delivery::target;
use super::wire::{Answer, Asked};
use super::{ORGANIZATION, Upstream};

/// Where all of this is.
const ROOT: &str = "/books/v3/settings/webhooks";
/// Limits on texts, in characters.
const LIMITS: [(&str, usize); 4] =
    [("webhook_name", 50), ("description", 100), ("url", 5_000), ("raw_data", 100_000)];
const PAGE_LIMIT: u64 = 200;

/// How a webhook writes its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writes {
    /// The whole record under its entity's name.
    Default,
    /// Chosen fields of the record as a form.
    Form,
    /// JSON that a person wrote, with the record's id in it.
    Raw,
}

/// Books' webhooks. Fields may be changed at any time.
pub struct BooksWebhooks {
    /// How bodies are written.
    pub writes: Writes,
    /// Whether signatures are written in Base64 and not in hexadecimal.
    pub base64: bool,
    /// Whether a workflow rule fires whenever a record is created, edited or deleted.
    pub ruled: bool,
    /// Every call is refused with this status and code.
    pub refusing: Option<(u16, i64)>,
    webhooks: BTreeMap<u64, Webhook>,
    histories: BTreeMap<u64, History>,
    outbox: VecDeque<u64>,
    last_id: u64,
}

/// A webhook as Books keeps it.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// What was sent, all of it.
    pub settings: Value,
    /// When it was created.
    created: Moment,
}

/// One execution.
#[derive(Clone, Debug)]
pub struct History {
    /// The webhook.
    pub webhook: u64,
    /// The record.
    pub record: u64,
    /// What listeners answered, in order; `None` where nobody did.
    pub answers: Vec<Option<u16>>,
    /// How often it was asked for again.
    pub resent: u32,
    at: Moment,
    last: Moment,
}

impl History {
    /// Whether nobody has answered it with success.
    pub fn has_failed(&self) -> bool {
        let last = self.answers.last().copied().flatten();
        !last.is_some_and(|status| (200..300).contains(&status))
    }
}

/// A callback that Books wants to send.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Its execution.
    pub history: u64,
    /// Where to.
    pub url: String,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: String,
}

impl Announced {
    /// Path and query of its address.
    pub fn target(&self) -> &str {
        target(&self.url)
    }
}

impl Default for BooksWebhooks {
    fn default() -> BooksWebhooks {
        BooksWebhooks {
            writes: Writes::Default,
            base64: false,
            ruled: false,
            refusing: None,
            webhooks: BTreeMap::new(),
            histories: BTreeMap::new(),
            outbox: VecDeque::new(),
            last_id: 460_000_000_040_000,
        }
    }
}

impl Webhook {
    /// A setting as text.
    pub fn text(&self, key: &str) -> &str {
        self.settings[key].as_str().unwrap_or_default()
    }
}

impl BooksWebhooks {
    /// All that there are, by their ids.
    pub fn all(&self) -> &BTreeMap<u64, Webhook> {
        &self.webhooks
    }

    /// All executions, by their ids.
    pub fn histories(&self) -> &BTreeMap<u64, History> {
        &self.histories
    }

    /// Changes a setting, as a person does.
    pub fn set(&mut self, id: u64, key: &str, value: &str) {
        self.webhooks.get_mut(&id).expect("the webhook is there").settings[key] = value.into();
    }

    /// Removes one, as a person does.
    pub fn remove(&mut self, id: u64) {
        self.webhooks.remove(&id);
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn announced(&self, id: u64) -> Option<Announced> {
        let history = &self.histories[&id];
        let webhook = self.webhooks.get(&history.webhook)?;
        let (entity, record) = (webhook.text("entity"), history.record);
        let key = format!("{entity}_id");
        let (media, body) = match self.writes {
            Writes::Default => {
                let inside = json!({ &key: record.to_string(), "total": 1.5, "notes": "é" });
                ("application/json", json!({ entity: inside }).to_string())
            }
            Writes::Raw => ("application/json", json!({ &key: record, "by": "hand" }).to_string()),
            Writes::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("total", "1.5 €").append_pair(&key, &record.to_string());
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        let url = webhook.text("url").to_owned();
        let mut headers = vec![("Content-Type", media.to_owned())];
        if !webhook.text("secret").is_empty() {
            let code = self.sign(webhook.text("secret"), &url, &body);
            headers.push(("X-Zoho-Webhook-Signature", code));
        }
        Some(Announced { history: id, url, headers, body })
    }

    /// The signature (facts §5.3).
    fn sign(&self, secret: &str, url: &str, body: &str) -> String {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let is_form = self.writes == Writes::Form;
        if is_form {
            pairs.extend(form_urlencoded::parse(body.as_bytes()).into_owned());
        }
        pairs.sort();
        let mut text: String = pairs.into_iter().map(|(key, value)| key + &value).collect();
        text += if is_form { "" } else { body };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, text.as_bytes());
        if self.base64 { base64(tag.as_ref()) } else { hexadecimal(tag.as_ref()) }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let sixes = bits.as_bytes().chunks(6).map(|six| {
        let text = format!("{:0<6}", String::from_utf8_lossy(six));
        char::from(LETTERS[usize::from_str_radix(&text, 2).expect("six bits")])
    });
    let mut text: String = sixes.collect();
    while text.len() % 4 != 0 {
        text.push('=');
    }
    text
}

impl Upstream {
    /// A workflow rule fires for a record: each webhook of its entity is executed.
    pub fn fire(&mut self, entity: &str, record: u64) {
        let now = self.now();
        let of_entity = self.webhooks.webhooks.iter();
        let of_entity = of_entity.filter(|(_, webhook)| webhook.text("entity") == entity);
        let ids: Vec<u64> = of_entity.map(|(id, _)| *id).collect();
        for webhook in ids {
            let id = self.webhooks.new_id();
            let (answers, resent) = (Vec::new(), 0);
            let history = History { webhook, record, answers, resent, at: now, last: now };
            self.webhooks.histories.insert(id, history);
            self.webhooks.outbox.push_back(id);
        }
    }

    /// Takes the callbacks of Books that wait to be sent, oldest first.
    pub fn take_announced(&mut self) -> Vec<Announced> {
        let waiting: Vec<u64> = self.webhooks.outbox.drain(..).collect();
        waiting.into_iter().filter_map(|id| self.webhooks.announced(id)).collect()
    }

    /// What a listener answered to a callback; `None` when nobody did.
    pub fn answered(&mut self, history: u64, status: Option<u16>) {
        let now = self.now();
        let history = self.webhooks.histories.get_mut(&history).expect("it was executed");
        history.answers.push(status);
        history.last = now;
    }

    /// Answers a call about webhooks' settings; `None` when it is about something else.
    pub(super) fn settings(&mut self, asked: &Asked, now: Moment) -> Option<Answer> {
        let rest = asked.path.strip_prefix(ROOT)?;
        if let Some((status, code)) = self.webhooks.refusing {
            return Some(refusal(status, code, "refused"));
        }
        let scope = match asked.method.as_str() {
            "GET" => "ZohoBooks.settings.READ",
            "POST" => "ZohoBooks.settings.CREATE",
            "PUT" => "ZohoBooks.settings.UPDATE",
            _ => "ZohoBooks.settings.DELETE",
        };
        let message = "You are not authorized to perform this operation";
        if self.accounts.authorise(asked, scope, now).is_err() {
            return Some(refusal(401, 57, message));
        }
        if let Err(refusal) = self.books.admit(now) {
            return Some(refusal);
        }
        if asked.param("organization_id") != Some(ORGANIZATION) {
            return Some(refusal(400, 6041, "This user is not associated with the CompanyID"));
        }
        let parts: Vec<&str> = rest.split('/').skip(1).collect();
        let answer = match (asked.method.as_str(), parts.as_slice()) {
            ("POST", []) => self.create_webhook(asked, now),
            ("GET", []) => self.list_webhooks(asked),
            ("GET", ["editpage"]) => Ok(edit_page()),
            ("GET", ["histories"]) => self.list_histories(asked),
            ("POST", ["histories", "bulkresend"]) => {
                let ids = asked.param("history_ids").unwrap_or_default();
                self.resend(&ids.split(',').collect::<Vec<_>>())
            }
            ("GET", ["histories", id]) => self.show_history(id),
            ("POST", ["histories", id, "resend"]) => self.resend(&[id]),
            ("GET", [id]) => self.webhook(id).map(|id| self.shown(id)),
            ("PUT", [id]) => self.webhook(id).and_then(|id| self.update_webhook(id, asked)),
            ("DELETE", [id]) => self.webhook(id).map(|id| {
                self.webhooks.webhooks.remove(&id);
                success(json!({}))
            }),
            _ => Err(refusal(404, 5, "Invalid URL Passed")),
        };
        Some(answer.unwrap_or_else(|refusal| refusal))
    }

    fn webhook(&self, id: &str) -> Result<u64, Answer> {
        let id = id.parse().ok().filter(|id| self.webhooks.webhooks.contains_key(id));
        id.ok_or_else(|| refusal(404, 1002, "Webhook does not exist."))
    }

    fn create_webhook(&mut self, asked: &Asked, now: Moment) -> Result<Answer, Answer> {
        let settings = body_of(asked)?;
        let missing = ["webhook_name", "entity", "method", "url"];
        if let Some(key) = missing.iter().find(|key| !settings[**key].is_string()) {
            return Err(refusal(400, 4, &format!("Invalid value passed for {key}")));
        }
        let id = self.webhooks.new_id();
        self.webhooks.webhooks.insert(id, Webhook { settings, created: now });
        Ok(Answer { status: 201, ..self.shown(id) })
    }

    fn update_webhook(&mut self, id: u64, asked: &Asked) -> Result<Answer, Answer> {
        let Value::Object(settings) = body_of(asked)? else { unreachable!("it was checked") };
        let webhook = self.webhooks.webhooks.get_mut(&id).expect("it was found");
        for (key, value) in settings {
            webhook.settings[key] = value;
        }
        Ok(self.shown(id))
    }

    /// One webhook. The documentation has a `secret` in it; Books' own pages say that it is never
    /// shown again: the harsher for a client that prints what it gets.
    fn shown(&self, id: u64) -> Answer {
        let mut webhook = self.webhooks.webhooks[&id].settings.clone();
        webhook["webhook_id"] = id.to_string().into();
        success(json!({ "webhook": webhook }))
    }

    fn list_webhooks(&self, asked: &Asked) -> Result<Answer, Answer> {
        allow(asked, &["page", "per_page", "filter_by", "sort_column"])?;
        let entity = asked.param("filter_by").and_then(|text| text.strip_prefix("Entity."));
        let shown = |text: &str| {
            entity.is_none_or(|entity| entity == "All" || text.eq_ignore_ascii_case(entity))
        };
        let all = self.webhooks.webhooks.iter();
        let mut all: Vec<_> = all.filter(|(_, webhook)| shown(webhook.text("entity"))).collect();
        match asked.param("sort_column") {
            Some("webhook_name") => all.sort_by_key(|(_, hook)| hook.text("webhook_name")),
            Some("created_time") | None => all.sort_by_key(|(id, hook)| (hook.created, **id)),
            Some(_) => return Err(refusal(400, 2, "Invalid value passed for sort_column")),
        }
        let offset = self.knobs.offset_minutes;
        let row = |(id, webhook): (&u64, &Webhook)| {
            json!({
                "webhook_id": id.to_string(),
                "webhook_name": webhook.text("webhook_name"),
                "description": webhook.text("description"),
                "is_active": webhook.text("is_active") != "false",
                "is_from_plugin": false,
                "url": webhook.text("url"),
                "entity": webhook.text("entity"),
                "method": webhook.text("method"),
                "created_time": stamp(webhook.created.unix(), offset),
                "related_rules": [],
            })
        };
        paged(asked, "webhooks", all.into_iter().map(row).collect())
    }

    fn list_histories(&self, asked: &Asked) -> Result<Answer, Answer> {
        allow(asked, &["page", "per_page", "sort_column", "sort_order"])?;
        let columns = ["event_time", "event_id", "notified_time"];
        if asked.param("sort_column").is_some_and(|column| !columns.contains(&column)) {
            return Err(refusal(400, 2, "Invalid value passed for sort_column"));
        }
        let all = self.webhooks.histories.keys().map(|id| self.history(*id));
        let mut rows: Vec<Value> = all.collect();
        if asked.param("sort_order") == Some("D") {
            rows.reverse();
        }
        paged(asked, "histories", rows)
    }

    fn history(&self, id: u64) -> Value {
        let history = &self.webhooks.histories[&id];
        let webhook = self.webhooks.webhooks.get(&history.webhook);
        let text = |key| webhook.map(|webhook| webhook.text(key)).unwrap_or_default();
        // Without a colon in the offset, as other stamps of Books are written.
        let offset = self.knobs.offset_minutes;
        let time = |moment: Moment| {
            let mut text = stamp(moment.unix(), offset);
            text.remove(text.len() - 3);
            text
        };
        let answer = history.answers.last().copied().flatten();
        json!({
            "history_id": id.to_string(),
            "webhook_url_id": history.webhook.to_string(),
            "webhook_name": text("webhook_name"),
            "entity_type": text("entity"),
            "entity_id": history.record.to_string(),
            "response_code": answer.unwrap_or(0),
            "status": if history.has_failed() { "failed" } else { "success" },
            "retry_count": history.answers.len().saturating_sub(1),
            "last_execution_time": time(history.last),
            "next_retry_time": "",
            "history_time": time(history.at),
            "webhook_url": text("url"),
        })
    }

    fn show_history(&self, id: &str) -> Result<Answer, Answer> {
        let id = id.parse().ok().filter(|id| self.webhooks.histories.contains_key(id));
        let id = id.ok_or_else(|| refusal(404, 1002, "History does not exist."))?;
        let mut shown = self.history(id);
        let answers = &self.webhooks.histories[&id].answers;
        shown["versions"] =
            answers.iter().map(|answer| json!({ "response_code": answer })).collect();
        Ok(success(json!({ "history": shown })))
    }

    fn resend(&mut self, ids: &[&str]) -> Result<Answer, Answer> {
        let known = &self.webhooks.histories;
        let ids: Option<Vec<u64>> =
            ids.iter().map(|id| id.parse().ok().filter(|id| known.contains_key(id))).collect();
        let ids = ids.ok_or_else(|| refusal(404, 1002, "History does not exist."))?;
        for id in ids {
            self.webhooks.histories.get_mut(&id).expect("it was found").resent += 1;
            self.webhooks.outbox.push_back(id);
        }
        Ok(success(json!({})))
    }
}

/// The settings that are sent, held to their limits.
fn body_of(asked: &Asked) -> Result<Value, Answer> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    if !body.is_object() {
        return Err(refusal(400, 2, "Invalid JSON"));
    }
    for (key, limit) in LIMITS {
        if body[key].as_str().is_some_and(|text| text.chars().count() > limit) {
            let message = format!("Please ensure that the {key} has less than {limit} characters");
            return Err(refusal(400, 15, &message));
        }
    }
    if let Some(secret) = body["secret"].as_str() {
        let plain = secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || !(12..=50).contains(&secret.len()) {
            return Err(refusal(400, 4, "Invalid value passed for secret"));
        }
    }
    Ok(body)
}

fn edit_page() -> Answer {
    let entities = ["invoice", "bill", "contact"].map(|name| json!({ "entity": name }));
    success(json!({ "entities": entities, "entity_fields": [], "connection_link_names": [] }))
}

fn allow(asked: &Asked, names: &[&str]) -> Result<(), Answer> {
    let allowed = [names, &["organization_id"]].concat();
    asked.allow(&allowed).map_err(|_| refusal(400, 2, "Invalid parameter"))
}

fn paged(asked: &Asked, key: &str, rows: Vec<Value>) -> Result<Answer, Answer> {
    let wrong = |_| refusal(400, 2, "Invalid value passed for per_page");
    let per_page = asked.count("per_page", PAGE_LIMIT, PAGE_LIMIT).map_err(wrong)?;
    let page = asked.count("page", 1, u64::MAX).map_err(wrong)?;
    let start = usize::try_from((page - 1) * per_page).unwrap_or(usize::MAX).min(rows.len());
    let end = rows.len().min(start + per_page as usize);
    let context = json!({ "page": page, "per_page": per_page, "has_more_page": end < rows.len() });
    Ok(success(json!({ key: rows[start..end], "page_context": context })))
}

fn success(mut body: Value) -> Answer {
    body["code"] = 0.into();
    body["message"] = "success".into();
    Answer::json(200, &body)
}

fn refusal(status: u16, code: i64, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message }))
}
