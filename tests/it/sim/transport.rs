//! The simulator in process: crmirror's own [`Transport`], without a wire.
//!
//! It is as strict as the world: an address of a foreign origin is unreachable, and noted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crmirror::mirror::time::UpstreamTime;
use crmirror::upstream::transport::call::{Answered, Call, Caller};
use crmirror::upstream::transport::{
    Body, Method, REPLY_LIMIT, Reply, Request, Transport, TransportError,
};

use super::Upstream;
use super::wire::{Answer, Asked, NoAnswer};

type Hook = Box<dyn FnMut(&mut Upstream, &Asked) + Send>;

/// Carries requests to an [`Upstream`] in the same process.
pub struct SimTransport {
    upstream: Arc<Mutex<Upstream>>,
    before_each: Mutex<Option<Hook>>,
}

impl SimTransport {
    /// A way to this upstream.
    pub fn new(upstream: Arc<Mutex<Upstream>>) -> SimTransport {
        SimTransport { upstream, before_each: Mutex::new(None) }
    }

    /// Does something upstream before each request is answered: what changes between two pages,
    /// or a clock that moves while a request travels.
    pub fn before_each(&self, hook: impl FnMut(&mut Upstream, &Asked) + Send + 'static) {
        *lock(&self.before_each) = Some(Box::new(hook));
    }
}

impl Transport for SimTransport {
    fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let mut upstream = lock(&self.upstream);
        let (origin, target) = split(&request.url);
        let asked = asked(request, target);
        let knobs = &upstream.knobs;
        let expected =
            if target.starts_with("/oauth/") { &knobs.accounts_origin } else { &knobs.api_origin };
        let outcome = if origin == expected {
            if let Some(hook) = lock(&self.before_each).as_mut() {
                hook(&mut upstream, &asked);
            }
            upstream.answer(&asked)
        } else {
            Err(upstream.stray(&asked, &request.url))
        };
        match outcome {
            Ok(answer) => reply(answer),
            Err(why) => Err(error(why)),
        }
    }
}

impl Caller for SimTransport {
    fn call(&self, call: &Call) -> Result<Answered, TransportError> {
        let mut upstream = lock(&self.upstream);
        let (origin, target) = split(call.url.reveal());
        let mut asked = Asked::new("POST", target);
        for (name, value) in &call.headers {
            asked = asked.header(name, value);
        }
        if let Some(token) = &call.token {
            asked = asked.token(token.reveal());
        }
        if let Some(media_type) = &call.media_type {
            asked = asked.header("content-type", media_type);
        }
        asked.body = call.content.clone();
        let outcome = if origin == upstream.knobs.api_origin {
            if let Some(hook) = lock(&self.before_each).as_mut() {
                hook(&mut upstream, &asked);
            }
            upstream.answer(&asked)
        } else {
            Err(upstream.stray(&asked, origin))
        };
        let answer = outcome.map_err(error)?;
        let headers = answer.headers.clone();
        Ok(Answered { reply: reply(answer)?, headers })
    }
}

/// `https://host:port` and the rest; only what stands before the first `/` of the path counts, so
/// that userinfo makes a foreign origin.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    url.split_at(path)
}

fn asked(request: &Request, target: &str) -> Asked {
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
    };
    let mut asked = Asked::new(method, target);
    if let Some(token) = &request.token {
        asked = asked.token(token.reveal());
    }
    if let Some(since) = request.modified_since {
        asked = asked.header("if-modified-since", &since.to_string());
    }
    match &request.body {
        Body::Empty => asked,
        Body::Json(body) => asked.header("content-type", "application/json").body(body.reveal()),
        Body::Form(body) => {
            asked.header("content-type", "application/x-www-form-urlencoded").body(body.reveal())
        }
        Body::Signed { form, hash } => asked
            .header("content-type", "application/x-www-form-urlencoded")
            .header("hash", hash)
            .body(form.reveal()),
    }
}

fn reply(answer: Answer) -> Result<Reply, TransportError> {
    if answer.body.len() > REPLY_LIMIT {
        return Err(TransportError::Unreadable("the reply is too large".to_owned()));
    }
    let date = answer.header("Date").and_then(UpstreamTime::parse_http_date);
    let retry_after = answer.header("Retry-After").and_then(|text| match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(UpstreamTime::parse_http_date(text)?.since(date?)),
    });
    Ok(Reply { status: answer.status, date, retry_after, body: answer.body })
}

fn error(why: NoAnswer) -> TransportError {
    match why {
        NoAnswer::TimedOut => TransportError::TimedOut("simulated".to_owned()),
        NoAnswer::Reset => TransportError::Unreachable("connection reset (simulated)".to_owned()),
        NoAnswer::Unreachable => TransportError::Unreachable("no route (simulated)".to_owned()),
        NoAnswer::WrongClock => {
            TransportError::WrongClock("certificate not valid yet (simulated)".to_owned())
        }
    }
}

/// A test that panics while it holds the lock has told what is wrong already.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
