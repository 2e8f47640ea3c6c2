//! What goes first: CRM or Books, as far as each may, and the token before both.

use std::time::Duration;

use crate::mirror::books::account::Account;
use crate::mirror::credits::{Credits, Purpose};
use crate::mirror::time::{Tick, UpstreamTime};

use super::{Action, Next, Planner, Token};

/// How long the planner waits when the credits are spent: a quarter of an hour of spending ends.
pub(super) const STARVED_WAIT: Duration = Duration::from_secs(5 * 60);

impl Planner {
    /// What the heart does next.
    pub(super) fn decide(
        &mut self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        credits: &Credits,
        books: Option<&Account>,
    ) -> Next {
        if let Some((fetch, why)) = self.give_up.take() {
            return Next::Do(Action::SetAside(fetch, why));
        }
        if !self.line.is_over(now) {
            return Next::WaitUntil(self.line.until());
        }
        if self.token_wanted {
            return match self.token_lane.is_over(now) {
                true => Next::Do(Action::RefreshToken),
                false => Next::WaitUntil(self.token_lane.until()),
            };
        }
        let crm = self.of_crm(now, upstream_now, credits);
        let books = books.map_or(Err(None), |account| self.of_books(now, upstream_now, account));
        let action = match (crm, books) {
            (Err(wake), Err(None)) => return Next::WaitUntil(wake),
            (Err(wake), Err(Some(books))) => return Next::WaitUntil(wake.min(books)),
            (Ok((_, action)), Err(_)) | (Err(_), Ok((_, action))) => action,
            (Ok(crm), Ok(books)) => self.fair(crm, books),
        };
        match self.token {
            Token::Good { until, .. } if now < until && action != Action::RefreshToken => {
                Next::Do(action)
            }
            Token::Good { .. } | Token::Needed if self.token_lane.is_over(now) => {
                Next::Do(Action::RefreshToken)
            }
            Token::Good { .. } | Token::Needed => Next::WaitUntil(self.token_lane.until()),
        }
    }

    /// What is to be done with CRM, as far as its credits and its pause allow it; else when to look
    /// again.
    fn of_crm(
        &mut self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        credits: &Credits,
    ) -> Result<(Purpose, Action), Tick> {
        if !self.throttle.is_over(now) {
            return Err(self.throttle.until());
        }
        let (purpose, action) = match self.wanted(now, upstream_now) {
            None => return Err(self.wake(now, upstream_now)),
            // A sweep may wait for credits for good; documents do not wait with it.
            Some((Purpose::Sweep, sweep)) if !credits.allow(Purpose::Sweep, upstream_now) => {
                self.document(now, upstream_now).unwrap_or((Purpose::Sweep, sweep))
            }
            Some(wanted) => wanted,
        };
        if !credits.allow(purpose, upstream_now) {
            // What is less urgent leaves more untouched, so that nothing else may be done either.
            self.starved = Some(purpose);
            return Err(now.after(STARVED_WAIT));
        }
        Ok((purpose, action))
    }

    /// What goes first: what cannot wait, and else who did not go last. A bootstrap of one takes
    /// hours, and must not hold up the other.
    fn fair(&self, crm: (Purpose, Action), books: (Purpose, Action)) -> Action {
        let is_urgent = |purpose| purpose <= Purpose::Callback;
        match (is_urgent(crm.0), is_urgent(books.0)) {
            (true, false) => crm.1,
            (false, true) => books.1,
            (true, true) | (false, false) if self.was_books => crm.1,
            (true, true) | (false, false) => books.1,
        }
    }
}
