//! Waiting for a copy to be whole: nobody writes to the file any more, and it is as long as its
//! header says.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::keep::{Binary, read_binary};
use crate::clock::Clock;
use crate::mirror::time::Tick;

/// Pause between two looks at the file.
const LOOK: Duration = Duration::from_millis(250);
/// A file that did not change for so long, and is as long as it should be, is whole: copying over
/// a bad network may pause longer, but then it is not yet as long.
const STILL: Duration = Duration::from_secs(1);

/// The binary at `path`, once it is whole; why not, when nothing has happened to it for `patience`.
pub(super) fn wait(path: &Path, patience: Duration, clock: &dyn Clock) -> Result<Binary, String> {
    let mut seen: Option<(Stamp, Tick)> = None;
    loop {
        let now = clock.tick();
        let stamp = fs::metadata(path).ok().as_ref().map(Stamp::of).unwrap_or_default();
        let since = match seen {
            Some((before, since)) if before == stamp => since,
            Some(_) | None => now,
        };
        seen = Some((stamp, since));
        let still = now.since(since);
        if still >= STILL {
            let trouble = match read_binary(path) {
                Ok(binary) => match cut_short(&binary.bytes) {
                    None => return Ok(binary),
                    Some(trouble) => trouble,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is gone".to_owned(),
                Err(error) => format!("it cannot be read: {error}"),
            };
            if still >= patience {
                return Err(trouble);
            }
        }
        thread::sleep(LOOK);
    }
}

/// What changes when somebody writes to a file, or puts another in its place.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Stamp {
    inode: u64,
    bytes: u64,
    written: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        Stamp { inode: file.ino(), bytes: file.len(), written: (file.mtime(), file.mtime_nsec()) }
    }
}

/// What is missing of an ELF file, as its header tells; `None` when nothing is, or when it is none:
/// then it is for `--version` to say what it is.
fn cut_short(bytes: &[u8]) -> Option<String> {
    let there = bytes.len() as u64;
    if there == 0 {
        return Some("it is empty".to_owned());
    }
    let prefix = bytes.len().min(4);
    if bytes[..prefix] != b"\x7fELF"[..prefix] {
        return None;
    }
    match elf_length(bytes) {
        Some(length) if length <= there => None,
        Some(length) => Some(format!("it is cut short: {there} of {length} bytes are there")),
        None => Some(format!("it is cut short: {there} bytes are there, and no whole header")),
    }
}

/// How long an ELF file is at least: to the end of its tables and of what is loaded from it.
fn elf_length(bytes: &[u8]) -> Option<u64> {
    let wide = *bytes.get(4)? == 2;
    let big = *bytes.get(5)? == 2;
    let number = |at: u64, width: u64| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let piece = bytes.get(at..at.checked_add(width as usize)?)?;
        let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if big { piece.iter().fold(0, digit) } else { piece.iter().rev().fold(0, digit) })
    };
    // Where the header says where its tables lie, and how large their rows and how many they are;
    // where a row of the table of segments says where a segment lies, and how long it is.
    let (width, tables, sizes, segment) =
        if wide { (8, 32, 54, (8, 32)) } else { (4, 28, 42, (4, 16)) };
    let (segments, sections) = (number(tables, width)?, number(tables + width, width)?);
    let table = |from: u64, at: u64| {
        Some(from.saturating_add(number(at, 2)?.saturating_mul(number(at + 2, 2)?)))
    };
    let mut length = table(segments, sizes)?.max(table(sections, sizes + 4)?);
    let (row, rows) = (number(sizes, 2)?, number(sizes + 2, 2)?);
    for index in 0..rows {
        let at = segments.saturating_add(index.saturating_mul(row));
        let Some(from) = number(at.saturating_add(segment.0), width) else { break };
        let Some(size) = number(at.saturating_add(segment.1), width) else { break };
        length = length.max(from.saturating_add(size));
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_whole_and_its_beginnings_are_not() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(cut_short(&program), None);
        for length in [0, 1, 5, 40, 4_096, program.len() / 2, program.len() - 1] {
            let cut = cut_short(&program[..length]);
            assert!(cut.is_some(), "{length} of {}", program.len());
        }
    }

    #[test]
    fn what_is_no_elf_is_not_judged_here() {
        assert_eq!(cut_short(b"#!/bin/sh\nexit 1\n"), None);
        assert!(cut_short(b"\x7fELF\x01\x01\xff\xff\xff").is_some());
        assert!(cut_short(&[&b"\x7fELF\x02\x02"[..], &[0xff; 80]].concat()).is_some());
    }
}
