//! How old a module's copy is, and `max_staleness`: a read that wants a newer one than there is.
//!
//! Ages are told by upstream's clock alone. While that is not known, nobody is told an age, and
//! nothing is new enough. Who wants a newer copy has the module caught up with, as far as upstream
//! and its credits allow it, and waits for that.

use std::time::Duration;

use serde_json::json;

use super::again::{Again, Mode, Round};
use super::asked::Asked;
use super::board::Report;
use super::query::{BadParameter, Parameters};
use super::reply::Reply;
use crate::mirror::ledger::Ledger;
use crate::mirror::record::ModuleName;
use crate::mirror::span::duration;
use crate::mirror::time::{Tick, UpstreamTime};

/// How long a read waits for a newer copy: a catch-up is some calls of upstream.
const WAIT_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Seconds after which it may be worth while to ask again.
const RETRY_AFTER: &str = "10";

/// Takes `max_staleness` out of the parameters; the reply to give instead of the read's, for as
/// long as the copy is older. `ask` has the module caught up with.
pub(super) fn take(
    parameters: &mut Parameters,
    asked: &Asked,
    module: &ModuleName,
    report: &Report,
    now: Tick,
    ask: impl FnOnce(),
) -> Result<Option<Reply>, BadParameter> {
    let Some(text) = parameters.take("max_staleness") else { return Ok(None) };
    let most = match text.as_str() {
        // Newer than the question.
        "0s" => Duration::ZERO,
        text => duration(text).map_err(|why| BadParameter::new("max_staleness", why))?,
    };
    let round = Round::of(asked);
    let waited = round.unwrap_or_default().waited;
    let ledger = report.modules.get(module);
    let age = age(ledger, report.upstream_now(now));
    if is_fresh(age, most, waited) {
        return Ok(None);
    }
    let through = ledger.and_then(|ledger| ledger.complete_through);
    let stale = stale(age, through, report.upstream);
    if report.upstream != "online" || waited >= WAIT_LIMIT {
        return Ok(Some(stale));
    }
    if round.is_none() {
        ask();
    }
    // No change is waited for: the proof may be all that is new.
    Ok(Some(stale.again(Again { after: u64::MAX, within: LOOK_EVERY, mode: Mode::Held })))
}

fn stale(age: Option<Duration>, through: Option<UpstreamTime>, upstream: &str) -> Reply {
    let seconds = age.map(|age| age.as_secs());
    let told = seconds.map_or("of unknown age".to_owned(), |age| format!("{age} seconds old"));
    let details = json!({ "age": seconds, "complete_through": through, "upstream": upstream });
    let message = format!("the copy is {told}, and no newer one can be had now");
    Reply::detailed(503, "STALE", details, &message).with("Retry-After", RETRY_AFTER)
}

/// How long ago the copy was proved complete; `None` when that is not known.
pub(super) fn age(ledger: Option<&Ledger>, now: Option<UpstreamTime>) -> Option<Duration> {
    Some(now?.since(ledger?.complete_through?))
}

/// Whether the copy is at most so old, or was when it was asked for, `waited` ago: a proof that
/// begins after the question is new enough for every question.
pub(super) fn is_fresh(age: Option<Duration>, most: Duration, waited: Duration) -> bool {
    age.is_some_and(|age| age <= most.saturating_add(waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn proved(through: i64) -> Ledger {
        let complete_through = Some(UpstreamTime::from_unix(through));
        Ledger { complete_through, ..Ledger::default() }
    }

    #[test]
    fn an_age_needs_a_proof_and_a_clock() {
        let now = Some(UpstreamTime::from_unix(100));
        assert_eq!(age(Some(&proved(40)), now), Some(60 * SECOND));
        assert_eq!(age(Some(&proved(140)), now), Some(Duration::ZERO));
        assert_eq!(age(Some(&proved(40)), None), None);
        assert_eq!(age(Some(&Ledger::default()), now), None);
        assert_eq!(age(None, now), None);
    }

    #[test]
    fn what_is_proved_after_the_question_is_fresh_for_it() {
        let fresh = |age: u64, most: u64, waited: u64| {
            let [age, most, waited] = [age, most, waited].map(Duration::from_secs);
            is_fresh(Some(age), most, waited)
        };
        assert!(fresh(60, 60, 0) && !fresh(61, 60, 0));
        assert!(!fresh(3, 1, 1), "a second has passed, and the proof is older than the question");
        assert!(fresh(2, 1, 1));
        assert!(!is_fresh(None, Duration::MAX, Duration::ZERO), "nobody knows how old it is");
    }
}
