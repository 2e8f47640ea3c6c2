//! The arguments of `install`, `uninstall` and `update`.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Failure;
use crate::mirror::span::duration;

use super::{Command, Words, usage};

/// How a new binary is looked at.
#[derive(Debug)]
pub struct Update {
    /// Where it was copied to.
    pub binary: PathBuf,
    /// The directory with the binary before and with notes.
    pub keep: PathBuf,
    /// From the restart until all works that has to.
    pub settle: Duration,
    /// From the restart until the binary is proved; never shorter than `settle`.
    pub prove: Duration,
    /// Forget which binaries were refused, and do nothing else.
    pub forget: bool,
}

/// What is placed, or removed.
#[derive(Debug)]
pub struct Install {
    /// The directory that stands for `/`; then nothing is started or stopped.
    pub root: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Remove what the daemon and a person wrote, too.
    pub purge: bool,
}

/// Where the binary lies.
pub const BINARY: &str = "/usr/local/bin/crmirror";
/// Where an update keeps the binary before.
pub const KEEP: &str = "/usr/local/lib/crmirror";
/// Time for a new binary until all works that has to. With the restart of the old one it stays
/// below a minute.
const SETTLE: Duration = Duration::from_secs(45);
/// Time for a new binary to prove itself.
const PROVE: Duration = Duration::from_secs(60);

impl Words {
    pub(super) fn update(&mut self) -> Result<Command, Failure> {
        let span = |option: &str, text: Option<String>, usual| match text {
            Some(text) => duration(&text).map_err(|error| usage(&format!("{option}: {error}"))),
            None => Ok(usual),
        };
        let settle = span("--settle", self.settle.take(), SETTLE)?;
        let prove = span("--prove", self.prove.take(), PROVE.max(settle))?;
        if prove < settle {
            return Err(usage("--prove takes no less than --settle"));
        }
        Ok(Command::Update(Update {
            binary: self.binary.take().unwrap_or_else(|| BINARY.into()),
            keep: self.keep.take().unwrap_or_else(|| KEEP.into()),
            settle,
            prove,
            forget: std::mem::take(&mut self.forget),
        }))
    }

    pub(super) fn install(&mut self) -> Install {
        let dry_run = std::mem::take(&mut self.dry_run);
        Install { root: self.root.take(), dry_run, purge: false }
    }
}
