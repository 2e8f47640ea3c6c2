//! The notifications of CRM's channel: parse, authenticate, take in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mirror::callback::{Known, Notification, Refusal};
use crate::mirror::record::ModuleName;
use crate::mirror::time::Tick;
use crate::secret::Secret;

use super::asked::Asked;
use super::board::Admission;
use super::declined::Declined;
use super::intake::Intake;
use super::reception::{Receive, Refused};
use super::reply::Reply;

/// Callbacks whose repetition is recognised: a repetition comes within seconds, if at all.
const RECENT_LIMIT: usize = 1_024;

/// Receives what the channel announces.
pub struct Notifications {
    modules: Vec<ModuleName>,
    intake: Arc<Intake>,
    recent: Mutex<VecDeque<u64>>,
}

impl Notifications {
    /// Takes in what concerns these modules.
    pub fn new(modules: Vec<ModuleName>, intake: Arc<Intake>) -> Notifications {
        Notifications { modules, intake, recent: Mutex::default() }
    }

    fn judge(
        &self,
        body: &[u8],
        came: Tick,
        admission: &Admission,
    ) -> Result<Notification, Refusal> {
        let tokens = alive(&admission.tokens, came);
        let known = Known {
            channel: admission.channel.ok_or(Refusal::NotReady)?,
            tokens: &tokens,
            origin: admission.origin.as_ref(),
            modules: &self.modules,
        };
        Notification::judge(body, &known)
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
}

impl Receive for Notifications {
    fn receive(&self, asked: &Asked, came: Tick) -> Result<Reply, Refused> {
        let admission = self.intake.admission();
        let notification = self.judge(&asked.body, came, &admission).map_err(Refused::from)?;
        let heard = admission.clock.map(|clock| clock.at(came));
        let repeats = || self.is_repeated(&notification);
        Ok(self.intake.take(&notification.arrivals(heard), came, repeats))
    }
}

pub(super) fn alive(tokens: &[(Secret, Option<Tick>)], now: Tick) -> Vec<Secret> {
    let alive = tokens.iter().filter(|(_, until)| until.is_none_or(|until| now <= until));
    alive.map(|(token, _)| token.clone()).collect()
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let (declined, why) = (Declined::from(&refusal), refusal.to_string());
        let reply = match &refusal {
            Refusal::Unreadable(why) => Reply::error(400, "INVALID_DATA", why),
            // A stranger is not told what was wrong.
            Refusal::UnknownChannel
            | Refusal::WrongToken
            | Refusal::ForeignResource
            | Refusal::ModuleMismatch
            | Refusal::UnknownModule(_) => Reply::error(403, "NO_PERMISSION", "not for us"),
            Refusal::NotReady => Intake::not_now("not ready yet"),
        };
        Refused { declined, why, reply }
    }
}
