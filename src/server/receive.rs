//! The callback listener: parse, authenticate, enqueue and flush, 200.
//!
//! Nothing of a refused callback is stored, and what is acknowledged is on disk: a 200 cannot be
//! built without the store's [`crate::store::Durable`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::mirror::callback::{Known, Notification, Refusal};
use crate::mirror::planner::Input;
use crate::mirror::record::ModuleName;
use crate::mirror::time::Tick;
use crate::secret::Secret;
use crate::store::{EnqueueError, Store};

use super::asked::Asked;
use super::board::{Admission, Board};
use super::declined::Declined;
use super::forwarded;
use super::reply::Reply;

/// Callbacks whose repetition is recognised: a repetition comes within seconds, if at all.
const RECENT_LIMIT: usize = 1_024;
/// Seconds after which upstream may try again, when we cannot take a callback now.
const RETRY_AFTER: &str = "30";

/// Receives callbacks.
pub struct Reception {
    path: String,
    modules: Vec<ModuleName>,
    store: Store,
    board: Arc<Board>,
    bell: SyncSender<Input>,
    clock: Arc<dyn Clock>,
    recent: Mutex<VecDeque<u64>>,
    turning_away: AtomicBool,
    behind_proxy: bool,
}

impl Reception {
    /// Receives on the path of `notify_url`, for these modules.
    pub fn new(
        path: &str,
        modules: Vec<ModuleName>,
        store: Store,
        board: Arc<Board>,
        bell: SyncSender<Input>,
        clock: Arc<dyn Clock>,
    ) -> Reception {
        let path = path.to_owned();
        let (recent, turning_away) = (Mutex::default(), AtomicBool::new(false));
        let behind_proxy = false;
        Reception { path, modules, store, board, bell, clock, recent, turning_away, behind_proxy }
    }

    /// The same behind a proxy of the operator's, which says whose requests it passes on.
    pub fn behind_proxy(self) -> Reception {
        Reception { behind_proxy: true, ..self }
    }

    /// Answers one request.
    pub fn respond(&self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        if path != self.path {
            return Reply::error(404, "NOT_FOUND", "nothing is here");
        }
        if asked.method != "POST" {
            let reply = Reply::error(405, "INVALID_REQUEST_METHOD", "callbacks are sent by POST");
            return reply.with("Allow", "POST");
        }
        let came = self.clock.tick();
        let admission = self.board.admission();
        match self.judge(&asked.body, &admission) {
            Ok(notification) => self.take(&notification, came, &admission),
            Err(refusal) => {
                self.board.callbacks.count_refused(Declined::from(&refusal));
                log::info!("a callback from {} is refused: {refusal}", self.caller(asked));
                refused(&refusal)
            }
        }
    }

    /// Who called, for the log.
    fn caller(&self, asked: &Asked) -> String {
        match forwarded::caller(asked).filter(|_| self.behind_proxy) {
            Some(caller) => format!("{caller} through {}", asked.peer),
            None => asked.peer.to_string(),
        }
    }

    fn judge(&self, body: &[u8], admission: &Admission) -> Result<Notification, Refusal> {
        let tokens = alive(&admission.tokens, self.clock.tick());
        let known = Known {
            channel: admission.channel.ok_or(Refusal::NotReady)?,
            tokens: &tokens,
            origin: admission.origin.as_ref(),
            modules: &self.modules,
        };
        Notification::judge(body, &known)
    }

    fn take(&self, notification: &Notification, came: Tick, admission: &Admission) -> Reply {
        let heard = admission.clock.map(|clock| clock.at(came));
        match self.store.enqueue(&notification.arrivals(heard)) {
            Ok((durable, items)) => {
                let on_disk = self.clock.tick();
                self.board.meters.acknowledgement.add(on_disk.since(came));
                self.board.meters.set_out(&items, on_disk);
                if self.turning_away.swap(false, Ordering::Relaxed) {
                    log::info!("callbacks are taken again");
                }
                self.board.callbacks.count_accepted(self.is_repeated(notification));
                self.ring(Input::Arrived(items));
                Reply::accepted(durable)
            }
            Err(EnqueueError::Full { waiting }) => {
                let why = format!("{waiting} ids wait already");
                self.turn_away(Declined::InboxFull, &why, "the inbox is full")
            }
            Err(error @ EnqueueError::NoRoom { .. }) => {
                self.turn_away(Declined::NoRoom, &error.to_string(), "the disk is full")
            }
            Err(EnqueueError::Store(error)) => {
                log::error!("a callback cannot be kept: {error}");
                // The heart looks at the store when it is rung, and stops.
                self.ring(Input::Nothing);
                self.not_now(Declined::StoreFailed, "the store takes no writes")
            }
        }
    }

    /// Says 503, and in the log only once until a callback is taken again: upstream sends many,
    /// and the disk that is full may be that of the log.
    fn turn_away(&self, declined: Declined, why: &str, told: &str) -> Reply {
        if !self.turning_away.swap(true, Ordering::Relaxed) {
            log::warn!("callbacks are turned away for now: {why}");
        }
        self.ring(Input::TurnedAway);
        self.not_now(declined, told)
    }

    fn not_now(&self, declined: Declined, why: &str) -> Reply {
        self.board.callbacks.count_refused(declined);
        Reply::error(503, "NOT_NOW", why).with("Retry-After", RETRY_AFTER)
    }

    /// Whether this repeats a callback that was acknowledged before. It is only counted: that a
    /// record is fetched once too often does no harm, that it is not fetched might.
    fn is_repeated(&self, notification: &Notification) -> bool {
        let Some(fingerprint) = notification.fingerprint() else { return false };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.contains(&fingerprint) {
            return true;
        }
        if recent.len() == RECENT_LIMIT {
            recent.pop_front();
        }
        recent.push_back(fingerprint);
        false
    }

    fn ring(&self, input: Input) {
        // Without a heart the process is about to end, and the next start reads the inbox.
        let _ = self.bell.send(input);
    }
}

fn alive(tokens: &[(Secret, Option<Tick>)], now: Tick) -> Vec<Secret> {
    let alive = tokens.iter().filter(|(_, until)| until.is_none_or(|until| now <= until));
    alive.map(|(token, _)| token.clone()).collect()
}

fn refused(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Unreadable(why) => Reply::error(400, "INVALID_DATA", why),
        // A stranger is not told what was wrong.
        Refusal::UnknownChannel
        | Refusal::WrongToken
        | Refusal::ForeignResource
        | Refusal::ModuleMismatch
        | Refusal::UnknownModule(_) => Reply::error(403, "NO_PERMISSION", "not for us"),
        Refusal::NotReady => {
            Reply::error(503, "NOT_NOW", "not ready yet").with("Retry-After", RETRY_AFTER)
        }
    }
}
