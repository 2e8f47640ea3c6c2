//! A call to a function: what is carried there and back. Unlike the API's, its address is a secret,
//! its content may be of any kind, and what comes back has headers of the function's own.

use std::time::Duration;

use super::{HttpsTransport, Patience, Reply, TransportError, error, read};
use crate::secret::Secret;

/// A call. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Call {
    /// The whole address with its query, in which the key may stand.
    pub url: Secret,
    /// Sent as `Authorization: Zoho-oauthtoken …`, where there is one.
    pub token: Option<Secret>,
    /// Headers of its own.
    pub headers: Vec<(&'static str, String)>,
    /// The media type of the content; without one there is no content.
    pub media_type: Option<String>,
    /// What is sent.
    pub content: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The reply.
    pub reply: Reply,
    /// Its headers, as sent; those that are no text are left out.
    pub headers: Vec<(String, String)>,
}

/// Carries a call to a function and brings what it answered.
pub trait Caller: Send + Sync {
    /// Sends the call and reads the answer whole. A status of 4xx or 5xx is an answer.
    fn call(&self, call: &Call) -> Result<Answered, TransportError>;
}

impl Patience {
    /// For functions, which may run for a minute (facts §7), and are on their way for a while.
    pub fn for_functions() -> Patience {
        Patience {
            call: Duration::from_secs(85),
            answer: Duration::from_secs(70),
            ..Patience::default()
        }
    }
}

impl Caller for HttpsTransport {
    fn call(&self, call: &Call) -> Result<Answered, TransportError> {
        let mut last = None;
        for agent in &self.agents {
            match send(agent, call) {
                Err(error @ TransportError::Untrusted(_)) => last = Some(error),
                result => return result,
            }
        }
        Err(last.expect("there is at least one agent"))
    }
}

fn send(agent: &ureq::Agent, call: &Call) -> Result<Answered, TransportError> {
    let mut builder = agent.post(call.url.reveal());
    for (name, value) in &call.headers {
        builder = builder.header(*name, value);
    }
    if let Some(token) = &call.token {
        builder = builder.header("Authorization", format!("Zoho-oauthtoken {}", token.reveal()));
    }
    let sent = match &call.media_type {
        Some(media_type) => builder.content_type(media_type).send(&call.content[..]),
        None => builder.send_empty(),
    };
    let response = sent.map_err(error)?;
    let text = |value: &ureq::http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = response.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let headers = headers.collect();
    Ok(Answered { reply: read(response)?, headers })
}
