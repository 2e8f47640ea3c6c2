//! The webhooks that Books has of us, as far as they concern the planner. When something is done
//! about them is decided with all that is Books', in `books.rs`.

use crate::mirror::books::webhooks::{WebhookAction, WebhooksPlan};
use crate::mirror::time::Tick;
use crate::mirror::trouble::Trouble;

use super::{Planner, Token};

impl Planner {
    /// The same with webhooks at Books.
    pub fn with_webhooks(mut self, plan: WebhooksPlan) -> Planner {
        self.webhooks = Some(plan);
        self
    }

    /// How our webhooks at Books stand; `None` when none are declared.
    pub fn webhooks(&self) -> Option<&WebhooksPlan> {
        self.webhooks.as_ref()
    }

    /// Callbacks may not have reached us.
    pub(super) fn may_have_missed(&mut self, now: Tick) {
        self.webhooks.as_mut().into_iter().for_each(|webhooks| webhooks.missed(now));
    }

    /// Books is another upstream behind the same door: what is wrong there stops nothing of CRM. A
    /// token that was good before may merely be old, and is asked for anew.
    pub(super) fn learn_webhook_trouble(
        &mut self,
        action: &WebhookAction,
        trouble: &Trouble,
        now: Tick,
    ) {
        match trouble {
            Trouble::NoRoom { why } => self.pause_for_room(why, now),
            Trouble::TokenRefused { .. } if self.is_proved() => self.token = Token::Needed,
            Trouble::Unreachable { why } => self.lose_line(why, now),
            Trouble::Throttled { .. } => {
                if let Some(books) = &mut self.books {
                    books.pause(trouble, now, &mut self.dice);
                }
            }
            Trouble::TokenRefused { .. } | Trouble::Failed { .. } | Trouble::Denied { .. } => {}
        }
        if let Some(webhooks) = &mut self.webhooks {
            webhooks.learn_trouble(action, trouble, now, &mut self.dice);
        }
    }
}
