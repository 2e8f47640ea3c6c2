//! What goes wrong: scripted for the next requests, or at random from a seed, or for good.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::clock::Moment;
use super::wire::{Answer, Asked, NoAnswer};

/// One thing that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is lost; nothing comes.
    TimeOutBefore,
    /// The request takes effect; the reply is lost.
    TimeOutAfter,
    /// The connection breaks before the request takes effect.
    ResetBefore,
    /// The connection breaks after the request took effect.
    ResetAfter,
    /// The certificate does not hold at the device's time (in process only).
    WrongClock,
    /// An error status with upstream's body for it.
    Status(u16),
    /// A page for people, as proxies and captive portals make.
    Html(u16),
    /// The true reply, cut off in the middle; the request takes effect.
    Truncated,
    /// 200 without a body.
    EmptyOk,
    /// 429, too many at once.
    Throttled(RetryAfter),
    /// 401 `INVALID_TOKEN`, though the token is good.
    Unauthorised,
    /// 429 in the odd old shape, whose code is a number (facts §4.10).
    CreditsGone,
    /// 302 to this address.
    Redirect(String),
}

/// How upstream asks to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Not at all, which is usual (facts §4.9).
    Absent,
    /// For so many seconds; 0 and enormous ones are for the test to choose.
    Seconds(u64),
    /// Until a date that lies so far ahead.
    Date(Duration),
}

/// Which requests a scripted fault hits.
#[derive(Clone, Debug, Default)]
pub struct Aim {
    /// Only this method.
    pub method: Option<String>,
    /// Only paths that begin with this.
    pub path: Option<String>,
    /// Whether only that very path is meant.
    pub is_whole: bool,
}

impl Aim {
    /// Every request.
    pub fn anything() -> Aim {
        Aim::default()
    }

    /// Requests whose path begins with this.
    pub fn path(prefix: &str) -> Aim {
        Aim { path: Some(prefix.to_owned()), ..Aim::default() }
    }

    /// Requests for this very path, and for none below it.
    pub fn exactly(path: &str) -> Aim {
        Aim { is_whole: true, ..Aim::path(path) }
    }

    /// Of those, the ones with this method.
    pub fn method(mut self, method: &str) -> Aim {
        self.method = Some(method.to_owned());
        self
    }

    fn hits(&self, asked: &Asked) -> bool {
        self.method.as_ref().is_none_or(|method| *method == asked.method)
            && self.path.as_ref().is_none_or(|path| match self.is_whole {
                true => asked.path == *path,
                false => asked.path.starts_with(path.as_str()),
            })
    }
}

/// The plan of what goes wrong.
pub struct Faults {
    scripted: Vec<(u32, Aim, Fault)>,
    random: Option<(fastrand::Rng, u32)>,
    offline: bool,
    denied: BTreeSet<(String, Option<u64>)>,
}

impl Faults {
    pub(super) fn new() -> Faults {
        Faults { scripted: Vec::new(), random: None, offline: false, denied: BTreeSet::new() }
    }

    /// The next `count` requests that `aim` hits meet this fault. Scripts are used up in the order
    /// they were given.
    pub fn script(&mut self, count: u32, aim: Aim, fault: Fault) {
        self.scripted.push((count, aim, fault));
    }

    /// From now on so many of a thousand requests meet a fault, drawn from this seed.
    pub fn at_random(&mut self, seed: u64, per_mille: u32) {
        self.random = Some((fastrand::Rng::with_seed(seed), per_mille));
    }

    /// Whether there is no way to upstream at all.
    pub fn offline(&mut self, offline: bool) {
        self.offline = offline;
    }

    /// The user may not read this module, or this record of it: 403 `NO_PERMISSION`, until
    /// [`Faults::calm`]. A call that names several records is denied whole.
    pub fn deny(&mut self, module: &str, id: Option<u64>) {
        self.denied.insert((module.to_owned(), id));
    }

    /// Nothing goes wrong any more.
    pub fn calm(&mut self) {
        *self = Faults::new();
    }

    pub(super) fn permit(&self, module: &str, ids: &[u64]) -> Result<(), Answer> {
        let mut keys = ids.iter().map(|&id| Some(id)).chain([None]);
        let denied = keys.find(|&id| self.denied.contains(&(module.to_owned(), id)));
        match denied {
            None => Ok(()),
            Some(id) => {
                let details = json!({"module": module, "id": id.map(|id| id.to_string())});
                Err(Answer::refusal(403, "NO_PERMISSION", details, "permission denied"))
            }
        }
    }

    pub(super) fn next(&mut self, asked: &Asked) -> Option<Fault> {
        if let Some(at) = self.scripted.iter().position(|(_, aim, _)| aim.hits(asked)) {
            let (count, _, fault) = &mut self.scripted[at];
            let fault = fault.clone();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.scripted.remove(at);
            }
            return Some(fault);
        }
        let (random, per_mille) = self.random.as_mut()?;
        (random.u32(0..1_000) < *per_mille).then(|| drawn(random))
    }

    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }
}

fn drawn(random: &mut fastrand::Rng) -> Fault {
    match random.u8(0..18) {
        0 => Fault::TimeOutBefore,
        1 => Fault::TimeOutAfter,
        2 => Fault::ResetBefore,
        3 => Fault::ResetAfter,
        4 => Fault::Status(500),
        5 => Fault::Status(502),
        6 => Fault::Status(503),
        7 => Fault::Html(200),
        8 => Fault::Html(502),
        9 => Fault::Truncated,
        10 => Fault::EmptyOk,
        11 => Fault::Throttled(RetryAfter::Absent),
        12 => Fault::Throttled(RetryAfter::Seconds(0)),
        13 => Fault::Throttled(RetryAfter::Seconds(u64::MAX)),
        14 => Fault::Throttled(RetryAfter::Date(Duration::from_secs(30))),
        15 => Fault::Unauthorised,
        16 => Fault::CreditsGone,
        _ => Fault::Redirect("http://captive.example/login".to_owned()),
    }
}

impl Fault {
    /// What comes instead of serving the request; `None` when the request takes effect first.
    pub(super) fn instead(&self, now: Moment) -> Option<Result<Answer, NoAnswer>> {
        let throttled = || {
            let message = "Many requests fired in concurrent than the allowed limit";
            Answer::refusal(429, "TOO_MANY_REQUESTS", json!({}), message)
        };
        let answer = match self {
            Fault::TimeOutAfter | Fault::ResetAfter | Fault::Truncated => return None,
            Fault::TimeOutBefore => return Some(Err(NoAnswer::TimedOut)),
            Fault::ResetBefore => return Some(Err(NoAnswer::Reset)),
            Fault::WrongClock => return Some(Err(NoAnswer::WrongClock)),
            Fault::Status(status) => {
                Answer::refusal(*status, "INTERNAL_ERROR", json!({}), "Internal Server Error")
            }
            Fault::Html(status) => {
                let page = "<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>";
                Answer::typed(*status, "text/html", page.to_owned())
            }
            Fault::EmptyOk => Answer::empty(200),
            Fault::Throttled(RetryAfter::Absent) => throttled(),
            Fault::Throttled(RetryAfter::Seconds(seconds)) => {
                throttled().with("Retry-After", &seconds.to_string())
            }
            Fault::Throttled(RetryAfter::Date(ahead)) => {
                throttled().with("Retry-After", &now.after(*ahead).http_date())
            }
            Fault::Unauthorised => Answer::invalid_token(),
            Fault::CreditsGone => Answer::json(
                429,
                &json!({
                    "code": 429,
                    "error": "TOO_MANY_REQUESTS",
                    "error_info": "Many requests fired than the allowed limit for the past \
                                   24 hours.",
                    "details": [],
                }),
            ),
            Fault::Redirect(to) => Answer::empty(302).with("Location", to),
        };
        Some(Ok(answer))
    }

    /// What becomes of the true answer.
    pub(super) fn spoil(&self, mut answer: Answer) -> Result<Answer, NoAnswer> {
        match self {
            Fault::TimeOutAfter => Err(NoAnswer::TimedOut),
            Fault::ResetAfter => Err(NoAnswer::Reset),
            Fault::Truncated => {
                answer.body.truncate(answer.body.len() / 2);
                Ok(answer)
            }
            Fault::TimeOutBefore
            | Fault::ResetBefore
            | Fault::WrongClock
            | Fault::Status(_)
            | Fault::Html(_)
            | Fault::EmptyOk
            | Fault::Throttled(_)
            | Fault::Unauthorised
            | Fault::CreditsGone
            | Fault::Redirect(_) => Ok(answer),
        }
    }
}
