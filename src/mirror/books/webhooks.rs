//! Our webhooks at Books: what they should be, what upstream shows, and what to do next.
//!
//! Unlike a channel, a webhook lives until somebody removes it, and does nothing before a workflow
//! rule of the organization triggers it. So it is looked at once a day. A webhook is ours when we
//! know its id, or when it has both our name and our address; a foreign one is never touched.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::entity::Entity;
use crate::mirror::backoff::{Backoff, Pauses};
use crate::mirror::gather::Gather;
use crate::mirror::record::RecordId;
use crate::mirror::time::Tick;
use crate::mirror::trouble::Trouble;

/// How our webhooks send.
pub const METHOD: &str = "POST";

/// How often upstream's list is held against what is declared: people change it by hand.
const LOOKS_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// How often failed executions are looked for without a reason: the way to us may be broken where
/// we do not see it.
const LOOKS_BACK_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// They are looked for at most this often: a line that comes and goes is a reason every minute, and
/// the smallest plan of Books allows 1,000 calls a day.
const LOOKS_BACK_APART: Duration = Duration::from_secs(15 * 60);
/// So many calls of Books for other things go before a look at what failed, or before asking for
/// it again: ten minutes of its pace. Scans find most of it by then; a bootstrap takes hours.
const GIVES_WAY: u32 = 800;
/// Pauses after trouble. What is not set up is caught up with meanwhile.
const PAUSES: Pauses =
    Pauses { first: Duration::from_secs(2), longest: Duration::from_secs(3_600) };
/// The pause after a fresh token was refused too: the scope is missing, and each try costs one of
/// the ten tokens that upstream gives in ten minutes (facts §3.2).
const REFUSED_PAUSE: Duration = Duration::from_secs(1_800);

/// What a webhook should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it announces.
    pub entity: Entity,
    /// The address that it calls.
    pub url: String,
    /// Whether it signs what it sends.
    pub is_signed: bool,
}

/// What we know of it from before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Before {
    /// Its id.
    pub id: Option<RecordId>,
    /// Whether upstream surely has the newest secret that we keep for it.
    pub is_secret_known: bool,
}

/// A row of upstream's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its id.
    pub id: RecordId,
    /// Its name.
    pub name: String,
    /// The address that it calls.
    pub url: String,
    /// What it announces, as upstream writes it.
    pub entity: String,
    /// How it sends, where that is shown.
    pub method: Option<String>,
    /// Whether it is switched on, where that is shown.
    pub is_active: Option<bool>,
}

/// What upstream shows of a webhook, against what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// It is not there.
    Absent,
    /// It is there, but not as declared; says how.
    Differs(RecordId, &'static str),
    /// It is as declared.
    Matches(RecordId),
}

impl Declared {
    /// The row that is this webhook.
    pub fn find<'r>(&self, before: Before, rows: &'r [Row]) -> Option<&'r Row> {
        let by_id = rows.iter().find(|row| Some(row.id) == before.id);
        by_id.or_else(|| rows.iter().find(|row| row.name == self.name && row.url == self.url))
    }

    /// Holds upstream's rows against this.
    pub fn compare(&self, before: Before, rows: &[Row]) -> Shown {
        let Some(row) = self.find(before, rows) else { return Shown::Absent };
        let is_post =
            row.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(METHOD));
        let differs = [
            (row.name != self.name, "its name is another"),
            (row.url != self.url, "its address is another"),
            (Entity::parse(&row.entity) != Some(self.entity), "its entity is another"),
            (!is_post, "its method is another"),
            (self.is_signed && !before.is_secret_known, "its secret may be another"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, how)) => Shown::Differs(row.id, how),
            None => Shown::Matches(row.id),
        }
    }
}

/// What can be done about our webhooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WebhookAction {
    /// Look at upstream's list.
    Look,
    /// Create the one of this name.
    Create(String),
    /// Bring the one of this name, which has this id, to what is declared.
    Update(String, RecordId),
    /// Look for executions that failed.
    LookBack,
    /// Ask for these executions again.
    Resend(Vec<RecordId>),
}

/// What an action on our webhooks brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WebhookOutcome {
    /// This is what upstream shows of each, by its name.
    Shown(Vec<(String, Shown)>),
    /// It is as declared now.
    Settled,
    /// These executions are to be asked for again.
    Failed(Vec<Vec<RecordId>>),
    /// They are asked for.
    Resent,
}

/// How a webhook stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not looked at yet.
    Unknown,
    /// As declared when last looked at.
    Ready,
    /// Not there, or not as declared.
    Pending,
    /// Upstream denies what is declared.
    Denied,
}

impl Standing {
    /// Its word in the status.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Ready => "ready",
            Standing::Pending => "pending",
            Standing::Denied => "denied",
        }
    }
}

/// What is to be done about the list.
#[derive(Debug)]
enum List {
    Unseen,
    Going(VecDeque<WebhookAction>),
    Settled { until: Tick },
}

/// What is to be done about failed executions.
#[derive(Debug)]
enum Back {
    Rest { until: Tick },
    Going(VecDeque<Vec<RecordId>>),
}

/// Plans what is done about our webhooks. Trouble with them stops nothing else.
#[derive(Debug)]
pub struct WebhooksPlan {
    standings: BTreeMap<String, Standing>,
    list: List,
    lane: Backoff,
    /// When executions were looked for last.
    looked_back: Option<Tick>,
    back: Back,
    /// Calls that have gone before what is to be done about them.
    gave_way: u32,
    back_lane: Backoff,
    trouble: Option<String>,
    back_trouble: Option<String>,
}

impl WebhooksPlan {
    /// Webhooks of these names, not looked at yet. What failed while we were away is looked for
    /// once they are as declared.
    pub fn new(names: impl IntoIterator<Item = String>) -> WebhooksPlan {
        let standings = names.into_iter().map(|name| (name, Standing::Unknown));
        WebhooksPlan {
            standings: standings.gather(),
            list: List::Unseen,
            lane: Backoff::default(),
            looked_back: None,
            back: Back::Rest { until: Tick::ORIGIN },
            gave_way: 0,
            back_lane: Backoff::default(),
            trouble: None,
            back_trouble: None,
        }
    }

    /// What is to be done now to have them as declared, if anything.
    pub fn next(&self, now: Tick) -> Option<WebhookAction> {
        if !self.lane.is_over(now) {
            return None;
        }
        match &self.list {
            List::Going(steps) => steps.front().cloned(),
            List::Unseen => Some(WebhookAction::Look),
            List::Settled { until } => (*until <= now).then_some(WebhookAction::Look),
        }
    }

    /// What is to be done now about failed executions, if anything. What catch-up heals is not
    /// asked for again, so that this is asked after it.
    pub fn look_back(&self, now: Tick) -> Option<WebhookAction> {
        if !self.has_looked() || !self.back_lane.is_over(now) {
            return None;
        }
        match &self.back {
            Back::Going(batches) => batches.front().cloned().map(WebhookAction::Resend),
            Back::Rest { until } => (*until <= now).then_some(WebhookAction::LookBack),
        }
    }

    /// A call of Books goes first.
    pub fn give_way(&mut self, now: Tick) {
        self.gave_way += u32::from(self.look_back(now).is_some());
    }

    /// Whether what is to be done about failed executions has given way for long enough.
    pub fn has_given_way(&self) -> bool {
        self.gave_way >= GIVES_WAY
    }

    /// When the two are to be asked again, when they said that nothing is to be done.
    pub fn wake(&self) -> Tick {
        let list = self.list_wake();
        let back = match &self.back {
            Back::Rest { until } => (*until).max(self.back_lane.until()),
            Back::Going(_) => self.back_lane.until(),
        };
        if self.has_looked() { list.min(back) } else { list }
    }

    /// When the first of the two is to be asked again.
    pub fn list_wake(&self) -> Tick {
        match &self.list {
            List::Settled { until } => (*until).max(self.lane.until()),
            List::Unseen | List::Going(_) => self.lane.until(),
        }
    }

    /// Callbacks may have been missed until now: what failed is to be looked for.
    pub fn missed(&mut self, now: Tick) {
        if let Back::Rest { until } = &mut self.back {
            let earliest = self.looked_back.map_or(now, |last| last.after(LOOKS_BACK_APART));
            *until = (*until).min(earliest.max(now));
        }
    }

    /// How each stands.
    pub fn standings(&self) -> &BTreeMap<String, Standing> {
        &self.standings
    }

    /// What last went wrong, while it is not mended.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().or(self.back_trouble.as_deref())
    }

    /// Takes in what an action brought.
    pub fn learn(&mut self, action: &WebhookAction, outcome: WebhookOutcome, now: Tick) {
        match outcome {
            WebhookOutcome::Shown(all) => {
                let steps = all.into_iter().filter_map(|(name, shown)| self.step(name, shown));
                self.list = List::Going(steps.collect());
                self.settle(now);
            }
            WebhookOutcome::Settled => {
                if let WebhookAction::Create(name) | WebhookAction::Update(name, _) = action {
                    self.standings.insert(name.clone(), Standing::Ready);
                }
                self.step_is_over(now);
            }
            WebhookOutcome::Failed(batches) => {
                self.back_lane.clear();
                self.back_trouble = None;
                self.looked_back = Some(now);
                if batches.is_empty() {
                    self.back = Back::Rest { until: now.after(LOOKS_BACK_EVERY) };
                    self.gave_way = 0;
                } else {
                    self.back = Back::Going(batches.into());
                }
            }
            WebhookOutcome::Resent => {
                self.back_lane.clear();
                self.back_trouble = None;
                self.batch_is_over(now);
            }
        }
    }

    /// Takes in that an action brought nothing.
    pub fn learn_trouble(
        &mut self,
        action: &WebhookAction,
        trouble: &Trouble,
        now: Tick,
        dice: &mut fastrand::Rng,
    ) {
        let is_denied = matches!(trouble, Trouble::Denied { .. });
        let why = Some(format!("Books: {}", trouble.why()));
        match action {
            WebhookAction::LookBack | WebhookAction::Resend(_) => self.back_trouble = why,
            WebhookAction::Look | WebhookAction::Create(_) | WebhookAction::Update(..) => {
                self.trouble = why;
            }
        }
        match action {
            // The others can be brought about all the same.
            WebhookAction::Create(name) | WebhookAction::Update(name, _) if is_denied => {
                self.standings.insert(name.clone(), Standing::Denied);
                self.step_is_over(now);
            }
            WebhookAction::Look | WebhookAction::Create(_) | WebhookAction::Update(..) => {
                self.list = List::Unseen;
                let asked = asked_pause(trouble, &self.lane);
                self.lane.fail(now, &PAUSES, asked, dice);
            }
            // It is not asked for again.
            WebhookAction::Resend(_) if is_denied => self.batch_is_over(now),
            WebhookAction::LookBack | WebhookAction::Resend(_) => {
                self.back = Back::Rest { until: now };
                self.gave_way = 0;
                let asked = asked_pause(trouble, &self.back_lane);
                self.back_lane.fail(now, &PAUSES, asked, dice);
            }
        }
    }

    fn step(&mut self, name: String, shown: Shown) -> Option<WebhookAction> {
        let (standing, step) = match shown {
            Shown::Matches(_) => (Standing::Ready, None),
            Shown::Absent => (Standing::Pending, Some(WebhookAction::Create(name.clone()))),
            Shown::Differs(id, _) => {
                (Standing::Pending, Some(WebhookAction::Update(name.clone(), id)))
            }
        };
        self.standings.insert(name, standing);
        step
    }

    fn step_is_over(&mut self, now: Tick) {
        if let List::Going(steps) = &mut self.list {
            steps.pop_front();
        }
        self.settle(now);
    }

    /// Rests until the next look, if nothing is left to be done. What was denied needs a person.
    fn settle(&mut self, now: Tick) {
        if !matches!(&self.list, List::Going(steps) if steps.is_empty()) {
            return;
        }
        let is_denied = self.standings.values().any(|standing| *standing == Standing::Denied);
        let rest = if is_denied { PAUSES.longest } else { LOOKS_EVERY };
        self.list = List::Settled { until: now.after(rest) };
        self.lane.clear();
        if !is_denied {
            self.trouble = None;
        }
    }

    /// After the last one is looked again: more may be there than was asked for at once.
    fn batch_is_over(&mut self, now: Tick) {
        if let Back::Going(batches) = &mut self.back {
            batches.pop_front();
            if batches.is_empty() {
                self.back = Back::Rest { until: now };
            }
        }
    }

    /// Whether upstream's list was seen, so that ids are known.
    fn has_looked(&self) -> bool {
        self.standings.values().all(|standing| *standing != Standing::Unknown)
    }
}

/// How long to wait at least after this trouble in this lane.
fn asked_pause(trouble: &Trouble, lane: &Backoff) -> Option<Duration> {
    match trouble {
        Trouble::TokenRefused { .. } if lane.failures() > 0 => Some(REFUSED_PAUSE),
        _ => trouble.asked_pause(),
    }
}

#[cfg(test)]
mod tests;
