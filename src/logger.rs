//! Logs on stderr, a line for each message. Only our own lines can be made more talkative.
//!
//! No line has a time: whoever keeps the log of a device writes his own beside each, and this
//! device's clock may be decades off. Where stderr leads to systemd's journal a line begins with
//! its priority, as `sd-daemon(3)` has it, so that `journalctl -p warning` finds it; a word for the
//! level would only repeat that. On a terminal one line that is written over shows progress.

use std::fmt::Display;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter};

/// Back to the begin of the line of a terminal, whose content goes.
const ANEW: &str = "\r\x1b[K";

/// A line that is longer than a terminal is wide cannot be written over; few are narrower.
const NARROW: usize = 79;

/// Where stderr leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Out {
    Journal,
    Terminal,
    Other,
}

/// Whether the terminal's last line shows progress, and is to be written over.
static PROGRESS: AtomicBool = AtomicBool::new(false);

/// Starts logging. `wanted` is the value of `RUST_LOG`: a level (`debug`), or `crmirror=LEVEL`;
/// without it `info`. The libraries beneath stay at `warn` whatever is asked: what they would tell
/// at `trace` are the very bytes that go over the wire, tokens included.
pub fn start(wanted: Option<&str>) {
    let level = wanted.and_then(level).unwrap_or(LevelFilter::Info);
    env_logger::Builder::new()
        .filter_level(LevelFilter::Warn.min(level))
        .filter_module("crmirror", level)
        // sled warns of what its opening procedure has mended; the store tells that itself.
        .filter_module("sled", LevelFilter::Error.min(level))
        // tiny_http complains when its hall is closed on purpose; the hall tells what matters.
        .filter_module("tiny_http", LevelFilter::Off)
        .format(|line, record| {
            let said = record.args().to_string();
            let anew = if PROGRESS.swap(false, Ordering::Relaxed) { ANEW } else { "" };
            write!(line, "{anew}{}", written(out(), record.level(), &said))
        })
        .init();
}

/// Prints why the program ends.
pub fn end(failure: &dyn Display) {
    let said = format!("crmirror: {failure}");
    match out() {
        Out::Journal => eprint!("{}", written(Out::Journal, Level::Error, &said)),
        Out::Terminal | Out::Other => eprintln!("{said}"),
    }
}

/// Whether progress can be shown by a line that is written over.
pub fn is_on_terminal() -> bool {
    out() == Out::Terminal
}

/// Shows progress on a terminal, in place of what was shown before.
pub fn progress(line: &str) {
    PROGRESS.store(true, Ordering::Relaxed);
    let line: String = line.chars().take(NARROW).collect();
    eprint!("{ANEW}{line}");
}

/// Where stderr leads, as it was when it was asked first.
fn out() -> Out {
    static OUT: OnceLock<Out> = OnceLock::new();
    *OUT.get_or_init(|| {
        let stderr = std::io::stderr();
        let journal = std::env::var("JOURNAL_STREAM").ok().and_then(|text| stream(&text));
        let ours = stderr.as_fd().try_clone_to_owned().map(File::from);
        let ours = ours.and_then(|file| file.metadata());
        match (journal, ours) {
            (Some(journal), Ok(ours)) if journal == (ours.dev(), ours.ino()) => Out::Journal,
            _ if stderr.is_terminal() => Out::Terminal,
            _ => Out::Other,
        }
    })
}

/// The device and the inode of `JOURNAL_STREAM`.
fn stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// A message as it is written. In the journal each of its lines is one of its own.
fn written(out: Out, level: Level, said: &str) -> String {
    match out {
        Out::Journal => {
            let priority = match level {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            said.lines().map(|line| format!("<{priority}>{line}\n")).collect()
        }
        Out::Terminal | Out::Other => format!("{}: {said}\n", level.as_str().to_lowercase()),
    }
}

fn level(wanted: &str) -> Option<LevelFilter> {
    let ours = |part: &str| match part.trim().split_once('=') {
        Some(("crmirror", level)) => level.parse().ok(),
        Some(_) => None,
        None => part.trim().parse().ok(),
    };
    wanted.split(',').filter_map(ours).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_level_is_read() {
        assert_eq!(level("debug"), Some(LevelFilter::Debug));
        assert_eq!(level("info,crmirror=trace"), Some(LevelFilter::Trace));
        assert_eq!(level("ureq=trace"), None);
        assert_eq!(level("loud"), None);
    }

    #[test]
    fn the_journal_gets_priorities_and_no_words_for_them() {
        assert_eq!(written(Out::Other, Level::Warn, "a\nb"), "warn: a\nb\n");
        assert_eq!(written(Out::Journal, Level::Warn, "a\nb"), "<4>a\n<4>b\n");
        assert_eq!(written(Out::Journal, Level::Error, "a"), "<3>a\n");
        assert_eq!(stream("8:1234"), Some((8, 1_234)));
        assert_eq!(stream("8"), None);
    }
}
