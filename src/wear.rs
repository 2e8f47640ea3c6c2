//! How many bytes this process had the system write to disks: what a card wears out by.
//!
//! Linux keeps the account in `/proc/self/io`, which nobody but root may open once the process has
//! been kept out of dumps. So it is opened before that, and kept.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Longest account that is read: it has seven short lines.
const ACCOUNT_LIMIT: usize = 1 << 10;

static ACCOUNT: OnceLock<Option<File>> = OnceLock::new();

fn account() -> Option<&'static File> {
    ACCOUNT.get_or_init(|| File::open("/proc/self/io").ok()).as_ref()
}

/// Opens the account. It is kept by the system from the start of the process, whenever this is.
pub fn open_account() {
    account();
}

/// Bytes that were written to disks since the start of the process, or are about to be; none where
/// the system keeps no account.
pub fn bytes_written() -> Option<u64> {
    let mut text = [0; ACCOUNT_LIMIT];
    let length = account()?.read_at(&mut text, 0).ok()?;
    written(std::str::from_utf8(&text[..length]).ok()?)
}

fn written(account: &str) -> Option<u64> {
    account.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_read() {
        let account = "wchar: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 12\n";
        assert_eq!(written(account), Some(4_096));
        assert_eq!(written("wchar: 7\n"), None);
    }
}
