//! What was asked of upstream, for tests that count calls or look at what was sent.

use std::collections::VecDeque;

use super::clock::Moment;
use super::route;
use super::wire::{Answer, Asked, NoAnswer};

/// Calls kept; older ones are forgotten, their count is not.
const CALLS_KEPT: usize = 20_000;
/// Bytes of a request's body kept: a channel request is far below.
const BODY_KEPT: usize = 4_096;

/// One request that reached upstream, or was lost on the way there or back.
#[derive(Clone, Debug)]
pub struct Call {
    /// When.
    pub at: Moment,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path; the whole address when it was sent to the wrong origin.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// `If-Modified-Since`, as sent.
    pub modified_since: Option<String>,
    /// The first 4 KiB of the body.
    pub body: String,
    /// The status, or why there was none.
    pub outcome: Result<u16, NoAnswer>,
    /// What the call cost.
    pub credits: u64,
}

impl Call {
    /// The value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
pub(super) struct CallLog {
    calls: VecDeque<Call>,
    pub(super) count: u64,
    pub(super) credits: u64,
}

impl CallLog {
    pub(super) fn note(&mut self, asked: &Asked, outcome: &Result<Answer, NoAnswer>, now: Moment) {
        let credits = if outcome.is_ok() { route::credits(&asked.path) } else { 0 };
        self.count += 1;
        self.credits += credits;
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        let body = &asked.body[..asked.body.len().min(BODY_KEPT)];
        self.calls.push_back(Call {
            at: now,
            method: asked.method.clone(),
            path: asked.path.clone(),
            query: asked.query.clone(),
            modified_since: asked.headers.get("if-modified-since").cloned(),
            body: String::from_utf8_lossy(body).into_owned(),
            outcome: outcome.as_ref().map(|answer| answer.status).map_err(|&why| why),
            credits,
        });
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn forget(&mut self) {
        *self = CallLog::default();
    }
}
