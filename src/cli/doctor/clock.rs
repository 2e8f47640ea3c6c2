//! The device's clock. Upstream's time judges it, never the clock itself: crmirror goes by
//! upstream's time for everything but one thing, whether a certificate is valid.

use std::path::Path;
use std::time::Duration;

use super::finding::{Finding, span};
use crate::cli::program::{self, Ran};
use crate::clock::DeviceClock;
use crate::mirror::time::UpstreamTime;

/// What a clock that is right may be off by: a `Date` has whole seconds, and took a while.
const GRAIN: u64 = 5;
/// What a clock may be off by before it is worth a word.
const TOLERABLE: u64 = 60;
/// What a clock may be off by before certificates are misjudged sooner or later.
const HARMFUL: u64 = 24 * 3_600;
/// No clock that is right shows a time before this one, 2025-01-01: the program is younger.
const WRITTEN: i64 = 1_735_689_600;
/// How long systemd may take to say whether the clock is synchronised.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(2);

const SET_IT: &str = "set the time: timedatectl set-ntp true, or as root: date -s";

/// What is known about the clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// What it shows.
    pub(super) shows: UpstreamTime,
    /// What upstream has to say about that.
    pub(super) evidence: Evidence,
    /// Whether something keeps it right; `None` where the system does not tell.
    pub(super) kept: Option<bool>,
    /// Whether it goes on while the device is off.
    pub(super) battery: bool,
}

/// What upstream has to say about the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evidence {
    /// Upstream's own time, at the same moment.
    Told(UpstreamTime),
    /// By this clock upstream's certificate is not valid yet.
    NotYetValid,
    /// By this clock upstream's certificate is not valid any more.
    Expired,
    /// Nothing.
    Nothing,
}

impl Clock {
    /// How good the clock is.
    pub(super) fn judge(&self) -> Finding {
        let shows = self.shows;
        match self.evidence {
            Evidence::Told(time) => self.against(time),
            Evidence::NotYetValid => Finding::fail(
                "clock",
                format!("it shows {shows}, and upstream's certificate is not valid yet then"),
                SET_IT,
            ),
            Evidence::Expired if self.kept == Some(true) => Finding::ok(
                "clock",
                format!("synchronised, though upstream's certificate has expired by it: {shows}"),
            ),
            Evidence::Expired => Finding::warn(
                "clock",
                format!("it shows {shows}, and upstream's certificate has expired by then"),
                format!("see whether that is the time; if not, {SET_IT}"),
            ),
            Evidence::Nothing if shows.unix() < WRITTEN => Finding::fail(
                "clock",
                format!("it shows {shows}, when this program was not written yet"),
                SET_IT,
            ),
            Evidence::Nothing if self.kept == Some(true) => {
                Finding::ok("clock", "synchronised; upstream does not tell its time to compare")
            }
            Evidence::Nothing => Finding::skipped(
                "clock",
                format!("it shows {shows}; upstream does not tell its time to compare"),
            ),
        }
    }

    fn against(&self, time: UpstreamTime) -> Finding {
        let off = self.shows.unix().abs_diff(time.unix());
        let way = if self.shows > time { "ahead of" } else { "behind" };
        let set = format!("{SET_IT} {time}");
        if off > TOLERABLE {
            let says = format!("{} {way} upstream's", span(off));
            let harm = "certificates are judged by this clock";
            return match off {
                HARMFUL.. => Finding::fail("clock", format!("{says}; {harm}"), set),
                _ => Finding::warn("clock", says, set),
            };
        }
        let mut says = match off {
            0..=GRAIN => "agrees with upstream's".to_owned(),
            _ => format!("{off} s {way} upstream's"),
        };
        says += match self.kept {
            Some(true) => ", synchronised",
            Some(false) => ", not synchronised",
            None => "",
        };
        if self.battery {
            return Finding::ok("clock", says);
        }
        says += ", no battery-backed clock (RTC)";
        match self.kept {
            Some(true) | None => Finding::ok("clock", says),
            Some(false) => Finding::warn(
                "clock",
                says,
                "it will be wrong after the next power cut: timedatectl set-ntp true",
            ),
        }
    }
}

/// Whether there is a clock that goes on while the device is off.
pub(super) fn has_battery(sys: &Path) -> bool {
    std::fs::read_dir(sys.join("class/rtc")).is_ok_and(|mut clocks| clocks.next().is_some())
}

/// Whether something keeps the clock right, as far as systemd knows, which asks the kernel: so it
/// knows of other programs than its own.
pub(super) fn is_kept() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let asked = ["show", "--property=NTPSynchronized", "--value"];
    match program::run(Path::new("timedatectl"), &asked, SYSTEMD_LIMIT, &DeviceClock) {
        Ran::Done(said) => match said.trim() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        },
        Ran::Failed(_) | Ran::Late(_) | Ran::NotStarted(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::super::tests::assert_finding;
    use super::*;

    const NOON: i64 = 1_795_262_400;

    fn check(shows: i64, evidence: Evidence, kept: Option<bool>, state: State, part: &str) {
        let shows = UpstreamTime::from_unix(shows);
        assert_finding(&Clock { shows, evidence, kept, battery: false }.judge(), state, part);
    }

    #[test]
    fn it_is_held_against_upstreams_time() {
        let told = Evidence::Told(UpstreamTime::from_unix(NOON));
        check(NOON - 5, told, Some(true), State::Ok, "agrees with upstream's, synchronised");
        check(NOON + 5, told, None, State::Ok, "no battery");
        check(NOON + 60, told, Some(true), State::Ok, "60 s ahead of");
        check(NOON - 61, told, Some(true), State::Warn, "1 min behind");
        check(NOON + 86_399, told, None, State::Warn, "23 h 59 min ahead of");
        check(NOON - 86_400, told, Some(true), State::Fail, "1 days behind");
        check(0, told, None, State::Fail, "date -s 2026-11-21T12:00:00+00:00");
        check(NOON, told, Some(false), State::Warn, "timedatectl set-ntp true");
    }

    #[test]
    fn a_battery_makes_up_for_the_lack_of_a_synchronisation() {
        let (shows, kept) = (UpstreamTime::from_unix(NOON), Some(false));
        let clock = Clock { shows, evidence: Evidence::Told(shows), kept, battery: true };
        assert_eq!(
            clock.judge().line(),
            "ok       clock          agrees with upstream's, not synchronised"
        );
    }

    #[test]
    fn without_upstreams_time_little_is_decided() {
        check(NOON, Evidence::Nothing, None, State::Skipped, "does not tell its time");
        check(NOON, Evidence::Nothing, Some(false), State::Skipped, "it shows 2026");
        check(NOON, Evidence::Nothing, Some(true), State::Ok, "synchronised");
        check(86_400, Evidence::Nothing, None, State::Fail, "it shows 1970-01-02");
        check(86_400, Evidence::NotYetValid, None, State::Fail, "not valid yet");
        check(NOON, Evidence::Expired, None, State::Warn, "has expired");
        check(NOON, Evidence::Expired, Some(true), State::Ok, "synchronised, though");
    }
}
