//! The outbox as local programs see it: calls are left here, looked at, withdrawn, tried again.
//!
//! Nothing here calls a function. A call is acknowledged when it is on disk and not before; whoever
//! waits for the answer asks for it.

use std::str::FromStr;

use serde_json::{Value, json};

use super::asked::Asked;
use super::board::Board;
use super::query::{BadParameter, Parameters};
use super::reply::Reply;
use crate::mirror::outbox::{CallId, Form, FunctionName, Item, KEY_LIMIT, Standing};
use crate::mirror::time::{Tick, UpstreamTime};
use crate::store::outbox::{Accepted, CallCounts, Changed, NewCall};
use crate::store::{Durable, Store, StoreError};

/// Calls that one page of the list shows, where nothing else is asked for, and at most.
const PAGE: usize = 50;
const PAGE_LIMIT: usize = 200;
/// Bytes after which a page ends: answers may be long.
const PAGE_BYTES: usize = 1 << 20;
/// Longest `Content-Type`: one with the boundary of a form has about a hundred letters.
const MEDIA_TYPE_LIMIT: usize = 255;

const FORM: &str = "application/x-www-form-urlencoded";
const FORM_WITH_FILES: &str = "multipart/form-data";

/// What is asked of the outbox, and by whom.
pub(super) struct Outbox<'a> {
    /// The functions that may be called.
    pub(super) functions: &'a [FunctionName],
    /// Where calls are kept.
    pub(super) store: &'a Store,
    /// Where the courier is rung.
    pub(super) board: &'a Board,
    /// Our clock now.
    pub(super) now: Tick,
}

/// Which methods a path below `/outbox` takes, as `Allow` names them; `None` when it leads nowhere.
pub(super) fn methods(path: &[&str]) -> Option<&'static str> {
    match path {
        [] => Some("GET, HEAD"),
        [_] => Some("DELETE, GET, HEAD, POST"),
        [_, "retry"] => Some("POST"),
        _ => None,
    }
}

impl Outbox<'_> {
    /// Answers a question that changes nothing.
    pub(super) fn read(
        &self,
        path: &[&str],
        parameters: Parameters,
    ) -> Result<Reply, BadParameter> {
        match path {
            [id] => {
                parameters.finish()?;
                let id = call_id(id)?;
                Ok(self.one(id, 200).unwrap_or_else(|error| unreadable(&error)))
            }
            _ => self.list(parameters),
        }
    }

    /// Does what a person or a program wants done.
    pub(super) fn act(
        &self,
        asked: &Asked,
        path: &[&str],
        parameters: Parameters,
    ) -> Result<Reply, BadParameter> {
        parameters.finish()?;
        match (asked.method.as_str(), path) {
            ("DELETE", [id]) => {
                let id = call_id(id)?;
                Ok(self.changed(id, self.store.withdraw_call(id), || Reply::empty(204)))
            }
            (_, [id, _]) => {
                let id = call_id(id)?;
                let tried = self.store.retry_call(id);
                self.board.hatch.hurry();
                Ok(self.changed(id, tried, || {
                    self.one(id, 202).unwrap_or_else(|error| unreadable(&error))
                }))
            }
            (_, path) => {
                let name = path.first().copied().unwrap_or_default();
                match self.functions.iter().find(|function| function.as_str() == name) {
                    Some(function) => self.accept(asked, function),
                    None => {
                        let message = "no [[function]] of the configuration has this name";
                        Ok(Reply::error(400, "INVALID_FUNCTION", message))
                    }
                }
            }
        }
    }

    fn accept(&self, asked: &Asked, function: &FunctionName) -> Result<Reply, BadParameter> {
        let (form, media_type) = form_of(asked)?;
        let key = sole(asked, "idempotency-key", "Idempotency-Key")?;
        if key.is_some_and(|key| !(1..=KEY_LIMIT).contains(&key.len()) || !is_visible(key)) {
            let why = format!("has 1 to {KEY_LIMIT} visible characters of ASCII");
            return Err(BadParameter::new("Idempotency-Key", why));
        }
        let since = self.board.report().upstream_now(self.now);
        let content = &asked.body;
        let call = NewCall { function, form, media_type: &media_type, content, key, since };
        Ok(match self.store.accept_call(&call) {
            Ok(Accepted::New(id, on_disk)) => {
                self.board.hatch.meters.count_accepted();
                self.board.hatch.ring();
                acknowledged(id, function, on_disk)
            }
            Ok(Accepted::Known(id, _on_disk)) => {
                self.one(id, 200).unwrap_or_else(|error| unreadable(&error))
            }
            Ok(Accepted::Conflict(id)) => {
                let message = "another call came with this Idempotency-Key; choose a new one";
                Reply::detailed(422, "KEY_REUSED", json!({ "id": id.to_string() }), message)
            }
            Ok(Accepted::Full(counts)) => full(counts),
            Err(error) => refused(&error),
        })
    }

    /// One call with its answer; 204 when it is not here.
    fn one(&self, id: CallId, status: u16) -> Result<Reply, StoreError> {
        let Some(item) = self.store.call(id)? else { return Ok(Reply::empty(204)) };
        Ok(Reply::json(status, self.shown(id, &item)?))
    }

    fn list(&self, mut parameters: Parameters) -> Result<Reply, BadParameter> {
        let standing = match parameters.take("state") {
            None => None,
            Some(word) => {
                let known = || BadParameter::new("state", "is waiting, sent or failed");
                Some(Standing::parse(&word).ok_or_else(known)?)
            }
        };
        let after = match parameters.take("after") {
            None => 0,
            Some(text) => {
                CallId::from_str(&text)
                    .map_err(|error| BadParameter::new("after", error.to_string()))?
                    .number
            }
        };
        let limit = parameters.take_number("limit", 1..=PAGE_LIMIT)?.unwrap_or(PAGE);
        parameters.finish()?;
        let page = || -> Result<Reply, StoreError> {
            // One more tells whether more follow.
            let calls = self.store.calls_after(after, standing, limit + 1)?;
            let (mut texts, mut bytes) = (Vec::new(), 0);
            for (id, item) in calls.iter().take(limit) {
                if bytes >= PAGE_BYTES {
                    break;
                }
                let text = self.shown(*id, item)?;
                bytes += text.len();
                texts.push(text);
            }
            let more = texts.len() < calls.len();
            let last = texts.len().checked_sub(1).map(|last| calls[last].0.to_string());
            let info = json!({ "count": texts.len(), "more_records": more, "last": last });
            let body = format!("{{\"calls\":[{}],\"info\":{info}}}", texts.join(","));
            Ok(Reply::json(200, body))
        };
        Ok(page().unwrap_or_else(|error| unreadable(&error)))
    }

    /// A call as it is shown, JSON. What the function answered stands there as it came.
    fn shown(&self, id: CallId, item: &Item) -> Result<String, StoreError> {
        let answer = self.store.call_answer(id, item)?;
        let shown = json!({
            "id": id.to_string(),
            "function": item.function.as_str(),
            "state": item.state.standing().as_str(),
            "attempts": item.attempts,
            "accepted": item.since,
            "ended": item.state.ended(),
            "why": item.state.why(),
            "media_type": item.media_type,
            "bytes": item.bytes,
            "idempotency_key": item.key,
        });
        let shown = shown.to_string();
        let open = shown.strip_suffix('}').unwrap_or_default();
        Ok(format!("{open},\"answer\":{}}}", answer.as_deref().unwrap_or("null")))
    }

    fn changed(
        &self,
        id: CallId,
        changed: Result<Changed, StoreError>,
        done: impl FnOnce() -> Reply,
    ) -> Reply {
        match changed {
            Ok(Changed::Done) => done(),
            Ok(Changed::Absent) => Reply::empty(204),
            Ok(not @ Changed::Not(standing, _)) => {
                let details = json!({ "id": id.to_string(), "state": standing.as_str() });
                Reply::detailed(409, "WRONG_STATE", details, &not.to_string())
            }
            Err(error) => refused(&error),
        }
    }
}

/// What `/status` says of the outbox; `None` where no function is configured.
pub(super) fn standing(store: &Store, board: &Board, now: Option<UpstreamTime>) -> Option<Value> {
    let faring = board.hatch.faring();
    if faring.ceiling == 0 {
        return None;
    }
    let counts = store.call_counts();
    let oldest = now.zip(counts.oldest).map(|(now, oldest)| now.since(oldest).as_secs());
    Some(json!({
        "waiting": counts.waiting,
        "oldest_seconds": oldest.unwrap_or(0),
        "sent": counts.sent,
        "failed": counts.failed,
        "bytes": counts.bytes,
        "trouble": faring.trouble,
        "calls_today": faring.spent,
        "ceiling": faring.ceiling,
        "waiting_for_credits": faring.starved,
    }))
}

/// In which form the body goes on, and under which media type.
fn form_of(asked: &Asked) -> Result<(Form, String), BadParameter> {
    let bad = |why: &str| BadParameter::new("Content-Type", why);
    let Some(given) = sole(asked, "content-type", "Content-Type")?.map(str::trim) else {
        let why = "says what the body is: application/json, a form, or the type of a file";
        return if asked.body.is_empty() {
            Ok((Form::AsItCame, String::new()))
        } else {
            Err(bad(why))
        };
    };
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_named = kind.split_once('/').is_some_and(|(of, sort)| is_token(of) && is_token(sort));
    if !is_named || given.len() > MEDIA_TYPE_LIMIT || !is_visible(given) {
        return Err(bad("is no media type"));
    }
    let form = match kind.as_str() {
        FORM => Form::AsItCame,
        FORM_WITH_FILES if given.contains("boundary=") => Form::AsItCame,
        FORM_WITH_FILES => return Err(bad("of a form with files names its boundary")),
        _ if kind == "application/json" || kind.ends_with("+json") => {
            if serde_json::from_slice::<&serde_json::value::RawValue>(&asked.body).is_err() {
                return Err(BadParameter::new(
                    "body",
                    "is not JSON, though its Content-Type says so",
                ));
            }
            Form::AsItCame
        }
        _ => Form::File,
    };
    Ok((form, given.to_owned()))
}

/// The value of a header, of which there may be one only: of two the one that we would pass by may
/// be the one that is meant.
fn sole<'a>(asked: &'a Asked, name: &str, shown: &str) -> Result<Option<&'a str>, BadParameter> {
    let mut values = asked.headers(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(BadParameter::new(shown, "is given twice")),
    }
}

/// Whether it has nothing but what it shows. What is not ASCII did not come through whole.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether it is a word as HTTP has them (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

fn call_id(text: &str) -> Result<CallId, BadParameter> {
    CallId::from_str(text).map_err(|error| BadParameter::new("id", error.to_string()))
}

/// The acknowledgement of a call. It cannot be built before the call is on disk.
fn acknowledged(id: CallId, function: &FunctionName, _on_disk: Durable) -> Reply {
    let waiting = Standing::Waiting.as_str();
    let body = json!({ "id": id.to_string(), "function": function.as_str(), "state": waiting });
    Reply::json(202, body.to_string())
}

fn full(counts: CallCounts) -> Reply {
    let CallCounts { waiting, bytes, .. } = counts;
    let message = format!(
        "the outbox is full: {waiting} calls wait, with {bytes} bytes; see crmirror outbox list"
    );
    Reply::error(503, "OUTBOX_FULL", &message).with("Retry-After", "60")
}

fn refused(error: &StoreError) -> Reply {
    Reply::error(503, "NOT_NOW", &error.to_string()).with("Retry-After", "5")
}

fn unreadable(error: &StoreError) -> Reply {
    Reply::error(500, "INTERNAL_ERROR", &error.to_string())
}
