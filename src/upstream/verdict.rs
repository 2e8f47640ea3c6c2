//! What a reply means: one table for every call.
//!
//! A status alone proves nothing: captive portals answer 200 with HTML, upstream answers errors
//! with 2xx, and reports trouble with tokens in several words (facts §1.5, §3.3, §4.10).

use serde::Deserialize;

use crate::mirror::trouble::{Scope, Trouble};

use super::transport::{Reply, TransportError};

/// What a reply holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// Content, to be parsed.
    Content(&'a str),
    /// Nothing: no such record, no more rows (204), nothing newer (304).
    Nothing,
}

/// The shape of upstream's errors. `code` is a number in an older form (facts §4.10).
#[derive(Deserialize)]
struct ErrorBody {
    code: Option<serde_json::Value>,
    error: Option<String>,
    message: Option<String>,
    status: Option<String>,
    #[serde(default)]
    details: serde_json::Value,
}

/// Longest text of upstream that is repeated in a message.
const SHOWN_LIMIT: usize = 200;

/// Judges a reply of the API.
pub fn judge(reply: &Reply) -> Result<Verdict<'_>, Trouble> {
    let after = reply.retry_after;
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    match reply.status {
        204 | 304 => Ok(Verdict::Nothing),
        200..=299 => judge_content(text),
        401 => Err(judge_unauthorised(text)),
        429 => Err(Trouble::Throttled { after, why: said(reply.status, text) }),
        // 407 and redirects are a proxy's or a captive portal's, not upstream's.
        300..=399 | 407 | 408 | 425 | 500..=599 => {
            Err(Trouble::Failed { after, why: said(reply.status, text) })
        }
        400..=499 => Err(judge_denial(reply.status, text)),
        status => Err(Trouble::Failed { after, why: format!("status {status}") }),
    }
}

/// Judges what went wrong on the way.
pub fn no_reply(error: TransportError) -> Trouble {
    Trouble::Unreachable { why: error.to_string() }
}

fn judge_content(text: &str) -> Result<Verdict<'_>, Trouble> {
    if !text.trim_start().starts_with('{') {
        let why =
            "the answer is not a JSON object; is there a captive portal or a proxy between?".into();
        return Err(Trouble::Failed { after: None, why });
    }
    match error_body(text) {
        Some(body) if body.status.as_deref() == Some("error") => Err(judge_code(200, text, &body)),
        Some(_) | None => Ok(Verdict::Content(text)),
    }
}

fn judge_unauthorised(text: &str) -> Trouble {
    match error_body(text) {
        Some(body) if body.code() == "OAUTH_SCOPE_MISMATCH" => judge_code(401, text, &body),
        Some(_) | None => Trouble::TokenRefused { why: said(401, text) },
    }
}

fn judge_denial(status: u16, text: &str) -> Trouble {
    match error_body(text) {
        Some(body) => judge_code(status, text, &body),
        None => Trouble::Denied { scope: Scope::Request, why: said(status, text) },
    }
}

fn judge_code(status: u16, text: &str, body: &ErrorBody) -> Trouble {
    let why = said(status, text);
    match body.code().as_str() {
        "INVALID_TOKEN" | "INVALID_OAUTHTOKEN" | "AUTHENTICATION_FAILURE" => {
            Trouble::TokenRefused { why }
        }
        "TOO_MANY_REQUESTS" | "429" => Trouble::Throttled { after: None, why },
        "INTERNAL_ERROR" | "INTERNAL_SERVER_ERROR" => Trouble::Failed { after: None, why },
        "OAUTH_SCOPE_MISMATCH" => {
            let why = format!("{why}: log in again with the scopes that README lists");
            Trouble::Denied { scope: Scope::Module, why }
        }
        "INVALID_MODULE" | "NOT_SUPPORTED" | "API_NOT_SUPPORTED" | "INVALID_URL_PATTERN" => {
            Trouble::Denied { scope: Scope::Module, why }
        }
        _ => Trouble::Denied { scope: Scope::Request, why },
    }
}

impl ErrorBody {
    fn code(&self) -> String {
        match &self.code {
            Some(serde_json::Value::String(code)) => code.clone(),
            Some(serde_json::Value::Number(code)) => code.to_string(),
            _ => self.error.clone().unwrap_or_default(),
        }
    }
}

fn error_body(text: &str) -> Option<ErrorBody> {
    serde_json::from_str(text).ok()
}

/// What upstream said, short enough for a log line. Its error bodies repeat no token of ours.
fn said(status: u16, text: &str) -> String {
    let Some(body) = error_body(text) else { return format!("status {status}") };
    let (code, message) = (body.code(), body.message.clone().unwrap_or_default());
    let field = body.details.get("api_name").and_then(|name| name.as_str());
    let field = field.map(|name| format!(" ({name})")).unwrap_or_default();
    let said = format!("status {status} {code}{field}: {message}");
    let said: String = said.chars().filter(|c| !c.is_control()).take(SHOWN_LIMIT).collect();
    said.trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The verdict on a reply, in a word or two.
    fn check(status: u16, body: &str, expected: &str) {
        let after = Some(Duration::from_secs(7));
        let reply = Reply { status, date: None, retry_after: after, body: body.into() };
        let verdict = match judge(&reply) {
            Ok(Verdict::Content(_)) => "content",
            Ok(Verdict::Nothing) => "nothing",
            Err(Trouble::TokenRefused { .. }) => "token",
            Err(Trouble::Throttled { .. }) => "throttled",
            Err(Trouble::Failed { .. }) => "failed",
            Err(Trouble::Unreachable { .. }) => "unreachable",
            Err(Trouble::NoRoom { .. }) => "no room",
            Err(Trouble::Denied { scope: Scope::Module, .. }) => "denied module",
            Err(Trouble::Denied { scope: Scope::Request, .. }) => "denied request",
        };
        assert_eq!(verdict, expected, "{status} {body}");
    }

    #[test]
    fn the_table() {
        check(200, r#"{"data":[]}"#, "content");
        check(201, r#"{"watch":[]}"#, "content");
        check(204, "", "nothing");
        check(304, "", "nothing");
        check(200, "", "failed");
        check(200, "<html>Please log in to the wifi</html>", "failed");
        check(200, "[]", "failed");
        check(302, "", "failed");
        check(200, r#"{"code":"INVALID_TOKEN","status":"error"}"#, "token");
        check(401, r#"{"code":"INVALID_TOKEN","message":"invalid oauth token"}"#, "token");
        check(401, "", "token");
        check(401, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#, "denied module");
        check(403, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#, "denied module");
        check(403, r#"{"code":"NO_PERMISSION"}"#, "denied request");
        check(400, r#"{"code":"INVALID_MODULE"}"#, "denied module");
        check(400, r#"{"code":"INVALID_DATA"}"#, "denied request");
        check(404, "", "denied request");
        check(429, "", "throttled");
        check(429, r#"{"code":429,"error":"TOO_MANY_REQUESTS","details":[]}"#, "throttled");
        check(400, r#"{"code":429,"error":"TOO_MANY_REQUESTS","details":[]}"#, "throttled");
        check(500, r#"{"code":"INTERNAL_ERROR"}"#, "failed");
        check(503, "<html>", "failed");
        check(407, "", "failed");
        check(600, "", "failed");
    }

    #[test]
    fn what_upstream_said_is_told_and_bounded() {
        let body = format!(r#"{{"code":"NO_PERMISSION","message":"{}"}}"#, "x\\n".repeat(500));
        let reply = Reply { status: 403, date: None, retry_after: None, body: body.into() };
        let Err(trouble) = judge(&reply) else { panic!("a denial") };
        assert!(trouble.why().starts_with("status 403 NO_PERMISSION: xx"));
        assert_eq!(trouble.why().chars().count(), SHOWN_LIMIT);
    }
}
