//! The shim that makes sled's flush an fsync, and the proof that it is in force.
//!
//! sled 0.34.7 ends its `flush()` in `sync_file_range`, which writes pages out but neither the
//! file's size nor its extents, and does not empty the disk's own cache (sled #1351, #1452; the
//! call came with its PR #928). 86 of 120 simulated power cuts went wrong that way. sled treats
//! `ENOSYS` from that call as "use fsync instead"; so this file defines a `sync_file_range` that
//! always says `ENOSYS`, and none of 140 cuts went wrong.
//!
//! A symbol that the program defines wins over the one in the C library. But the linker takes a
//! member of a library in only when something has asked for a symbol of it, and sled, which asks,
//! comes after us. [`in_force`] asks for it from here; `Store::open` calls [`in_force`] and refuses
//! to run without it, so no program that can open a store lacks the shim.
//!
//! The only file in which `unsafe` is allowed. It knows nothing of stores.

#![allow(unsafe_code)]

use std::io;

/// Stands in for the C library's function, in the whole program: "this kernel has no such call".
///
/// # Safety
///
/// Safe to call with any arguments: it looks at none of them.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(
    _file: libc::c_int,
    _offset: libc::off64_t,
    _length: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    // SAFETY: the C library's errno of this thread, valid and writable for the thread's whole life.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

/// Whether a call of `sync_file_range` as sled makes it ends in the shim.
///
/// No file has the number -1: the kernel would say `EBADF`, only the shim says `ENOSYS`.
pub(super) fn in_force() -> bool {
    // SAFETY: a call without pointers, on no file.
    let answer = unsafe { libc::sync_file_range(-1, 0, 0, 0) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}
