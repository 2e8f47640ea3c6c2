//! How long there is nothing to do, unless something arrives.

use std::time::Duration;

use crate::mirror::time::{Tick, UpstreamTime};

use super::Planner;

/// The shortest wait that is asked for: a plan that has nothing to do cannot make the heart spin.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(5);

impl Planner {
    /// When there may be something to do that is not to be done now.
    pub(super) fn wake(&self, now: Tick, upstream_now: Option<UpstreamTime>) -> Tick {
        let channel = self.channel.as_ref().and_then(|channel| channel.wake(now));
        if self.platform.is_removed() {
            return channel.unwrap_or(now.after(self.settings.catch_up_every));
        }
        let waiting = self.waiting.wake(|module| self.may_fetch(module, now));
        let modules = self.modules.iter().flat_map(|(name, plan)| {
            let lane = (!plan.lane.is_over(now)).then_some(plan.lane.until());
            let due = plan.due_by_upstream(&self.settings).filter(|(kind, _)| !plan.wants(*kind));
            let due = due.filter_map(|(_, due)| Some(now.after(due.since(upstream_now?))));
            let gathered = (now < plan.gathers_until).then_some(plan.gathers_until);
            let count = plan.count_wake(now, upstream_now).filter(|_| self.waiting.of(name) == 0);
            [Some(plan.catch_up_at), lane, gathered, count].into_iter().flatten().chain(due)
        });
        let document = self.document_wake(now, upstream_now);
        let first = modules.chain(channel).chain(waiting).chain(document).min();
        first.unwrap_or(now.after(self.settings.catch_up_every)).max(now.after(SHORTEST_WAIT))
    }
}
