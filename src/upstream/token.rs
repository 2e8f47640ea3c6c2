//! Access tokens: asking for one, and reading the answer, whose errors come as HTTP 200.

use std::time::Duration;

use serde::Deserialize;

use crate::credentials::Credentials;
use crate::mirror::origin::Origin;
use crate::mirror::trouble::{Scope, Trouble};
use crate::secret::Secret;

use super::transport::{Body, Method, Reply, Request};

/// The life of an access token that names none (facts §3.2).
const USUAL_LIFE: Duration = Duration::from_secs(3600);
/// Lives outside of these bounds are a mistake of ours or of theirs, and are brought to them.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What upstream granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The access token.
    pub access: Secret,
    /// How long it is good for.
    pub life: Duration,
    /// Where the API is to be called with it.
    pub api_domain: Option<String>,
    /// The refresh token, which only a grant code brings.
    pub refresh: Option<Secret>,
}

/// Asks for an access token by the refresh token.
pub fn refresh(accounts: &Origin, credentials: &Credentials, refresh_token: &Secret) -> Request {
    ask(
        accounts,
        credentials,
        &[("grant_type", "refresh_token"), ("refresh_token", refresh_token.reveal())],
    )
}

/// Exchanges a Self Client's grant code; no redirect address is needed (facts §3.5).
pub fn exchange(accounts: &Origin, credentials: &Credentials, code: &Secret) -> Request {
    ask(accounts, credentials, &[("grant_type", "authorization_code"), ("code", code.reveal())])
}

fn ask(accounts: &Origin, credentials: &Credentials, pairs: &[(&str, &str)]) -> Request {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &credentials.client_id)
        .append_pair("client_secret", credentials.client_secret.reveal())
        .extend_pairs(pairs)
        .finish();
    Request {
        method: Method::Post,
        url: format!("{accounts}/oauth/v2/token"),
        token: None,
        modified_since: None,
        body: Body::Form(Secret::new(form)),
    }
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    api_domain: Option<String>,
    expires_in: Option<f64>,
    expires_in_sec: Option<f64>,
    error: Option<String>,
}

/// Reads the answer. Whether it is a grant is decided by the access token alone, not by the status
/// (facts §3.3).
pub fn parse(reply: &Reply) -> Result<Grant, Trouble> {
    let after = reply.retry_after;
    let body: Option<TokenBody> = serde_json::from_slice(&reply.body).ok();
    let Some(body) = body else {
        let why = format!("the accounts service answers status {} and no JSON", reply.status);
        return Err(match reply.status {
            429 => Trouble::Throttled { after, why },
            _ => Trouble::Failed { after, why },
        });
    };
    if let Some(access) = body.access_token.filter(|token| !token.reveal().is_empty()) {
        let life = life(body.expires_in, body.expires_in_sec);
        return Ok(Grant {
            access,
            life,
            api_domain: body.api_domain,
            refresh: body.refresh_token,
        });
    }
    Err(refusal(reply.status, body.error.as_deref().unwrap_or_default(), after))
}

/// Older replies give `expires_in` in milliseconds, and then `expires_in_sec` too (facts §3.1).
fn life(expires_in: Option<f64>, expires_in_sec: Option<f64>) -> Duration {
    let seconds = expires_in_sec.or(expires_in).filter(|seconds| seconds.is_finite());
    let life = seconds.map_or(USUAL_LIFE, |seconds| {
        Duration::from_secs(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()) as u64)
    });
    life.max(SHORTEST_LIFE)
}

/// The error's name decides; the text of a throttling is localised (facts §3.3), so that whatever
/// is not a known name is taken for one.
fn refusal(status: u16, error: &str, after: Option<Duration>) -> Trouble {
    let denied = |hint: &str| Trouble::Denied {
        scope: Scope::Module,
        why: format!("the accounts service answers {error}: {hint}"),
    };
    match error {
        "invalid_code" => denied(
            "the code or refresh token is wrong, expired, used up or of another data centre; \
             make a new code and run crmirror login --code CODE",
        ),
        "invalid_client" => denied("the client_id is wrong, or of another data centre"),
        "invalid_client_secret" => denied("the client_secret is wrong for this data centre"),
        "invalid_grant" | "unauthorized_client" | "access_denied" | "invalid_scope" => {
            denied("make a new code and run crmirror login --code CODE")
        }
        _ if status >= 500 => {
            Trouble::Failed { after, why: format!("the accounts service answers status {status}") }
        }
        _ => Trouble::Throttled {
            after,
            why: "the accounts service gives no token: too many were asked for; waiting".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Grant, Trouble> {
        parse(&Reply { status, date: None, retry_after: None, body: body.into() })
    }

    #[test]
    fn a_grant_is_told_by_its_access_token() {
        let grant = read(200, r#"{"access_token":"1000.a","api_domain":"https://www.zohoapis.eu","token_type":"Bearer","expires_in":3600}"#).unwrap();
        assert_eq!((grant.access.reveal(), grant.life.as_secs()), ("1000.a", 3600));
        assert_eq!(grant.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
        let life = |pairs: &str| {
            read(200, &format!(r#"{{"access_token":"a"{pairs}}}"#)).unwrap().life.as_secs()
        };
        assert_eq!(life(r#","expires_in":3600000,"expires_in_sec":3600"#), 3600);
        assert_eq!(life(""), 3600);
        assert_eq!(life(r#","expires_in":-5"#), 1);
        assert_eq!(life(r#","expires_in":1e300"#), 86_400);
    }

    #[test]
    fn errors_come_with_any_status() {
        for status in [200, 400, 401] {
            for error in ["invalid_code", "invalid_client", "invalid_client_secret"] {
                let refused = read(status, &format!(r#"{{"error":"{error}"}}"#));
                assert!(matches!(refused, Err(Trouble::Denied { .. })), "{status} {error}");
            }
            for error in ["Access Denied", "拒绝访问"] {
                let body = format!(r#"{{"error":"{error}","status":"failure"}}"#);
                let refused = read(status, &body);
                assert!(matches!(refused, Err(Trouble::Throttled { .. })), "{status} {error}");
            }
        }
        assert!(matches!(read(502, "<html>"), Err(Trouble::Failed { .. })));
        assert!(matches!(read(200, "<html>"), Err(Trouble::Failed { .. })));
        assert!(matches!(read(429, ""), Err(Trouble::Throttled { .. })));
    }

    #[test]
    fn credentials_go_in_the_form_and_not_in_the_address() {
        let credentials = Credentials {
            client_id: "1000.ID".into(),
            client_secret: Secret::new("s&c=ret".into()),
            refresh_token: None,
            platform_secret: None,
            zapikey: None,
        };
        let accounts = Origin::parse("https://accounts.zoho.eu").unwrap();
        let request = refresh(&accounts, &credentials, &Secret::new("1000.r".into()));
        assert_eq!(request.url, "https://accounts.zoho.eu/oauth/v2/token");
        let Body::Form(form) = &request.body else { panic!("a form") };
        let expected = "client_id=1000.ID&client_secret=s%26c%3Dret\
                        &grant_type=refresh_token&refresh_token=1000.r";
        assert_eq!(form.reveal(), expected);
        assert!(!format!("{request:?}").contains("s%26c"));
    }
}
