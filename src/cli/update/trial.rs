//! The trial: the daemon runs the new binary, and has to do all that its configuration calls for.
//!
//! What the daemon did before is not asked: it may have been down, it may have been restarted
//! with the new binary since the copy, and it is seen at one moment only. What the new binary does
//! not do, the one before it has to show that it does; else the new one is tried again, and
//! measured by what that one does.

use std::thread;
use std::time::Duration;

use super::ask::{self, Unit};
use super::decide::{Bad, Look, Next, Trial, Works};
use super::keep::{Binary, Keep, UnderWay};
use super::{Device, Turn, begun, shown};
use crate::config::Config;
use crate::error::Failure;

/// Pause between two looks at the daemon. A look costs it two answers.
const LOOK: Duration = Duration::from_secs(1);

/// A binary that is tried, and the one that is put back.
pub(super) struct Tried<'a> {
    pub(super) fresh: &'a Binary,
    pub(super) proven: &'a Binary,
    pub(super) version: &'a str,
}

impl Device<'_> {
    /// Tries a binary.
    pub(super) fn trial(&self, keep: &mut Keep, tried: &Tried<'_>) -> Result<Turn, Failure> {
        let config = Config::load(self.config).ok();
        if config.is_none() {
            log::warn!(
                "the configuration is for the new binary alone: nothing more is asked of it"
            );
        }
        let Tried { fresh, version, .. } = tried;
        let wanted = config.as_ref().map(ask::wanted).unwrap_or_default();
        let checksum = fresh.checksum.clone();
        keep.begin(UnderWay { checksum, begun: begun(keep, Some(fresh)) + 1 })?;
        log::info!("crmirror {version}: it is tried; this has to work: {}", listed(&wanted));
        match self.watch(Trial::new(wanted, self.limits), config.as_ref()) {
            _ if self.is_replaced(fresh) => Ok(Turn::void(fresh)),
            Ok(()) => self.keep(keep, tried),
            Err(bad) => self.compare(keep, tried, wanted, &bad, config.as_ref()),
        }
    }

    /// Has the daemon run the binary before again, to see whether that is better.
    fn compare(
        &self,
        keep: &mut Keep,
        tried: &Tried<'_>,
        wanted: Works,
        bad: &Bad,
        config: Option<&Config>,
    ) -> Result<Turn, Failure> {
        let Tried { fresh, proven, .. } = *tried;
        let why = &bad.why;
        log::warn!("the {} is bad: {why}; the binary before it is put back", shown(fresh));
        self.place(proven)?;
        let trouble = ask::restart(self.limits.settle, self.clock).trouble();
        let does = match &trouble {
            None => self.measure(wanted, bad, config),
            Some(_) => Works::default(),
        };
        let name = shown(fresh);
        match trouble {
            // Neither starts.
            Some(trouble) if !bad.lost.any() => {
                keep.end()?;
                let says = format!(
                    "the {name} is put back, but not refused: {why}; nor does the binary before it \
                     start: {trouble}; see journalctl -u crmirror, and copy it again then"
                );
                Ok(Turn::failed(proven, says))
            }
            _ if !bad.lost.any() || bad.is_its_own_fault(&does) => {
                self.refuse(keep, fresh, why);
                keep.end()?;
                Ok(Turn::refused(&format!("the {name}"), why, proven))
            }
            // Somebody has copied another meanwhile.
            _ if self.is_replaced(proven) => Ok(Turn::void(proven)),
            _ => {
                let lost = listed(&wanted.without(&does));
                log::warn!("the binary before it does not do that either: {lost}");
                self.try_again(keep, tried, does, config)
            }
        }
    }

    /// Tries a binary that is to blame for nothing so far, and has to do what the one before does.
    fn try_again(
        &self,
        keep: &mut Keep,
        tried: &Tried<'_>,
        does: Works,
        config: Option<&Config>,
    ) -> Result<Turn, Failure> {
        let Tried { fresh, proven, version } = tried;
        self.place(fresh)?;
        log::info!("crmirror {version}: it is tried again; this has to work: {}", listed(&does));
        match self.watch(Trial::new(does, self.limits), config) {
            _ if self.is_replaced(fresh) => Ok(Turn::void(fresh)),
            Ok(()) => self.keep(keep, tried),
            Err(bad) => self.put_back(keep, Some(fresh), proven, &bad.why),
        }
    }

    /// Makes a binary the one that the next is measured by.
    fn keep(&self, keep: &mut Keep, tried: &Tried<'_>) -> Result<Turn, Failure> {
        let Tried { fresh, version, .. } = tried;
        if let Err(failure) = keep.prove(fresh) {
            // It was not broken off, and is not to be blamed for that.
            keep.end()?;
            let says = format!(
                "crmirror {version} proved itself, but cannot be kept as the one to go back to: \
                 {failure}; then: systemctl start crmirror-update"
            );
            return Ok(Turn::failed(fresh, says));
        }
        let name = shown(fresh);
        self.told(fresh, "kept", &format!("crmirror {version}, {name}, proved itself: it is kept"))
    }

    /// Restarts the daemon and watches it; in what it is bad.
    fn watch(&self, mut trial: Trial, config: Option<&Config>) -> Result<(), Bad> {
        let began = self.clock.tick();
        let mut next = trial.restarted(&ask::restart(self.limits.settle, self.clock));
        if next == Next::LookAgain {
            config.iter().for_each(|config| ask::wake(config));
        }
        // A daemon that ends may be active again before anybody looks.
        let mut restarts = None;
        loop {
            match next {
                Next::LookAgain => thread::sleep(LOOK.min(self.limits.prove)),
                Next::Keep => return Ok(()),
                Next::PutBack(bad) => return Err(bad),
            }
            // That systemd does not answer says nothing about the daemon. It reloads when a
            // certificate was renewed, and when its store is made anew.
            let active = ask::unit(self.clock).map_or(true, |Unit { state, restarts: count }| {
                matches!(&*state, "active" | "reloading") && count <= *restarts.get_or_insert(count)
            });
            let works = if active { works(config) } else { Works::default() };
            let after = self.clock.tick().since(began);
            next = trial.look(&Look { after, active, works });
        }
    }

    /// What the daemon does of this within the time to settle, once it runs the binary before;
    /// less, when it is clear by then who is to blame.
    fn measure(&self, wanted: Works, bad: &Bad, config: Option<&Config>) -> Works {
        if !bad.lost.any() {
            return Works::default();
        }
        let began = self.clock.tick();
        config.iter().for_each(|config| ask::wake(config));
        let mut does = Works::default();
        loop {
            // What worked at one moment works.
            does = does.or(&works(config)).and(&wanted);
            let late = self.clock.tick().since(began) >= self.limits.settle;
            if late || does == wanted || bad.is_its_own_fault(&does) {
                return does;
            }
            thread::sleep(LOOK.min(self.limits.settle));
        }
    }
}

/// What the daemon does. A configuration that only the new binary understands says nothing of where
/// the daemon is: then it has to be ready and stay so, and no more can be asked.
fn works(config: Option<&Config>) -> Works {
    config.map(ask::works).unwrap_or_default()
}

fn listed(works: &Works) -> String {
    match works.words().join(", ") {
        none if none.is_empty() => "nothing".to_owned(),
        words => words,
    }
}
