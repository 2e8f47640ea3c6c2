//! Acting on our channel.

use std::time::Duration;

use crate::config::{Config, Operation};
use crate::mirror::channel::{ChannelAction, ChannelOutcome, Desired, Shown};
use crate::mirror::gather::Gather;
use crate::mirror::planner::Outcome;
use crate::mirror::record::ChannelId;
use crate::secret::Secret;
use crate::upstream::channels;

use super::{Heart, Stop, unless_full};

/// Asking for more than the longest life yields one hour (facts §1.3), and our idea of upstream's
/// clock may be a little ahead: this much less is asked for.
const LIFE_MARGIN: Duration = Duration::from_secs(60);

/// What the configuration, which has a `[channel]`, wants the channel to be.
pub fn desired(config: &Config, id: ChannelId) -> Desired {
    let channel = config.channel.as_ref().expect("asked for only with a channel configured");
    let events = config.modules.iter().flat_map(|module| {
        let verbs = module.operations.iter().map(|operation| match operation {
            Operation::Create => "create",
            Operation::Edit => "edit",
            Operation::Delete => "delete",
        });
        verbs.map(move |verb| format!("{}.{verb}", module.name))
    });
    let longest = config.upstream.version.longest_channel_life() - LIFE_MARGIN;
    Desired {
        id,
        notify_url: channel.notify_url.as_str().to_owned(),
        events: events.gather(),
        related_actions: channel.related_actions,
        lifetime: channel.lifetime.min(longest),
    }
}

impl Heart {
    pub(super) fn act_on_channel(&mut self, action: ChannelAction) -> Result<Outcome, Stop> {
        let desired = self.desired.clone().expect("planned only with a channel configured");
        let outcome = match action {
            ChannelAction::Show => self.show(&desired)?,
            ChannelAction::Open | ChannelAction::Renew => self.open(&desired, action)?,
            ChannelAction::Close => {
                let request = channels::close(&self.line.api()?, desired.id);
                channels::parse_close(&self.line.call(&request)?)
            }
        };
        Ok(Outcome::Channel(outcome))
    }

    fn show(&mut self, desired: &Desired) -> Result<ChannelOutcome, Stop> {
        let rows = self.line.channel_rows(desired.id)?;
        let shown = desired.compare(&rows, &self.channel_tokens());
        let left = match &shown {
            Shown::Matches(expires) => expires.since(self.line.guessed_now()),
            Shown::Absent | Shown::Differs(_) => Duration::ZERO,
        };
        Ok(ChannelOutcome::Shown(shown, left))
    }

    /// Opens or renews. The token is kept before it is sent.
    fn open(&mut self, desired: &Desired, action: ChannelAction) -> Result<ChannelOutcome, Stop> {
        let api = self.line.api()?;
        let now = self.line.guessed_now();
        let expires = now.after(desired.lifetime);
        let token = self.identity.next_token(now, expires)?;
        self.publish();
        let request = match action {
            ChannelAction::Renew => channels::renew(&api, desired, &token, expires),
            ChannelAction::Open | ChannelAction::Show | ChannelAction::Close => {
                channels::open(&api, desired, &token, expires)
            }
        };
        let reply = self.line.call(&request)?;
        let outcome = channels::parse_grant(&reply, self.line.guessed_now());
        if let ChannelOutcome::Granted { expires, life } = outcome {
            unless_full(self.identity.token_granted(expires, life))?;
            self.renewals += 1;
        }
        Ok(outcome)
    }

    fn channel_tokens(&self) -> Vec<Secret> {
        let tokens = self.identity.channel().map(|channel| channel.tokens.as_slice());
        tokens.unwrap_or_default().iter().map(|kept| kept.token.clone()).collect()
    }
}
