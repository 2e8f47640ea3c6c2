//! One record by its id: whole, or some of its fields, or not at all when the asker has it.

use super::super::asked::Asked;
use super::super::query::{BadParameter, Parameters};
use super::super::reply::Reply;
use super::refusal::NoRead;
use super::{Reads, body, is_since, since, take_fields};
use crate::mirror::record::{Entry, FieldName, ModuleName, RecordId};
use crate::store::Stored;

impl Reads<'_> {
    /// `GET /crm/v2/{Module}/{id}`: 204 when it is not in the mirror or gone, 304 when it is the
    /// one that the asker names by its tag, or was not modified since.
    pub(super) fn record(
        &self,
        module: &ModuleName,
        id: &str,
        mut parameters: Parameters,
        asked: &Asked,
    ) -> Result<Reply, NoRead> {
        let id: RecordId =
            id.parse().map_err(|_| BadParameter::new("id", "is not a record's id"))?;
        let fields = take_fields(&mut parameters)?;
        parameters.finish()?;
        let since = since(asked)?;
        let Some(Stored { entry: Entry::Live(record), sequence }) = self.entry(module, id)? else {
            return Ok(Reply::empty(204));
        };
        let tag = match &fields {
            None => format!("\"{sequence}\""),
            Some(names) => format!("\"{sequence}-{}\"", joined(names)),
        };
        // A tag says more than a time, which HTTP therefore has us ignore beside it.
        let is_known = match asked.header("if-none-match") {
            Some(tags) => matches_tag(tags, &tag),
            None => !is_since(record.modified(), since),
        };
        if is_known {
            return Ok(Reply::empty(304).with("ETag", tag));
        }
        Ok(Reply::json(200, body(&[record], fields.as_deref(), None)).with("ETag", tag))
    }
}

fn joined(fields: &[FieldName]) -> String {
    fields.iter().map(FieldName::as_str).collect::<Vec<_>>().join(".")
}

/// Whether a tag is among those that an asker has.
pub(in crate::server) fn matches_tag(tags: &str, tag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|candidate| bare(candidate) == tag)
}
