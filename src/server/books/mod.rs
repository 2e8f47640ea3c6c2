//! Reads in Books' own shape, so that code written for its API needs only another base address.
//!
//! `record` one by its id · `list` a page of an entity's records · `refusal` says no as Books says
//! it. A request names the organization or leaves it out; another organization's is refused.
//!
//! Bodies are put together of the stored texts, as those of CRM's reads are.

mod list;
mod record;
mod refusal;

use super::asked::Asked;
use super::query::{BadParameter, Parameters};
use super::reply::Reply;
use super::zoho::{NoRead, Reads};
use crate::mirror::books::entity::Entity;

pub(super) use refusal::{bad_parameter, method_not_allowed, nothing_here};

/// What of Books is mirrored here.
#[derive(Clone, Debug, Default)]
pub struct BooksMirrored {
    /// The organization's id.
    pub organization: String,
    /// The entities.
    pub entities: Vec<Entity>,
}

impl BooksMirrored {
    /// The entity that is asked for by this path behind `/books/v3/`, and the path behind it. The
    /// organization is taken out of the parameters.
    pub(super) fn entity(
        &self,
        path: &[&str],
        parameters: &mut Parameters,
    ) -> Result<Entity, Reply> {
        let named = path.first().and_then(|plural| Entity::of_plural(plural));
        let entity = named.filter(|entity| self.entities.contains(entity));
        let entity = entity.ok_or_else(nothing_here)?;
        match parameters.take("organization_id") {
            Some(other) if other != self.organization => {
                let why = "is not the organization that is mirrored here";
                Err(bad_parameter(&BadParameter::new("organization_id", why)))
            }
            Some(_) | None => Ok(entity),
        }
    }
}

/// Answers what is asked of an entity by the path behind its name.
pub(super) fn answer(
    reads: &Reads<'_>,
    entity: Entity,
    path: &[&str],
    parameters: Parameters,
    asked: &Asked,
) -> Reply {
    let answered: Result<Reply, NoRead> = match path {
        [] => list::list(reads, entity, parameters),
        [id] => record::record(reads, entity, id, parameters, asked),
        _ => return nothing_here(),
    };
    let reply = answered.unwrap_or_else(refusal::no_read);
    reads.marked(reply, &entity.module())
}
