//! What the system says of this process: memory, threads, descriptors. From Linux's `/proc`, two
//! short reads; what cannot be read is not known, and not guessed.

use std::fs;

/// What the system says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Bytes of memory that are in use.
    pub resident: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
}

impl Process {
    /// As it is now.
    pub fn look() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as u64);
        Process {
            resident: number(&status, "VmRSS:").map(|kibibytes| kibibytes << 10),
            threads: number(&status, "Threads:"),
            // One of them was open to look.
            descriptors: descriptors.map(|count| count.saturating_sub(1)),
        }
    }
}

/// The number in the line of this title.
fn number(text: &str, title: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(title))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_titles() {
        let text = "Name:\tx\nVmRSS:\t  4312 kB\nThreads:\t7\n";
        assert_eq!(number(text, "VmRSS:"), Some(4_312));
        assert_eq!(number(text, "Threads:"), Some(7));
        assert_eq!(number(text, "VmHWM:"), None);
        assert_eq!(number("Threads: many", "Threads:"), None);
    }
}
