//! Where the plan of Books meets the planner's: who goes first, and whose trouble it is.

use crate::mirror::books::account::Account;
use crate::mirror::books::plan::{BooksAction, BooksOutcome, BooksPlan, Wanted};
use crate::mirror::books::webhooks::WebhooksPlan;
use crate::mirror::credits::Purpose;
use crate::mirror::record::ModuleName;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;

use super::decide::STARVED_WAIT;
use super::wake::SHORTEST_WAIT;
use super::{Action, Planner, Token, Upstream};

/// The purpose of looking for callbacks that did not reach us, and of asking for them again.
const LOOKING_BACK: Purpose = Purpose::CatchUp;

impl Planner {
    /// What is to be done with Books; else when to look again, if ever.
    pub(super) fn of_books(
        &mut self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        account: &Account,
    ) -> Result<(Purpose, Action), Option<Tick>> {
        let is_removed = self.platform.is_removed();
        let Some(books) = self.books.as_mut().filter(|_| !is_removed) else { return Err(None) };
        let open_at = books.open_at(account);
        let may_call = |purpose| open_at <= now && account.credits().allow(purpose, upstream_now);
        if may_call(Purpose::Channel) {
            if let Some(wanted) = self.webhooks.as_ref().and_then(|plan| plan.next(now)) {
                return Ok((Purpose::Channel, Action::BooksWebhooks(wanted)));
            }
        }
        let look_back = || {
            let wanted = self.webhooks.as_ref()?.look_back(now).filter(|_| may_call(LOOKING_BACK));
            wanted.map(|wanted| (LOOKING_BACK, Action::BooksWebhooks(wanted)))
        };
        let has_given_way = self.webhooks.as_ref().is_some_and(WebhooksPlan::has_given_way);
        if let Some(wanted) = look_back().filter(|_| has_given_way) {
            return Ok(wanted);
        }
        match books.next(now, upstream_now, &self.waiting, account) {
            Some((_, Wanted::Time)) if !self.token_lane.is_over(now) => {
                return Err(Some(self.token_lane.until()));
            }
            Some((purpose, wanted)) => return Ok((purpose, action(wanted))),
            None => {}
        }
        // Scans find most of what was lost: they come before it is looked for.
        let looks_back = has_given_way || !books.is_catching_up(now);
        if let Some(wanted) = look_back().filter(|_| looks_back) {
            return Ok(wanted);
        }
        let wake = books.wake(now, upstream_now, &self.waiting, account);
        let of_webhooks = self.webhooks.as_ref().map(|plan| {
            let due = if looks_back { plan.wake() } else { plan.list_wake() };
            // What is due and was not handed out waits for calls to be allowed again.
            if due.max(open_at) <= now { now.after(STARVED_WAIT) } else { due.max(open_at) }
        });
        let wake = of_webhooks.map_or(wake, |other| other.min(wake));
        Err(Some(wake.max(now.after(SHORTEST_WAIT))))
    }

    /// An action is handed out: whose turn it was, and who gave way to it.
    pub(super) fn take_turn(&mut self, action: &Action, now: Tick) {
        let is_webhook = matches!(action, Action::BooksWebhooks(_));
        let of_records = self.module_of_books(action).is_some();
        self.was_books = is_webhook || of_records;
        let is_call = of_records && !matches!(action, Action::Books(a) if !a.is_call());
        self.webhooks.iter_mut().filter(|_| is_call).for_each(|plan| plan.give_way(now));
    }

    /// The module of Books that this action is about, if it is about one.
    pub(super) fn module_of_books(&self, action: &Action) -> Option<ModuleName> {
        let module = match action {
            Action::Books(action) => action.entity().module(),
            Action::Fetch(fetch) => fetch.module.clone(),
            Action::RefreshToken
            | Action::Channel(_)
            | Action::ReadFields(_)
            | Action::ReadPage(..)
            | Action::Finish(..)
            | Action::Count(_)
            | Action::ReadDocument(_)
            | Action::BooksWebhooks(_)
            | Action::TakeEvent
            | Action::SetAside(..) => return None,
        };
        self.books.as_ref().is_some_and(|books| books.has(&module)).then_some(module)
    }

    /// What was done with lists of Books brought this.
    pub(super) fn learn_books(&mut self, action: &BooksAction, outcome: &BooksOutcome, now: Tick) {
        if let BooksOutcome::Page(_, arrived) | BooksOutcome::Compared(_, arrived) = outcome {
            self.waiting.add(arrived.clone(), now);
        }
        if let Some(books) = &mut self.books {
            books.learn(action, outcome, now, &mut self.dice);
        }
    }

    /// Trouble with Books is Books' own, but for the line, the disk and the token, which it shares
    /// with CRM.
    pub(super) fn learn_trouble_of_books(
        &mut self,
        action: Action,
        module: &ModuleName,
        trouble: Trouble,
        now: Tick,
    ) {
        let is_new = !self.is_proved();
        let asked = trouble.asked_pause();
        let Some(books) = &mut self.books else { return };
        match &trouble {
            Trouble::NoRoom { why } => self.pause_for_room(why, now),
            Trouble::Unreachable { why } => self.lose_line(why, now),
            Trouble::Throttled { .. } => {
                books.pause(&trouble, now, &mut self.dice);
                self.reach_upstream();
            }
            // A fresh token that Books refuses may be good for everything else.
            Trouble::TokenRefused { why } => {
                if books.token_refused(module, is_new, why, now, &mut self.dice) {
                    self.token = Token::Needed;
                }
            }
            Trouble::Failed { why, .. } | Trouble::Denied { why, .. } => {
                let is_denied = matches!(trouble, Trouble::Denied { .. });
                if !is_denied {
                    books.pause(&trouble, now, &mut self.dice);
                }
                if let Action::Books(action) = &action {
                    books.stumble(action, why, is_denied, asked, now, &mut self.dice);
                }
                self.reach_upstream();
                self.learn_refusal(action, trouble, now);
            }
        }
    }

    /// Upstream answered, if not with what was asked for.
    fn reach_upstream(&mut self) {
        self.upstream = Upstream::Online;
        self.line.clear();
    }

    /// Books answered.
    pub(super) fn books_answered(&mut self, module: &ModuleName) {
        self.books.iter_mut().for_each(|books: &mut BooksPlan| books.answered(module));
    }
}

fn action(wanted: Wanted) -> Action {
    match wanted {
        Wanted::Books(action) => Action::Books(action),
        Wanted::Fetch(fetch) => Action::Fetch(fetch),
        Wanted::Time => Action::RefreshToken,
    }
}
