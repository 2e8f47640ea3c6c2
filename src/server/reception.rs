//! The callback listener: which kind of callback a path is for.
//!
//! Each kind has paths of its own, by POST alone; everything else is turned away here. Who may
//! call, and what a callback says, is for the kind to judge. Nothing of a refused one is stored.

use std::sync::Arc;

use crate::mirror::time::Tick;

use super::asked::Asked;
use super::declined::Declined;
use super::forwarded;
use super::intake::Intake;
use super::reply::Reply;

/// One kind of callback.
pub trait Receive: Send + Sync {
    /// Judges a request that came at this tick, and takes it in. An `Ok` is not always a 200: the
    /// disk may be full.
    fn receive(&self, asked: &Asked, came: Tick) -> Result<Reply, Refused>;
}

/// A callback that is turned away for what it is.
pub struct Refused {
    /// The kind of reason, to be counted.
    pub declined: Declined,
    /// The reason in full, for the log.
    pub why: String,
    /// What the caller is told, which may be less.
    pub reply: Reply,
}

/// Receives callbacks of all kinds.
pub struct Reception {
    kinds: Vec<(String, Box<dyn Receive>)>,
    intake: Arc<Intake>,
    behind_proxy: bool,
}

impl Reception {
    /// Receives nothing yet. `behind_proxy` says that a proxy of the operator's stands in front,
    /// which says whose requests it passes on.
    pub fn new(intake: Arc<Intake>, behind_proxy: bool) -> Reception {
        Reception { kinds: Vec::new(), intake, behind_proxy }
    }

    /// The same with this kind of callback received at this path.
    pub fn with(mut self, path: &str, kind: impl Receive + 'static) -> Reception {
        self.kinds.push((path.to_owned(), Box::new(kind)));
        self
    }

    /// Whether there is nothing to be received.
    pub fn is_idle(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Answers one request.
    pub fn respond(&self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let Some((_, kind)) = self.kinds.iter().find(|(of, _)| of == path) else {
            return Reply::error(404, "NOT_FOUND", "nothing is here");
        };
        if asked.method != "POST" {
            let reply = Reply::error(405, "INVALID_REQUEST_METHOD", "callbacks are sent by POST");
            return reply.with("Allow", "POST");
        }
        kind.receive(asked, self.intake.tick()).unwrap_or_else(|refused| {
            self.intake.count_refused(refused.declined);
            log::info!("a callback from {} is refused: {}", self.caller(asked), refused.why);
            refused.reply
        })
    }

    /// Who called, for the log.
    fn caller(&self, asked: &Asked) -> String {
        match forwarded::caller(asked).filter(|_| self.behind_proxy) {
            Some(caller) => format!("{caller} through {}", asked.peer),
            None => asked.peer.to_string(),
        }
    }
}
