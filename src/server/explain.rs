//! `GET /explain/{Module}/{id}`: how a record came to be here, as JSON.

use crate::mirror::record::{ModuleName, RecordId};
use crate::store::Store;

use super::reply::Reply;
use super::zoho::NoRead;

/// What the store says of the record: 200, of an id that was never seen too.
pub(super) fn explanation(store: &Store, module: &ModuleName, id: RecordId) -> Reply {
    match store.explain(module, id) {
        Ok(explanation) => {
            let body = serde_json::to_string(&explanation);
            Reply::json(200, body.expect("our own types have no keys but strings"))
        }
        Err(error) => NoRead::from(error).into(),
    }
}
