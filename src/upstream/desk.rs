//! Desk's Invoke API: Desk calls an address for us, with the rights that its customer gave our
//! extension.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mirror::origin::Origin;
use crate::mirror::platform::OrgId;
use crate::mirror::platform::invoke::Invocation;
use crate::mirror::trouble::{Scope, Trouble};
use crate::secret::Secret;

use super::transport::{Body, Method, Reply, Request};

/// In whose name a call is made.
pub struct Extension<'a> {
    /// The organisation that has it.
    pub org: &'a OrgId,
    /// What the platform gave us for that organisation.
    pub security_context: &'a Secret,
    /// The manifest's secret.
    pub secret: &'a Secret,
}

/// Asks Desk to make this call (facts §6).
pub fn invoke(desk: &Origin, extension: &Extension<'_>, call: &Invocation) -> Request {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("securityContext", extension.security_context.reveal())
        .extend_pairs(call.parts())
        .finish();
    Request {
        method: Method::Post,
        url: format!("{desk}/api/v1/invoke?orgId={}", extension.org),
        token: None,
        modified_since: None,
        body: Body::Signed { form: Secret::new(form), hash: call.hash(extension.secret) },
    }
}

/// What the called address answered, as Desk passes it on: JSON within a text within JSON. A text
/// that is no JSON itself is given as it is.
pub fn parse(reply: &Reply) -> Result<String, Trouble> {
    #[derive(Deserialize)]
    struct Answer {
        response: String,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(alias = "errorCode", alias = "code")]
        error: Option<Box<RawValue>>,
        message: Option<String>,
    }
    let Reply { status, retry_after: after, body, .. } = reply;
    if let (200..=299, Ok(Answer { response })) = (status, serde_json::from_slice(body)) {
        let inner: Option<Box<RawValue>> = serde_json::from_str(&response).ok();
        return Ok(inner.map_or(response, |inner| inner.get().to_owned()));
    }
    let said = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| {
        let code = refusal.error.map(|code| code.get().trim_matches('"').to_owned());
        [code, refusal.message].into_iter().flatten().collect::<Vec<_>>().join(": ")
    });
    let said = said.filter(|said| !said.is_empty());
    let why = format!("Desk answers status {status}: {}", said.as_deref().unwrap_or("no reason"));
    Err(match status {
        429 => Trouble::Throttled { after: *after, why },
        400..=499 => Trouble::Denied { scope: Scope::Request, why },
        _ => Trouble::Failed { after: *after, why },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Result<String, Trouble> {
        parse(&Reply { status, date: None, retry_after: None, body: body.into() })
    }

    #[test]
    fn an_answer_is_parsed_twice() {
        let check = |body: &str| answered(200, body).unwrap();
        assert_eq!(
            check(r#"{"response":"{\"data\":[{\"id\":\"7\"}]}"}"#),
            r#"{"data":[{"id":"7"}]}"#
        );
        assert_eq!(check(r#"{"response":"done"}"#), "done");
        assert_eq!(check(r#"{"response":""}"#), "");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let why = |status, body: &str| answered(status, body).unwrap_err().why().to_owned();
        let told = why(403, r#"{"errorCode":"FORBIDDEN","message":"no such extension"}"#);
        assert_eq!(told, "Desk answers status 403: FORBIDDEN: no such extension");
        assert_eq!(why(200, "<html>"), "Desk answers status 200: no reason");
        let denied = answered(401, "").unwrap_err();
        assert!(matches!(denied, Trouble::Denied { .. }), "{denied:?}");
    }

    #[test]
    fn a_call_carries_its_hash_and_shows_no_secret() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (context, manifest) = (secret("S3CRET&1"), secret("S3CRET2"));
        let org = OrgId::parse("387238").unwrap();
        let extension = Extension { org: &org, security_context: &context, secret: &manifest };
        let call = Invocation {
            url: "https://desk.zoho.com/api/v1/tickets".into(),
            method: "GET".into(),
            ..Invocation::default()
        };
        let desk = Origin::parse("https://desk.zoho.com").unwrap();
        let request = invoke(&desk, &extension, &call);
        assert_eq!(request.url, "https://desk.zoho.com/api/v1/invoke?orgId=387238");
        let Body::Signed { form, hash } = &request.body else { panic!("signed") };
        assert_eq!(*hash, call.hash(&manifest));
        assert_eq!(
            form.reveal(),
            "securityContext=S3CRET%261&requestURL=https%3A%2F%2Fdesk.zoho.com%2Fapi%2Fv1%2Ftickets\
             &requestType=GET"
        );
        assert!(!format!("{request:?}").contains("S3CRET"));
    }
}
