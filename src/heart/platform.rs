//! Recording what the platform tells of our extension, and doing what follows from it.
//!
//! What a removal leads to is on disk before it is begun. What is left of it after a crash is done
//! at the next start: the event still waits in its queue, and all of this can be repeated.

use crate::config::Config;
use crate::identity::IdentityError;
use crate::identity::removal::RemovalFile;
use crate::mirror::planner::{Input, Outcome, Planner};
use crate::mirror::platform::{Consequence, OnUninstall, Recorded, Removal, consequence};
use crate::mirror::time::Tick;
use crate::server::board::PlatformReport;
use crate::store::Store;

use super::{Heart, HeartError, Stop};

/// Our extension, as far as the platform has told of it.
#[derive(Debug)]
pub(super) struct Extension {
    on_uninstall: OnUninstall,
    file: RemovalFile,
    removal: Option<Removal>,
    /// The newest event, and its number.
    newest: Option<(u64, Recorded)>,
}

impl Extension {
    /// As the last run left it; `None` when the platform is not to tell us anything.
    pub(super) fn load(config: &Config, store: &Store) -> Result<Option<Extension>, HeartError> {
        let Some(platform) = &config.platform else { return Ok(None) };
        let file = RemovalFile::of(&config.store);
        let (removal, newest) = (file.read()?, store.newest_event()?);
        Ok(Some(Extension { on_uninstall: platform.on_uninstall, file, removal, newest }))
    }

    /// Has the planner begin where the last run ended.
    pub(super) fn resume(&self, planner: &mut Planner, now: Tick) {
        if let Some(removal) = self.removal {
            let forgotten = removal == Removal::Wiped;
            planner.hear(Input::Removed { forgotten }, now);
        }
        planner.hear(Input::PlatformTold, now);
    }

    /// How it stands.
    pub(super) fn report(&self) -> PlatformReport {
        PlatformReport { state: Removal::state(self.removal), newest: self.newest.clone() }
    }

    fn note(&mut self, removal: Option<Removal>) -> Result<(), IdentityError> {
        if self.removal != removal {
            self.file.set(removal)?;
            self.removal = removal;
        }
        Ok(())
    }
}

impl Heart {
    /// Records the event that has waited longest, and says what follows from it.
    pub(super) fn take_event(&mut self) -> Result<Outcome, Stop> {
        let nothing = Outcome::Event { consequence: Consequence::Nothing, more: false };
        let Some((number, told)) = self.store.next_event()? else { return Ok(nothing) };
        let time = told.heard.unwrap_or_else(|| self.line.guessed_now());
        let recorded = Recorded { event: told.event, org: told.org, time };
        let Some(extension) = &mut self.extension else {
            // The configuration is no longer to hear of it; the record does no harm.
            self.store.commit_event(number, &recorded)?;
            return Ok(Outcome::Event { consequence: Consequence::Nothing, more: true });
        };
        let follows = consequence(recorded.event, extension.on_uninstall, extension.removal);
        match follows {
            Consequence::Nothing => {}
            Consequence::Open => extension.note(None)?,
            Consequence::Close => extension.note(Some(Removal::Closed))?,
            Consequence::Wipe => extension.note(Some(Removal::Wiping))?,
        }
        let name = recorded.event.as_str();
        log::info!("the platform tells: {name}, of the organisation {}", recorded.org);
        if follows == Consequence::Wipe {
            return Err(HeartError::Removed.into());
        }
        self.store.commit_event(number, &recorded)?;
        extension.newest = Some((number, recorded));
        Ok(Outcome::Event { consequence: follows, more: true })
    }
}
