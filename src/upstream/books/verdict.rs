//! What a reply of Books means: one table for every call.
//!
//! Every body of Books carries a `code`, a number; 0 is success, whatever the status says. Books
//! documents few of the others: 1002 "Invoice does not exist", 1000 "Internal error", and its
//! limits 44, 45 and 1070 (facts §5.5). That 57 means "not authorized", that 14 means a token that
//! is not accepted, and that 5 means a wrong address, is seen in the field only; which of the first
//! two comes for an old token and which for a missing scope, nobody says.

use std::time::Duration;

use serde::Deserialize;

use crate::mirror::trouble::{Scope, Trouble};
use crate::upstream::transport::Reply;

/// What a reply holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// Content, to be parsed.
    Content(&'a str),
    /// The record that was asked for is not there, or no longer.
    Unknown,
}

/// A minute's calls are used up: after a minute there are as many again.
const A_MINUTE: Duration = Duration::from_secs(60);
/// A day's calls are used up. When the day ends, Books does not say.
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// Longest text of upstream that is repeated in a message.
const SHOWN_LIMIT: usize = 200;

/// What every body carries.
#[derive(Deserialize)]
struct Head {
    code: Option<serde_json::Value>,
    message: Option<String>,
}

/// Judges a reply of Books.
pub fn judge(reply: &Reply) -> Result<Verdict<'_>, Trouble> {
    let after = reply.retry_after;
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    let head: Option<Head> = serde_json::from_str(text).ok();
    let said = said(reply.status, head.as_ref());
    let code = head.as_ref().and_then(Head::number);
    let throttled = |pause| Trouble::Throttled { after: after.or(pause), why: said.clone() };
    match (reply.status, code) {
        (200..=299, Some(0)) => Ok(Verdict::Content(text)),
        (_, Some(44)) => Err(throttled(Some(A_MINUTE))),
        (_, Some(45)) => Err(throttled(Some(AN_HOUR))),
        // Too many at once: over in a moment, and we make one call at a time.
        (_, Some(1070)) | (429, _) => Err(throttled(None)),
        (_, Some(1000)) => Err(Trouble::Failed { after, why: said }),
        (_, Some(14 | 57)) | (401, _) => Err(Trouble::TokenRefused { why: said }),
        (_, Some(1002)) => Ok(Verdict::Unknown),
        // Anybody between us and Books may answer 404, and a wrong address is no deletion: only
        // Books' own word on a record counts.
        (404, Some(code)) if code != 5 && code != 0 => Ok(Verdict::Unknown),
        (300..=399 | 407 | 408 | 425 | 500..=599, _) | (200..=299, None) => {
            Err(Trouble::Failed { after, why: odd_or(said, reply.status) })
        }
        (404, _) => Err(Trouble::Denied { scope: Scope::Module, why: said }),
        (200..=499, _) => Err(Trouble::Denied { scope: Scope::Request, why: said }),
        (status, _) => Err(Trouble::Failed { after, why: format!("status {status}") }),
    }
}

/// The content of a reply about the settings, where nothing may be unknown.
pub fn content(reply: &Reply) -> Result<&str, Trouble> {
    match judge(reply)? {
        Verdict::Content(text) => Ok(text),
        Verdict::Unknown => {
            let text = std::str::from_utf8(&reply.body).unwrap_or_default();
            let head: Option<Head> = serde_json::from_str(text).ok();
            Err(Trouble::Denied { scope: Scope::Request, why: said(reply.status, head.as_ref()) })
        }
    }
}

/// Trouble with a reply that is a success but cannot be read.
pub(super) fn unreadable(what: &str, error: &serde_json::Error) -> Trouble {
    let place = format!("line {} column {}", error.line(), error.column());
    Trouble::Failed { after: None, why: format!("the {what} of Books cannot be read, at {place}") }
}

impl Head {
    /// Numbers come as texts now and then.
    fn number(&self) -> Option<i64> {
        match self.code.as_ref()? {
            serde_json::Value::Number(code) => code.as_i64(),
            serde_json::Value::String(code) => code.parse().ok(),
            _ => None,
        }
    }
}

fn odd_or(said: String, status: u16) -> String {
    match status {
        200..=299 => {
            "the answer is none of Books'; is there a captive portal or a proxy between?".to_owned()
        }
        _ => said,
    }
}

/// What Books said, short enough for a log line.
fn said(status: u16, head: Option<&Head>) -> String {
    let code = head.and_then(|head| head.code.as_ref()).map(|code| format!(" code {code}"));
    let message = head.and_then(|head| head.message.as_deref()).map(|text| format!(": {text}"));
    let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
    let said = format!("Books answers status {status}{code}{message}");
    said.chars().filter(|c| !c.is_control()).take(SHOWN_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a reply, in a word or two.
    fn check(status: u16, body: &str, expected: &str) {
        let reply = Reply { status, date: None, retry_after: None, body: body.into() };
        let verdict = match judge(&reply) {
            Ok(Verdict::Content(_)) => "content".to_owned(),
            Ok(Verdict::Unknown) => "unknown".to_owned(),
            Err(Trouble::TokenRefused { .. }) => "token".to_owned(),
            Err(Trouble::Throttled { after, .. }) => {
                format!("throttled {}", after.unwrap_or_default().as_secs())
            }
            Err(Trouble::Failed { .. }) => "failed".to_owned(),
            Err(Trouble::Unreachable { .. }) => "unreachable".to_owned(),
            Err(Trouble::NoRoom { .. }) => "no room".to_owned(),
            Err(Trouble::Denied { scope: Scope::Module, .. }) => "denied module".to_owned(),
            Err(Trouble::Denied { scope: Scope::Request, .. }) => "denied request".to_owned(),
        };
        assert_eq!(verdict, expected, "{status} {body}");
    }

    #[test]
    fn the_table() {
        check(200, r#"{"code":0,"message":"success","invoices":[]}"#, "content");
        check(200, r#"{"code":"0","invoices":[]}"#, "content");
        check(200, r#"{"invoices":[]}"#, "failed");
        check(200, "<html>Please log in to the wifi</html>", "failed");
        check(204, "", "failed");
        check(302, "", "failed");
        check(404, r#"{"code":1002,"message":"Invoice does not exist."}"#, "unknown");
        check(400, r#"{"code":1002,"message":"Invoice does not exist."}"#, "unknown");
        check(200, r#"{"code":1002,"message":"Invoice does not exist."}"#, "unknown");
        check(404, r#"{"code":2006,"message":"Item does not exist."}"#, "unknown");
        check(404, r#"{"code":5,"message":"Invalid URL Passed"}"#, "denied module");
        check(404, "<html>not here</html>", "denied module");
        check(404, r#"{"code":0,"message":"success"}"#, "denied module");
        check(401, r#"{"code":57,"message":"You are not authorized"}"#, "token");
        check(401, r#"{"code":14,"message":"Invalid value passed for authtoken."}"#, "token");
        check(401, "", "token");
        check(429, r#"{"code":44,"message":"too many in a minute"}"#, "throttled 60");
        check(400, r#"{"code":44,"message":"too many in a minute"}"#, "throttled 60");
        check(429, r#"{"code":45,"message":"too many today"}"#, "throttled 3600");
        check(429, r#"{"code":1070,"message":"too many at once"}"#, "throttled 0");
        check(429, "", "throttled 0");
        check(400, r#"{"code":2,"message":"Invalid value passed for page"}"#, "denied request");
        check(403, r#"{"code":6041,"message":"not of this organization"}"#, "denied request");
        check(500, r#"{"code":1000,"message":"Internal error"}"#, "failed");
        check(503, "<html>", "failed");
        check(407, "", "failed");
        check(600, "", "failed");
    }

    #[test]
    fn what_books_asks_for_goes_before_what_we_know() {
        let after = Some(Duration::from_secs(7));
        let body = r#"{"code":44}"#.into();
        let reply = Reply { status: 429, date: None, retry_after: after, body };
        assert_eq!(judge(&reply).unwrap_err().asked_pause(), after);
    }
}
