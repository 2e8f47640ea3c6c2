//! Which fields of a module are e-mails and which are phones, as upstream says of them (facts
//! §4.7).
//!
//! That takes reading a document of up to some MiB, so it is done once for each edition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mirror::document::{Document, DocumentName};
use crate::mirror::record::ModuleName;
use crate::mirror::search::Within;
use crate::mirror::time::UpstreamTime;
use crate::store::{Store, StoreError};

/// The kinds of fields that searches ask for.
#[derive(Debug)]
pub(super) struct Kinds {
    pub(super) emails: Within,
    pub(super) phones: Within,
}

/// The kinds of the fields of each module, as of the edition that was read at that time.
#[derive(Debug, Default)]
pub(in crate::server) struct KindsKept(Mutex<BTreeMap<ModuleName, (UpstreamTime, Arc<Kinds>)>>);

impl KindsKept {
    /// The kinds of this module's fields; nothing is known of them while upstream has not said.
    pub(super) fn of(&self, store: &Store, module: &ModuleName) -> Result<Arc<Kinds>, StoreError> {
        let unknown = || Arc::new(Kinds { emails: Within::Everything, phones: Within::Everything });
        let name = DocumentName::Fields(module.clone());
        let Some(read) = store.document_read(&name)? else { return Ok(unknown()) };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kinds)) = kept.get(module).filter(|(of, _)| *of == read) {
            return Ok(Arc::clone(kinds));
        }
        let document = store.document(&name)?.filter(|document| document.status == 200);
        let kinds =
            document.and_then(|document| kinds_of(&document)).map_or_else(unknown, Arc::new);
        kept.insert(module.clone(), (read, Arc::clone(&kinds)));
        Ok(kinds)
    }
}

fn kinds_of(document: &Document) -> Option<Kinds> {
    let of = |kind| document.fields_of(kind).map(Within::Fields);
    Some(Kinds { emails: of("email")?, phones: of("phone")? })
}
