//! When documents are read: once a day each, after everything that has to do with records.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::credits::Purpose;
use crate::mirror::document::{self, DocumentName};
use crate::mirror::gather::Gather;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;

use super::{Action, Planner};

/// Pauses of a document that cannot be read. Nothing depends on it within minutes, and one whose
/// reply is too much for the line would stop everything else as often as it is tried.
const DOCUMENT: Pauses =
    Pauses { first: Duration::from_secs(60), longest: Duration::from_secs(3_600) };

/// Documents, and when each was read (upstream), if it was.
pub type DocumentsRead = Vec<(DocumentName, Option<UpstreamTime>)>;

/// The plan of all documents.
#[derive(Debug)]
pub(super) struct Documents(BTreeMap<DocumentName, DocumentPlan>);

#[derive(Debug)]
struct DocumentPlan {
    read: Option<UpstreamTime>,
    lane: Backoff,
}

impl Planner {
    /// A document that is due.
    pub(super) fn document(
        &self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
    ) -> Option<(Purpose, Action)> {
        let upstream_now = upstream_now?;
        let is_due =
            |(_, plan): &(&DocumentName, &DocumentPlan)| plan.due(now, upstream_now) <= now;
        let (name, _) = self.readable().find(is_due)?;
        Some((Purpose::CatchUp, Action::ReadDocument(name.clone())))
    }

    /// When the next document is due.
    pub(super) fn document_wake(
        &self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
    ) -> Option<Tick> {
        let upstream_now = upstream_now?;
        self.readable().map(|(_, plan)| plan.due(now, upstream_now)).min()
    }

    /// All documents but the fields of modules that have yet to be read for the module's own sake.
    fn readable(&self) -> impl Iterator<Item = (&DocumentName, &DocumentPlan)> {
        self.documents.0.iter().filter(|(name, _)| match name {
            DocumentName::Fields(module) => {
                self.modules.get(module).is_none_or(|plan| plan.fields_known)
            }
            DocumentName::Modules | DocumentName::Org | DocumentName::User => true,
        })
    }
}

impl DocumentPlan {
    fn due(&self, now: Tick, upstream_now: UpstreamTime) -> Tick {
        let due = match self.read {
            Some(read) if !document::is_due(self.read, upstream_now) => {
                now.after(read.after(document::EVERY).since(upstream_now))
            }
            Some(_) | None => now,
        };
        due.max(self.lane.until())
    }
}

impl Documents {
    pub(super) fn new(documents: DocumentsRead) -> Documents {
        let plan = |read| DocumentPlan { read, lane: Backoff::default() };
        Documents(documents.into_iter().map(|(name, read)| (name, plan(read))).gather())
    }

    /// Upstream has answered, be it with a denial: that is its answer until tomorrow.
    pub(super) fn read(&mut self, name: &DocumentName, read: UpstreamTime) {
        if let Some(plan) = self.0.get_mut(name) {
            plan.read = Some(read);
            plan.lane.clear();
        }
    }

    /// It could not be read, for whatever reason: others come first for a while.
    pub(super) fn failed(
        &mut self,
        name: &DocumentName,
        trouble: &Trouble,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) {
        if let Some(plan) = self.0.get_mut(name) {
            plan.lane.fail(now, &DOCUMENT, trouble.asked_pause(), dice);
        }
    }
}
