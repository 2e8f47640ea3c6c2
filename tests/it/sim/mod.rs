//! An upstream to test against: Zoho CRM as far as a mirror meets it, true to what is known of it.
//!
//! [`Upstream`] is a pure core: a request goes in, a reply comes out, and the time is what the
//! clock it was given shows. It is used two ways: in process behind [`SimTransport`], with a
//! [`VirtualClock`], thousands of runs a second; and behind a port of this machine, [`Loopback`],
//! with the [`RealClock`], against the real binary.
//!
//! - [`Model`]: modules and records. [`Upstream::create`], `edit`, `delete`, `merge`, … change
//!   them, and what a channel covers goes to the outbox ([`Upstream::take_callbacks`]).
//! - [`Knobs`]: where upstream may behave in more than one way. [`Faults`]: what goes wrong.
//! - [`Upstream::truth`]: what a mirror must hold in the end. [`Upstream::calls`]: what was asked.
//!
//! It is not a second implementation of Zoho: what a mirror has no business asking for is refused
//! with an error, so that nonsense does not pass unnoticed. It refers to nothing else of the
//! tests, so that the examples can include it.

// Each program that includes the simulator uses a part of it, and none has a public interface.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod accounts;
mod books;
mod books_webhooks;
mod callbacks;
mod changes;
mod channels;
mod client;
mod clock;
mod coql;
pub mod data;
mod delivery;
mod faults;
mod functions;
mod knobs;
pub mod lifelike;
mod log;
mod loopback;
mod model;
mod paging;
mod platform;
mod records;
mod route;
mod search;
mod settings;
mod transport;
mod watch;
mod wire;

use std::sync::Arc;

use serde_json::json;

pub use accounts::{Accounts, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
pub use books::{Books, Manner, ORGANIZATION};
pub use books_webhooks::{Announced, BooksWebhooks, History, Writes};
pub use callbacks::Callback;
pub use client::{Heard, http, http_over};
pub use clock::{Clock, Moment, RealClock, VirtualClock, stamp};
pub use delivery::{Delivered, Delivery, Manners};
pub use faults::{Aim, Fault, Faults, RetryAfter};
pub use functions::{Conduct, Function, Functions, Run, ZAPIKEY};
pub use knobs::Knobs;
pub use log::Call;
pub use loopback::Loopback;
pub use model::{Field, Model, Module};
pub use platform::{Desk, Hashed, PLATFORM_EVENTS, PLATFORM_ORG, PLATFORM_SECRET, Told};
pub use transport::SimTransport;
pub use wire::{Answer, Asked, NoAnswer};

use callbacks::Outbox;
use channels::Channels;
use log::CallLog;
use paging::PageTokens;
use route::{Route, Target, Version};

/// The simulated upstream.
pub struct Upstream {
    /// How it behaves where it may behave in more than one way.
    pub knobs: Knobs,
    /// What goes wrong.
    pub faults: Faults,
    /// Credentials, tokens and scopes.
    pub accounts: Accounts,
    /// Modules and records.
    pub model: Model,
    /// How Zoho Books behaves, whose records are in the model too.
    pub books: Books,
    /// Webhooks of Books.
    pub webhooks: BooksWebhooks,
    /// Desk's Invoke API.
    pub desk: Desk,
    /// Functions that can be called.
    pub functions: Functions,
    channels: Channels,
    outbox: Outbox,
    page_tokens: PageTokens,
    log: CallLog,
    clock: Arc<dyn Clock>,
}

impl Upstream {
    /// An upstream without modules, whose time `clock` shows.
    pub fn new(clock: Arc<dyn Clock>) -> Upstream {
        Upstream {
            knobs: Knobs::default(),
            faults: Faults::new(),
            accounts: Accounts::new(),
            model: Model::new(),
            books: Books::new(),
            webhooks: BooksWebhooks::default(),
            desk: Desk::default(),
            functions: Functions::default(),
            channels: Channels::default(),
            outbox: Outbox::default(),
            page_tokens: PageTokens::default(),
            log: CallLog::default(),
            clock,
        }
    }

    /// What upstream's clock shows.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Answers one request, or does not.
    pub fn answer(&mut self, asked: &Asked) -> Result<Answer, NoAnswer> {
        let now = self.now();
        let outcome = self.answer_at(asked, now);
        self.log.note(asked, &outcome, now);
        outcome
    }

    /// An access token that is good from now on, for requests a test makes itself.
    pub fn issue_token(&mut self) -> String {
        let now = self.now();
        self.accounts.issue(&self.knobs, now)
    }

    /// The requests so far, oldest first; at most the last 20,000.
    pub fn calls(&self) -> Vec<Call> {
        self.log.calls()
    }

    /// How many requests there were so far, and how many credits they cost.
    pub fn call_count(&self) -> (u64, u64) {
        (self.log.count, self.log.credits)
    }

    /// Forgets the requests so far.
    pub fn forget_calls(&mut self) {
        self.log.forget();
    }

    /// A request went to an origin that is not upstream's: it is noted and gets no reply.
    fn stray(&mut self, asked: &Asked, url: &str) -> NoAnswer {
        let asked = Asked { path: url.to_owned(), ..asked.clone() };
        self.log.note(&asked, &Err(NoAnswer::Unreachable), self.clock.now());
        NoAnswer::Unreachable
    }

    fn answer_at(&mut self, asked: &Asked, now: Moment) -> Result<Answer, NoAnswer> {
        if self.faults.is_offline() {
            return Err(NoAnswer::Unreachable);
        }
        let fault = self.faults.next(asked);
        let mut answer = match fault {
            None => self.serve(asked, now),
            Some(fault) => match fault.instead(now) {
                Some(outcome) => outcome?,
                None => fault.spoil(self.serve(asked, now))?,
            },
        };
        if self.knobs.date_header {
            answer = answer.with("Date", &now.http_date());
        }
        Ok(answer)
    }

    fn serve(&mut self, asked: &Asked, now: Moment) -> Answer {
        if let Some(answer) = self.settings(asked, now) {
            return answer;
        }
        match Route::of(&asked.path) {
            Some(Route::Token) => self.accounts.token(asked, &self.knobs, now),
            Some(Route::RevokeToken) => self.accounts.revoke(asked),
            Some(Route::Invoke) => self.desk.invoke(asked),
            Some(Route::Crm(version, target)) => {
                // A refusal is an answer like any other once it is decided.
                self.crm(version, target, asked, now).unwrap_or_else(|refusal| refusal)
            }
            Some(Route::Books(path)) => {
                self.of_books(path, asked, now).unwrap_or_else(|refusal| refusal)
            }
            None => Answer::refusal(
                404,
                "INVALID_URL_PATTERN",
                json!({}),
                "Please check if the URL trying to access is a correct one",
            ),
        }
    }

    fn crm(
        &mut self,
        version: Version,
        target: Target<'_>,
        asked: &Asked,
        now: Moment,
    ) -> Result<Answer, Answer> {
        if let Target::Function(name) = target {
            return self.functions.execute(name, asked, &self.accounts, now);
        }
        self.accounts.authorise(asked, target.scope(), now)?;
        match (target, asked.method.as_str()) {
            (Target::Watch, _) => self.watch(version, asked, now),
            (Target::Coql, "POST") => self.coql(version, asked),
            (Target::Org, "GET") => self.org(asked),
            (Target::Users, "GET") => self.users(asked),
            (Target::Modules, "GET") => self.modules(asked),
            (Target::Fields, "GET") => self.fields(asked),
            (Target::List(module), "GET") => self.list(version, module, asked, now),
            (Target::One(module, id), "GET") => self.one(version, module, id, asked),
            (Target::Deleted(module), "GET") => self.deleted(module, asked, now),
            (Target::Search(module), "GET") => self.search(version, module, asked),
            (Target::Count(module), "GET") => self.count(module, asked),
            _ => Err(Answer::refusal(
                400,
                "INVALID_REQUEST_METHOD",
                json!({}),
                "The http request method type is not a valid one",
            )),
        }
    }
}
