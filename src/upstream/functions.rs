//! Calls to functions: building one, and reading what it brought (facts §7). Pure.
//!
//! The key stands in the address, which a function may repeat in what it answers, as when it shows
//! its whole request: so it is taken out of everything that is kept or told.

use std::fmt::Write;

use crate::mirror::origin::Origin;
use crate::mirror::outbox::answer::{Answer, Envelope, envelope};
use crate::mirror::outbox::plan::Setback;
use crate::mirror::outbox::{CallId, Form, FunctionName, Item};
use crate::mirror::trouble::{Scope, Trouble};
use crate::mirror::version::ApiVersion;
use crate::secret::Secret;

use super::api::Query;
use super::transport::call::{Answered, Call};
use super::transport::{Reply, TransportError};
use super::verdict::judge;

/// The header that names the call to the function.
pub const ID_HEADER: &str = "Mirror-Call-Id";
/// The parameter that does.
pub const ID_PARAMETER: &str = "mirror_call_id";
/// What a file is called in the form that it is sent in; its real name is not known here.
const FILE_NAME: &str = "content";
/// What stands where the key was.
const TAKEN_OUT: &str = "(secret)";

/// What a call proves itself with.
#[derive(Clone, Debug)]
pub enum Pass {
    /// The key of the credentials file.
    Key(Secret),
    /// The access token.
    Token(Secret),
}

/// Where functions are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The origin of the API.
    pub origin: Origin,
    /// The version in the path.
    pub version: ApiVersion,
}

/// The call of an item with this content.
pub fn build(place: &Place, pass: &Pass, id: CallId, item: &Item, content: Vec<u8>) -> Call {
    let (query, token) = match pass {
        Pass::Key(key) => {
            let query = Query::default().with("auth_type", "apikey").with("zapikey", key.reveal());
            (query, None)
        }
        Pass::Token(token) => (Query::default().with("auth_type", "oauth"), Some(token.clone())),
    };
    let query = query.with(ID_PARAMETER, id);
    let url = address(place, &item.function, query.as_str());
    let (media_type, content) = match item.form {
        Form::AsItCame => (Some(item.media_type.clone()), content),
        Form::File => {
            let (media_type, content) = as_file(id, &item.media_type, &content);
            (Some(media_type), content)
        }
    };
    let media_type = media_type.filter(|media_type| !media_type.is_empty());
    let headers = vec![(ID_HEADER, id.to_string())];
    Call { url: Secret::new(url), token, headers, media_type, content }
}

fn address(place: &Place, function: &FunctionName, query: &str) -> String {
    let Place { origin, version } = place;
    format!("{origin}/crm/{}/functions/{function}/actions/execute?{query}", version.as_str())
}

/// The content as the one file of a form: that is how a function comes by `file_content`.
fn as_file(id: CallId, media_type: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut boundary = format!("crmirror-{id}");
    while content.windows(boundary.len()).any(|window| window == boundary.as_bytes()) {
        boundary.push('x');
    }
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{FILE_NAME}\"; \
         filename=\"{FILE_NAME}\"\r\nContent-Type: {media_type}\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// What the function answered, or what stood in the way; and whether it was the access token, which
/// another one may mend.
pub fn parse(answered: &Answered, pass: &Pass) -> Result<Answer, (Setback, bool)> {
    let reply = without_key(&answered.reply, pass);
    let headers: Vec<(String, String)> = answered
        .headers
        .iter()
        .map(|(name, value)| {
            (name.clone(), String::from_utf8_lossy(&redacted(value.as_bytes(), pass)).into_owned())
        })
        .collect();
    let answer = || Answer::of(reply.status, &headers, &reply.body);
    if matches!(reply.status, 200..=299) {
        match envelope(&reply.body) {
            Envelope::Success => return Ok(answer()),
            Envelope::Failure(why) => return Err((Setback::Denied(why, answer()), false)),
            Envelope::Refusal => {}
            Envelope::None => {
                return match is_anybodys(&reply, &headers) {
                    None => Ok(answer()),
                    Some(why) => Err((Setback::Failed(reply.retry_after, why.into()), false)),
                };
            }
        }
    }
    Err(match judge(&reply) {
        Ok(_) => {
            let why = format!("status {}, which is no answer", reply.status);
            (Setback::Failed(reply.retry_after, why), false)
        }
        Err(Trouble::TokenRefused { why }) => match pass {
            Pass::Key(_) => {
                let why = format!("{why}: see that zapikey in the credentials file is right");
                (Setback::KeyRefused(why), false)
            }
            Pass::Token(_) => (Setback::KeyRefused(why), true),
        },
        Err(Trouble::Denied { scope: Scope::Module, why }) if why.contains("OAUTH_SCOPE") => {
            (Setback::KeyRefused(why), false)
        }
        Err(Trouble::Denied { why, .. }) => (Setback::Denied(why, answer()), false),
        Err(Trouble::Throttled { after, why }) => (Setback::Throttled(after, why), false),
        Err(Trouble::Failed { after, why }) => (Setback::Failed(after, why), false),
        Err(Trouble::Unreachable { why } | Trouble::NoRoom { why }) => {
            (Setback::Unreachable(why), false)
        }
    })
}

/// What an error on the way means. A function that is not done in time may have run.
pub fn no_answer(error: &TransportError) -> Setback {
    match error {
        TransportError::TimedOut(_) | TransportError::Unreadable(_) => {
            Setback::Failed(None, error.to_string())
        }
        TransportError::Unreachable(_)
        | TransportError::Untrusted(_)
        | TransportError::WrongClock(_) => Setback::Unreachable(error.to_string()),
    }
}

/// Why a reply of 200 may not be the function's: proxies answer with pages for people, and what
/// breaks off answers with nothing. A function always names a type (facts §7).
fn is_anybodys(reply: &Reply, headers: &[(String, String)]) -> Option<&'static str> {
    let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    match kind {
        _ if reply.status == 204 => None,
        None => Some("the answer names no Content-Type; is there a proxy between?"),
        Some((_, kind)) if kind.to_ascii_lowercase().starts_with("text/html") => {
            Some("the answer is a page for people; is there a captive portal or a proxy between?")
        }
        Some((_, kind)) if is_cut(kind, &reply.body) => Some("the answer is cut off"),
        Some(_) => None,
    }
}

/// Whether what should be JSON is none, though it begins so.
fn is_cut(kind: &str, body: &[u8]) -> bool {
    let claims = kind.to_ascii_lowercase().contains("json");
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    claims && begins && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err()
}

fn without_key(reply: &Reply, pass: &Pass) -> Reply {
    Reply { body: redacted(&reply.body, pass), ..reply.clone() }
}

/// The bytes without the key or the token, as it is and as it stands in an address.
fn redacted(bytes: &[u8], pass: &Pass) -> Vec<u8> {
    let (Pass::Key(secret) | Pass::Token(secret)) = pass;
    let mut encoded = String::new();
    for byte in secret.reveal().bytes() {
        match byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            true => encoded.push(byte.into()),
            // Writing to a text does not fail.
            false => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    let once = replaced(bytes, secret.reveal().as_bytes());
    replaced(&once, encoded.as_bytes())
}

fn replaced(bytes: &[u8], what: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        match rest.strip_prefix(what).filter(|_| !what.is_empty()) {
            Some(behind) => {
                out.extend_from_slice(TAKEN_OUT.as_bytes());
                rest = behind;
            }
            None => {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::outbox::State;

    const KEY: &str = "1003.k/y+S3CRET";

    fn item(form: Form, media_type: &str) -> Item {
        Item {
            function: FunctionName::parse("kiosk_checkin").unwrap(),
            salt: 255,
            form,
            media_type: media_type.into(),
            bytes: 0,
            fingerprint: String::new(),
            key: None,
            since: None,
            attempts: 0,
            denials: 0,
            answer_parts: 0,
            state: State::Waiting { why: None },
        }
    }

    fn call(pass: &Pass, form: Form, media_type: &str, content: &[u8]) -> Call {
        let origin = Origin::parse("https://www.zohoapis.eu").unwrap();
        let place = Place { origin, version: ApiVersion::parse("v8").unwrap() };
        let item = item(form, media_type);
        build(&place, pass, item.id(7), &item, content.to_vec())
    }

    fn key() -> Pass {
        Pass::Key(Secret::new(KEY.into()))
    }

    #[test]
    fn a_call_names_itself_and_shows_no_secret() {
        let call_of = call(&key(), Form::AsItCame, "application/json", b"{}");
        assert_eq!(
            call_of.url.reveal(),
            "https://www.zohoapis.eu/crm/v8/functions/kiosk_checkin/actions/execute?\
             auth_type=apikey&zapikey=1003.k%2Fy%2BS3CRET&mirror_call_id=7-00000000000000ff"
        );
        assert_eq!(call_of.headers, [("Mirror-Call-Id", "7-00000000000000ff".to_owned())]);
        assert!(call_of.token.is_none());
        assert!(!format!("{call_of:?}").contains("S3CRET"));
        let by_token = Pass::Token(Secret::new("t".into()));
        let call_of = call(&by_token, Form::AsItCame, "", b"");
        assert!(call_of.url.reveal().contains("?auth_type=oauth&mirror_call_id="));
        assert!(call_of.token.is_some() && call_of.media_type.is_none());
    }

    #[test]
    fn a_file_is_sent_in_a_form() {
        let inside = b"ab--crmirror-7-00000000000000ff--cd";
        let call = call(&key(), Form::File, "image/png", inside);
        let media_type = call.media_type.unwrap();
        let boundary = media_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(boundary, "crmirror-7-00000000000000ffx", "it is not in the content");
        let text = String::from_utf8(call.content).unwrap();
        let inside = std::str::from_utf8(inside).unwrap();
        assert_eq!(
            text,
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"content\"; \
                 filename=\"content\"\r\nContent-Type: image/png\r\n\r\n{inside}\r\n\
                 --{boundary}--\r\n"
            )
        );
    }

    fn check(status: u16, kind: &str, body: &str, expected: &str) {
        let reply = Reply { status, date: None, retry_after: None, body: body.into() };
        let kind = (!kind.is_empty()).then(|| ("Content-Type".to_owned(), kind.to_owned()));
        let answered = Answered { reply, headers: kind.into_iter().collect() };
        let pass = if expected.starts_with("token") {
            Pass::Token(Secret::new("a-token".into()))
        } else {
            key()
        };
        let said = match parse(&answered, &pass) {
            Ok(answer) if answer.output.is_some() => "output",
            Ok(_) => "own",
            Err((Setback::KeyRefused(_), true)) => "token",
            Err((Setback::KeyRefused(_), false)) => "key",
            Err((Setback::Denied(..), _)) => "denied",
            Err((Setback::Throttled(..), _)) => "throttled",
            Err((Setback::Failed(..), _)) => "failed",
            Err((Setback::Unreachable(_), _)) => "unreachable",
        };
        assert_eq!(said, expected, "{status} {body}");
    }

    #[test]
    fn the_table() {
        let json = "application/json;charset=utf-8";
        check(200, json, r#"{"code":"success","details":{"output":"x"},"message":"m"}"#, "output");
        check(200, json, r#"{"code":"error","details":{"output":"x"},"message":"m"}"#, "denied");
        check(200, json, r#"{"code":"INVALID_TOKEN","status":"error"}"#, "key");
        check(200, json, r#"{"mine":1}"#, "own");
        check(200, json, r#"{"code":"success","deta"#, "failed");
        check(200, json, "", "own");
        check(201, "text/plain", "ok", "own");
        check(204, "", "", "own");
        check(200, "", "", "failed");
        check(200, "text/html", "<html>", "failed");
        check(304, "", "", "failed");
        check(302, "", "", "failed");
        check(400, json, r#"{"mine":1}"#, "denied");
        check(404, json, r#"{"code":"INVALID_URL_PATTERN","status":"error"}"#, "denied");
        check(401, json, r#"{"code":"INVALID_TOKEN","status":"error"}"#, "key");
        check(401, json, r#"{"code":"INVALID_TOKEN","status":"error"}"#, "token");
        check(401, json, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#, "key");
        check(429, "", "", "throttled");
        check(500, json, r#"{"code":"INTERNAL_ERROR"}"#, "failed");
        check(503, "text/html", "<html>", "failed");
    }

    #[test]
    fn a_key_that_comes_back_is_taken_out() {
        for shown in [KEY, "1003.k%2Fy%2BS3CRET"] {
            for status in [200, 400, 401, 500] {
                let body = format!(r#"{{"code":"X","message":"?zapikey={shown}"}}"#);
                let reply = Reply { status, date: None, retry_after: None, body: body.into() };
                let headers = ["Content-Type", "X-Url"].map(|name| (name.into(), shown.into()));
                let answered = Answered { reply, headers: headers.to_vec() };
                let told = match parse(&answered, &key()) {
                    Ok(answer) => serde_json::to_string(&answer).unwrap(),
                    Err((setback, _)) => format!("{setback:?}"),
                };
                assert!(!told.contains("S3CRET") && told.contains(TAKEN_OUT), "{told}");
            }
        }
    }
}
