//! `crmirror update`: makes sure that the binary which was copied over the old one is as good, and
//! puts the old one back when it is not.
//!
//! `crmirror-update.path` sees the copy, `crmirror-update.service` runs this, as root. It is run by
//! the binary that proved itself last, since the new one may not run at all: what decides about a
//! binary is never that binary. `decide` says what to do, `whole` waits for a copy, `ask` runs and
//! looks, `keep` remembers. This does not fetch updates, and knows of no release.

mod ask;
mod decide;
pub(super) mod keep;
mod whole;

use std::ffi::OsStr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::json;

use self::decide::{Begin, Examined, Known, Limits, Look, Next, Trial, Works};
use self::keep::{Binary, Keep, MODE, UnderWay, cannot_write, read_binary};
use super::args::Update;
use super::print;
use super::program::{self, Ran};
use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::error::Failure;
use crate::store::file;

/// What `--version` may take, on a device that is busy.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// What `check` may take: it reads some small files.
const CHECK_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at the daemon. A look costs it two answers.
const LOOK: Duration = Duration::from_secs(1);
/// Letters of a checksum (SHA-256) that are told: enough to tell two binaries apart.
const CHECKSUM_SHOWN: usize = 12;

/// Looks at the binary that lies there, and does what has to be done about it; again, when another
/// has been copied meanwhile, since systemd does not tell of that.
pub(super) fn run(config: &Path, options: &Update, json: bool) -> Result<(), Failure> {
    let mut keep = Keep::open(&options.keep)?;
    if options.forget {
        let count = keep.forget()?;
        return told(json, "forgotten", &format!("{count} refused binaries are forgotten"));
    }
    let limits = Limits { settle: options.settle, prove: options.prove };
    let device = Device { config, binary: &options.binary, limits, clock: &DeviceClock, json };
    loop {
        let Turn { lies_there, ended } = device.turn(&mut keep)?;
        if read_binary(device.binary).is_ok_and(|binary| binary.checksum == lies_there) {
            return ended;
        }
        if let Err(failure) = ended {
            log::error!("{failure}");
        }
        log::info!("meanwhile another binary was copied");
    }
}

/// What came of one look at the binary.
struct Turn {
    /// The checksum of what has to lie there now.
    lies_there: String,
    /// Whether it is as good as the one before.
    ended: Result<(), Failure>,
}

impl Turn {
    /// A look at a binary that is there no longer says nothing, neither of it nor of the next one.
    fn void(fresh: &Binary) -> Turn {
        Turn { lies_there: fresh.checksum.clone(), ended: Ok(()) }
    }
}

fn begun(keep: &Keep, fresh: Option<&Binary>) -> u64 {
    let of_this = |trial: &&UnderWay| fresh.is_some_and(|fresh| fresh.checksum == trial.checksum);
    keep.under_way().filter(of_this).map_or(0, |trial| trial.begun)
}

/// Where the daemon runs that is updated.
struct Device<'a> {
    config: &'a Path,
    binary: &'a Path,
    limits: Limits,
    clock: &'a dyn Clock,
    json: bool,
}

impl Device<'_> {
    fn turn(&self, keep: &mut Keep) -> Result<Turn, Failure> {
        let fresh = whole::wait(self.binary, self.limits.settle, self.clock);
        let proven = keep.proven();
        let known = Known {
            fresh: fresh.as_ref().map(|fresh| fresh.checksum.as_str()).map_err(String::as_str),
            proven: proven.as_ref().map(|proven| proven.checksum.as_str()),
            refused: fresh.as_ref().ok().and_then(|fresh| keep.refused(&fresh.checksum)),
            begun: begun(keep, fresh.as_ref().ok()),
            broken_off: keep.under_way().is_some(),
        };
        match (decide::begin(&known), fresh, proven) {
            (Begin::Nothing, Ok(fresh), _) => {
                self.told(&fresh, "nothing", "this binary is the one that is proven")
            }
            (Begin::Restart, Ok(fresh), _) => {
                log::warn!("an update was broken off at its end: the proven binary is started");
                self.restart_proven()?;
                keep.end()?;
                self.told(&fresh, "put back", "the proven binary runs again")
            }
            (Begin::Adopt, Ok(fresh), _) => {
                decide::version(&self.run(self.binary, &["--version"], VERSION_LIMIT)).map_err(
                    |why| Failure::failed(format!("there is no binary to trust: {why}")),
                )?;
                keep.prove(&fresh)?;
                self.told(&fresh, "adopted", "from now on this binary is the one that is put back")
            }
            (Begin::PutBack(why), fresh, Some(proven)) => {
                self.put_back(keep, fresh.ok().as_ref(), &proven, &why)
            }
            (Begin::Examine, Ok(fresh), Some(proven)) => self.examine(keep, &fresh, &proven),
            (Begin::GiveUp(why), ..) => {
                Err(Failure::failed(format!("{}: {why}; copy it again", self.binary.display())))
            }
            (
                Begin::Nothing | Begin::Restart | Begin::Adopt | Begin::PutBack(_) | Begin::Examine,
                ..,
            ) => unreachable!("these are only answered to binaries that are there"),
        }
    }

    fn examine(&self, keep: &mut Keep, fresh: &Binary, proven: &Binary) -> Result<Turn, Failure> {
        let name = shown(fresh);
        log::info!("a new {name} is examined");
        let ran = self.run(self.binary, &["--version"], VERSION_LIMIT);
        let version = match decide::version(&ran) {
            Ok(version) => version,
            Err(why) => return self.put_back(keep, Some(fresh), proven, &why),
        };
        let state = ask::state(self.clock)
            .map_err(|why| Failure::unavailable(format!("systemctl: {why}; is systemd there?")))?;
        let old = keep.proven_path();
        match decide::examined(&self.check(self.binary), || self.check(&old), &state) {
            Examined::Try => self.trial(keep, fresh, proven, &version),
            Examined::PutBack(why) => self.put_back(keep, Some(fresh), proven, &why),
            Examined::Leave(why) => {
                let next = "systemctl start crmirror crmirror-update tries it";
                let says = format!("crmirror {version} is left untried: {why}; {next}");
                self.told(fresh, "left", &says)
            }
        }
    }

    fn trial(
        &self,
        keep: &mut Keep,
        fresh: &Binary,
        proven: &Binary,
        version: &str,
    ) -> Result<Turn, Failure> {
        let config = Config::load(self.config).ok();
        if config.is_none() {
            log::warn!(
                "the configuration is for the new binary alone: nothing more is asked of it"
            );
        }
        let begun = begun(keep, Some(fresh));
        // After a trial that was broken off, the daemon that would be asked is not the proven one.
        let before = match keep.under_way() {
            Some(trial) => trial.worked,
            None => self.works(config.as_ref()),
        };
        let checksum = fresh.checksum.clone();
        keep.begin(UnderWay { checksum, begun: begun + 1, worked: before })?;
        let words = before.words().join(", ");
        let words = if words.is_empty() { "nothing" } else { &words };
        log::info!("crmirror {version}: it is tried; before, this works: {words}");
        match self.watch(Trial::new(before, self.limits), config.as_ref()) {
            Ok(()) if self.is_replaced(fresh) => Ok(Turn::void(fresh)),
            Ok(()) => {
                keep.prove(fresh)?;
                let name = shown(fresh);
                self.told(
                    fresh,
                    "kept",
                    &format!("crmirror {version}, {name}, proved itself: it is kept"),
                )
            }
            Err(why) => self.put_back(keep, Some(fresh), proven, &why),
        }
    }

    /// Restarts the daemon and watches it; why it is not as good as it was.
    fn watch(&self, mut trial: Trial, config: Option<&Config>) -> Result<(), String> {
        let began = self.clock.tick();
        let mut next = trial.restarted(&ask::restart(self.limits.settle, self.clock));
        if next == Next::LookAgain {
            config.iter().for_each(|config| ask::wake(config));
        }
        loop {
            match next {
                Next::LookAgain => thread::sleep(LOOK.min(self.limits.prove)),
                Next::Keep => return Ok(()),
                Next::PutBack(why) => return Err(why),
            }
            // That systemd does not answer says nothing about the daemon. It reloads when a
            // certificate was renewed, and when its store is made anew.
            let state = ask::state(self.clock);
            let active = state.map_or(true, |state| matches!(&*state, "active" | "reloading"));
            let works = if active { self.works(config) } else { Works::default() };
            let after = self.clock.tick().since(began);
            next = trial.look(&Look { after, active, works });
        }
    }

    /// Puts the proven binary back, and has it run if the other one may be running. What is refused
    /// is noted first: a power cut in between leads here again.
    fn put_back(
        &self,
        keep: &mut Keep,
        fresh: Option<&Binary>,
        proven: &Binary,
        why: &str,
    ) -> Result<Turn, Failure> {
        if let Some(fresh) = fresh {
            if self.is_replaced(fresh) {
                return Ok(Turn::void(fresh));
            }
            keep.refuse(&fresh.checksum, why)?;
        }
        let name = fresh.map_or("the copy".to_owned(), |fresh| format!("the {}", shown(fresh)));
        log::warn!("{name} is bad: the binary before it is put back");
        file::replace(self.binary, &proven.bytes, MODE)
            .map_err(|error| cannot_write(self.binary, &error))?;
        // That it is active does not say with which binary: somebody may have restarted it since
        // the copy.
        if ask::state(self.clock).as_deref() != Ok("inactive") {
            self.restart_proven()?;
        }
        keep.end()?;
        let says = format!("{name} is refused: {why}; the binary before it is back");
        Ok(Turn { lies_there: proven.checksum.clone(), ended: Err(Failure::failed(says)) })
    }

    fn restart_proven(&self) -> Result<(), Failure> {
        match ask::restart(self.limits.settle, self.clock).trouble() {
            None => Ok(()),
            Some(why) => Err(Failure::failed(format!(
                "the binary before is back, but the daemon does not start with it: {why}; see \
                 journalctl -u crmirror"
            ))),
        }
    }

    /// Whether another binary lies there by now: then nobody knows which of them was looked at.
    fn is_replaced(&self, fresh: &Binary) -> bool {
        read_binary(self.binary).is_ok_and(|there| there.checksum != fresh.checksum)
    }

    fn told(&self, binary: &Binary, decision: &str, says: &str) -> Result<Turn, Failure> {
        told(self.json, decision, says)?;
        Ok(Turn { lies_there: binary.checksum.clone(), ended: Ok(()) })
    }

    fn check(&self, binary: &Path) -> Ran {
        let config = self.config.as_os_str();
        self.run(binary, &[OsStr::new("--config"), config, OsStr::new("check")], CHECK_LIMIT)
    }

    fn run<A: AsRef<OsStr>>(&self, binary: &Path, arguments: &[A], limit: Duration) -> Ran {
        program::run(binary, arguments, limit, self.clock)
    }

    /// What the daemon does. A configuration that only the new binary understands says nothing of
    /// where the daemon is: then it has to be ready and stay so, and no more can be asked.
    fn works(&self, config: Option<&Config>) -> Works {
        config.map(ask::works).unwrap_or_default()
    }
}

fn shown(binary: &Binary) -> String {
    format!("binary {}", &binary.checksum[..CHECKSUM_SHOWN])
}

fn told(json: bool, decision: &str, says: &str) -> Result<(), Failure> {
    match json {
        true => print(&format!("{}\n", json!({ "decision": decision, "says": says }))),
        false => print(&format!("{says}\n")),
    }
}
