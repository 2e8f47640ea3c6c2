//! What an action brought, and how that changes the plan.
//!
//! Trouble with the line or the token stops everything, since everything needs them. Trouble with a
//! module, a record or the channel stops only that.

use std::time::Duration;

use crate::mirror::backoff::Pauses;
use crate::mirror::books::plan::{BooksOutcome, BooksPlan};
use crate::mirror::channel::{ChannelOutcome, ChannelPlan};
use crate::mirror::document::DocumentName;
use crate::mirror::ledger::Scan;
use crate::mirror::record::ModuleName;
use crate::mirror::time::Tick;
use crate::mirror::trouble::{Scope, Trouble};

use super::module::{ModulePlan, ScanPlan};
use super::{Action, GATHERING, Outcome, Planner, Token, Upstream};

/// An access token is renewed this long before its end, so that none dies on its way.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);
/// Pauses after the line to upstream failed. A device is offline for hours; a try costs little.
const LINE: Pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(120) };
/// Pauses after upstream said that we ask too much. The limit on concurrency is over in seconds.
pub(super) const THROTTLE: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };
/// Pauses after no token was given: ten a quarter of an hour are all that upstream gives, and only
/// silence ends a refusal (facts §3.2, §3.3).
const TOKEN: Pauses =
    Pauses { first: Duration::from_secs(15), longest: Duration::from_secs(15 * 60) };
/// Pauses of a module whose pages are denied or fail.
const MODULE: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(15 * 60) };

/// So many scans in a row with missed callbacks are no accident.
pub(super) const DEAF_SCANS: u32 = 3;

impl Planner {
    /// What last went wrong and is not mended: with the line, the token, the channel or a module.
    pub fn trouble(&self) -> Option<String> {
        let of_channel = || self.channel.as_ref().and_then(ChannelPlan::trouble).map(str::to_owned);
        let of_module = || {
            let (name, plan) = self.modules.iter().find(|(_, plan)| plan.trouble.is_some())?;
            plan.trouble.as_ref().map(|why| format!("{name}: {why}"))
        };
        let of_books = || self.books.as_ref().and_then(BooksPlan::trouble);
        let of_webhooks = || self.webhooks.as_ref()?.trouble().map(str::to_owned);
        let of_crm = self.trouble.clone().or_else(of_channel).or_else(of_module);
        of_crm.or_else(of_books).or_else(of_webhooks)
    }

    pub(super) fn learn(&mut self, action: Action, outcome: Outcome, now: Tick) {
        match outcome {
            Outcome::Trouble(trouble) => return self.learn_trouble(action, trouble, now),
            Outcome::Channel(ChannelOutcome::Trouble(trouble)) => {
                return self.learn_trouble(action, trouble, now);
            }
            Outcome::SetAside
            | Outcome::Finished
            | Outcome::Event { .. }
            | Outcome::Books(BooksOutcome::Compared(..) | BooksOutcome::Finished) => {}
            Outcome::Token(_)
            | Outcome::Channel(_)
            | Outcome::BooksWebhooks(_)
            | Outcome::Fields(_)
            | Outcome::Document(_)
            | Outcome::Fetched
            | Outcome::Counted { .. }
            | Outcome::Books(BooksOutcome::Page(..))
            | Outcome::Page(..) => self.answered(&action, now),
        }
        match (action, outcome) {
            (Action::RefreshToken, Outcome::Token(life)) => {
                let margin = TOKEN_MARGIN.min(life / 4);
                let until = now.after(life.saturating_sub(margin));
                self.token = Token::Good { until, proved: false };
                self.token_wanted = false;
            }
            (Action::Channel(_), Outcome::Channel(outcome)) => {
                if let Some(channel) = &mut self.channel {
                    channel.learn(outcome, now, &mut self.dice);
                }
            }
            (Action::BooksWebhooks(action), Outcome::BooksWebhooks(outcome)) => {
                if let Some(webhooks) = &mut self.webhooks {
                    webhooks.learn(&action, outcome, now);
                }
            }
            (Action::ReadFields(module), Outcome::Fields(read)) => {
                self.of(&module, |plan| plan.fields_known = true);
                self.documents.read(&DocumentName::Fields(module), read);
            }
            (Action::ReadDocument(name), Outcome::Document(read)) => {
                self.documents.read(&name, read);
            }
            (Action::Fetch(fetch), Outcome::Fetched) => {
                self.waiting.settle(&fetch);
                self.of(&fetch.module, |plan| plan.gathers_until = now.after(GATHERING));
            }
            (Action::SetAside(fetch, _), Outcome::SetAside) => self.waiting.settle(&fetch),
            (Action::ReadPage(module, _), Outcome::Page(scan, arrived)) => {
                self.waiting.add(arrived, now);
                self.of(&module, |plan| plan.scan = ScanPlan::Going(scan));
            }
            (Action::Count(module), Outcome::Counted { time, is_off }) => {
                let sweep_every = self.settings.sweep_every;
                self.of(&module, |plan| plan.counted(time, is_off, sweep_every));
            }
            (Action::Finish(module, scan), Outcome::Finished) => {
                let usual = self.settings.catch_up_every;
                self.of(&module, |plan| plan.finished(&scan, usual, now));
                self.notice_deafness(&scan);
            }
            (Action::Books(action), Outcome::Books(outcome)) => {
                self.learn_books(&action, &outcome, now);
            }
            (Action::TakeEvent, Outcome::Event { consequence, more }) => {
                self.learn_event(consequence, more, now);
            }
            (action, outcome) => debug_assert!(false, "{action:?} cannot bring {outcome:?}"),
        }
    }

    /// A run of scans that found what callbacks should have announced means that they do not reach
    /// us: the channel is renewed whole, once, and it is told.
    fn notice_deafness(&mut self, scan: &Scan) {
        self.deaf_scans = if scan.missed > 0 { self.deaf_scans + 1 } else { 0 };
        if self.deaf_scans == DEAF_SCANS {
            self.channel.as_mut().into_iter().for_each(ChannelPlan::ask_renewal);
        }
    }

    /// Upstream answered: the line works, and so does the token unless it was not used.
    fn answered(&mut self, action: &Action, now: Tick) {
        self.line.clear();
        if self.upstream != Upstream::Online {
            // Who could not call may not have been callable.
            self.may_have_missed(now);
        }
        self.upstream = Upstream::Online;
        let of_books = self.module_of_books(action);
        // That Books answers does not mend what CRM has said.
        if of_books.is_none() || self.throttle.failures() == 0 {
            self.trouble = None;
        }
        match of_books {
            Some(module) => self.books_answered(&module),
            // The accounts service knows nothing of CRM's limits.
            None if matches!(action, Action::RefreshToken | Action::BooksWebhooks(_)) => {}
            None => self.throttle.clear(),
        }
        match action {
            Action::ReadPage(module, _) | Action::ReadFields(module) => self.of(module, |plan| {
                plan.lane.clear();
                plan.trouble = None;
            }),
            Action::RefreshToken => return,
            Action::Channel(_)
            | Action::BooksWebhooks(_)
            | Action::Fetch(_)
            | Action::Count(_)
            | Action::ReadDocument(_)
            | Action::Books(_)
            | Action::Finish(..)
            | Action::TakeEvent
            | Action::SetAside(..) => {}
        }
        self.token_lane.clear();
        if let Token::Good { proved, .. } = &mut self.token {
            *proved = true;
        }
    }

    fn learn_trouble(&mut self, action: Action, trouble: Trouble, now: Tick) {
        let asked = trouble.asked_pause();
        if let Action::SetAside(fetch, why) = action {
            self.give_up = Some((fetch, why));
            return self.pause_for_room(trouble.why(), now);
        }
        if let Action::TakeEvent = action {
            return self.learn_no_event(trouble.why(), now);
        }
        if let Action::RefreshToken = action {
            return self.learn_no_token(trouble, now);
        }
        if let Some(module) = self.module_of_books(&action) {
            return self.learn_trouble_of_books(action, &module, trouble, now);
        }
        if let Action::BooksWebhooks(action) = &action {
            return self.learn_webhook_trouble(action, &trouble, now);
        }
        let is_document = matches!(action, Action::ReadDocument(_));
        if let Action::ReadDocument(name) = &action {
            self.documents.failed(name, &trouble, now, &mut self.dice);
        }
        match &trouble {
            Trouble::NoRoom { why } => self.pause_for_room(why, now),
            Trouble::Unreachable { why } => self.lose_line(why, now),
            Trouble::Throttled { why, .. } => {
                self.trouble = Some(why.clone());
                self.throttle.fail(now, &THROTTLE, asked, &mut self.dice);
            }
            // A fresh token that a document refuses may be good for everything else.
            Trouble::TokenRefused { .. } if is_document && !self.is_proved() => {}
            Trouble::TokenRefused { why } => {
                // A token that was never accepted was refused: asking for the next one at once
                // would only use up the ten that upstream gives.
                if !self.is_proved() {
                    self.trouble = Some(why.clone());
                    self.token_lane.fail(now, &TOKEN, asked, &mut self.dice);
                }
                self.token = Token::Needed;
            }
            Trouble::Failed { .. } | Trouble::Denied { .. } => {
                self.upstream = Upstream::Online;
                self.line.clear();
                self.learn_refusal(action, trouble, now);
            }
        }
    }

    pub(super) fn lose_line(&mut self, why: &str, now: Tick) {
        self.upstream = Upstream::Offline;
        self.trouble = Some(why.to_owned());
        self.line.fail(now, &LINE, None, &mut self.dice);
    }

    pub(super) fn is_proved(&self) -> bool {
        match self.token {
            Token::Good { proved, .. } => proved,
            // No call was made with it, so none refused it.
            Token::Needed => true,
        }
    }

    /// Nothing can be written, so nothing is asked for: it would have to be asked for again.
    pub(super) fn pause_for_room(&mut self, why: &str, now: Tick) {
        self.trouble = Some(why.to_owned());
        self.line.fail(now, &LINE, None, &mut self.dice);
    }

    fn learn_no_token(&mut self, trouble: Trouble, now: Tick) {
        self.trouble = Some(trouble.why().to_owned());
        let asked = trouble.asked_pause();
        match trouble {
            Trouble::Unreachable { .. } => {
                self.upstream = Upstream::Offline;
                self.line.fail(now, &LINE, asked, &mut self.dice);
            }
            Trouble::Throttled { .. } | Trouble::Failed { .. } | Trouble::NoRoom { .. } => {
                self.token_lane.fail(now, &TOKEN, asked, &mut self.dice);
            }
            Trouble::Denied { .. } | Trouble::TokenRefused { .. } => {
                self.upstream = Upstream::Denied;
                self.token_lane.fail(now, &TOKEN, asked, &mut self.dice);
            }
        }
    }

    /// Upstream is there and answers, but not with what was asked for.
    pub(super) fn learn_refusal(&mut self, action: Action, trouble: Trouble, now: Tick) {
        let why = trouble.why().to_owned();
        let asked = trouble.asked_pause();
        let denied = match &trouble {
            Trouble::Denied { scope, .. } => Some(*scope),
            _ => None,
        };
        match action {
            Action::Channel(_) => {
                if let Some(channel) = &mut self.channel {
                    channel.learn(ChannelOutcome::Trouble(trouble), now, &mut self.dice);
                }
            }
            Action::Fetch(fetch) => match denied {
                None => self.waiting.fail(&fetch, now, asked, &mut self.dice),
                Some(scope) => {
                    let together = scope == Scope::Module;
                    if self.waiting.deny(&fetch, together, now, &mut self.dice) {
                        self.give_up = Some((fetch, why));
                    }
                }
            },
            Action::ReadPage(module, scan) => {
                let detour = denied
                    .filter(|scope| *scope == Scope::Request || scan.is_query())
                    .and(scan.detour());
                self.stumble(&module, why, asked, now);
                if let Some(scan) = detour {
                    self.of(&module, |plan| plan.scan = ScanPlan::Going(scan));
                }
            }
            Action::ReadFields(module) => self.stumble(&module, why, asked, now),
            // Nothing is wrong without it: it needs a scope that need not be granted.
            Action::Count(module) => {
                if let Some(plan) = self.modules.get_mut(&module) {
                    plan.count_lane.fail(now, &MODULE, asked, &mut self.dice);
                    plan.count_at = plan.count_at.filter(|_| denied.is_none());
                }
            }
            // The document's own pause is all there is to it, and so is that of Books.
            Action::ReadDocument(_) | Action::Books(_) | Action::BooksWebhooks(_) => {}
            Action::RefreshToken
            | Action::Finish(..)
            | Action::TakeEvent
            | Action::SetAside(..) => {}
        }
    }

    fn stumble(&mut self, module: &ModuleName, why: String, asked: Option<Duration>, now: Tick) {
        if let Some(plan) = self.modules.get_mut(module) {
            plan.trouble = Some(why);
            plan.lane.fail(now, &MODULE, asked, &mut self.dice);
        }
    }

    fn of(&mut self, module: &ModuleName, change: impl FnOnce(&mut ModulePlan)) {
        if let Some(plan) = self.modules.get_mut(module) {
            change(plan);
        }
    }
}
