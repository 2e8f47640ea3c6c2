//! What a function answered: its output in upstream's default envelope, or the status, headers and
//! body that it set itself (facts §7).
//!
//! A program on this device shall see what the function said and not how upstream wrapped it. What
//! is kept is bounded; what was cut off is said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes of an answer's body that are kept: a receipt or a list, not a report. Upstream lets a
/// function answer with 10 MB (facts §7), and a thousand answers are kept.
pub const BODY_LIMIT: usize = 64 << 10;
/// Headers that are kept, and the longest value.
const HEADERS_LIMIT: usize = 32;
const HEADER_LIMIT: usize = 1_024;
/// Letters of upstream's own message that are kept: it is repeated in the log.
const MESSAGE_LIMIT: usize = 200;
/// Headers that speak of the connection or of upstream's own business, a session's secret first.
const NOT_KEPT: [&str; 9] = [
    "set-cookie",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "content-encoding",
    "date",
    "server",
    "strict-transport-security",
];

/// An answer, as it is kept and shown.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What the function gave back, where it came in the default envelope: as JSON when it is, else
    /// as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Upstream's message in that envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The headers that the function set, names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body that it set: as JSON when it is, else as a text. Bytes that are no text are shown
    /// as `\u{fffd}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// Whether more of it came than is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What upstream's default envelope says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Envelope {
    /// The function ended well.
    Success,
    /// It did not: the code, and the message.
    Failure(String),
    /// It is upstream's own error, not the function's.
    Refusal,
    /// It is none.
    None,
}

/// Looks whether a body is upstream's envelope, and what that says.
pub fn envelope(body: &[u8]) -> Envelope {
    #[derive(Deserialize)]
    struct Seen {
        code: Option<Value>,
        message: Option<String>,
        status: Option<String>,
        details: Option<serde_json::Map<String, Value>>,
    }
    let Ok(seen) = serde_json::from_slice::<Seen>(body) else { return Envelope::None };
    let code = match seen.code {
        Some(Value::String(code)) => code,
        Some(Value::Number(code)) => code.to_string(),
        Some(_) | None => return Envelope::None,
    };
    match (seen.status.as_deref(), seen.details, seen.message) {
        (Some("error"), ..) => Envelope::Refusal,
        (_, Some(_), Some(_)) if code == "success" => Envelope::Success,
        (_, Some(_), Some(message)) => Envelope::Failure(short(&format!("{code}: {message}"))),
        _ => Envelope::None,
    }
}

impl Answer {
    /// The answer in a reply with this status, these headers and this body.
    pub fn of(status: u16, headers: &[(String, String)], body: &[u8]) -> Answer {
        match envelope(body) {
            Envelope::Success | Envelope::Failure(_) => Answer::enveloped(status, body),
            Envelope::Refusal | Envelope::None => Answer::custom(status, headers, body),
        }
    }

    /// As JSON, to be kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an answer has no keys but texts")
    }

    fn enveloped(status: u16, body: &[u8]) -> Answer {
        #[derive(Deserialize)]
        struct Seen {
            message: String,
            details: Details,
        }
        #[derive(Deserialize)]
        struct Details {
            output: Option<Box<RawValue>>,
        }
        let seen: Option<Seen> = serde_json::from_slice(body).ok();
        let (message, output) =
            seen.map_or((None, None), |seen| (Some(short(&seen.message)), seen.details.output));
        let mut cut = false;
        let output = output.map(|output| match serde_json::from_str::<String>(output.get()) {
            Ok(text) => shown(text.as_bytes(), &mut cut),
            // What is no text was an object from the start.
            Err(_) => shown(output.get().as_bytes(), &mut cut),
        });
        Answer { status, output, message, headers: BTreeMap::new(), body: None, cut }
    }

    fn custom(status: u16, headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut cut = false;
        let mut kept = BTreeMap::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if NOT_KEPT.contains(&name.as_str()) {
                continue;
            }
            if kept.len() == HEADERS_LIMIT || value.len() > HEADER_LIMIT {
                cut = true;
                continue;
            }
            kept.insert(name, value.clone());
        }
        let body = (!body.is_empty()).then(|| shown(body, &mut cut));
        Answer { status, output: None, message: None, headers: kept, body, cut }
    }
}

/// A message that fits into a line.
fn short(message: &str) -> String {
    message.chars().filter(|letter| !letter.is_control()).take(MESSAGE_LIMIT).collect()
}

/// Some bytes as JSON: themselves, when they are, else a text.
fn shown(bytes: &[u8], cut: &mut bool) -> Box<RawValue> {
    if bytes.len() <= BODY_LIMIT {
        if let Ok(json) = serde_json::from_slice(bytes) {
            return json;
        }
    }
    *cut |= bytes.len() > BODY_LIMIT;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(BODY_LIMIT)]);
    serde_json::value::to_raw_value(&text).expect("a text can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &str) {
        let headers = [("X-Own", "7"), ("Set-Cookie", "s"), ("Content-Type", "application/json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = Answer::of(201, &headers, body.as_bytes());
        assert_eq!(serde_json::to_string(&answer).unwrap(), expected, "{body}");
    }

    #[test]
    fn the_output_is_taken_out_of_its_envelope() {
        let envelope = |output: &str| {
            format!(
                r#"{{"code":"success","details":{{"output":{output},"output_type":"string","id":"9"}},"message":"done"}}"#
            )
        };
        check(
            &envelope(r#""{\"a\":1.50}""#),
            r#"{"status":201,"output":{"a":1.50},"message":"done"}"#,
        );
        check(&envelope(r#""hello""#), r#"{"status":201,"output":"hello","message":"done"}"#);
        check(&envelope(r#""""#), r#"{"status":201,"output":"","message":"done"}"#);
        check(&envelope(r#"{"a":[]}"#), r#"{"status":201,"output":{"a":[]},"message":"done"}"#);
        check(&envelope("null"), r#"{"status":201,"message":"done"}"#);
    }

    #[test]
    fn an_answer_of_its_own_keeps_its_headers() {
        let of = |body: &str| {
            format!(
                r#"{{"status":201,"headers":{{"content-type":"application/json","x-own":"7"}},"body":{body}}}"#
            )
        };
        check(r#"{"code":"success"}"#, &of(r#"{"code":"success"}"#));
        check("[1]", &of("[1]"));
        check("plain", &of("\"plain\""));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(BODY_LIMIT + 1);
        let answer = Answer::of(200, &[], long.as_bytes());
        assert!(answer.cut && answer.body.unwrap().get().len() == BODY_LIMIT + 2);
        let many: Vec<_> = (0..99).map(|n| (format!("x-{n}"), "y".repeat(n))).collect();
        let answer = Answer::of(200, &many, b"");
        assert!(answer.cut && answer.headers.len() == HEADERS_LIMIT && answer.body.is_none());
    }

    #[test]
    fn what_an_envelope_says() {
        let check = |body: &str, expected: Envelope| {
            assert_eq!(envelope(body.as_bytes()), expected, "{body}");
        };
        check(r#"{"code":"success","details":{},"message":""}"#, Envelope::Success);
        let failure = Envelope::Failure("error: it broke".into());
        check(r#"{"code":"error","details":{},"message":"it broke"}"#, failure);
        let long = format!(r#"{{"code":"e","details":{{}},"message":"{}"}}"#, "x\\n".repeat(999));
        let short = format!("e: {}", "x".repeat(MESSAGE_LIMIT - 3));
        check(&long, Envelope::Failure(short));
        check(r#"{"code":"X","details":{},"message":"","status":"error"}"#, Envelope::Refusal);
        check(r#"{"code":429,"status":"error"}"#, Envelope::Refusal);
        for none in ["", "[]", "{}", "<html>", r#"{"code":"ok","message":"mine"}"#] {
            check(none, Envelope::None);
        }
    }
}
