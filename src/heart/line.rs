//! The line to upstream: the transport, the token that goes with each call, and upstream's clock.
//!
//! It carries and keeps count; it decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Books, Config, Upstream};
use crate::credentials::Credentials;
use crate::identity::{Access, Identity, api_origin, login_fingerprint};
use crate::mirror::books::account::Account;
use crate::mirror::channel::Row;
use crate::mirror::credits::{Credits, Spending};
use crate::mirror::origin::Origin;
use crate::mirror::record::ChannelId;
use crate::mirror::time::{Tick, UpstreamClock, UpstreamTime};
use crate::mirror::trouble::{Scope, Trouble};
use crate::secret::Secret;
use crate::server::board::Board;
use crate::upstream::api::Api;
use crate::upstream::books::BooksApi;
use crate::upstream::channels;
use crate::upstream::token;
use crate::upstream::transport::{Reply, Request, Transport, TransportError};
use crate::upstream::verdict::{judge, no_reply};
use crate::vitals::Stage;

/// How long a kept token is taken to be good for, while upstream's time is not known: if it is not,
/// the first call says so.
const KEPT_TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Pages of a channel's rows that are read at most: 200 rows each, and a channel has one row for
/// each module.
const CHANNEL_PAGES_LIMIT: u32 = 10;

/// A transport that leaves a mark while a call is in the air, and notes how long it took.
pub(super) struct Marked {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Transport for Marked {
    fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        self.board.heart.enter(Stage::Calling);
        let asked = self.clock.tick();
        let reply = self.transport.send(request);
        let took = self.clock.tick().since(asked);
        self.board.heart.enter(Stage::Working);
        let meters = &self.board.meters;
        match &reply {
            Ok(_) => meters.answered_call.add(took),
            Err(_) => meters.unanswered_call.add(took),
        }
        reply
    }
}

/// The line to upstream.
pub struct Line {
    upstream: Upstream,
    credentials: Credentials,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    access: Option<Access>,
    upstream_clock: Option<UpstreamClock>,
    /// Whether upstream told its time itself; else its clock is only known to show no less.
    told: bool,
    /// The latest stamp of upstream's that we have seen.
    latest_stamp: UpstreamTime,
    started: Tick,
    credits: Credits,
    /// The organization of Books, and the account of its calls.
    books: Option<(String, Account)>,
    calls: u64,
}

impl Line {
    /// A line that has not been used yet; `identity` has the token kept from the last run, `spent`
    /// the credits.
    pub fn new(
        config: &Config,
        credentials: Credentials,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        identity: &Identity,
        spent: Spending,
    ) -> Line {
        let login = credentials.refresh_token.as_ref().map(login_fingerprint);
        let access = login.and_then(|login| identity.access(&login));
        Line {
            upstream: config.upstream.clone(),
            credentials,
            transport,
            started: clock.tick(),
            clock,
            access: access.cloned(),
            upstream_clock: None,
            told: false,
            latest_stamp: UpstreamTime::EPOCH,
            credits: Credits::new(config.catch_up.credits_per_day.into(), spent),
            books: None,
            calls: 0,
        }
    }

    /// Books is called too, with what its account allows; so much of that is spent already.
    pub fn open_books(&mut self, books: &Books, spent: Spending) {
        let account = Account::new(books.calls_per_day.into(), spent, self.tick());
        self.books = Some((books.organization_id.clone(), account));
    }

    /// Now, by our own clock.
    pub fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// When the line was made.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// Now, by the device's wall clock: only for where upstream's time is not known.
    pub fn wall(&self) -> UpstreamTime {
        self.clock.wall()
    }

    /// Now, by upstream's clock, once it has answered. It may be later there, never earlier.
    pub fn upstream_now(&self) -> Option<UpstreamTime> {
        self.upstream_clock.map(|clock| clock.at(self.tick()))
    }

    /// Upstream's clock, if it has told its time.
    pub fn told_clock(&self) -> Option<UpstreamClock> {
        self.upstream_clock.filter(|_| self.told)
    }

    /// Now, by upstream's clock, if it has told it.
    pub fn told_now(&self) -> Option<UpstreamTime> {
        self.upstream_now().filter(|_| self.told)
    }

    /// Now, as well as it can be guessed where upstream does not tell its time. It may be wrong in
    /// either direction: good for what upstream checks itself, not for what is proved.
    pub fn guessed_now(&self) -> UpstreamTime {
        self.told_now().unwrap_or_else(|| self.wall().max(self.latest_stamp))
    }

    /// Takes in a stamp of upstream's: its clock has shown that. Where it does not tell its time,
    /// nothing better is known; ours may be decades off.
    pub fn note_stamp(&mut self, stamp: UpstreamTime) {
        self.latest_stamp = self.latest_stamp.max(stamp);
        if !self.told && self.upstream_now().is_some_and(|now| now < stamp) {
            self.upstream_clock = Some(UpstreamClock::seen(stamp, self.tick()));
        }
    }

    /// When upstream's clock will show this moment.
    pub fn tick_of(&self, moment: UpstreamTime) -> Option<Tick> {
        self.upstream_clock.map(|clock| clock.tick_of(moment, self.tick()))
    }

    /// What upstream's clock will show at this tick.
    pub fn upstream_at(&self, tick: Tick) -> Option<UpstreamTime> {
        self.upstream_clock.map(|clock| clock.at(tick))
    }

    /// Calls of the API since the line was made.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The account of credits.
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// How long the token kept from the last run is good for, as far as can be known.
    pub fn kept_token_life(&self) -> Option<Duration> {
        self.access.as_ref().map(|_| KEPT_TOKEN_LIFE)
    }

    /// A seed for the jitter of pauses: two devices shall not share it.
    pub fn seed(&self) -> u64 {
        let client = self.credentials.client_id.bytes();
        client.fold(self.tick().since_origin().as_nanos() as u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        })
    }

    /// The access token that we have, whether upstream accepts it or not.
    pub fn token(&self) -> Option<Secret> {
        self.access.as_ref().map(|access| access.token.clone())
    }

    /// Where the API is, as far as is known.
    pub fn origin(&self) -> Option<Origin> {
        let named = self.access.as_ref().and_then(|access| access.api_domain.as_deref());
        let Upstream { api, api_default, accounts, .. } = &self.upstream;
        api_origin(api.as_ref(), named, api_default.as_ref(), accounts)
    }

    /// The API, to be called with the token that we have.
    pub fn api(&self) -> Result<Api, Trouble> {
        let access = self.access.as_ref();
        let token = access
            .map(|access| access.token.clone())
            .ok_or_else(|| Trouble::TokenRefused { why: "there is no access token yet".into() })?;
        let origin = self.origin().ok_or_else(|| Trouble::Denied {
            scope: Scope::Module,
            why: "upstream names no API address that can be trusted: set upstream.api".into(),
        })?;
        Ok(Api { origin, version: self.upstream.version, token })
    }

    /// Calls the API.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Trouble> {
        // Every call we make costs one, but for the list of the deleted (facts §4.8).
        let credits = if request.url.contains("/deleted?") { 2 } else { 1 };
        self.calls += 1;
        self.credits.spend(credits, self.upstream_now());
        self.send(request)
    }

    /// The account of Books' calls; `None` when nothing of it is mirrored.
    pub fn books_account(&self) -> Option<&Account> {
        self.books.as_ref().map(|(_, account)| account)
    }

    /// The API of Books, to be called with the token that we have.
    pub fn books_api(&self) -> Result<BooksApi, Trouble> {
        let (organization, _) = self.books.as_ref().ok_or_else(|| Trouble::Denied {
            scope: Scope::Module,
            why: "nothing of Books is configured: add [books]".into(),
        })?;
        Ok(BooksApi { api: self.api()?, organization: organization.clone() })
    }

    /// Calls Books' API, which counts its calls by itself: CRM's credits are untouched.
    pub fn books_call(&mut self, request: &Request) -> Result<Reply, Trouble> {
        self.calls += 1;
        let (now, upstream_now) = (self.tick(), self.upstream_now());
        self.books.iter_mut().for_each(|(_, account)| account.spend(now, upstream_now));
        self.send(request)
    }

    /// Reads upstream's rows of a channel, all pages of them.
    pub fn channel_rows(&mut self, id: ChannelId) -> Result<Vec<Row>, Trouble> {
        let mut rows = Vec::new();
        for page in 1..=CHANNEL_PAGES_LIMIT {
            let reply = self.call(&channels::show(&self.api()?, id, page))?;
            let (more_rows, more) = channels::parse_rows(judge(&reply)?)?;
            rows.extend(more_rows);
            if !more {
                break;
            }
        }
        Ok(rows)
    }

    /// Asks for an access token.
    pub fn refresh(&mut self) -> Result<(Duration, Access), Trouble> {
        let refresh = self.credentials.refresh_token.clone().ok_or_else(|| Trouble::Denied {
            scope: Scope::Module,
            why: "there is no refresh token: run crmirror login --code CODE".into(),
        })?;
        let request = token::refresh(&self.upstream.accounts, &self.credentials, &refresh);
        let reply = self.send(&request)?;
        let grant = token::parse(&reply)?;
        let expires = self.upstream_now().unwrap_or(UpstreamTime::EPOCH).after(grant.life);
        let login = login_fingerprint(&refresh);
        let access = Access { token: grant.access, api_domain: grant.api_domain, expires, login };
        self.access = Some(access.clone());
        Ok((grant.life, access))
    }

    fn send(&mut self, request: &Request) -> Result<Reply, Trouble> {
        let before = self.tick();
        let reply = self.transport.send(request).map_err(no_reply)?;
        self.note_time(reply.date, before);
        Ok(reply)
    }

    /// Takes over upstream's clock from a reply. Where upstream tells no time, the latest stamp
    /// stands in: scans then begin earlier than they must, which costs pages and loses nothing.
    fn note_time(&mut self, date: Option<UpstreamTime>, asked_at: Tick) {
        match date {
            Some(date) => {
                // The reply was made between asking and now: the earlier end errs to the past.
                let now = self.tick();
                let shown = self.upstream_clock.map(|clock| clock.at(now));
                let clock = UpstreamClock::seen(date, now);
                // A reply that took long shows an old time; one that shows a later time than we
                // thought is better, one that contradicts what we thought by more than its own
                // travel means that upstream's clock was set.
                let travelled = now.since(asked_at) + Duration::from_secs(2);
                let keeps =
                    shown.is_some_and(|shown| shown > date && shown.since(date) <= travelled);
                if !keeps || !self.told {
                    self.upstream_clock = Some(clock);
                }
                self.told = true;
            }
            None if self.upstream_clock.is_none() => {
                log::warn!("upstream does not tell its time; its latest stamp stands in for it");
                let clock = UpstreamClock::seen(self.latest_stamp, self.tick());
                self.upstream_clock = Some(clock);
            }
            None => {}
        }
    }
}
