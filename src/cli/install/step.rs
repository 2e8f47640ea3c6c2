//! One step of an installation: told, or done and told. What has been done before is not done
//! again, and not told.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::store::file;

/// There while systemd runs (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";

/// A step.
#[derive(Debug)]
pub(super) enum Step {
    /// A directory is there.
    Directory(PathBuf),
    /// A file has this content.
    Place { path: PathBuf, bytes: Vec<u8>, mode: u32 },
    /// A file is there, whatever is in it.
    PlaceIfMissing { path: PathBuf, bytes: Vec<u8>, mode: u32 },
    /// A file or a directory is gone, with all that is in it.
    Remove(PathBuf),
    /// A directory is gone, unless something is left in it.
    RemoveIfEmpty(PathBuf),
    /// A program has run.
    Run(&'static [&'static str]),
}

impl Step {
    /// What there is to do; `None` when it is done already.
    pub(super) fn says(&self) -> Option<String> {
        match self {
            Step::Directory(path) => (!path.is_dir()).then(|| format!("make {}", path.display())),
            Step::Place { path, bytes, mode } => {
                let told = |verb| Some(format!("{verb} {} ({mode:04o})", path.display()));
                match fs::read(path) {
                    Ok(there) if there == *bytes && mode_of(path) == Some(*mode) => None,
                    Ok(_) => told("replace"),
                    Err(_) => told("write"),
                }
            }
            Step::PlaceIfMissing { path, mode, .. } => {
                (!path.exists()).then(|| format!("write {} ({mode:04o})", path.display()))
            }
            Step::Remove(path) => {
                path.symlink_metadata().ok().map(|_| format!("remove {}", path.display()))
            }
            Step::RemoveIfEmpty(path) => {
                path.is_dir().then(|| format!("remove {} if it is empty now", path.display()))
            }
            Step::Run(command) => Some(format!("run {}", command.join(" "))),
        }
    }

    /// Does it.
    pub(super) fn perform(&self) -> Result<(), String> {
        let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        match self {
            Step::Directory(path) => make(path).map_err(|error| told(path, error)),
            Step::Place { path, bytes, mode } | Step::PlaceIfMissing { path, bytes, mode } => {
                file::replace(path, bytes, *mode).map_err(|error| told(path, error))
            }
            Step::Remove(path) => remove(path).map_err(|error| told(path, error)),
            Step::RemoveIfEmpty(path) => match remove_empty(path) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    Err(told(path, error))
                }
                Ok(()) | Err(_) => Ok(()),
            },
            Step::Run(command) => run(command),
        }
    }
}

/// Makes a directory, and those above it, for all to read: whoever installs may have a umask that
/// is not meant for that.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make(above)?;
    }
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Removes a file, a link but not what it leads to, or a directory with what is in it.
fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Removes an empty directory, and the link that leads to it: the state of a service whose user is
/// made when it starts lies elsewhere.
fn remove_empty(path: &Path) -> io::Result<()> {
    fs::remove_dir(path.canonicalize()?)?;
    match path.symlink_metadata() {
        Ok(link) if link.is_symlink() => fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn mode_of(path: &Path) -> Option<u32> {
    let permissions: Permissions = path.metadata().ok()?.permissions();
    Some(permissions.mode() & 0o7777)
}

/// In an image that is being made, or in a container, there is no systemd to tell.
fn run(command: &[&str]) -> Result<(), String> {
    if !Path::new(SYSTEMD).is_dir() {
        eprintln!("crmirror: systemd does not run here; on the device: {}", command.join(" "));
        return Ok(());
    }
    let (program, arguments) = command.split_first().expect("a command has a program");
    let line = command.join(" ");
    let status = Command::new(program).args(arguments).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{line}: {status}")),
        Err(error) => Err(format!("{line}: {error}")),
    }
}
