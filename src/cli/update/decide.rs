//! What is to be done about the binary that lies there. Pure: who looked, waited and ran it tells
//! here what came of it.
//!
//! An update has three parts, each with a verdict of its own: what is known of the binary before
//! it is run ([`begin`]), what it says of itself and of the configuration ([`examined`]), and
//! whether the daemon does with it all that it has to ([`Trial`]).

use std::time::Duration;

use crate::cli::program::Ran;

/// How often a trial may be broken off, by a power cut or otherwise, before the binary is taken to
/// be the reason: once can be chance.
const TRIALS_LIMIT: u64 = 2;

/// What is known of the binary before it is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Its checksum; `None` when there is no whole file, and why.
    pub(super) fresh: Result<&'a str, &'a str>,
    /// The checksum of the last one that proved itself.
    pub(super) proven: Option<&'a str>,
    /// Why it was refused before.
    pub(super) refused: Option<&'a str>,
    /// How many trials of it were begun and not ended.
    pub(super) begun: u64,
    /// Whether a trial of any was begun and not ended.
    pub(super) broken_off: bool,
}

/// What to do first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// It is the one that proved itself.
    Nothing,
    /// It is the one that proved itself, but another one may still run.
    Restart,
    /// There is none yet that could be put back: from now on it is this one.
    Adopt,
    /// It is not to be tried.
    PutBack(String),
    /// It is to be looked at more closely.
    Examine,
    /// There is nothing to go on with.
    GiveUp(String),
}

/// What to do about a binary that is known so far.
pub(super) fn begin(known: &Known<'_>) -> Begin {
    match (known.fresh, known.proven) {
        (Err(why), None) => Begin::GiveUp(why.to_owned()),
        (Err(why), Some(_)) => Begin::PutBack(why.to_owned()),
        (Ok(_), None) => Begin::Adopt,
        (Ok(fresh), Some(proven)) if fresh == proven => {
            if known.broken_off {
                Begin::Restart
            } else {
                Begin::Nothing
            }
        }
        (Ok(_), Some(_)) => match known.refused {
            Some(why) => Begin::PutBack(format!("it was refused before, since {why}")),
            None if known.begun >= TRIALS_LIMIT => Begin::PutBack(format!(
                "{} trials of it were broken off: the device went down, or the update was ended",
                known.begun
            )),
            None => Begin::Examine,
        },
    }
}

/// The version that `--version` told, or why it is none of ours.
pub(super) fn version(ran: &Ran) -> Result<String, String> {
    match ran {
        Ran::Done(says) => match says.trim().strip_prefix("crmirror ") {
            Some(version) if !version.is_empty() && !version.contains(['\n', ' ']) => {
                Ok(version.to_owned())
            }
            Some(_) | None => Err("--version does not say that it is crmirror".to_owned()),
        },
        Ran::Failed(_) | Ran::Late(_) | Ran::NotStarted(_) => {
            Err(format!("--version: {}", ran.trouble().unwrap_or_default()))
        }
    }
}

/// What to do after an examination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Examined {
    /// It is to be tried.
    Try,
    /// It is not to be tried.
    PutBack(String),
    /// It stays where it is, neither proved nor refused.
    Leave(String),
}

/// What to do about a binary that was asked to `check` the live configuration. `proven` asks the
/// same of the one that proved itself: what both find wrong is not the new one's fault. `service`
/// is what systemd calls the state of the daemon.
pub(super) fn examined(check: &Ran, proven: impl FnOnce() -> Ran, service: &str) -> Examined {
    if let Some(trouble) = check.trouble() {
        return match proven() {
            Ran::Done(_) => Examined::PutBack(format!("check: {trouble}")),
            Ran::Failed(_) | Ran::Late(_) | Ran::NotStarted(_) => {
                Examined::Leave(format!("check fails, and did before: {trouble}"))
            }
        };
    }
    match service {
        // A person stopped it, and is not to find it running.
        "inactive" => Examined::Leave("the daemon is not running".to_owned()),
        _ => Examined::Try,
    }
}

/// What the daemon does, as it tells itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Works {
    /// Reads are answered.
    pub(super) reads: bool,
    /// Upstream takes its access token.
    pub(super) token: bool,
    /// The channel is open.
    pub(super) channel: bool,
}

impl Works {
    /// The words of what works, for a person and for the notes.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let all = [("reads", self.reads), ("token", self.token), ("channel", self.channel)];
        all.into_iter().filter(|(_, works)| *works).map(|(word, _)| word).collect()
    }

    /// Whether any of it works.
    pub(super) fn any(&self) -> bool {
        *self != Works::default()
    }

    /// What works here or there.
    pub(super) fn or(&self, other: &Works) -> Works {
        Works {
            reads: self.reads || other.reads,
            token: self.token || other.token,
            channel: self.channel || other.channel,
        }
    }

    /// What works here and there.
    pub(super) fn and(&self, other: &Works) -> Works {
        Works {
            reads: self.reads && other.reads,
            token: self.token && other.token,
            channel: self.channel && other.channel,
        }
    }

    /// What works here and does not work there.
    pub(super) fn without(&self, other: &Works) -> Works {
        Works {
            reads: self.reads && !other.reads,
            token: self.token && !other.token,
            channel: self.channel && !other.channel,
        }
    }
}

/// How long a trial takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// From the restart until all works that has to.
    pub(super) settle: Duration,
    /// From the restart until the binary is proved.
    pub(super) prove: Duration,
}

/// How the daemon stands, some time after its restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Since the restart began.
    pub(super) after: Duration,
    /// Whether systemd says that it is active, and has been ever since.
    pub(super) active: bool,
    /// What it does.
    pub(super) works: Works,
}

/// What to do after a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing is decided.
    LookAgain,
    /// It is as good as the one before.
    Keep,
    /// It is not.
    PutBack(Bad),
}

/// In what a binary is bad.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bad {
    /// For a person.
    pub(super) why: String,
    /// What it did not do, though it ran; nothing when it did not start, or ended.
    pub(super) lost: Works,
}

impl Bad {
    fn ended(why: String) -> Bad {
        Bad { why, lost: Works::default() }
    }

    /// Whether the binary is to blame, when the one before it does this, once it runs again. What
    /// that one does not do either is nobody's fault: there is no network, or no permission.
    pub(super) fn is_its_own_fault(&self, before: &Works) -> bool {
        self.lost.and(before).any()
    }
}

/// A daemon that was started with the new binary and is watched.
#[derive(Debug)]
pub(super) struct Trial {
    wanted: Works,
    limits: Limits,
    /// Whether it has done all that is wanted: from then on a short loss is forgiven.
    settled: bool,
}

impl Trial {
    /// A trial at whose end all this is to work.
    pub(super) fn new(wanted: Works, limits: Limits) -> Trial {
        Trial { wanted, limits, settled: false }
    }

    /// What to do once the restart has ended, one way or the other.
    pub(super) fn restarted(&self, restart: &Ran) -> Next {
        match restart {
            Ran::Done(_) => Next::LookAgain,
            Ran::Late(limit) => {
                let why = format!("it was not ready within {} s", limit.as_secs());
                Next::PutBack(Bad::ended(why))
            }
            Ran::Failed(how) | Ran::NotStarted(how) => {
                Next::PutBack(Bad::ended(format!("it ended before it was ready: {how}")))
            }
        }
    }

    /// What to do after a look.
    pub(super) fn look(&mut self, look: &Look) -> Next {
        let after = look.after.as_secs();
        if !look.active {
            let why = format!("it ended within {after} s, though it had been ready");
            return Next::PutBack(Bad::ended(why));
        }
        let lost = self.wanted.without(&look.works);
        if !lost.any() {
            self.settled = true;
            return if look.after >= self.limits.prove { Next::Keep } else { Next::LookAgain };
        }
        let limit = if self.settled { self.limits.prove } else { self.limits.settle };
        if look.after < limit {
            return Next::LookAgain;
        }
        let why = format!("this does not work {after} s later: {}", lost.words().join(", "));
        Next::PutBack(Bad { why, lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Works = Works { reads: true, token: true, channel: true };
    const LIMITS: Limits =
        Limits { settle: Duration::from_secs(45), prove: Duration::from_secs(60) };

    #[test]
    fn only_an_unknown_binary_is_examined() {
        let unknown =
            Known { fresh: Ok("b"), proven: Some("a"), refused: None, begun: 0, broken_off: false };
        let put_back = |known: Known<'_>, part: &str| match begin(&known) {
            Begin::PutBack(why) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(begin(&unknown), Begin::Examine);
        assert_eq!(begin(&Known { begun: 1, broken_off: true, ..unknown }), Begin::Examine);
        put_back(Known { begun: 2, broken_off: true, ..unknown }, "2 trials");
        put_back(Known { refused: Some("it hung"), ..unknown }, "refused before, since it hung");
        put_back(Known { fresh: Err("cut short"), ..unknown }, "cut short");
        assert_eq!(begin(&Known { proven: None, ..unknown }), Begin::Adopt);
        assert_eq!(begin(&Known { proven: Some("b"), ..unknown }), Begin::Nothing);
        let back = Known { proven: Some("b"), broken_off: true, ..unknown };
        assert_eq!(begin(&back), Begin::Restart, "cut between putting back and restarting");
        let none = Known { fresh: Err("gone"), proven: None, ..unknown };
        assert_eq!(begin(&none), Begin::GiveUp("gone".to_owned()));
    }

    #[test]
    fn a_version_is_one_word_of_ours() {
        assert_eq!(version(&Ran::Done("crmirror 0.2.0\n".to_owned())).as_deref(), Ok("0.2.0"));
        for says in ["", "crmirror", "crmirror \n", "crmirror 1\nand more", "busybox 1.36"] {
            assert!(version(&Ran::Done(says.to_owned())).is_err(), "{says:?}");
        }
        let late = version(&Ran::Late(Duration::from_secs(10))).unwrap_err();
        assert_eq!(late, "--version: it did not end within 10 s");
    }

    #[test]
    fn a_configuration_that_was_wrong_before_is_no_reason() {
        let (good, bad) = (Ran::Done(String::new()), Ran::Failed("line 3".to_owned()));
        let with = |check: &Ran, proven: &Ran, service| {
            let proven = proven.clone();
            examined(check, || proven, service)
        };
        assert_eq!(with(&good, &good, "active"), Examined::Try);
        assert_eq!(with(&good, &bad, "failed"), Examined::Try);
        let why = "check: line 3".to_owned();
        assert_eq!(with(&bad, &good, "active"), Examined::PutBack(why));
        assert!(matches!(with(&bad, &bad, "active"), Examined::Leave(_)));
        assert!(matches!(with(&good, &good, "inactive"), Examined::Leave(_)));
    }

    /// A trial in looks, each as seconds, whether it is active, and what works.
    fn check(wanted: Works, looks: &[(u64, bool, Works)]) -> Next {
        let mut trial = Trial::new(wanted, LIMITS);
        let mut next = trial.restarted(&Ran::Done(String::new()));
        for &(after, active, works) in looks {
            assert_eq!(next, Next::LookAgain, "before {after} s");
            next = trial.look(&Look { after: Duration::from_secs(after), active, works });
        }
        next
    }

    #[test]
    fn what_is_wanted_has_to_work() {
        let mute = Works { channel: false, ..ALL };
        assert_eq!(
            check(ALL, &[(1, true, mute), (5, true, ALL), (59, true, ALL)]),
            Next::LookAgain
        );
        assert_eq!(check(ALL, &[(1, true, mute), (5, true, ALL), (60, true, ALL)]), Next::Keep);
        assert_eq!(check(mute, &[(1, true, mute), (60, true, mute)]), Next::Keep, "not wanted");
        assert_eq!(check(Works::default(), &[(60, true, Works::default())]), Next::Keep);
        let lost = |next| match next {
            Next::PutBack(bad) => bad,
            other => panic!("{other:?}"),
        };
        let never = lost(check(ALL, &[(44, true, mute), (45, true, mute)]));
        assert!(never.why.ends_with("work 45 s later: channel"), "{never:?}");
        assert_eq!(never.lost, Works { channel: true, ..Works::default() });
        let short = [(5, true, ALL), (50, true, mute), (55, true, ALL), (60, true, ALL)];
        assert_eq!(check(ALL, &short), Next::Keep, "a short loss");
        let late = lost(check(ALL, &[(5, true, ALL), (59, true, mute), (60, true, mute)]));
        assert!(late.why.ends_with("channel"), "{late:?}");
        let gone = lost(check(ALL, &[(1, true, ALL), (30, false, Works::default())]));
        assert!(gone.why.contains("ended within 30 s") && !gone.lost.any(), "{gone:?}");
    }

    #[test]
    fn a_binary_is_blamed_for_what_the_one_before_it_does() {
        let lost = Works { reads: false, ..ALL };
        let blamed = |before: Works| Bad { why: String::new(), lost }.is_its_own_fault(&before);
        assert!(blamed(ALL));
        assert!(blamed(Works { channel: false, ..ALL }), "some of it");
        assert!(!blamed(Works { reads: true, ..Works::default() }), "no network");
        assert!(!blamed(Works::default()));
    }

    #[test]
    fn a_restart_that_fails_is_a_verdict() {
        let trial = Trial::new(ALL, LIMITS);
        for restart in [
            Ran::Late(Duration::from_secs(45)),
            Ran::Failed("exit code 1".to_owned()),
            Ran::NotStarted("no such file".to_owned()),
        ] {
            assert!(matches!(trial.restarted(&restart), Next::PutBack(_)), "{restart:?}");
        }
    }
}
