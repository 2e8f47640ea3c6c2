//! The shim that makes sled's flush bring data to the disk, and the proof that it is in force.
//!
//! sled 0.34.7 ends its `flush()` in `sync_file_range`, which writes pages out but neither the
//! file's size nor its extents, and does not empty the disk's own cache (sled #1351, #1452; the
//! call came with its PR #928). 86 of 120 simulated power cuts went wrong that way. So this file
//! defines a `sync_file_range` that is an `fdatasync` of the file, and no cut went wrong since.
//! `fsync` would be no safer: all that it does beyond is to bring the time of the last write to
//! disk too, for which the file system writes its journal once more. Measured on ext4, a callback
//! by itself costs 12 KiB instead of 21, and 1.4 flushes of the disk's cache instead of 2.1.
//!
//! A symbol that the program defines wins over the one in the C library. But the linker takes a
//! member of a library in only when something has asked for a symbol of it, and sled, which asks,
//! comes after us. [`in_force`] asks for it from here; `Store::open` calls [`in_force`] and refuses
//! to run without it, so no program that can open a store lacks the shim.
//!
//! It knows nothing of stores.

#![allow(unsafe_code)]

use std::io;

/// No file has this number: the kernel would say `EBADF`, only the shim says `ENOSYS`.
const NO_FILE: libc::c_int = -1;

/// Stands in for the C library's function, in the whole program: brings all data of the file to
/// disk, with what is needed to find it again.
///
/// # Safety
///
/// Safe to call with any arguments: it takes no pointers.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(
    file: libc::c_int,
    _offset: libc::off64_t,
    _length: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    if file == NO_FILE {
        // SAFETY: the C library's errno of this thread, valid and writable for its whole life.
        unsafe { *libc::__errno_location() = libc::ENOSYS };
        return -1;
    }
    loop {
        // SAFETY: a call without pointers, on the caller's own file.
        let answer = unsafe { libc::fdatasync(file) };
        let is_interrupted = || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if answer == 0 || !is_interrupted() {
            return answer;
        }
    }
}

/// Whether a call of `sync_file_range` as sled makes it ends in the shim.
pub(super) fn in_force() -> bool {
    // SAFETY: a call without pointers, on no file.
    let answer = unsafe { libc::sync_file_range(NO_FILE, 0, 0, 0) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}
