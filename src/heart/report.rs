//! What the heart tells: the board for readers, and a line in the log when something changes.

use crate::mirror::channel::Standing;
use crate::mirror::gather::Gather;
use crate::mirror::planner::Upstream;
use crate::server::board::{Admission, BooksReport, ChannelReport, Report};

use super::Heart;
use super::platform::Extension;

/// What was told last, so that the log has transitions and not states.
#[derive(Debug, Default)]
pub(super) struct Told {
    upstream: Option<Upstream>,
    channel: Option<&'static str>,
    trouble: Option<String>,
    deaf: bool,
}

impl Heart {
    /// Publishes how things stand, and logs what is new.
    pub(super) fn publish(&mut self) {
        self.note_watching();
        self.log_transitions();
        self.board.admit(self.admission());
        self.board.publish(self.report());
        let (line, online) = (&self.line, *self.planner.upstream() == Upstream::Online);
        self.board.hatch.publish(line.origin(), line.token(), line.told_clock(), online);
    }

    /// Notes since when callbacks can be expected.
    fn note_watching(&mut self) {
        let standing = self.planner.channel().map(|channel| channel.standing());
        self.watching_since = match standing {
            Some(Standing::Open { .. }) => self.watching_since.or(self.line.upstream_now()),
            Some(Standing::Absent | Standing::Denied | Standing::Closed) | None => None,
        };
    }

    fn report(&self) -> Report {
        Report {
            upstream: match self.planner.upstream() {
                Upstream::Online => "online",
                Upstream::Offline => "offline",
                Upstream::Denied => "denied",
            },
            last_error: self.planner.trouble(),
            taken: self.line.tick(),
            upstream_time: self.line.told_now(),
            channel: self.channel_report(),
            // Those of Books.
            webhooks: self.webhooks_report(),
            platform: self.extension.as_ref().map(Extension::report),
            oldest_waiting: self.planner.waiting().oldest(),
            credits_spent: self.line.credits().spent(self.line.upstream_now()),
            credits_ceiling: self.line.credits().ceiling(),
            starved: self.planner.starved(),
            pages: self.pages,
            books: self.books_report(),
            modules: self.modules.iter().map(|(n, m)| (n.clone(), m.ledger.clone())).gather(),
        }
    }

    fn books_report(&self) -> Option<BooksReport> {
        let (plan, account) = (self.planner.books()?, self.line.books_account()?.credits());
        let of_books = self.modules.iter().filter(|(_, module)| module.entity.is_some());
        Some(BooksReport {
            modules: of_books.map(|(name, _)| name.clone()).collect(),
            calls: account.spent(self.line.upstream_now()),
            ceiling: account.ceiling(),
            starved: plan.is_starved(),
            last_error: plan.trouble(),
        })
    }

    fn channel_report(&self) -> ChannelReport {
        let standing = self.planner.channel().map(|channel| channel.standing());
        let (expires, renew_at) = match &standing {
            Some(Standing::Open { expires, renew_at }) => {
                (Some(*expires), self.line.upstream_at(*renew_at))
            }
            Some(Standing::Absent | Standing::Denied | Standing::Closed) | None => (None, None),
        };
        ChannelReport {
            state: standing.as_ref().map_or("none", Standing::word),
            id: self.desired.as_ref().map(|desired| desired.id),
            expires,
            renew_at,
            renewals: self.renewals,
        }
    }

    fn admission(&self) -> Admission {
        let channel = self.identity.channel();
        let tokens = channel.map(|channel| channel.tokens.as_slice()).unwrap_or_default();
        Admission {
            channel: self.desired.as_ref().map(|desired| desired.id),
            tokens: tokens
                .iter()
                .map(|kept| (kept.token.clone(), self.line.tick_of(kept.until)))
                .collect(),
            webhooks: self.webhook_secrets(),
            origin: self.line.origin(),
            clock: self.line.told_clock(),
        }
    }

    fn log_transitions(&mut self) {
        let now = Told {
            upstream: Some(self.planner.upstream().clone()),
            channel: Some(self.channel_report().state),
            trouble: self.planner.trouble(),
            deaf: self.planner.is_deaf(),
        };
        let before = std::mem::replace(&mut self.told, now);
        let now = &self.told;
        let first = before.upstream.is_none();
        let why = now.trouble.as_deref().unwrap_or("no reason given");
        match &now.upstream {
            upstream if *upstream == before.upstream => {
                if now.trouble.is_some() && now.trouble != before.trouble {
                    log::warn!("{why}");
                }
            }
            Some(Upstream::Online) => log::info!("upstream answers"),
            Some(Upstream::Denied) => log::error!("upstream denies us a token: {why}"),
            Some(Upstream::Offline) if !first => {
                log::warn!("upstream is unreachable; callbacks are kept: {why}");
            }
            Some(Upstream::Offline) | None => {}
        }
        if now.deaf && !before.deaf {
            log::warn!(
                "changes are found that no callback announced: the channel is renewed; \
                 see whether its notify_url reaches this device"
            );
        }
        if now.channel != before.channel {
            match (now.channel, self.channel_report().expires) {
                (Some("open"), Some(expires)) => log::info!("the channel is open until {expires}"),
                (Some("denied"), _) => log::error!("upstream denies the channel: {why}"),
                (Some("absent"), _) if !first => log::warn!("the channel is not open"),
                _ => {}
            }
        }
    }
}
