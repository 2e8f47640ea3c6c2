//! `wait_for`: a read that waits until the mirror has come to a sequence, so that an app can read
//! what it was told about.

use std::time::Duration;

use super::again::{Again, Mode, Round};
use super::asked::Asked;
use super::query::{BadParameter, Parameters, whole_number};
use super::reply::Reply;
use crate::store::Store;

/// How long a read waits at most. What an app was told about is in the mirror already; what comes
/// later than this may come in hours.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Takes `wait_for` out of the parameters; the reply to give instead of the read's, for as long as
/// the mirror has not come so far.
pub(super) fn take(
    parameters: &mut Parameters,
    store: &Store,
    asked: &Asked,
) -> Result<Option<Reply>, BadParameter> {
    let wanted = match parameters.take("wait_for").map(|text| whole_number::<u64>(&text)) {
        None => return Ok(None),
        Some(Some(wanted)) => wanted,
        Some(None) => return Err(BadParameter::new("wait_for", "is a sequence: a whole number")),
    };
    let last = store.last_sequence();
    if last >= wanted {
        return Ok(None);
    }
    let message = format!("the mirror is at {last} yet, not at {wanted}: try again");
    let not_yet = Reply::error(503, "NOT_YET", &message).with("Retry-After", "1");
    let left = WAIT_LIMIT.saturating_sub(Round::of(asked).unwrap_or_default().waited);
    if left.is_zero() {
        return Ok(Some(not_yet));
    }
    // Not each change on the way is of interest, only that one.
    let after = wanted - 1;
    Ok(Some(not_yet.again(Again { after, within: left, mode: Mode::Held })))
}
