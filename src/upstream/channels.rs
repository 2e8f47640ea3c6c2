//! Our channel at upstream: opening, replacing, closing and looking at it (facts §1).
//!
//! A status of 2xx is no success here: upstream answers 202 to a channel that it turned down.
//! Every item's `code` is read, whatever the status.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use crate::mirror::channel::{ChannelOutcome, Desired, Row};
use crate::mirror::gather::Gather;
use crate::mirror::record::{ChannelId, ModuleName};
use crate::mirror::time::UpstreamTime;
use crate::mirror::trouble::{Scope, Trouble};
use crate::secret::Secret;

use super::api::{Api, Query};
use super::transport::{Body, Method, Reply, Request};
use super::verdict::{Verdict, judge};

/// Rows of a page of channels (facts §1.3).
const ROWS: u32 = 200;

/// Asks to open the channel, with this token, until `expires`.
pub fn open(api: &Api, desired: &Desired, token: &Secret, expires: UpstreamTime) -> Request {
    request(api, Method::Post, desired, token, expires)
}

/// Asks to replace the channel whole: what is not sent is removed (facts §1.1), so everything is.
pub fn renew(api: &Api, desired: &Desired, token: &Secret, expires: UpstreamTime) -> Request {
    request(api, Method::Put, desired, token, expires)
}

/// Asks to close the channel.
pub fn close(api: &Api, id: ChannelId) -> Request {
    let url = api.url("actions/watch", &Query::default().with("channel_ids", id));
    api.request(Method::Delete, url, Body::Empty)
}

/// Asks for one page of the account's rows of this channel.
pub fn show(api: &Api, id: ChannelId, page: u32) -> Request {
    let query = Query::default().with("channel_id", id).with("page", page).with("per_page", ROWS);
    api.get(api.url("actions/watch", &query))
}

fn request(
    api: &Api,
    method: Method,
    desired: &Desired,
    token: &Secret,
    expires: UpstreamTime,
) -> Request {
    // `notify_on_related_action` is true upstream unless it is sent as false (facts §1.2).
    let body = serde_json::json!({ "watch": [{
        "channel_id": desired.id.to_string(),
        "events": events(&desired.events),
        "channel_expiry": expires.to_string(),
        "token": token.reveal(),
        "notify_url": desired.notify_url,
        "notify_on_related_action": desired.related_actions,
    }]});
    let url = api.url("actions/watch", &Query::default());
    api.request(method, url, Body::Json(Secret::new(body.to_string())))
}

/// Events that one channel may name (facts §1.2).
const EVENTS_LIMIT: usize = 50;

/// The events as they are sent: one by one while there is room, else `Leads.all` for a module that
/// has all three.
fn events(wanted: &BTreeSet<String>) -> Vec<String> {
    if wanted.len() <= EVENTS_LIMIT {
        return wanted.iter().cloned().collect();
    }
    let module_of = |event: &str| event.split('.').next().unwrap_or_default().to_owned();
    let has_all = |event: &&String| {
        each_verb(&format!("{}.all", module_of(event))).iter().all(|verb| wanted.contains(verb))
    };
    let (whole, single): (Vec<&String>, Vec<&String>) = wanted.iter().partition(has_all);
    let whole: BTreeSet<String> =
        whole.into_iter().map(|event| format!("{}.all", module_of(event))).gather();
    whole.into_iter().chain(single.into_iter().cloned()).collect()
}

#[derive(Deserialize)]
struct WatchBody {
    watch: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: serde_json::Value,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    events: Vec<Granted>,
}

#[derive(Deserialize)]
struct Granted {
    channel_expiry: UpstreamTime,
}

/// Reads the answer to opening or renewing, received when upstream's clock showed `now`.
pub fn parse_grant(reply: &Reply, now: UpstreamTime) -> ChannelOutcome {
    let item = match only_item(reply) {
        Ok(item) => item,
        Err(outcome) => return outcome,
    };
    let details: Option<Details> = serde_json::from_value(item.details).ok();
    let expiries = details.iter().flat_map(|details| &details.events);
    match expiries.map(|granted| granted.channel_expiry).min() {
        Some(expires) => ChannelOutcome::Granted { expires, life: expires.since(now) },
        None => failed("upstream does not say until when the channel is open".into()),
    }
}

/// Reads the answer to closing.
pub fn parse_close(reply: &Reply) -> ChannelOutcome {
    match only_item(reply) {
        Ok(_) => ChannelOutcome::Closed,
        Err(outcome) => outcome,
    }
}

/// The items of the answer, if they all succeeded, by the first; else what went wrong.
fn only_item(reply: &Reply) -> Result<Item, ChannelOutcome> {
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    let Ok(body) = serde_json::from_str::<WatchBody>(text) else {
        return Err(match judge(reply) {
            Ok(_) => failed("the answer about the channel cannot be read".into()),
            Err(trouble) => ChannelOutcome::Trouble(trouble),
        });
    };
    if let Some(bad) = body.watch.iter().find(|item| item.code != "SUCCESS") {
        return Err(refused(reply, bad));
    }
    body.watch.into_iter().next().ok_or_else(|| failed("the answer names no channel".into()))
}

fn refused(reply: &Reply, item: &Item) -> ChannelOutcome {
    let why = format!("status {} {}: {}", reply.status, item.code, item.message);
    match item.code.as_str() {
        "NOT_SUBSCRIBED" => ChannelOutcome::NotSubscribed,
        "ALREADY_USED" | "DUPLICATE_DATA" => ChannelOutcome::AlreadyUsed,
        "INTERNAL_ERROR" | "INTERNAL_SERVER_ERROR" => failed(why),
        "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" => {
            ChannelOutcome::Trouble(Trouble::TokenRefused { why })
        }
        _ => ChannelOutcome::Trouble(Trouble::Denied { scope: Scope::Request, why }),
    }
}

fn failed(why: String) -> ChannelOutcome {
    ChannelOutcome::Trouble(Trouble::Failed { after: None, why })
}

/// Reads a page of rows, and whether more follow.
pub fn parse_rows(verdict: Verdict<'_>) -> Result<(Vec<Row>, bool), Trouble> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        watch: Vec<RowBody>,
        #[serde(default)]
        info: Info,
    }
    #[derive(Deserialize, Default)]
    struct Info {
        #[serde(default)]
        more_records: bool,
    }
    #[derive(Deserialize)]
    struct RowBody {
        channel_id: ChannelId,
        resource_name: Option<String>,
        #[serde(default)]
        events: Vec<String>,
        notify_url: Option<String>,
        #[serde(default, deserialize_with = "some")]
        token: Option<Option<Secret>>,
        notify_on_related_action: Option<bool>,
        channel_expiry: Option<UpstreamTime>,
    }
    let Verdict::Content(text) = verdict else { return Ok((Vec::new(), false)) };
    let body: Body = serde_json::from_str(text).map_err(|error| Trouble::Failed {
        after: None,
        why: format!("the list of channels cannot be read: {error}"),
    })?;
    let rows = body.watch.into_iter().map(|row| Row {
        channel: row.channel_id,
        module: row.resource_name.and_then(|name| ModuleName::parse(&name).ok()),
        events: row.events.iter().flat_map(|event| each_verb(event)).collect(),
        notify_url: row.notify_url,
        token: row.token,
        related_actions: row.notify_on_related_action,
        expires: row.channel_expiry,
    });
    Ok((rows.collect(), body.info.more_records))
}

/// Tells a key that is null from one that is not there.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Secret>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `Leads.all` stands for three events; upstream mostly writes them out (facts §1.3).
fn each_verb(event: &str) -> Vec<String> {
    match event.strip_suffix(".all") {
        Some(module) => ["create", "edit", "delete"].map(|verb| format!("{module}.{verb}")).into(),
        None => vec![event.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mirror::origin::Origin;
    use crate::mirror::version::ApiVersion;

    fn grant(status: u16, body: &str) -> ChannelOutcome {
        let reply = Reply { status, date: None, retry_after: None, body: body.into() };
        parse_grant(&reply, UpstreamTime::parse("2023-08-03T00:00:00Z").unwrap())
    }

    fn item(code: &str, details: &str) -> String {
        format!(r#"{{"watch":[{{"code":"{code}","details":{details},"message":"m"}}]}}"#)
    }

    #[test]
    fn what_upstream_echoes_decides_the_life() {
        let event = r#"{"channel_expiry":"2023-08-02T16:59:50-11:00","resource_name":"Deals"}"#;
        let later = r#"{"channel_expiry":"2023-08-03T16:59:50-11:00","resource_name":"Leads"}"#;
        let body = item("SUCCESS", &format!(r#"{{"events":[{later},{event}]}}"#));
        let expires = UpstreamTime::parse("2023-08-03T03:59:50Z").unwrap();
        let life = Duration::from_secs(4 * 3600 - 10);
        assert_eq!(grant(201, &body), ChannelOutcome::Granted { expires, life });
    }

    #[test]
    fn every_items_code_is_read_whatever_the_status() {
        for status in [200, 201, 202, 207, 400] {
            let outcome = |code: &str| grant(status, &item(code, "{}"));
            assert_eq!(outcome("NOT_SUBSCRIBED"), ChannelOutcome::NotSubscribed);
            assert_eq!(outcome("ALREADY_USED"), ChannelOutcome::AlreadyUsed);
            let denied = outcome("INVALID_DATA");
            assert!(matches!(denied, ChannelOutcome::Trouble(Trouble::Denied { .. })), "{status}");
            let empty = outcome("SUCCESS");
            assert!(matches!(empty, ChannelOutcome::Trouble(Trouble::Failed { .. })));
        }
        let one_of_two = r#"{"watch":[{"code":"SUCCESS","details":{}},{"code":"NO_PERMISSION"}]}"#;
        let refused = grant(207, one_of_two);
        assert!(matches!(refused, ChannelOutcome::Trouble(Trouble::Denied { .. })));
        let unauthorised = grant(401, r#"{"code":"INVALID_TOKEN","status":"error"}"#);
        assert!(matches!(unauthorised, ChannelOutcome::Trouble(Trouble::TokenRefused { .. })));
    }

    #[test]
    fn many_events_are_drawn_together() {
        let all = |module: String| each_verb(&format!("{module}.all"));
        let mut wanted: BTreeSet<String> = all("M1".into()).into_iter().collect();
        assert_eq!(events(&wanted), ["M1.create", "M1.delete", "M1.edit"]);
        wanted.extend((2..30).flat_map(|n| all(format!("M{n}"))));
        wanted.remove("M7.delete");
        let sent = events(&wanted);
        assert_eq!(sent.len(), 28 + 2);
        assert!(sent.contains(&"M1.all".into()) && sent.contains(&"M7.edit".into()));
        let meant: BTreeSet<String> = sent.iter().flat_map(|event| each_verb(event)).collect();
        assert_eq!(meant, wanted);
    }

    #[test]
    fn rows_are_read_as_upstream_shows_them() {
        let rows = r#"{"watch":[
            {"channel_id":"7","events":["Leads.all"],"token":null,"resource_name":"Leads"},
            {"channel_id":7,"events":["Deals.edit"]}],"info":{"more_records":true}}"#;
        let (rows, more) = parse_rows(Verdict::Content(rows)).unwrap();
        assert!(more);
        assert_eq!(rows[0].events, ["Leads.create", "Leads.edit", "Leads.delete"]);
        assert_eq!((&rows[0].token, &rows[1].token), (&Some(None), &None));
        assert_eq!(rows[0].channel, rows[1].channel);
        assert!(parse_rows(Verdict::Nothing).unwrap().0.is_empty());
    }

    #[test]
    fn the_channel_is_described_whole_and_its_token_is_not_shown() {
        let api = Api {
            origin: Origin::parse("https://www.zohoapis.com").unwrap(),
            version: ApiVersion::parse("v2").unwrap(),
            token: Secret::new("access".into()),
        };
        let desired = Desired {
            id: ChannelId::new(7),
            notify_url: "https://kiosk-7.example.com/callback/4f1c9a".into(),
            events: ["Leads.edit".to_owned()].into(),
            related_actions: false,
            lifetime: Duration::from_secs(60),
        };
        let expires = UpstreamTime::parse("2026-11-22T08:00:00.7Z").unwrap();
        let request = renew(&api, &desired, &Secret::new("hidden".into()), expires);
        assert_eq!(request.url, "https://www.zohoapis.com/crm/v2/actions/watch");
        let Body::Json(body) = &request.body else { panic!("JSON") };
        let sent: serde_json::Value = serde_json::from_str(body.reveal()).unwrap();
        let watch = &sent["watch"][0];
        assert_eq!(watch["channel_expiry"], "2026-11-22T08:00:00+00:00");
        assert_eq!((&watch["channel_id"], &watch["token"]), (&"7".into(), &"hidden".into()));
        assert_eq!(watch["notify_on_related_action"], false);
        let shown = format!("{request:?}");
        assert!(!shown.contains("hidden") && !shown.contains("access\""), "{shown}");
    }
}
