//! The heart: the one thread that talks to upstream and writes the mirror.
//!
//! It asks the planner what to do, does it, and says what it brought. One action is in the air at a
//! time, so observations have an order and nothing need be locked. What to do is decided in
//! [`crate::mirror::planner`]; this room only does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Operation};
use crate::credentials::Credentials;
use crate::identity::{Identity, IdentityError};
use crate::mirror::books::entity::Entity;
use crate::mirror::channel::{ChannelPlan, Desired};
use crate::mirror::document::DocumentName;
use crate::mirror::inbox::InboxItem;
use crate::mirror::ledger::Ledger;
use crate::mirror::planner::{
    Action, DocumentsRead, Input, ModuleStart, Next, Outcome, Planner, Settings, Start,
};
use crate::mirror::record::ModuleName;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::mirror::trouble::Trouble;
use crate::server::board::Board;
use crate::store::{Commit, Store, StoreError};
use crate::upstream::records::Passes;
use crate::upstream::transport::Transport;
use crate::vitals::Stage;

use self::line::{Line, Marked};
use self::platform::Extension;

pub use self::channel::desired as desired_channel;
pub use self::webhooks::declared as declared_webhooks;

mod books;
mod channel;
mod documents;
mod fetch;
pub mod line;
mod page;
mod platform;
mod report;
mod webhooks;

/// Calls after which what was spent is kept: a crash forgives fewer.
const SPENDING_GRAIN: u64 = 20;

/// What a turn of the heart did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It did something: the next turn may follow at once.
    Acted,
    /// There is nothing to do before this tick, unless something arrives.
    WaitUntil(Tick),
}

/// Why the heart stops: what it writes to cannot be trusted any more. A new start recovers.
#[derive(Debug)]
pub enum HeartError {
    /// The store failed.
    Store(StoreError),
    /// The identity could not be kept.
    Identity(IdentityError),
    /// The extension was removed, and everything is to be erased: by the next start.
    Removed,
    /// Pages of the store cannot be read. The next start carries what can be into a new one.
    Damaged,
}

impl fmt::Display for HeartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeartError::Store(error) => error.fmt(f),
            HeartError::Identity(error) => error.fmt(f),
            HeartError::Removed => f.write_str(
                "the extension was removed: start crmirror run, which erases everything",
            ),
            HeartError::Damaged => {
                f.write_str("pages of the store cannot be read; start crmirror again to mend it")
            }
        }
    }
}

impl std::error::Error for HeartError {}

impl HeartError {
    /// Whether it is because the disk is full, which passes.
    fn is_for_want_of_room(&self) -> bool {
        match self {
            HeartError::Store(error) => matches!(error, StoreError::NoRoom { .. }),
            HeartError::Identity(error) => error.is_for_want_of_room(),
            HeartError::Removed | HeartError::Damaged => false,
        }
    }
}

impl From<StoreError> for HeartError {
    fn from(error: StoreError) -> HeartError {
        HeartError::Store(error)
    }
}

impl From<IdentityError> for HeartError {
    fn from(error: IdentityError) -> HeartError {
        HeartError::Identity(error)
    }
}

/// How an action can end badly: with trouble, which the planner deals with, or for good.
enum Stop {
    Trouble(Trouble),
    Heart(HeartError),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::Trouble(trouble)
    }
}

impl<E: Into<HeartError>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Heart(error.into())
    }
}

/// What is mirrored of a module.
#[derive(Debug)]
struct Module {
    /// Which of Books it is; `None` for a module of CRM.
    entity: Option<Entity>,
    passes: Option<Passes>,
    whole_records: bool,
    refresh_every: Option<Duration>,
    /// What a callback is expected to announce.
    operations: Vec<Operation>,
    ledger: Ledger,
}

impl Module {
    /// A module whose records are fetched whole, one by one.
    fn whole(ledger: Ledger) -> Module {
        Module {
            entity: None,
            passes: Some(Passes::Everything),
            whole_records: true,
            refresh_every: None,
            operations: Vec::new(),
            ledger,
        }
    }

    fn start(&self, name: &ModuleName) -> ModuleStart {
        ModuleStart {
            name: name.clone(),
            ledger: self.ledger.clone(),
            fields_known: self.passes.is_some(),
            whole_records: self.whole_records,
            refresh_every: self.refresh_every,
        }
    }
}

/// The heart.
pub struct Heart {
    line: Line,
    store: Store,
    identity: Identity,
    extension: Option<Extension>,
    planner: Planner,
    desired: Option<Desired>,
    /// Those that are declared for Books.
    webhooks: Option<webhooks::Webhooks>,
    /// Those of CRM and those of Books.
    modules: BTreeMap<ModuleName, Module>,
    board: Arc<Board>,
    renewals: u64,
    kept_calls: u64,
    pages: u64,
    /// Since when (upstream) the channel has been open without a gap.
    watching_since: Option<UpstreamTime>,
    told: report::Told,
}

impl Heart {
    /// A heart at its start. It reads what the last run left behind, whether that ended politely
    /// or not.
    pub fn new(
        config: &Config,
        credentials: Credentials,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        store: Store,
        mut identity: Identity,
        board: Arc<Board>,
    ) -> Result<Heart, HeartError> {
        let now = clock.tick();
        let desired = match &config.channel {
            Some(channel) => Some(channel::desired(config, identity.settle_channel(channel.id)?)),
            None => None,
        };
        let mut modules = load_modules(config, &store)?;
        modules.extend(books::modules(config, &store)?);
        let webhooks = webhooks::Webhooks::of(config);
        if let Some(of_books) = config.books.as_ref().filter(|_| webhooks.is_some()) {
            identity.settle_books(&of_books.organization_id)?;
        }
        let inbox = take_over_inbox(&store, &modules)?;
        let spent = store.spending()?;
        let transport =
            Arc::new(Marked { transport, board: Arc::clone(&board), clock: Arc::clone(&clock) });
        let mut line = Line::new(config, credentials, transport, clock, &identity, spent);
        if let Some(of_books) = &config.books {
            line.open_books(of_books, store.books_spending()?);
        }
        let proved = modules.values().filter_map(|module| module.ledger.complete_through);
        proved.for_each(|proved| line.note_stamp(proved));
        let start = Start {
            token: line.kept_token_life(),
            channel: desired.as_ref().map(|_| {
                let granted = identity.channel().and_then(|channel| channel.granted());
                ChannelPlan::new(granted, config.catch_up.every)
            }),
            books: books::plan(config, modules.values(), now),
            modules: modules
                .iter()
                .filter(|(_, module)| module.entity.is_none())
                .map(|(name, module)| module.start(name))
                .collect(),
            documents: kept_documents(config, &store)?,
        };
        let settings = Settings {
            catch_up_every: config.catch_up.every,
            sweep_every: config.catch_up.sweep_every,
            seed: line.seed(),
        };
        let mut planner = Planner::new(settings, start, now);
        if let Some(webhooks) = &webhooks {
            planner = planner.with_webhooks(webhooks.plan());
        }
        planner.hear(Input::Arrived(inbox), now);
        let extension = Extension::load(config, &store)?;
        extension.iter().for_each(|extension| extension.resume(&mut planner, now));
        let mut heart = Heart {
            line,
            store,
            identity,
            extension,
            planner,
            desired,
            webhooks,
            modules,
            board,
            renewals: 0,
            kept_calls: 0,
            pages: 0,
            watching_since: None,
            told: report::Told::default(),
        };
        heart.publish();
        Ok(heart)
    }

    /// Takes in what happened outside: arrivals, and what people ask for.
    pub fn hear(&mut self, input: Input) {
        if let Input::TokenWanted { edition } = input {
            // Of a token that was replaced meanwhile nobody need hear that it is refused.
            if edition != self.board.hatch.known().edition {
                return;
            }
        }
        self.planner.hear(input, self.line.tick());
    }

    /// Does the next thing, if there is one.
    pub fn turn(&mut self) -> Result<Turn, HeartError> {
        self.board.heart.enter(Stage::Working);
        self.store.healthy()?;
        if self.store.damaged() {
            return Err(HeartError::Damaged);
        }
        let (now, upstream_now) = (self.line.tick(), self.line.upstream_now());
        let (credits, books) = (self.line.credits(), self.line.books_account());
        let next = self.planner.next(Input::Nothing, now, upstream_now, credits, books);
        let turn = match next {
            Next::WaitUntil(tick) => Turn::WaitUntil(tick),
            Next::Do(action) => {
                let outcome = match self.act(action) {
                    Ok(outcome) => outcome,
                    Err(Stop::Trouble(trouble)) => Outcome::Trouble(trouble),
                    Err(Stop::Heart(error)) if error.is_for_want_of_room() => {
                        Outcome::Trouble(Trouble::NoRoom { why: error.to_string() })
                    }
                    Err(Stop::Heart(error)) => return Err(error),
                };
                self.planner.hear(Input::Done(outcome), self.line.tick());
                Turn::Acted
            }
        };
        self.publish();
        if turn != Turn::Acted {
            self.board.heart.enter(Stage::Waiting);
        }
        Ok(turn)
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Stop> {
        match action {
            Action::RefreshToken => {
                let (life, access) = self.line.refresh()?;
                unless_full(self.identity.keep_access(access))?;
                Ok(Outcome::Token(life))
            }
            Action::Channel(action) => self.act_on_channel(action),
            Action::BooksWebhooks(action) => self.act_on_webhooks(&action),
            Action::ReadFields(module) => self.read_fields(&module),
            Action::Fetch(fetch) => self.fetch(&fetch),
            Action::SetAside(fetch, why) => self.set_aside(&fetch, &why),
            Action::ReadPage(module, scan) => self.read_page(&module, &scan),
            Action::Finish(module, scan) => self.finish(&module, &scan),
            Action::Count(module) => self.count(&module),
            Action::ReadDocument(name) => self.read_document(&name),
            Action::Books(action) => self.act_on_books(action),
            Action::TakeEvent => self.take_event(),
        }
    }

    /// A commit of this module that so far changes nothing.
    fn commit_of(&self, module: &ModuleName, now: UpstreamTime) -> Commit {
        Commit { ledger: self.modules[module].ledger.clone(), ..Commit::new(module.clone(), now) }
    }

    /// Commits, and remembers the ledger as committed.
    fn commit(&mut self, commit: Commit) -> Result<Vec<InboxItem>, StoreError> {
        let (module, ledger) = (commit.module.clone(), commit.ledger.clone());
        let began = self.line.tick();
        let committed = self.store.commit(commit)?;
        self.board.meters.commit.add(self.line.tick().since(began));
        if let Some(module) = self.modules.get_mut(&module) {
            module.ledger = ledger;
        }
        self.keep_spending(SPENDING_GRAIN)?;
        Ok(committed.arrived)
    }
}

impl Heart {
    /// Keeps what was spent over a restart, when it is so much more than was kept last.
    fn keep_spending(&mut self, grain: u64) -> Result<(), StoreError> {
        let spent = self.line.calls();
        if spent - self.kept_calls >= grain {
            self.store.set_spending(self.line.credits().spending())?;
            if let Some(books) = self.line.books_account() {
                self.store.set_books_spending(books.credits().spending())?;
            }
            self.kept_calls = spent;
        }
        Ok(())
    }
}

/// What upstream has granted holds, kept or not: on a full disk it is used until the process ends,
/// and is kept with whatever is next.
fn unless_full(kept: Result<(), IdentityError>) -> Result<(), IdentityError> {
    match kept {
        Err(error) if error.is_for_want_of_room() => {
            log::warn!("{error}");
            Ok(())
        }
        kept => kept,
    }
}

fn load_modules(
    config: &Config,
    store: &Store,
) -> Result<BTreeMap<ModuleName, Module>, StoreError> {
    let needs_fields = config.upstream.version.needs_fields();
    let mut modules = BTreeMap::new();
    for module in &config.modules {
        // A module's own list of fields is asked for again at each start: it may have grown.
        let passes = match &module.fields {
            Some(fields) => Some(Passes::of(fields)),
            None if needs_fields && !module.whole_records => None,
            None => Some(Passes::Everything),
        };
        let ledger = store.ledger(&module.name)?;
        let loaded = Module {
            entity: None,
            passes,
            whole_records: module.whole_records,
            refresh_every: module.refresh_every,
            operations: module.operations.clone(),
            ledger,
        };
        modules.insert(module.name.clone(), loaded);
    }
    Ok(modules)
}

/// When each document was read. One that cannot be read any more never was; nor was one that was
/// denied, since somebody may have logged in with another scope before this start.
fn kept_documents(config: &Config, store: &Store) -> Result<DocumentsRead, StoreError> {
    let modules: Vec<ModuleName> = config.modules.iter().map(|m| m.name.clone()).collect();
    let read = |name: DocumentName| {
        let kept = store.document(&name)?;
        Ok((name, kept.filter(|kept| !kept.is_denial()).map(|kept| kept.read)))
    };
    DocumentName::all(&modules).into_iter().map(read).collect()
}

/// Reads what waits in the inbox. Ids of modules that are no longer mirrored are let go: nobody
/// would ever fetch them.
fn take_over_inbox(
    store: &Store,
    modules: &BTreeMap<ModuleName, Module>,
) -> Result<Vec<InboxItem>, StoreError> {
    let (kept, stale): (Vec<_>, Vec<_>) =
        store.inbox()?.into_iter().partition(|item| modules.contains_key(&item.arrival.module));
    let mut by_module: BTreeMap<ModuleName, Vec<_>> = BTreeMap::new();
    for item in stale {
        by_module.entry(item.arrival.module).or_default().push(item.sequence);
    }
    for (module, settled) in by_module {
        log::info!("{module} is no longer mirrored: {} waiting ids are let go", settled.len());
        let ledger = store.ledger(&module)?;
        let let_go =
            store.commit(Commit { ledger, settled, ..Commit::new(module, UpstreamTime::EPOCH) });
        match let_go {
            // On a full disk they stay, and are passed over again at the next start.
            Ok(_) | Err(StoreError::NoRoom { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}
