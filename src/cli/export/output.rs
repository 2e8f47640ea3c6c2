//! Where an export goes: to stdout, or to a file that is there when it is whole, and not before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// The mode of a file that others may read as far as the person's umask lets them.
pub(in crate::cli) const SHARED: u32 = 0o666;

/// The mode of a file that is the person's alone.
pub(in crate::cli) const PRIVATE: u32 = 0o600;

/// Where an export goes.
pub(in crate::cli) enum Output {
    /// To whoever reads what the command prints.
    Stdout(BufWriter<Stdout>),
    /// To a file.
    File(FreshFile),
}

impl Output {
    /// To this file, made with this mode, or to stdout. A file that is there is left alone unless
    /// it is to be replaced.
    pub(in crate::cli) fn open(
        file: Option<&Path>,
        replace: bool,
        mode: u32,
    ) -> Result<Output, Failure> {
        match file {
            None => Ok(Output::Stdout(BufWriter::with_capacity(GATHERED, io::stdout()))),
            Some(path) => FreshFile::open(path, replace, mode).map(Output::File),
        }
    }

    /// All is written: brings it to where it belongs.
    pub(in crate::cli) fn finish(self) -> io::Result<()> {
        match self {
            Output::Stdout(mut out) => out.flush(),
            Output::File(file) => file.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout(out) => out.write(bytes),
            Output::File(file) => file.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout(out) => out.flush(),
            Output::File(file) => file.out.flush(),
        }
    }
}

/// A file in the making, beside its name. It is removed when it is not finished.
pub(in crate::cli) struct FreshFile {
    path: PathBuf,
    fresh: PathBuf,
    replace: bool,
    out: BufWriter<File>,
    finished: bool,
}

impl FreshFile {
    fn open(path: &Path, replace: bool, mode: u32) -> Result<FreshFile, Failure> {
        let failed = |error: io::Error| {
            let path = path.display();
            Failure::failed(format!("{path} cannot be written: {error}"))
        };
        may_take(path, replace).map_err(failed)?;
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        // Two exports to one file at a time do not write into each other.
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", std::process::id()));
        let fresh = path.with_file_name(part);
        let mut made = OpenOptions::new();
        let made = made.write(true).create_new(true).mode(mode).open(&fresh);
        let out = BufWriter::with_capacity(GATHERED, made.map_err(failed)?);
        Ok(FreshFile { path: path.to_owned(), fresh, replace, out, finished: false })
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        may_take(&self.path, self.replace)?;
        fs::rename(&self.fresh, &self.path)?;
        self.finished = true;
        let parent = self.path.parent().filter(|parent| *parent != Path::new(""));
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for FreshFile {
    fn drop(&mut self) {
        if !self.finished {
            // What is left behind is named like what it is.
            let _ = fs::remove_file(&self.fresh);
        }
    }
}

/// Whether a new file may take this name. Only a file is ever replaced: no device, no directory.
fn may_take(path: &Path, replace: bool) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(there) if !there.is_file() => Err(io::Error::other("it is there, and no plain file")),
        Ok(_) if replace => Ok(()),
        Ok(_) => Err(io::Error::other("it is there already; --force replaces it")),
    }
}
