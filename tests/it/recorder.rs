//! What a program did to the files below one directory, in order, and what a power cut at any
//! moment would leave.
//!
//! This program's own `pwrite64`, `write`, `ftruncate64`, `rename`, `unlink` and `unlinkat` stand
//! before the C library's, record and forward; `fsync` is in `fsync.rs` and tells us. One directory
//! is recorded at a time.
//!
//! The model of a disk: what an fsync of a file has covered is there. Of what was written to it
//! since, any part may be, in any order, torn at sectors of 512 bytes. Names are kept in order by
//! the file system's journal: an fsync of any directory has brought all of them so far; of those
//! since, a prefix is there.

// Defining and calling functions of the C library is unsafe, and is what this file is for.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use libc::{c_char, c_int, c_void, off64_t, size_t, ssize_t};

const SECTOR: usize = 512;

/// Something that was done; files are numbered as they are met.
enum Op {
    Name(Name),
    Write { file: usize, at: usize, bytes: Vec<u8> },
    Truncate { file: usize, length: usize },
    Sync(usize),
    SyncNames,
}

#[derive(Clone)]
enum Name {
    Made { path: PathBuf, file: usize },
    Renamed { from: PathBuf, to: PathBuf },
    Removed(PathBuf),
}

/// A recording.
pub(crate) struct Recording {
    root: PathBuf,
    names: BTreeMap<PathBuf, usize>,
    files: usize,
    ops: Vec<Op>,
}

static ON: AtomicBool = AtomicBool::new(false);
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

/// Records from now on what is done below `root`.
pub(crate) fn start(root: &Path) {
    let recording =
        Recording { root: root.to_owned(), names: BTreeMap::new(), files: 0, ops: Vec::new() };
    *RECORDING.lock().unwrap() = Some(recording);
    ON.store(true, Ordering::SeqCst);
}

/// How much has been recorded.
pub(crate) fn position() -> usize {
    RECORDING.lock().unwrap().as_ref().map_or(0, |recording| recording.ops.len())
}

pub(crate) fn stop() -> Recording {
    ON.store(false, Ordering::SeqCst);
    RECORDING.lock().unwrap().take().unwrap()
}

impl Recording {
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    fn file(&mut self, path: &Path) -> usize {
        if let Some(file) = self.names.get(path) {
            return *file;
        }
        let file = self.files;
        self.files += 1;
        self.name(Name::Made { path: path.to_owned(), file });
        file
    }

    fn name(&mut self, name: Name) {
        apply(&mut self.names, name.clone());
        self.ops.push(Op::Name(name));
    }

    /// Writes to `into` what a power cut after the first `cut` operations leaves.
    pub(crate) fn after_cut(&self, cut: usize, random: &mut fastrand::Rng, into: &Path) {
        let mut files: BTreeMap<usize, File> = BTreeMap::new();
        let (mut names, mut unsure) = (BTreeMap::new(), Vec::new());
        for op in &self.ops[..cut] {
            match op {
                Op::Name(name) => unsure.push(name.clone()),
                Op::SyncNames => unsure.drain(..).for_each(|name| apply(&mut names, name)),
                Op::Write { file, .. } | Op::Truncate { file, .. } => {
                    files.entry(*file).or_default().pending.push(op);
                }
                Op::Sync(file) => files.entry(*file).or_default().settle(),
            }
        }
        let kept = random.usize(..=unsure.len());
        unsure.into_iter().take(kept).for_each(|name| apply(&mut names, name));
        for (path, file) in names {
            let path = into.join(path.strip_prefix(&self.root).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = files.remove(&file).unwrap_or_default();
            file.lose(random);
            fs::write(path, &file.bytes).unwrap();
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, name: Name) {
    match name {
        Name::Made { path, file } => drop(names.insert(path, file)),
        Name::Removed(path) => drop(names.remove(&path)),
        Name::Renamed { from, to } => {
            // A directory takes along what is in it.
            let moved: Vec<_> =
                names.keys().filter(|path| path.starts_with(&from)).cloned().collect();
            for path in moved {
                let file = names.remove(&path).unwrap();
                let rest = path.strip_prefix(&from).unwrap();
                let target = if rest == Path::new("") { to.clone() } else { to.join(rest) };
                names.insert(target, file);
            }
        }
    }
}

#[derive(Default)]
struct File<'a> {
    bytes: Vec<u8>,
    pending: Vec<&'a Op>,
}

impl File<'_> {
    fn settle(&mut self) {
        for op in std::mem::take(&mut self.pending) {
            self.apply(op, |_| true);
        }
    }

    /// Leaves of the pending writes a prefix, or any of them; some of them torn.
    fn lose(&mut self, random: &mut fastrand::Rng) {
        let pending = std::mem::take(&mut self.pending);
        let (prefix, in_order) = (random.usize(..=pending.len()), random.bool());
        for (number, op) in pending.into_iter().enumerate() {
            let kept = if in_order { number < prefix } else { random.bool() };
            let torn = (in_order && number + 1 == prefix) || (!in_order && random.u8(..4) == 0);
            if kept {
                self.apply(op, |_| !torn || random.bool());
            }
        }
    }

    fn apply(&mut self, op: &Op, mut keeps: impl FnMut(usize) -> bool) {
        match op {
            Op::Truncate { length, .. } => self.bytes.resize(*length, 0),
            Op::Write { at, bytes, .. } => {
                let mut start = 0;
                while start < bytes.len() {
                    let sector = (at + start) / SECTOR;
                    let end = bytes.len().min((sector + 1) * SECTOR - at);
                    if keeps(sector) {
                        let length = self.bytes.len().max(at + end);
                        self.bytes.resize(length, 0);
                        self.bytes[at + start..at + end].copy_from_slice(&bytes[start..end]);
                    }
                    start = end;
                }
            }
            Op::Name(_) | Op::Sync(_) | Op::SyncNames => {}
        }
    }
}

/// The recording, held while the operation runs, so that the order is the kernel's.
fn recorded(path: &Path) -> Option<MutexGuard<'static, Option<Recording>>> {
    if !ON.load(Ordering::SeqCst) {
        return None;
    }
    let guard = RECORDING.lock().unwrap();
    let inside = guard.as_ref().is_some_and(|recording| path.starts_with(&recording.root));
    inside.then_some(guard)
}

fn path_of(file: c_int) -> PathBuf {
    if !ON.load(Ordering::SeqCst) {
        return PathBuf::new();
    }
    fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default()
}

/// An fsync of `path` begins: from it to the answer nothing else is done, so that all
/// before is in it.
pub(crate) fn syncing(path: &Path, sync: impl FnOnce() -> c_int) -> c_int {
    let mut guard = recorded(path);
    let answer = sync();
    if let Some(recording) = guard.as_mut().and_then(|guard| guard.as_mut()) {
        if answer == 0 {
            if path.is_dir() {
                recording.ops.push(Op::SyncNames);
            } else {
                let file = recording.file(path);
                recording.ops.push(Op::Sync(file));
            }
        }
    }
    answer
}

fn written(
    path: &Path,
    at: off64_t,
    bytes: *const c_void,
    write: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let mut guard = recorded(path);
    let answer = write();
    if let Some(recording) = guard.as_mut().and_then(|guard| guard.as_mut()) {
        if answer > 0 {
            // SAFETY: the caller's buffer holds at least what the kernel took from it.
            let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), answer as usize) };
            let file = recording.file(path);
            recording.ops.push(Op::Write { file, at: at as usize, bytes: bytes.to_vec() });
        }
    }
    answer
}

fn renamed(path: &Path, name: impl FnOnce() -> Name, change: impl FnOnce() -> c_int) -> c_int {
    let mut guard = recorded(path);
    let answer = change();
    if let Some(recording) = guard.as_mut().and_then(|guard| guard.as_mut()) {
        if answer == 0 {
            recording.name(name());
        }
    }
    answer
}

/// # Safety
/// `path` must be a C string.
unsafe fn path_at(path: *const c_char) -> PathBuf {
    // SAFETY: as the caller says.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, n: size_t, at: off64_t) -> ssize_t {
    // SAFETY: forwards what it was given, here and below.
    written(&path_of(fd), at, bytes, || unsafe {
        libc::syscall(libc::SYS_pwrite64, fd, bytes, n, at) as ssize_t
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, n: size_t) -> ssize_t {
    let path = path_of(fd);
    let at = if path.as_os_str().is_empty() {
        0
    } else {
        // SAFETY: no pointers.
        unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) }
    };
    written(&path, at, bytes, || unsafe { libc::syscall(libc::SYS_write, fd, bytes, n) as ssize_t })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    let path = path_of(fd);
    let mut guard = recorded(&path);
    // SAFETY: no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) } as c_int;
    if let Some(recording) = guard.as_mut().and_then(|guard| guard.as_mut()) {
        let file = recording.file(&path);
        recording.ops.push(Op::Truncate { file, length: length as usize });
    }
    answer
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let (one, other) = unsafe { (path_at(from), path_at(to)) };
    renamed(
        &one.clone(),
        || Name::Renamed { from: one, to: other },
        || unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let name = unsafe { path_at(path) };
    renamed(
        &name.clone(),
        || Name::Removed(name),
        || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    let name = path_of(directory).join(unsafe { path_at(path) });
    renamed(
        &name.clone(),
        || Name::Removed(name),
        || unsafe { libc::syscall(libc::SYS_unlinkat, directory, path, flags) as c_int },
    )
}
