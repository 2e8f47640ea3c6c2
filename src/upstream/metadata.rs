//! What upstream says of itself (facts §4.7): asked for, and looked at as far as must be before it
//! is kept. From v3 on a list call must name a module's fields (facts §4.2).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::mirror::document::{DOCUMENT_LIMIT, DocumentName};
use crate::mirror::record::FieldName;
use crate::mirror::trouble::{Scope, Trouble};

use super::api::{Api, Query};
use super::transport::{Reply, Request};
use super::verdict::{Verdict, judge};

/// Asks for a document.
pub fn document(api: &Api, name: &DocumentName) -> Request {
    let query = Query::default();
    api.get(match name {
        DocumentName::Fields(module) => api.url("settings/fields", &query.with("module", module)),
        DocumentName::Modules => api.url("settings/modules", &query),
        DocumentName::Org => api.url("org", &query),
        DocumentName::User => api.url("users", &query.with("type", "CurrentUser")),
    })
}

/// The text of the reply, if it is upstream's answer: the document, that there is none, or a
/// denial in upstream's own words. What comes from somebody in between is no reason to forget what
/// upstream said.
pub fn parse_document<'a>(name: &DocumentName, reply: &'a Reply) -> Result<&'a str, Trouble> {
    let failed = |why: String| Trouble::Failed { after: None, why };
    if reply.body.len() > DOCUMENT_LIMIT {
        return Err(failed(format!("{name} is larger than {} MiB", DOCUMENT_LIMIT >> 20)));
    }
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    let has = |key: &str| {
        let body = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text);
        body.is_ok_and(|body| body.contains_key(key))
    };
    match judge(reply) {
        Ok(Verdict::Content(_)) if has(name.list()) => Ok(text),
        Ok(Verdict::Content(_)) => Err(failed(format!("the answer is not {name}"))),
        Ok(Verdict::Nothing) if reply.status == 204 => Ok(""),
        Ok(Verdict::Nothing) => Err(failed(format!("status {}, unasked", reply.status))),
        Err(Trouble::Denied { .. }) if has("code") => Ok(text),
        Err(Trouble::Denied { why, .. }) => Err(failed(why)),
        Err(trouble) => Err(trouble),
    }
}

/// Reads the names of the fields.
pub fn parse_fields(verdict: Verdict<'_>) -> Result<Vec<FieldName>, Trouble> {
    #[derive(Deserialize)]
    struct Body {
        fields: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        api_name: FieldName,
    }
    let Verdict::Content(text) = verdict else {
        // Some modules answer nothing here (facts §4.7).
        let why = "upstream does not say which fields the module has: list them as 'fields'".into();
        return Err(Trouble::Denied { scope: Scope::Module, why });
    };
    let body: Body = serde_json::from_str(text).map_err(|error| Trouble::Failed {
        after: None,
        why: format!("the module's fields cannot be read: {error}"),
    })?;
    Ok(body.fields.into_iter().map(|field| field.api_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_answers_are_kept_and_nobody_elses() {
        let check = |status: u16, body: &str, kept: bool| {
            let reply = Reply { status, date: None, retry_after: None, body: body.into() };
            let parsed = parse_document(&DocumentName::Org, &reply);
            assert_eq!(parsed.as_deref().ok(), kept.then_some(body), "{status} {body}: {parsed:?}");
        };
        check(200, r#"{"org":[{"zgid":"1"}]}"#, true);
        check(204, "", true);
        check(401, r#"{"code":"OAUTH_SCOPE_MISMATCH","status":"error"}"#, true);
        check(403, r#"{"code":"NO_PERMISSION","status":"error"}"#, true);
        check(200, r#"{"code":"NO_PERMISSION","status":"error"}"#, true);
        check(200, r#"{"users":[]}"#, false);
        check(200, r#"{"org":[{"zg"#, false);
        check(200, "", false);
        check(304, "", false);
        check(401, r#"{"code":"INVALID_TOKEN","status":"error"}"#, false);
        check(403, "<html>Please log in to the wifi</html>", false);
        check(429, r#"{"code":"TOO_MANY_REQUESTS","status":"error"}"#, false);
        check(500, r#"{"code":"INTERNAL_ERROR","status":"error"}"#, false);
        check(200, &format!("{{\"org\":[\"{}\"]}}", "x".repeat(DOCUMENT_LIMIT)), false);
    }
}
