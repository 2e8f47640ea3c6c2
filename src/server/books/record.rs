//! One record of Books by its id.

use crate::mirror::books::entity::Entity;
use crate::mirror::record::{Entry, RecordId};
use crate::server::asked::Asked;
use crate::server::query::{BadParameter, Parameters};
use crate::server::reply::Reply;
use crate::server::zoho::{NoRead, Reads, matches_tag};
use crate::store::Stored;

use super::refusal::unknown;

/// `GET /books/v3/{entities}/{id}`: 404 when it is not in the mirror or gone, 304 when it is the
/// one that the asker names by its tag.
pub(super) fn record(
    reads: &Reads<'_>,
    entity: Entity,
    id: &str,
    parameters: Parameters,
    asked: &Asked,
) -> Result<Reply, NoRead> {
    let id: RecordId = id.parse().map_err(|_| BadParameter::new("id", "is not a record's id"))?;
    parameters.finish()?;
    let stored = reads.entry(&entity.module(), id)?;
    let Some(Stored { entry: Entry::Live(record), sequence }) = stored else {
        return Ok(unknown(entity));
    };
    let tag = format!("\"{sequence}\"");
    if asked.header("if-none-match").is_some_and(|tags| matches_tag(tags, &tag)) {
        return Ok(Reply::empty(304).with("ETag", tag));
    }
    let (around, json) = (entity.around_one(), record.json());
    let body = format!(r#"{{"code":0,"message":"success","{around}":{json}}}"#);
    Ok(Reply::json(200, body).with("ETag", tag))
}
