//! What the platform tells of our extension: prove, compare the organisation, take in.
//!
//! The security context of an accepted callback is kept, in a file of its own, before the callback
//! is acknowledged; it goes nowhere else. Callbacks come one at a time here: they are seldom, the
//! first that proves itself says which organisation is the one, and behind a removal that erases
//! everything none is acknowledged, since it would be erased too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity::IdentityError;
use crate::identity::context::{Context, ContextFile};
use crate::mirror::platform::proof::{self, Form};
use crate::mirror::platform::{Announced, Event, OrgId, Payload};
use crate::mirror::time::Tick;
use crate::secret::Secret;

use super::asked::Asked;
use super::declined::Declined;
use super::intake::Intake;
use super::reception::{Receive, Refused};
use super::reply::Reply;

/// The header that proves a callback (facts §6).
const HASH: &str = "hash";

/// What is asked of a callback.
#[derive(Debug)]
pub struct Demands {
    /// The manifest's secret; without it nothing can be proved.
    pub secret: Option<Secret>,
    /// Whether what is not proved is refused, or only told.
    pub is_enforced: bool,
    /// The organisation that may call; without it, the first that proves itself.
    pub org: Option<OrgId>,
    /// Whether a removal of the extension erases everything.
    pub removal_erases: bool,
}

/// Receives what the platform tells.
pub struct PlatformCallbacks {
    demands: Demands,
    intake: Arc<Intake>,
    file: ContextFile,
    state: Mutex<State>,
}

struct State {
    kept: Option<Context>,
    /// A removal was acknowledged, and everything is about to be erased.
    is_leaving: bool,
}

impl PlatformCallbacks {
    /// Goes on from what was kept last in this file.
    pub fn new(
        demands: Demands,
        intake: Arc<Intake>,
        file: ContextFile,
    ) -> Result<PlatformCallbacks, IdentityError> {
        let is_leaving = demands.removal_erases && intake.has_waiting(Event::Uninstall);
        let state = Mutex::new(State { kept: file.load()?, is_leaving });
        Ok(PlatformCallbacks { demands, intake, file, state })
    }

    /// Over what the callback's hash was made; an error when that is not to be accepted.
    fn prove(&self, asked: &Asked) -> Result<Option<Form>, Refused> {
        let hash = asked.header(HASH);
        let secret = self.demands.secret.as_ref();
        let met = hash.zip(secret).and_then(|(hash, key)| proof::form(key, &asked.body, hash));
        let why = match (met, hash) {
            (Some(_), _) => return Ok(met),
            (None, Some(_)) => "its HASH is made with another secret, or over something unknown",
            (None, None) => "it has no HASH",
        };
        if self.demands.is_enforced {
            return Err(refused(Declined::WrongHash, why));
        }
        log::warn!("a callback of the platform is accepted although {why}");
        Ok(None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the context that came with it, if it came from the right organisation.
    fn keep(
        &self,
        kept: &mut Option<Context>,
        payload: Payload,
        is_proved: bool,
    ) -> Result<(), NotKept> {
        let learnt = kept.as_ref().filter(|kept| kept.settled).map(|kept| &kept.org);
        let known = self.demands.org.as_ref().or(learnt);
        if known.is_some_and(|known| *known != payload.org_id) {
            return Err(NotKept::OtherOrg);
        }
        let Payload { org_id, security_context, .. } = payload;
        let settled = is_proved || known.is_some();
        let context = Context { org: org_id, settled, security_context };
        if kept.as_ref() != Some(&context) {
            self.file.keep(&context).map_err(NotKept::Failed)?;
            *kept = Some(context);
        }
        Ok(())
    }
}

enum NotKept {
    OtherOrg,
    Failed(IdentityError),
}

impl Receive for PlatformCallbacks {
    fn receive(&self, asked: &Asked, came: Tick) -> Result<Reply, Refused> {
        let payload = Payload::parse(&asked.body).map_err(|why| Refused {
            declined: Declined::Unreadable,
            reply: Reply::error(400, "INVALID_DATA", &why),
            why,
        })?;
        let met = self.prove(asked)?;
        let mut state = self.state();
        if state.is_leaving {
            return Ok(Intake::not_now("everything is being erased"));
        }
        let clock = self.intake.admission().clock;
        let (event, org) = (payload.event, payload.org_id.clone());
        let announced = Announced { event, org, heard: clock.map(|clock| clock.at(came)) };
        match self.keep(&mut state.kept, payload, met.is_some()) {
            Ok(()) => {}
            Err(NotKept::OtherOrg) => {
                return Err(refused(Declined::OtherOrg, "it is of another organisation"));
            }
            Err(NotKept::Failed(error)) => return Ok(self.intake.cannot_keep(&error)),
        }
        if let Some(form) = met.filter(|_| !self.demands.is_enforced) {
            log::info!("the HASH of a callback of the platform is made over {}", form.as_str());
        }
        let reply = self.intake.take_event(&announced, came);
        let is_removal = self.demands.removal_erases && event == Event::Uninstall;
        state.is_leaving = is_removal && reply.status() == 200;
        Ok(reply)
    }
}

/// A stranger is not told what was wrong.
fn refused(declined: Declined, why: &str) -> Refused {
    Refused {
        declined,
        why: why.to_owned(),
        reply: Reply::error(403, "NO_PERMISSION", "not for us"),
    }
}
