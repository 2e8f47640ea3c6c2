//! What to do next: the one place that decides.
//!
//! The heart hands in what happened and gets back one action, or the tick to wait for. One action
//! is in the air at a time; what it brought is the next input. The order of what is done: what the
//! platform tells of the extension (it may end all else), the channel (while it is shut, callbacks
//! are lost), then callbacks, then what scans left in doubt, then the next page of a scan, then
//! documents. Books has a plan and an account of its own, and takes turns with CRM where neither is
//! more urgent. Nothing here reads a clock, sleeps, or touches a disk.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mirror::backoff::Backoff;
use crate::mirror::books::account::Account;
use crate::mirror::books::plan::{BooksAction, BooksOutcome, BooksPlan};
use crate::mirror::books::webhooks::{WebhookAction, WebhookOutcome, WebhooksPlan};
use crate::mirror::channel::{ChannelAction, ChannelOutcome, ChannelPlan};
use crate::mirror::credits::{Credits, Purpose};
use crate::mirror::document::DocumentName;
use crate::mirror::gather::Gather;
use crate::mirror::inbox::InboxItem;
use crate::mirror::ledger::{Ledger, Position, Scan, ScanKind};
use crate::mirror::platform::Consequence;
use crate::mirror::record::ModuleName;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;
use crate::mirror::waiting::{BATCH_LIMIT, Fetch, Waiting};

use self::documents::Documents;
use self::module::{ModulePlan, ScanPlan};
use self::platform::PlatformPlan;

pub use self::documents::DocumentsRead;

mod books;
mod decide;
mod documents;
mod learn;
mod module;
mod platform;
#[cfg(test)]
mod tests;
mod wake;
mod webhooks;

/// How long ids of a module gather after a fetch of it: no person notices, and of a burst that
/// takes a second some thirty fetches are left.
const GATHERING: Duration = Duration::from_millis(30);

/// What the planner needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often each module catches up.
    pub catch_up_every: Duration,
    /// How often each module is listed whole.
    pub sweep_every: Duration,
    /// The seed of the pauses' jitter.
    pub seed: u64,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask for an access token.
    RefreshToken,
    /// Act on the channel.
    Channel(ChannelAction),
    /// Act on our webhooks at Books.
    BooksWebhooks(WebhookAction),
    /// Read which fields a module has.
    ReadFields(ModuleName),
    /// Fetch records by their names.
    Fetch(Fetch),
    /// Read and commit the next page of a module's scan.
    ReadPage(ModuleName, Scan),
    /// Commit that a module's scan has ended.
    Finish(ModuleName, Scan),
    /// Count a module's records.
    Count(ModuleName),
    /// Read a document.
    ReadDocument(DocumentName),
    /// Read lists of Books.
    Books(BooksAction),
    /// Set these records aside, with what upstream said.
    SetAside(Fetch, String),
    /// Record what the platform told.
    TakeEvent,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Nothing but time.
    Nothing,
    /// Ids arrived in the inbox.
    Arrived(Vec<InboxItem>),
    /// Somebody asks for a catch-up, or for a sweep, of one module or of all.
    SyncAsked {
        /// The module; all when `None`.
        module: Option<ModuleName>,
        /// What is to be looked at.
        kind: ScanKind,
    },
    /// A reader wants a newer proof of this module. Unlike a person who asks for a catch-up, he
    /// does not end a pause after trouble: he may be a program that asks again and again.
    NewerProofAsked(ModuleName),
    /// A callback had to be turned away: what it would have said is to be found by a catch-up.
    TurnedAway,
    /// The platform told something of the extension: it waits in its queue.
    PlatformTold,
    /// The extension was removed before this start; what is `forgotten` has no channel.
    Removed {
        /// Whether everything was erased.
        forgotten: bool,
    },
    /// Calls to functions need another access token than the one of this edition.
    TokenWanted {
        /// Which was refused, by the count of whoever publishes them.
        edition: u64,
    },
    /// Somebody asks for the channel to be renewed now.
    RenewalAsked,
    /// Somebody asks for the channel to be closed.
    CloseAsked,
    /// The action handed out last brought this.
    Done(Outcome),
}

/// What an action brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There is an access token, good for this long.
    Token(Duration),
    /// The action on the channel brought this.
    Channel(ChannelOutcome),
    /// The action on our webhooks at Books brought this.
    BooksWebhooks(WebhookOutcome),
    /// The module's fields are known; the document that has them was read then.
    Fields(UpstreamTime),
    /// What was fetched is committed.
    Fetched,
    /// The page is committed; the scan goes on there. Ids it left in doubt arrived in the inbox.
    Page(Scan, Vec<InboxItem>),
    /// The end of the scan is committed.
    Finished,
    /// The records were counted.
    Counted {
        /// When (upstream).
        time: UpstreamTime,
        /// Whether their number asks for a sweep.
        is_off: bool,
    },
    /// The document was read then.
    Document(UpstreamTime),
    /// What was done with lists of Books brought this.
    Books(BooksOutcome),
    /// The records are set aside.
    SetAside,
    /// What the platform told is recorded.
    Event {
        /// What it leads to.
        consequence: Consequence,
        /// Whether more may wait.
        more: bool,
    },
    /// It brought nothing.
    Trouble(Trouble),
}

/// What the heart does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This.
    Do(Action),
    /// Nothing before this tick, unless something arrives.
    WaitUntil(Tick),
}

/// How upstream stands, as far as we know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// It answered last time.
    Online,
    /// It did not, or has not been asked yet.
    Offline,
    /// It denies us a token.
    Denied,
}

#[derive(Debug)]
enum Token {
    /// Good until then. `proved` once upstream has accepted it.
    Good { until: Tick, proved: bool },
    /// To be asked for.
    Needed,
}

/// Decides what to do next.
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    token: Token,
    token_lane: Backoff,
    /// Somebody else needs a token, whether we do or not.
    token_wanted: bool,
    line: Backoff,
    /// CRM says that we ask too much: it alone is left in peace.
    throttle: Backoff,
    upstream: Upstream,
    trouble: Option<String>,
    channel: Option<ChannelPlan>,
    books: Option<BooksPlan>,
    /// Whether Books has been asked last.
    was_books: bool,
    webhooks: Option<WebhooksPlan>,
    modules: BTreeMap<ModuleName, ModulePlan>,
    documents: Documents,
    platform: PlatformPlan,
    waiting: Waiting,
    in_the_air: Option<Action>,
    give_up: Option<(Fetch, String)>,
    starved: Option<Purpose>,
    deaf_scans: u32,
    dice: fastrand::Rng,
}

/// What the planner starts from: what the last run left behind.
#[derive(Debug)]
pub struct Start {
    /// How long the kept access token is good for, as far as can be known.
    pub token: Option<Duration>,
    /// The channel's plan; `None` when we only pull.
    pub channel: Option<ChannelPlan>,
    /// The plan of Books; `None` when nothing of it is mirrored.
    pub books: Option<BooksPlan>,
    /// The modules of CRM.
    pub modules: Vec<ModuleStart>,
    /// The documents that are to be kept.
    pub documents: DocumentsRead,
}

/// What is known of a module at the start.
#[derive(Clone, Debug)]
pub struct ModuleStart {
    /// Its name.
    pub name: ModuleName,
    /// What is proved of it.
    pub ledger: Ledger,
    /// Whether its fields are known, or need not be.
    pub fields_known: bool,
    /// Whether each changed record is fetched on its own, by its id.
    pub whole_records: bool,
    /// How often every record is read again whole, if at all.
    pub refresh_every: Option<Duration>,
}

impl Planner {
    /// A planner at its start. Every module is due: recovery is the only start.
    pub fn new(settings: Settings, start: Start, now: Tick) -> Planner {
        let every = settings.catch_up_every;
        let module = |it: ModuleStart| (it.name.clone(), ModulePlan::new(it, every, now));
        Planner {
            token: match start.token {
                // Upstream accepted it before: refused now, it is merely old.
                Some(life) => Token::Good { until: now.after(life), proved: true },
                None => Token::Needed,
            },
            token_lane: Backoff::default(),
            token_wanted: false,
            line: Backoff::default(),
            throttle: Backoff::default(),
            upstream: Upstream::Offline,
            trouble: None,
            channel: start.channel,
            books: start.books,
            was_books: false,
            webhooks: None,
            modules: start.modules.into_iter().map(module).gather(),
            documents: Documents::new(start.documents),
            platform: PlatformPlan::default(),
            waiting: Waiting::default(),
            in_the_air: None,
            give_up: None,
            starved: None,
            deaf_scans: 0,
            dice: fastrand::Rng::with_seed(settings.seed),
            settings,
        }
    }

    /// Takes in what happened and says what to do. `upstream_now` is what upstream's clock shows,
    /// where it is known: scans carry it. `books` is the account of Books' calls.
    pub fn next(
        &mut self,
        input: Input,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
        credits: &Credits,
        books: Option<&Account>,
    ) -> Next {
        self.hear(input, now);
        self.schedule(now, upstream_now);
        self.starved = None;
        let next = match self.platform.next(now) {
            Some(action) => Next::Do(action),
            None => {
                let next = self.decide(now, upstream_now, credits, books);
                self.platform.in_time(next)
            }
        };
        if let Next::Do(action) = &next {
            self.take_turn(action, now);
            self.in_the_air = Some(action.clone());
        }
        next
    }

    /// The ids that wait.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Where the channel stands; `None` when we only pull.
    pub fn channel(&self) -> Option<&ChannelPlan> {
        self.channel.as_ref()
    }

    /// What cannot be done for lack of credits, if anything.
    pub fn starved(&self) -> Option<Purpose> {
        self.starved
    }

    /// Whether callbacks do not reach us, although the channel is open.
    pub fn is_deaf(&self) -> bool {
        self.deaf_scans >= learn::DEAF_SCANS
    }

    /// How upstream stands.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The plan of Books; `None` when nothing of it is mirrored.
    pub fn books(&self) -> Option<&BooksPlan> {
        self.books.as_ref()
    }

    /// Takes in what happened.
    pub fn hear(&mut self, input: Input, now: Tick) {
        match input {
            Input::Nothing => {}
            Input::Arrived(items) => self.waiting.add(items, now),
            Input::SyncAsked { module, kind } => {
                let asked = |name: &ModuleName| module.as_ref().is_none_or(|module| module == name);
                for (_, plan) in self.modules.iter_mut().filter(|(name, _)| asked(name)) {
                    plan.want(kind);
                    plan.lane.clear();
                }
                if let Some(books) = &mut self.books {
                    books.want(module.as_ref(), kind);
                    books.end_pauses(module.as_ref());
                }
                self.line.clear();
                self.throttle.clear();
            }
            Input::NewerProofAsked(module) => {
                self.books.iter_mut().for_each(|b| b.want(Some(&module), ScanKind::CatchUp));
                if let Some(plan) = self.modules.get_mut(&module) {
                    plan.want(ScanKind::CatchUp);
                }
            }
            Input::TurnedAway => {
                self.modules.values_mut().for_each(|plan| plan.want(ScanKind::CatchUp));
                self.books.iter_mut().for_each(|books| books.want(None, ScanKind::CatchUp));
                self.may_have_missed(now);
            }
            Input::PlatformTold => self.platform.rung(),
            Input::Removed { forgotten } => self.stop(forgotten, now),
            // It stays closed until the extension is back.
            Input::RenewalAsked if self.platform.is_removed() => {}
            Input::TokenWanted { .. } => (self.token, self.token_wanted) = (Token::Needed, true),
            Input::RenewalAsked => {
                self.channel.as_mut().into_iter().for_each(ChannelPlan::ask_renewal);
            }
            Input::CloseAsked => self.channel.as_mut().into_iter().for_each(ChannelPlan::ask_close),
            Input::Done(outcome) => {
                if let Some(action) = self.in_the_air.take() {
                    self.learn(action, outcome, now);
                }
            }
        }
    }

    /// Makes due what time or a gap in the channel has made due.
    fn schedule(&mut self, now: Tick, upstream_now: Option<UpstreamTime>) {
        let gap = self.channel.as_mut().is_some_and(ChannelPlan::take_interruption);
        for plan in self.modules.values_mut() {
            if gap || plan.catch_up_at <= now {
                plan.catch_up_at = now.after(plan.catch_up_every);
                plan.want(ScanKind::CatchUp);
            }
            for (kind, due) in plan.due_by_upstream(&self.settings) {
                if upstream_now.is_some_and(|time| due <= time) && !plan.wants(kind) {
                    plan.want(kind);
                }
            }
        }
    }

    /// What is to be done, a good token given.
    fn wanted(
        &mut self,
        now: Tick,
        upstream_now: Option<UpstreamTime>,
    ) -> Option<(Purpose, Action)> {
        if let Some(action) = self.channel.as_ref().and_then(|channel| channel.next(now)) {
            return Some((Purpose::Channel, Action::Channel(action)));
        }
        if self.platform.is_removed() {
            return None;
        }
        if let Some((name, _)) = self.modules.iter().find(|(_, plan)| plan.needs_fields(now)) {
            return Some((Purpose::Callback, Action::ReadFields(name.clone())));
        }
        if let Some(fetch) = self.fetch(now) {
            let purpose = if fetch.is_urgent { Purpose::Callback } else { Purpose::CatchUp };
            return Some((purpose, Action::Fetch(fetch)));
        }
        if self.is_gathering(now) {
            return None;
        }
        let scan_or_count = self.scan(now, upstream_now).or_else(|| self.count(now, upstream_now?));
        scan_or_count.or_else(|| self.document(now, upstream_now))
    }

    fn fetch(&self, now: Tick) -> Option<Fetch> {
        let usable = |module: &ModuleName| self.may_fetch(module, now);
        let fetch = self.waiting.next(now, BATCH_LIMIT, usable)?;
        match self.modules.get(&fetch.module)?.whole_records {
            true => self.waiting.next(now, 1, |module| *module == fetch.module),
            false => Some(fetch),
        }
    }

    fn may_fetch(&self, module: &ModuleName, now: Tick) -> bool {
        let plan = self.modules.get(module);
        plan.is_some_and(|plan| plan.may_fetch(self.waiting.of(module), now))
    }

    /// Whether ids gather that are to be fetched in a moment: a page may take longer than that.
    fn is_gathering(&self, now: Tick) -> bool {
        let gathers = |module: &ModuleName| {
            let known = self.modules.get(module).is_some_and(|plan| plan.fields_known);
            known && !self.may_fetch(module, now)
        };
        self.waiting.next(now, 1, gathers).is_some()
    }

    fn scan(&mut self, now: Tick, upstream_now: Option<UpstreamTime>) -> Option<(Purpose, Action)> {
        let has_token = matches!(self.token, Token::Good { until, .. } if now < until);
        for (name, plan) in self.modules.iter_mut().filter(|(_, plan)| plan.may_scan(now)) {
            // An id left in doubt by a page is settled before the next page is read: this bounds
            // what waits, and no page is committed ahead of what it led to.
            if self.waiting.has_scanned(name) {
                continue;
            }
            let purpose = plan.purpose();
            let scan = match (&plan.scan, upstream_now, plan.proved.filter(|_| has_token)) {
                (ScanPlan::Idle, ..) => continue,
                (ScanPlan::Going(scan), ..) => scan.clone(),
                (ScanPlan::Wanted { kind }, Some(time), _) => plan.begin(*kind, time),
                // With a token that was kept, the catch-up's own replies tell upstream's time. As
                // it begins before that is known it proves nothing new, and is followed by one
                // that does.
                (ScanPlan::Wanted { kind }, None, Some(proved)) => {
                    let scan = plan.begin(*kind, proved);
                    plan.again = true;
                    scan
                }
                // Only a reply of upstream tells its time, and only a request brings a reply.
                (ScanPlan::Wanted { .. }, None, None) => {
                    return Some((purpose, Action::RefreshToken));
                }
            };
            return Some(match scan.next {
                Position::Settling => (Purpose::Channel, Action::Finish(name.clone(), scan)),
                _ => (purpose, Action::ReadPage(name.clone(), scan)),
            });
        }
        None
    }

    fn count(&self, now: Tick, upstream_now: UpstreamTime) -> Option<(Purpose, Action)> {
        let is_due = |(name, plan): &(&ModuleName, &ModulePlan)| {
            self.waiting.of(name) == 0 && plan.may_count(now, upstream_now)
        };
        let (name, _) = self.modules.iter().find(is_due)?;
        Some((Purpose::Sweep, Action::Count(name.clone())))
    }
}
