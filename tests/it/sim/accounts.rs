//! Upstream's accounts server: refresh tokens, grant codes, access tokens and who may do what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::Moment;
use super::knobs::Knobs;
use super::wire::{Answer, Asked};

/// The client id that is accepted.
pub const CLIENT_ID: &str = "1000.SIMULATEDCLIENT";
/// The client secret that is accepted.
pub const CLIENT_SECRET: &str = "simulated-client-secret-5f2b";
/// The refresh token that is accepted from the start.
pub const REFRESH_TOKEN: &str = "1000.simulated-refresh-token-9c1e";

/// Live access tokens per refresh token; one more ends the oldest (facts §3.2).
const LIVE_TOKENS: usize = 15;
/// Refresh tokens of a user and client; one more ends the oldest (facts §3.2).
const REFRESH_TOKENS: usize = 20;
/// Token requests allowed in [`THROTTLE_WINDOW`] (facts §3.2).
const THROTTLE_LIMIT: usize = 10;
const THROTTLE_WINDOW: Duration = Duration::from_secs(600);

/// Credentials, tokens and scopes.
pub struct Accounts {
    refresh_tokens: Vec<String>,
    codes: BTreeMap<String, Moment>,
    live: Vec<Access>,
    withheld: BTreeSet<String>,
    attempts: VecDeque<Moment>,
    denials: u32,
    issued: u64,
}

struct Access {
    token: String,
    refresh: String,
    ends: Moment,
}

impl Accounts {
    pub(super) fn new() -> Accounts {
        Accounts {
            refresh_tokens: vec![REFRESH_TOKEN.to_owned()],
            codes: BTreeMap::new(),
            live: Vec::new(),
            withheld: BTreeSet::new(),
            attempts: VecDeque::new(),
            denials: 0,
            issued: 0,
        }
    }

    /// A grant code, good for one exchange until `ends`.
    pub fn add_code(&mut self, code: &str, ends: Moment) {
        self.codes.insert(code.to_owned(), ends);
    }

    /// Ends every refresh token: the owner withdrew the access.
    pub fn revoke_all(&mut self) {
        self.refresh_tokens.clear();
        self.live.clear();
    }

    /// Ends every access token; refreshing still works.
    pub fn expire_access(&mut self) {
        self.live.clear();
    }

    /// Answers the next `count` token requests with "Access Denied".
    pub fn deny_next(&mut self, count: u32) {
        self.denials = count;
    }

    /// Calls that need this scope (`ZohoCRM.org.READ`) are `OAUTH_SCOPE_MISMATCH` from now on.
    pub fn withhold(&mut self, scope: &str) {
        self.withheld.insert(scope.to_owned());
    }

    /// How many access tokens were ever given out.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// A fresh access token without asking for one.
    pub fn issue(&mut self, knobs: &Knobs, now: Moment) -> String {
        self.grant(REFRESH_TOKEN, knobs, now)
    }

    pub(super) fn authorise(&self, asked: &Asked, scope: &str, now: Moment) -> Result<(), Answer> {
        let header = asked.headers.get("authorization").map_or("", String::as_str);
        let token = header.strip_prefix("Zoho-oauthtoken ").or(header.strip_prefix("Bearer "));
        let token = token.ok_or_else(Answer::invalid_token)?;
        if !self.live.iter().any(|access| access.token == token && now < access.ends) {
            return Err(Answer::invalid_token());
        }
        if self.withheld.contains(scope) {
            let message = "invalid oauth scope to access this URL";
            return Err(Answer::refusal(401, "OAUTH_SCOPE_MISMATCH", json!({}), message));
        }
        Ok(())
    }

    /// `POST /oauth/v2/token`: parameters may come in the query or as a form (facts §3.1).
    pub(super) fn token(&mut self, asked: &Asked, knobs: &Knobs, now: Moment) -> Answer {
        if asked.method != "POST" {
            return failure("invalid_request");
        }
        if self.is_throttled(knobs, now) {
            let body = json!({
                "error_description": "You have made too many requests continuously. \
                                      Please try again after some time.",
                "error": "Access Denied",
                "status": "failure",
            });
            return Answer::json(knobs.throttled_status, &body);
        }
        let given: BTreeMap<String, String> = form_urlencoded::parse(&asked.body)
            .into_owned()
            .chain(asked.query.iter().cloned())
            .collect();
        let param = |name: &str| given.get(name).map_or("", String::as_str);
        if param("client_id") != CLIENT_ID {
            return failure("invalid_client");
        }
        if param("client_secret") != CLIENT_SECRET {
            return failure("invalid_client_secret");
        }
        match param("grant_type") {
            "refresh_token" => self.refresh(param("refresh_token"), knobs, now),
            "authorization_code" => self.exchange(param("code"), knobs, now),
            _ => failure("unsupported_grant_type"),
        }
    }

    /// `POST /oauth/v2/token/revoke?token=`.
    pub(super) fn revoke(&mut self, asked: &Asked) -> Answer {
        let token = asked.param("token").unwrap_or_default();
        if !self.refresh_tokens.iter().any(|known| known == token) {
            return failure("invalid_token");
        }
        self.end(token);
        Answer::json(200, &json!({"status": "success"}))
    }

    fn refresh(&mut self, refresh: &str, knobs: &Knobs, now: Moment) -> Answer {
        if !self.refresh_tokens.iter().any(|known| known == refresh) {
            return failure("invalid_code");
        }
        Answer::json(200, &self.grant_reply(refresh, knobs, now))
    }

    fn exchange(&mut self, code: &str, knobs: &Knobs, now: Moment) -> Answer {
        if self.codes.remove(code).is_none_or(|ends| ends <= now) {
            return failure("invalid_code");
        }
        let refresh = format!("1000.simulated-refresh-token-{}", self.issued + 1);
        self.refresh_tokens.push(refresh.clone());
        if self.refresh_tokens.len() > REFRESH_TOKENS {
            let oldest = self.refresh_tokens[0].clone();
            self.end(&oldest);
        }
        let mut reply = self.grant_reply(&refresh, knobs, now);
        reply["refresh_token"] = Value::String(refresh);
        Answer::json(200, &reply)
    }

    fn end(&mut self, refresh: &str) {
        self.refresh_tokens.retain(|known| known != refresh);
        self.live.retain(|access| access.refresh != refresh);
    }

    fn grant_reply(&mut self, refresh: &str, knobs: &Knobs, now: Moment) -> Value {
        let mut reply = json!({
            "access_token": self.grant(refresh, knobs, now),
            "scope": "ZohoCRM.notifications.ALL ZohoCRM.modules.READ",
            "api_domain": knobs.api_origin,
            "token_type": "Bearer",
            "expires_in": knobs.token_life.as_secs(),
        });
        if knobs.old_token_reply {
            reply["expires_in_sec"] = reply["expires_in"].clone();
            reply["expires_in"] = json!(knobs.token_life.as_millis() as u64);
        }
        reply
    }

    fn grant(&mut self, refresh: &str, knobs: &Knobs, now: Moment) -> String {
        self.issued += 1;
        let token = format!("1000.simulated-access-token-{}", self.issued);
        self.live.retain(|access| now < access.ends);
        let ends = now.after(knobs.token_life);
        self.live.push(Access { token: token.clone(), refresh: refresh.to_owned(), ends });
        let of_this = self.live.iter().filter(|access| access.refresh == refresh).count();
        if of_this > LIVE_TOKENS {
            if let Some(at) = self.live.iter().position(|access| access.refresh == refresh) {
                self.live.remove(at);
            }
        }
        token
    }

    /// Attempts count even when they are denied: it takes silence to be let in again (facts §3.3).
    fn is_throttled(&mut self, knobs: &Knobs, now: Moment) -> bool {
        if self.denials > 0 {
            self.denials -= 1;
            return true;
        }
        while self.attempts.front().is_some_and(|&at| now.since(at) >= THROTTLE_WINDOW) {
            self.attempts.pop_front();
        }
        self.attempts.push_back(now);
        if self.attempts.len() > THROTTLE_LIMIT + 1 {
            self.attempts.pop_front();
        }
        knobs.throttle_tokens && self.attempts.len() > THROTTLE_LIMIT
    }
}

/// Errors of the accounts server come as 200 (facts §3.3).
fn failure(error: &str) -> Answer {
    Answer::json(200, &json!({"error": error}))
}
