//! The callbacks of Books: judge, take in.
//!
//! Each webhook has a path of its own, which says what it announces. Where callbacks are signed
//! there, the path is no secret; where they are not, it is the only one.

use std::sync::Arc;

use crate::mirror::books::callback::{Content, Received, Refusal, judge};
use crate::mirror::books::entity::Entity;
use crate::mirror::inbox::{Arrival, Reason};
use crate::mirror::time::Tick;
use crate::secret::Secret;

use super::asked::Asked;
use super::declined::Declined;
use super::intake::Intake;
use super::query::pairs;
use super::receive::alive;
use super::reception::{Receive, Refused};
use super::reply::Reply;

/// The header that carries the signature (facts §5.3).
const SIGNATURE: &str = "x-zoho-webhook-signature";
/// Most fields of a query and of a form: an invoice has some hundred.
const FIELDS_LIMIT: usize = 1_000;

/// Receives what one webhook announces.
pub struct Announced {
    name: String,
    entity: Entity,
    is_signed: bool,
    intake: Arc<Intake>,
}

impl Announced {
    /// Takes in what the webhook of this name says of its entity.
    pub fn new(name: &str, entity: Entity, is_signed: bool, intake: Arc<Intake>) -> Announced {
        Announced { name: name.to_owned(), entity, is_signed, intake }
    }
}

impl Receive for Announced {
    fn receive(&self, asked: &Asked, came: Tick) -> Result<Reply, Refused> {
        let admission = self.intake.admission();
        let kept = admission.webhooks.get(&self.name).map(Vec::as_slice).unwrap_or_default();
        let secrets: Option<Vec<Secret>> = self.is_signed.then(|| alive(kept, came));
        let judged = read(asked).and_then(|read| judge(&read, self.entity, secrets.as_deref()));
        let id = judged.map_err(Refused::from)?;
        let heard = admission.clock.map(|clock| clock.at(came));
        // What happened is not told: where it was deleted, fetching it finds nothing.
        let arrival = Arrival::new(self.entity.module(), id, Reason::Touched);
        // It carries neither a time nor a number of its own: a repetition and a second edit look
        // alike.
        let reply = self.intake.take(&[Arrival { heard, ..arrival }], came, || false);
        if reply.status() == 200 {
            self.intake.hear_of_books(heard);
        }
        Ok(reply)
    }
}

fn read(asked: &Asked) -> Result<Received<'_>, Refusal> {
    let fields = |text: &[u8]| {
        let too_many = || Refusal::Unreadable(format!("more than {FIELDS_LIMIT} fields"));
        pairs(text, FIELDS_LIMIT).ok_or_else(too_many)
    };
    let query = asked.target.split_once('?').map_or("", |(_, query)| query);
    let first = asked.body.iter().find(|byte| !byte.is_ascii_whitespace());
    let content = match first {
        Some(b'{' | b'[') => Content::Json(&asked.body),
        Some(_) | None => Content::Form(fields(&asked.body)?),
    };
    let signature = asked.header(SIGNATURE);
    Ok(Received { query: fields(query.as_bytes())?, content, signature })
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let (declined, why) = (Declined::from(&refusal), refusal.to_string());
        let reply = match &refusal {
            // A stranger is not told what was wrong.
            Refusal::Unsigned | Refusal::WrongSignature => {
                Reply::error(403, "NO_PERMISSION", "not for us")
            }
            Refusal::Unreadable(_) | Refusal::OtherEntity(_) => {
                Reply::error(400, "INVALID_DATA", &why)
            }
        };
        Refused { declined, why, reply }
    }
}
