//! Zoho's platform: what it tells of an extension, and Desk's Invoke API (facts §6).
//!
//! How the hash of a callback is made is not documented: it is made here in both ways that are
//! known. A call through Desk is checked as strictly as Desk is said to check it.

use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::json;

use super::wire::{Answer, Asked};

/// The manifest's secret.
pub const PLATFORM_SECRET: &str = "developer+20260801@secretkey.simulated";
/// The organisation that has the extension.
pub const PLATFORM_ORG: u64 = 387_238;
/// The parts of a call that are hashed, in their order.
const HASHED: [&str; 6] =
    ["requestURL", "requestType", "queryParams", "postBody", "headers", "connectionLinkName"];

/// The eight events.
pub const PLATFORM_EVENTS: [&str; 8] = [
    "onInstall",
    "onZohoAuthorise",
    "onTPAAuthorise",
    "onTPARevoke",
    "onUpdate",
    "onConfigParamAdd",
    "onConfigParamDelete",
    "onUninstall",
];

/// What a hash is made over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hashed {
    /// The body.
    Body,
    /// The fields, joined.
    Fields,
}

/// What the platform tells.
#[derive(Clone, Debug)]
pub struct Told {
    /// The body.
    pub body: String,
    /// The `HASH` header.
    pub hash: String,
}

impl Told {
    /// This event of the extension in our organisation, with this security context.
    pub fn new(event: &str, context: &str, hashed: Hashed) -> Told {
        Told::of(PLATFORM_ORG, event, context, hashed, PLATFORM_SECRET)
    }

    /// The same of any organisation, with any secret.
    pub fn of(org: u64, event: &str, context: &str, hashed: Hashed, secret: &str) -> Told {
        let body = format!(r#"{{"event":"{event}","orgId":{org},"securityContext":"{context}"}}"#);
        let fields = format!("event={event}&orgId={org}&securityContext={context}");
        let hash = match hashed {
            Hashed::Body => hash(secret, &body),
            Hashed::Fields => hash(secret, &fields),
        };
        Told { body, hash }
    }
}

/// HMAC-SHA256 in small hexadecimal letters.
pub fn hash(secret: &str, text: &str) -> String {
    let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Desk, which calls addresses for extensions.
#[derive(Default)]
pub struct Desk {
    /// The security context that it accepts; without one nobody is.
    pub context: Option<String>,
    /// What it was asked to call, oldest first: the parts of each call.
    pub calls: Vec<Vec<(String, String)>>,
}

impl Desk {
    /// `POST /api/v1/invoke?orgId=…`
    pub(super) fn invoke(&mut self, asked: &Asked) -> Answer {
        let refuse = |status, code: &str| {
            Answer::json(status, &json!({ "errorCode": code, "message": "refused by Desk" }))
        };
        if asked.method != "POST" || asked.param("orgId") != Some(&PLATFORM_ORG.to_string()) {
            return refuse(422, "INVALID_DATA");
        }
        let parts: Vec<(String, String)> =
            form_urlencoded::parse(&asked.body).into_owned().collect();
        let part = |name: &str| parts.iter().find(|(key, _)| key == name).map(|(_, text)| text);
        let hashed: Vec<String> = HASHED
            .iter()
            .filter_map(|name| part(name).map(|text| format!("{name}={text}")))
            .collect();
        if asked.headers.get("hash") != Some(&hash(PLATFORM_SECRET, &hashed.join("&"))) {
            return refuse(403, "FORBIDDEN");
        }
        if self.context.is_none() || part("securityContext") != self.context.as_ref() {
            return refuse(401, "UNAUTHORIZED");
        }
        let called = json!({
            "called": part("requestURL"), "by": part("requestType"), "with": part("postBody"),
        });
        self.calls.push(parts.clone());
        Answer::json(200, &json!({ "response": called.to_string() }))
    }
}
