//! A bar on stderr that says how far something long has come. It is there only for a person who
//! looks at a terminal, and gone when it ends.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::clock::{Clock, DeviceClock};
use crate::mirror::time::Tick;

use super::table::cut;
use super::width_of;

/// Time between two drawings: often enough to be seen to move, and no work.
const DRAWN_EVERY: Duration = Duration::from_millis(200);
/// The bar's own width, in characters.
const WIDTH: usize = 20;
/// Before that a rate says more about the start than about what follows.
const RATE_AFTER: Duration = Duration::from_secs(1);

/// A bar that shows how many of a total are done.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    began: Tick,
    /// When it was drawn last; `None` when nobody looks.
    drawn: Option<Tick>,
}

impl Progress {
    /// A bar for `total` of something, begun now. It is hidden where it would stand among what is
    /// printed.
    pub(super) fn of(what: &'static str, total: u64, hidden: bool) -> Progress {
        let began = DeviceClock.tick();
        let drawn = (!hidden && std::io::stderr().is_terminal()).then_some(began);
        Progress { what, total, done: 0, began, drawn }
    }

    /// So many more are done.
    pub(super) fn advance(&mut self, count: u64) {
        self.done += count;
        let Some(drawn) = self.drawn else { return };
        let now = DeviceClock.tick();
        if now.since(drawn) >= DRAWN_EVERY {
            self.drawn = Some(now);
            let line = line(self.what, self.done, self.total, now.since(self.began));
            let width = width_of(std::io::stderr()).unwrap_or(usize::MAX);
            draw(&cut(&line, width));
        }
    }

    /// Whether somebody looks.
    pub(super) fn is_seen(&self) -> bool {
        self.drawn.is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_seen() {
            draw("");
        }
    }
}

/// Draws over the line where the bar is.
fn draw(line: &str) {
    // Nobody is to fail for a bar.
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
}

/// The bar as a line. The total may have been counted a while ago: it gives way to what is done.
fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(done);
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
    let filled = percent as usize * WIDTH / 100;
    let bar = format!("{:<WIDTH$}", "=".repeat(filled));
    let mut line = format!("{what} [{bar}] {percent} % {done} of {total}");
    if elapsed >= RATE_AFTER && done > 0 {
        let rate = done.saturating_mul(1_000) / elapsed.as_millis().max(1) as u64;
        let left = (total - done) / rate.max(1);
        line.push_str(&format!(", {rate}/s, {left} s left"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes() {
        let check = |done, total, millis, expected: &str| {
            assert_eq!(line("reading", done, total, Duration::from_millis(millis)), expected);
        };
        check(0, 0, 0, "reading [                    ] 0 % 0 of 0");
        check(50, 200, 500, "reading [=====               ] 25 % 50 of 200");
        check(50, 200, 2_000, "reading [=====               ] 25 % 50 of 200, 25/s, 6 s left");
        check(9, 7, 100, "reading [====================] 100 % 9 of 9");
    }
}
