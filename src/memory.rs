//! How memory goes back to the system.
//!
//! glibc learns from what it is asked for: once a body of a megabyte was freed, it takes the next
//! ones out of the heap of whichever thread asks, and keeps them there. After an attack the process
//! then stays four times as large as before. So what it would learn is fixed: what is larger than a
//! page of records is the system's own again as soon as it is freed. musl always does so.

/// Bytes above which a piece of memory is taken from the system by itself: a page of 200 records is
/// below. Were it not, its memory would be taken and given back, and filled with zeros in between,
/// for each such page: a third fewer are answered then. The most that glibc allows with 32 bits.
#[cfg(target_env = "gnu")]
const BY_ITSELF: libc::c_int = 512 << 10;

/// Bytes that may lie free at the end of each heap: two pages of records.
#[cfg(target_env = "gnu")]
const SPARE: libc::c_int = 1 << 20;

/// Has large pieces of memory given back when they are freed. To be called before there are
/// threads.
#[allow(unsafe_code)]
pub fn give_back_large_pieces() {
    // SAFETY: each sets a number inside the allocator, under the allocator's lock. It fails for
    // numbers that are too large only, and nothing depends on it.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BY_ITSELF);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    };
}

/// Gives back what lies about freed. Takes some milliseconds after much was, in which whoever asks
/// for memory may wait.
#[allow(unsafe_code)]
pub fn give_back() {
    // SAFETY: it touches nothing but free memory, under the lock of the heap that it is in.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
