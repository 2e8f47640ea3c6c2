//! `crmirror update`: makes sure that the binary which was copied over the old one is as good, and
//! puts the old one back when it is not.
//!
//! `crmirror-update.path` sees the copy, `crmirror-update.service` runs this, as root. It is run by
//! the binary that proved itself last, since the new one may not run at all: what decides about a
//! binary is never that binary. `decide` says what to do, `whole` waits for a copy, `ask` runs and
//! looks, `trial` has the daemon run it, `keep` remembers. This does not fetch updates, and knows
//! of no release.

mod ask;
mod decide;
pub(super) mod keep;
mod trial;
mod whole;

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use self::decide::{Begin, Examined, Known, Limits};
use self::keep::{Binary, Keep, MODE, UnderWay, cannot_write, read_binary};
use self::trial::Tried;
use super::args::Update;
use super::print;
use super::program::{self, Ran};
use crate::clock::{Clock, DeviceClock};
use crate::error::Failure;
use crate::store::file;

/// What `--version` may take, on a device that is busy.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// What `check` may take: it reads some small files.
const CHECK_LIMIT: Duration = Duration::from_secs(20);
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

    /// It ended badly, with this binary in its place.
    fn failed(left: &Binary, says: String) -> Turn {
        Turn { lies_there: left.checksum.clone(), ended: Err(Failure::failed(says)) }
    }

    /// A binary is refused, and the proven one is back.
    fn refused(name: &str, why: &str, proven: &Binary) -> Turn {
        let says = format!("{name} is refused: {why}; the binary before it is back");
        Turn::failed(proven, says)
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
        let unit = ask::unit(self.clock)
            .map_err(|why| Failure::unavailable(format!("systemctl: {why}; is systemd there?")))?;
        let old = keep.proven_path();
        match decide::examined(&self.check(self.binary), || self.check(&old), &unit.state) {
            Examined::Try => self.trial(keep, &Tried { fresh, proven, version: &version }),
            Examined::PutBack(why) => self.put_back(keep, Some(fresh), proven, &why),
            Examined::Leave(why) => {
                let next = "systemctl start crmirror crmirror-update tries it";
                let says = format!("crmirror {version} is left untried: {why}; {next}");
                self.told(fresh, "left", &says)
            }
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
            self.refuse(keep, fresh, why);
        }
        let name = fresh.map_or("the copy".to_owned(), |fresh| format!("the {}", shown(fresh)));
        log::warn!("{name} is bad: the binary before it is put back");
        // That it is active does not say with which binary: somebody may have restarted it since
        // the copy.
        let is_stopped = ask::unit(self.clock).is_ok_and(|unit| unit.state == "inactive");
        self.place(proven)?;
        if !is_stopped {
            self.restart_proven()?;
        }
        keep.end()?;
        Ok(Turn::refused(&name, why, proven))
    }

    /// Notes that a binary is not to be tried again. Where that cannot be noted, the same binary is
    /// tried again when it is copied again, which is no reason to leave it where it is.
    fn refuse(&self, keep: &mut Keep, fresh: &Binary, why: &str) {
        if let Err(failure) = keep.refuse(&fresh.checksum, why) {
            log::warn!("{failure}");
        }
    }

    /// Puts a binary in its place.
    fn place(&self, binary: &Binary) -> Result<(), Failure> {
        let replaced = match file::replace(self.binary, &binary.bytes, MODE) {
            Err(error) if file::is_for_want_of_room(&error) => {
                // A daemon that runs it holds its room. Should the power be cut now, there is none
                // until the service has put this one here, at the next boot.
                log::warn!("there is no room for one more: what lies there is removed first");
                file::remove(self.binary).and_then(|()| {
                    ask::stop(self.limits.settle, self.clock);
                    file::replace(self.binary, &binary.bytes, MODE)
                })
            }
            replaced => replaced,
        };
        replaced.map_err(|error| cannot_write(self.binary, &error))
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
