//! Reading what upstream says of itself, and keeping it as it was said.

use crate::mirror::document::{Document, DocumentName};
use crate::mirror::planner::Outcome;
use crate::mirror::record::ModuleName;
use crate::mirror::time::UpstreamTime;
use crate::upstream::metadata;
use crate::upstream::records::Passes;
use crate::upstream::transport::Reply;
use crate::upstream::verdict::judge;

use super::{Heart, Stop};

impl Heart {
    /// Reads a document and keeps what upstream answered, be it a denial.
    pub(super) fn read_document(&mut self, name: &DocumentName) -> Result<Outcome, Stop> {
        let (_, read) = self.ask_document(name)?;
        Ok(Outcome::Document(read))
    }

    /// Reads which fields a module has, and from then on reads it by them.
    pub(super) fn read_fields(&mut self, module: &ModuleName) -> Result<Outcome, Stop> {
        let (reply, read) = self.ask_document(&DocumentName::Fields(module.clone()))?;
        let fields = metadata::parse_fields(judge(&reply)?)?;
        self.store.set_fields(module, &fields)?;
        if let Some(module) = self.modules.get_mut(module) {
            module.passes = Some(Passes::of(&fields));
        }
        Ok(Outcome::Fields(read))
    }

    fn ask_document(&mut self, name: &DocumentName) -> Result<(Reply, UpstreamTime), Stop> {
        let request = metadata::document(&self.line.api()?, name);
        let reply = self.line.call(&request)?;
        let (read, body) = (self.now(), metadata::parse_document(name, &reply)?.to_owned());
        let kept = Document { read, status: reply.status, body };
        if kept.is_denial() {
            self.tell_denied(name, &kept)?;
        }
        self.store.set_document(name, &kept)?;
        // It cost a credit, and is not asked for again before tomorrow.
        let _ = self.store.flush()?;
        Ok((reply, read))
    }

    /// Logs a denial, unless it was the answer the last time too.
    fn tell_denied(&self, name: &DocumentName, kept: &Document) -> Result<(), Stop> {
        let before = self.store.document(name)?;
        if !before.is_some_and(|before| before.is_denial()) {
            let Document { status, .. } = kept;
            log::info!(
                "upstream denies {name} with status {status}: local programs are told the same"
            );
        }
        Ok(())
    }
}
