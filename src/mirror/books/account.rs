//! The account of Books' calls: so many in a day, and so many in a minute.
//!
//! Each call is counted where it is made, since an action may take several. So one that begins
//! when a single place is free may take places of the minute to come: nine at most, as many as the
//! further pages of a long list of webhooks. With them no minute has a hundred calls.

use crate::mirror::credits::{Credits, Spending};
use crate::mirror::time::{Tick, UpstreamTime};

use super::pacer::Pacer;

/// The account of Books' calls.
#[derive(Clone, Debug)]
pub struct Account {
    credits: Credits,
    pacer: Pacer,
}

impl Account {
    /// An account with this ceiling for any 24 hours, and what was spent before this start.
    pub fn new(ceiling: u64, spent: Spending, now: Tick) -> Account {
        Account { credits: Credits::new(ceiling, spent), pacer: Pacer::new(now) }
    }

    /// A call is made.
    pub fn spend(&mut self, now: Tick, upstream_now: Option<UpstreamTime>) {
        self.credits.spend(1, upstream_now);
        self.pacer.spend(now);
    }

    /// What the day allows.
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// When the next call may be made; not later than now when that is at once.
    pub fn free_at(&self) -> Tick {
        self.pacer.free_at()
    }
}
