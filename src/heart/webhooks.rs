//! Acting on our webhooks at Books, and on what of their callbacks did not reach us.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::identity::WebhookIdentity;
use crate::mirror::books::entity::Entity;
use crate::mirror::books::histories::{BATCH_LIMIT, Found, Ours, PAGES_LIMIT};
use crate::mirror::books::webhooks::{
    Declared, Row, Shown, WebhookAction, WebhookOutcome, WebhooksPlan,
};
use crate::mirror::gather::Gather;
use crate::mirror::planner::Outcome;
use crate::mirror::record::{Entry, RecordId};
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::{Scope, Trouble};
use crate::secret::Secret;
use crate::server::board::WebhooksReport;
use crate::store::StoreError;
use crate::upstream::books::histories::Column;
use crate::upstream::books::verdict::content;
use crate::upstream::books::webhooks::{Draft, Listing};
use crate::upstream::books::{histories, webhooks};

use super::line::Line;
use super::{Heart, Stop, unless_full};

/// Pages of webhooks that are read at most: 200 rows each. An organization has some dozen.
const LIST_PAGES_LIMIT: u32 = 10;

/// What is declared.
#[derive(Debug)]
pub(super) struct Webhooks {
    declared: Vec<Declared>,
}

impl Webhooks {
    /// What the configuration declares, if anything.
    pub(super) fn of(config: &Config) -> Option<Webhooks> {
        let declared = declared(config);
        (!declared.is_empty()).then_some(Webhooks { declared })
    }

    /// A plan at its start.
    pub(super) fn plan(&self) -> WebhooksPlan {
        WebhooksPlan::new(self.declared.iter().map(|webhook| webhook.name.clone()))
    }

    fn of_name(&self, name: &str) -> &Declared {
        let found = self.declared.iter().find(|webhook| webhook.name == name);
        found.expect("only what is declared is planned for")
    }
}

/// The webhooks that the configuration declares.
pub fn declared(config: &Config) -> Vec<Declared> {
    let webhooks = config.books.iter().flat_map(|books| &books.webhooks);
    let declared = webhooks.map(|webhook| Declared {
        name: webhook.name.clone(),
        entity: webhook.entity,
        url: webhook.notify_url.as_str().to_owned(),
        is_signed: webhook.secret,
    });
    declared.collect()
}

impl Line {
    /// Reads upstream's list of webhooks, all pages of it.
    pub fn webhook_rows(&mut self, listing: Listing) -> Result<Vec<Row>, Trouble> {
        let mut rows = Vec::new();
        for page in 1..=LIST_PAGES_LIMIT {
            let request = webhooks::list(&self.books_api()?, listing, page);
            let reply = self.books_call(&request)?;
            let (more_rows, more) = webhooks::parse_rows(content(&reply)?)?;
            rows.extend(more_rows);
            if !more {
                return Ok(rows);
            }
        }
        // Of a list that is not whole, that one of ours is missing does not follow.
        let why = format!("Books has more than {} webhooks", rows.len());
        Err(Trouble::Denied { scope: Scope::Module, why })
    }
}

impl Heart {
    pub(super) fn act_on_webhooks(&mut self, action: &WebhookAction) -> Result<Outcome, Stop> {
        let outcome = match action {
            WebhookAction::Look => self.look_at_webhooks()?,
            WebhookAction::Create(name) => self.send_webhook(name, None)?,
            WebhookAction::Update(name, id) => self.send_webhook(name, Some(*id))?,
            WebhookAction::LookBack => self.look_back()?,
            WebhookAction::Resend(batch) => self.resend(batch)?,
        };
        Ok(Outcome::BooksWebhooks(outcome))
    }

    fn look_at_webhooks(&mut self) -> Result<WebhookOutcome, Stop> {
        let declared = self.ours().declared.clone();
        let rows = self.line.webhook_rows(Listing::default())?;
        let mut shown = Vec::with_capacity(declared.len());
        for webhook in declared {
            let before = self.identity.books().before(&webhook.name);
            let found = webhook.compare(before, &rows);
            match &found {
                Shown::Matches(id) if before.id != Some(*id) => {
                    self.granted(&webhook, *id)?;
                }
                Shown::Differs(_, how) => log::info!("the webhook {}: {how}", webhook.name),
                Shown::Matches(_) | Shown::Absent => {}
            }
            let row = webhook.find(before, &rows);
            if row.is_some_and(|row| row.is_active == Some(false)) {
                log::warn!("the webhook {} is switched off at Books", webhook.name);
            }
            shown.push((webhook.name, found));
        }
        Ok(WebhookOutcome::Shown(shown))
    }

    /// Creates or updates a webhook. Its secret is kept before it is sent.
    fn send_webhook(&mut self, name: &str, id: Option<RecordId>) -> Result<WebhookOutcome, Stop> {
        let webhook = self.ours().of_name(name).clone();
        let secret = match webhook.is_signed {
            true => Some(self.identity.next_webhook_secret(name, id.is_none())?),
            false => None,
        };
        // Callbacks that are signed with it may be here before the answer.
        self.publish();
        let api = self.line.books_api()?;
        let draft = Draft::of(&webhook, secret.as_ref());
        let request = match id {
            Some(id) => webhooks::update(&api, id, &draft),
            None => webhooks::create(&api, &draft),
        };
        let reply = self.line.books_call(&request)?;
        let text = content(&reply)?;
        let id = match id {
            Some(id) => id,
            None => webhooks::parse_id(text)?,
        };
        self.granted(&webhook, id)?;
        log::info!("the webhook {name} is as it is declared");
        Ok(WebhookOutcome::Settled)
    }

    fn granted(&mut self, webhook: &Declared, id: RecordId) -> Result<(), Stop> {
        let now = self.line.guessed_now();
        let signed = webhook.is_signed;
        unless_full(self.identity.webhook_granted(&webhook.name, id, signed, now))?;
        Ok(())
    }

    /// Looks for executions that failed and that the mirror has not made up for.
    fn look_back(&mut self) -> Result<WebhookOutcome, Stop> {
        let began = self.line.guessed_now();
        let mut memory = self.identity.books().histories().clone();
        if memory.since().is_none() {
            memory.begin(began);
            self.identity.keep_histories(memory)?;
            return Ok(WebhookOutcome::Failed(Vec::new()));
        }
        let api = self.line.books_api()?;
        let mut executions = Vec::new();
        for page in 1..=PAGES_LIMIT {
            let reply = self.line.books_call(&histories::list(&api, Column::EventTime, page))?;
            let (rows, more) = histories::parse(content(&reply)?)?;
            let is_enough = !more || memory.has_all(&rows);
            executions.extend(rows);
            if is_enough {
                break;
            }
        }
        let observed = |entity, record| self.observed(entity, record).ok().flatten();
        let found = memory.sort_out(&executions, &self.executed(), observed);
        memory.looked(began, &found);
        self.identity.keep_histories(memory)?;
        tell(&found);
        Ok(WebhookOutcome::Failed(found.resend.chunks(BATCH_LIMIT).map(<[_]>::to_vec).collect()))
    }

    /// Asks for executions again. They are remembered before that: where no answer comes, they may
    /// have been sent, and catch-up makes up for those that were not.
    fn resend(&mut self, batch: &[RecordId]) -> Result<WebhookOutcome, Stop> {
        let api = self.line.books_api()?;
        let mut memory = self.identity.books().histories().clone();
        memory.resending(batch);
        self.identity.keep_histories(memory.clone())?;
        let request = match batch {
            [one] => histories::resend(&api, *one),
            _ => histories::resend_all(&api, batch),
        };
        let trouble = match self.line.books_call(&request) {
            Ok(reply) => match content(&reply) {
                Ok(_) => return Ok(WebhookOutcome::Resent),
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        };
        match &trouble {
            Trouble::Unreachable { .. } | Trouble::NoRoom { .. } => {}
            Trouble::Denied { .. } => memory.denied(batch),
            Trouble::Throttled { .. } | Trouble::Failed { .. } | Trouble::TokenRefused { .. } => {
                memory.not_resent(batch);
            }
        }
        self.identity.keep_histories(memory)?;
        Err(trouble.into())
    }

    /// When (upstream) the mirror last saw a record as it was, as far as is known: when the record
    /// was last written, or through when a scan has proved it. Of one that is held, only a look at
    /// the whole list has proved that it was not deleted since.
    fn observed(
        &self,
        entity: Entity,
        record: RecordId,
    ) -> Result<Option<UpstreamTime>, StoreError> {
        let module = entity.module();
        let ledger = self.modules.get(&module).map(|module| &module.ledger);
        let Some(stored) = self.store.entry(&module, record)? else {
            return Ok(ledger.and_then(|ledger| ledger.complete_through));
        };
        let proved = ledger.and_then(|ledger| match &stored.entry {
            Entry::Live(_) => ledger.last_sweep,
            Entry::Tombstone { .. } => ledger.complete_through,
        });
        let before = stored.sequence.saturating_sub(1);
        let change = self.store.changes(before, 1)?.into_iter().next();
        let written = change.filter(|change| change.sequence == stored.sequence);
        Ok(proved.max(written.map(|change| change.time)))
    }

    /// Our webhooks, as executions name them.
    fn executed(&self) -> Vec<Ours> {
        let kept = self.identity.books();
        let declared = self.ours().declared.iter();
        declared.map(|webhook| Ours::of(webhook, kept.before(&webhook.name))).collect()
    }

    fn ours(&self) -> &Webhooks {
        self.webhooks.as_ref().expect("planned only with webhooks declared")
    }

    /// What may sign callbacks, by the webhook's name.
    pub(super) fn webhook_secrets(&self) -> BTreeMap<String, Vec<(Secret, Option<Tick>)>> {
        let declared = self.webhooks.iter().flat_map(|webhooks| &webhooks.declared);
        let kept = self.identity.books().webhooks();
        let secrets = |webhook: &WebhookIdentity| {
            let each = webhook.secrets.iter().map(|kept| {
                let until = kept.until.and_then(|until| self.line.tick_of(until));
                (kept.secret.clone(), until)
            });
            each.collect()
        };
        declared
            .filter_map(|webhook| Some((webhook.name.clone(), secrets(kept.get(&webhook.name)?))))
            .gather()
    }

    pub(super) fn webhooks_report(&self) -> Option<WebhooksReport> {
        let plan = self.planner.webhooks()?;
        let books = self.identity.books();
        let each = plan
            .standings()
            .iter()
            .map(|(name, standing)| (name.clone(), (standing.word(), books.before(name).id)));
        let memory = books.histories();
        let (since, latest) = (memory.since(), memory.latest());
        Some(WebhooksReport { each: each.gather(), since, latest, histories: memory.counts() })
    }
}

fn tell(found: &Found) {
    let (resend, healed) = (found.resend.len(), found.healed.len());
    if resend + healed > 0 {
        log::info!(
            "of the callbacks that Books could not deliver, {healed} are made up for, \
             {resend} are asked for again"
        );
    }
}
