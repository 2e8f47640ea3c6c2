//! What a check found: one line for a person, one object for a program.
//!
//! A check that cannot be made is *skipped* and says why: it is never taken for a good one.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::aside::Aside;
use crate::cli::table::printable;

/// How good it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, but not as well or not for as long as it should.
    Warn,
    /// It does not work.
    Fail,
    /// Not looked at.
    Skipped,
}

impl State {
    /// In a word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
            State::Skipped => "skipped",
        }
    }
}

/// Where the text of a line begins.
const INDENT: usize = 24;
/// A terminal that is narrower breaks lines itself.
const NARROWEST: usize = 60;

/// What one check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    /// The check, in a word.
    pub(super) check: &'static str,
    /// How good it is.
    pub(super) state: State,
    /// What was found.
    pub(super) says: String,
    /// What to do about it; empty where nothing is to be done.
    pub(super) to_do: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, says: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, says: says.into(), to_do: String::new() }
    }

    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, state: State::Skipped, says: why.into(), to_do: String::new() }
    }

    pub(super) fn warn(
        check: &'static str,
        says: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Finding {
        Finding { check, state: State::Warn, says: says.into(), to_do: to_do.into() }
    }

    pub(super) fn fail(
        check: &'static str,
        says: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Fail, ..Finding::warn(check, says, to_do) }
    }

    /// An error or a warning of ours, which ends with what to do, behind a semicolon.
    pub(super) fn told(check: &'static str, state: State, message: &str) -> Finding {
        let (says, to_do) = message.split_once("; ").unwrap_or((message, ""));
        Finding { check, state, says: says.to_owned(), to_do: to_do.to_owned() }
    }

    /// The line. What strangers said is in it, so that nothing in it commands the terminal.
    pub(super) fn line(&self) -> String {
        let hint = if self.to_do.is_empty() { "" } else { "; " };
        let line = format!(
            "{:<7}  {:<13}  {}{hint}{}",
            self.state.word(),
            self.check,
            self.says,
            self.to_do
        );
        printable(&line)
    }

    /// The line on a terminal of this width: what does not fit stands below, in its column.
    pub(super) fn folded(&self, width: usize) -> String {
        let mut folded = String::new();
        let mut column = 0;
        for word in self.line().split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > INDENT && column + length > width.max(NARROWEST) {
                folded.truncate(folded.trim_end().len());
                folded += &format!("\n{:INDENT$}", "");
                column = INDENT;
            }
            folded += word;
            column += word.chars().count();
        }
        folded
    }

    pub(super) fn to_json(&self) -> Value {
        let to_do = (!self.to_do.is_empty()).then_some(&self.to_do);
        json!({
            "check": self.check, "state": self.state.word(), "says": self.says, "to_do": to_do,
        })
    }
}

/// Does the work in a thread of its own, which is left behind when it takes longer than `limit`:
/// what hangs in the kernel cannot be told to stop, and the process ends soon.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let thread = thread::Builder::new().name("check".into());
    Aside::begin(thread, work).ok()?.within(limit).ok()
}

/// A small file of the kernel's, without the end of its line.
pub(super) fn kernel_text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_matches(['\n', '\0', ' ']).to_owned())
}

/// Bytes, for a person.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x2_8000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// A span for a person.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_says_what_to_do() {
        let finding = Finding::told("dns", State::Fail, "no\tname\nhere; look at it; twice");
        assert_eq!(finding.line(), "fail     dns            no name here; look at it; twice");
        assert_eq!(finding.to_json()["to_do"], "look at it; twice");
        let finding = Finding::skipped("card", "nobody\u{1b}[2J knows");
        assert_eq!(finding.line(), "skipped  card           nobody [2J knows");
        assert_eq!(finding.to_json()["to_do"], Value::Null);
    }

    #[test]
    fn a_line_is_folded_in_its_column() {
        let text = "a name that is not there cannot be resolved";
        let finding = Finding::warn("dns", text, "see the network and its DNS");
        let indent = " ".repeat(INDENT);
        let folded = format!(
            "warn     dns            a name that is not there cannot be\n\
             {indent}resolved; see the network and its\n{indent}DNS"
        );
        assert_eq!(finding.folded(59), folded);
        assert_eq!(finding.folded(200), finding.line());
        let whole = finding.folded(70).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(whole, finding.line().split_whitespace().collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn what_hangs_is_left_behind() {
        let hangs = || loop {
            thread::park();
        };
        assert_eq!(within::<u8>(Duration::from_millis(10), hangs), None);
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in
            [(0, "0 KiB"), (1 << 20, "1 MiB"), (9 << 30, "9216 MiB"), (29 << 30, "29 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
