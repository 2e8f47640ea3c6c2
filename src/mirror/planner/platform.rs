//! What the platform tells of our extension: taken in before all else, and when the extension is
//! gone, all else ends but the closing of the channel.

use std::time::Duration;

use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::channel::{ChannelOutcome, ChannelPlan};
use crate::mirror::ledger::ScanKind;
use crate::mirror::platform::Consequence;
use crate::mirror::time::Tick;

use super::{Action, Next, Planner};

/// Pauses after an event could not be recorded, which is for want of room alone.
const ROOM: Pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(120) };

/// The plan.
#[derive(Debug, Default)]
pub(super) struct PlatformPlan {
    /// Something may wait in the queue.
    waits: bool,
    lane: Backoff,
    removed: bool,
}

impl PlatformPlan {
    /// Something waits in the queue.
    pub(super) fn rung(&mut self) {
        self.waits = true;
    }

    /// Whether the extension is gone.
    pub(super) fn is_removed(&self) -> bool {
        self.removed
    }

    /// What is to be done now, if anything. It needs no upstream, and so waits for none.
    pub(super) fn next(&self, now: Tick) -> Option<Action> {
        (self.waits && self.lane.is_over(now)).then_some(Action::TakeEvent)
    }

    /// The same, but not too late for what waits here.
    pub(super) fn in_time(&self, next: Next) -> Next {
        match next {
            Next::WaitUntil(tick) if self.waits => Next::WaitUntil(tick.min(self.lane.until())),
            next => next,
        }
    }
}

impl Planner {
    /// An event was recorded; `more` may wait.
    pub(super) fn learn_event(&mut self, consequence: Consequence, more: bool, now: Tick) {
        self.platform.waits = more;
        self.platform.lane.clear();
        match consequence {
            Consequence::Nothing => {}
            Consequence::Open => self.go_on(),
            Consequence::Close | Consequence::Wipe => self.stop(false, now),
        }
    }

    /// An event could not be recorded.
    pub(super) fn learn_no_event(&mut self, why: &str, now: Tick) {
        self.trouble = Some(why.to_owned());
        self.platform.lane.fail(now, &ROOM, None, &mut self.dice);
    }

    /// The extension is gone. What is `forgotten` has no channel any more.
    pub(super) fn stop(&mut self, forgotten: bool, now: Tick) {
        self.platform.removed = true;
        self.channel.as_mut().into_iter().for_each(ChannelPlan::ask_close);
        if let Some(channel) = self.channel.as_mut().filter(|_| forgotten) {
            channel.learn(ChannelOutcome::Closed, now, &mut self.dice);
        }
    }

    /// The extension is authorised, perhaps anew: what was denied may be granted.
    fn go_on(&mut self) {
        self.platform.removed = false;
        self.line.clear();
        self.token_lane.clear();
        self.channel.as_mut().into_iter().for_each(ChannelPlan::ask_renewal);
        for plan in self.modules.values_mut() {
            plan.want(ScanKind::CatchUp);
            plan.lane.clear();
        }
        if let Some(books) = &mut self.books {
            books.want(None, ScanKind::CatchUp);
            books.end_pauses(None);
        }
    }
}
