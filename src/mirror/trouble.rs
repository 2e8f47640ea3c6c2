//! Why an action brought nothing, in the words that the planner decides by.

use std::time::Duration;

/// What stood in the way of an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No reply came: the network, name resolution, TLS, a time-out.
    Unreachable {
        /// What happened, for people.
        why: String,
    },
    /// What upstream showed cannot be written: the disk is full.
    NoRoom {
        /// What the store said.
        why: String,
    },
    /// Upstream says that we ask too much.
    Throttled {
        /// How long it asks us to wait.
        after: Option<Duration>,
        /// What it said.
        why: String,
    },
    /// Upstream failed, or what came is not an answer to what was asked.
    Failed {
        /// How long it asks us to wait.
        after: Option<Duration>,
        /// What it said.
        why: String,
    },
    /// The access token is not, or no longer, accepted.
    TokenRefused {
        /// What upstream said.
        why: String,
    },
    /// Upstream turned the request down for good.
    Denied {
        /// What the refusal speaks of.
        scope: Scope,
        /// What it said.
        why: String,
    },
}

/// What a denial speaks of, and so whether asking for less would help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// These very records, or this very page.
    Request,
    /// The module as a whole: a missing permission, a wrong name.
    Module,
}

impl Trouble {
    /// What happened, for the log and the status.
    pub fn why(&self) -> &str {
        match self {
            Trouble::Unreachable { why }
            | Trouble::NoRoom { why }
            | Trouble::Throttled { why, .. }
            | Trouble::Failed { why, .. }
            | Trouble::TokenRefused { why }
            | Trouble::Denied { why, .. } => why,
        }
    }

    /// How long upstream asks us to wait, when it does.
    pub fn asked_pause(&self) -> Option<Duration> {
        match self {
            Trouble::Throttled { after, .. } | Trouble::Failed { after, .. } => *after,
            Trouble::Unreachable { .. }
            | Trouble::NoRoom { .. }
            | Trouble::TokenRefused { .. }
            | Trouble::Denied { .. } => None,
        }
    }
}
