//! What upstream lets us do: the token, the modules, the channel; `books` goes on from here.
//!
//! A running daemon is not disturbed. Its token is used as it is, and asking for another is left to
//! it; where none runs, one is asked for at most once, and kept as a start of the daemon would.

use std::sync::Arc;

use serde_json::Value;

use super::books;
use super::finding::{Finding, State};
use super::way::{Stop, Way};
use crate::cli::channel::id_of;
use crate::clock::DeviceClock;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::heart::desired_channel;
use crate::heart::line::Line;
use crate::identity::Identity;
use crate::identity::removal::RemovalFile;
use crate::mirror::channel::{Row, Shown};
use crate::mirror::credits::Spending;
use crate::mirror::trouble::Trouble;
use crate::secret::Secret;
use crate::upstream::records;
use crate::upstream::transport::HttpsTransport;
use crate::upstream::verdict::judge;

/// Modules that are read from at most: each read costs a credit, and what the first few show is
/// mostly true of the others.
const MODULES_LIMIT: usize = 10;

pub(super) const NETWORK: &str = "see the network, its firewall, and whether upstream has troubles";

/// What becomes of a new token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeping {
    /// It is kept: the store is ours, and nobody else writes beside it.
    Kept,
    /// There is no store yet to keep it in, and the first start asks for one of its own.
    NoStore,
    /// The store cannot be opened, or not by us: no token is asked for that nobody would have.
    NotOurs,
}

/// Our account upstream.
pub(super) struct Account<'a> {
    pub(super) config: &'a Config,
    pub(super) identity: Identity,
    pub(super) line: Line,
    /// What the running daemon says.
    pub(super) status: Option<&'a Value>,
    keeping: Keeping,
}

/// The lines of what cannot be looked at, for this reason.
pub(super) fn unknown(why: &str) -> Vec<Finding> {
    ["token", "api", "channel"].map(|check| Finding::skipped(check, why)).into()
}

fn no_modules() -> Finding {
    Finding::skipped("api", "no module of CRM is mirrored")
}

impl<'a> Account<'a> {
    pub(super) fn new(
        config: &'a Config,
        credentials: Credentials,
        identity: Identity,
        transport: Arc<HttpsTransport>,
        status: Option<&'a Value>,
        keeping: Keeping,
    ) -> Account<'a> {
        let (clock, spent) = (Arc::new(DeviceClock), Spending::default());
        let mut line = Line::new(config, credentials, transport, clock, &identity, spent);
        if let Some(books) = &config.books {
            line.open_books(books, Spending::default());
        }
        Account { config, identity, line, status, keeping }
    }

    /// Looks at everything, in this order.
    pub(super) fn look(&mut self, accounts: &Way, api: &Way) -> Vec<Finding> {
        let mut found = self.look_at_crm(accounts, api);
        found.extend(match found[0].state {
            State::Ok => self.books(),
            _ => books::unknown(self.config, "without a token Books does not show it"),
        });
        found
    }

    fn look_at_crm(&mut self, accounts: &Way, api: &Way) -> Vec<Finding> {
        match api.stop() {
            None => {}
            Some(Stop::Told) => return unknown("the way to upstream is not open, see above"),
            Some(Stop::Here(why)) => {
                let mut found = unknown("upstream is not reached");
                found[1] = Finding::fail("api", why, NETWORK);
                if let (Some(Stop::Here(why)), true) =
                    (accounts.stop(), accounts.origin != api.origin)
                {
                    found[0] = Finding::fail("token", why, NETWORK);
                }
                return found;
            }
        }
        let (token, modules) = match self.modules() {
            Ok(modules) => (self.kept_token(), Some(modules)),
            Err(why) => match self.new_token(&why) {
                // Upstream refuses what it has just granted: that is no token either.
                Ok(token) => match self.modules() {
                    Ok(modules) => (token, Some(modules)),
                    // Books refuses a token for want of a scope too, and says so below.
                    Err(_) if self.config.modules.is_empty() => (token, Some(no_modules())),
                    Err(why) => (Finding::fail("token", why, "try again in a minute"), None),
                },
                Err(token) => (token, None),
            },
        };
        match modules {
            Some(modules) => vec![token, modules, self.channel()],
            None => {
                let mut found = unknown("without a token upstream does not show it");
                let answers = format!("{} answers, but not without a token", api.origin);
                found[1] = Finding::skipped("api", answers);
                found[0] = token;
                found
            }
        }
    }

    /// Whether the modules can be read; an error when it is for the token that they cannot. Where
    /// there are none, Books tells whether the token is accepted.
    fn modules(&mut self) -> Result<Finding, String> {
        let config = self.config;
        if let (true, Some(books)) = (config.modules.is_empty(), &config.books) {
            return match self.glance_at_books(books) {
                Err(Trouble::TokenRefused { why }) => Err(why),
                Ok(()) | Err(_) => Ok(no_modules()),
            };
        }
        let mut read = Vec::new();
        for module in self.config.modules.iter().take(MODULES_LIMIT) {
            let name = &module.name;
            let glance = |line: &mut Line| -> Result<(), Trouble> {
                let request = records::glance(&line.api()?, name);
                judge(&line.call(&request)?).map(|_| ())
            };
            let says = |why: String| format!("{name}: {why}");
            match glance(&mut self.line) {
                Ok(()) => read.push(name.to_string()),
                Err(Trouble::TokenRefused { why }) => return Err(why),
                Err(Trouble::Denied { why, .. }) => {
                    let to_do =
                        "see the module's name, the user's rights, and the scopes in README";
                    return Ok(Finding::fail("api", says(why), to_do));
                }
                Err(Trouble::Throttled { why, .. }) => {
                    return Ok(Finding::warn("api", says(why), "wait; see who else calls the API"));
                }
                Err(
                    Trouble::Unreachable { why }
                    | Trouble::NoRoom { why }
                    | Trouble::Failed { why, .. },
                ) => return Ok(Finding::fail("api", says(why), NETWORK)),
            }
        }
        let origin = self.line.origin().map(|origin| origin.to_string()).unwrap_or_default();
        Ok(Finding::ok("api", format!("{origin} shows {}", read.join(", "))))
    }

    fn kept_token(&self) -> Finding {
        if self.status.is_some_and(|status| status["upstream"]["state"] == "denied") {
            return self.daemons_trouble("the daemon is given no token");
        }
        Finding::ok("token", "the one that is kept is accepted")
    }

    /// What the daemon says is wrong.
    fn daemons_trouble(&self, otherwise: &str) -> Finding {
        let error = self.status.and_then(|status| status["upstream"]["last_error"].as_str());
        let to_do = "mend it as it says, and systemctl restart crmirror";
        Finding::fail("token", error.unwrap_or(otherwise), to_do)
    }

    /// Asks for a token where nobody else does, and keeps it; else says why not.
    fn new_token(&mut self, refused: &str) -> Result<Finding, Finding> {
        if let Some(status) = self.status {
            return Err(match status["upstream"]["state"].as_str() {
                Some("denied") => self.daemons_trouble("the daemon is given no token"),
                Some(_) | None => Finding::warn(
                    "token",
                    format!("the daemon has none that is accepted: {refused}"),
                    "it asks for another by itself; look again in a minute",
                ),
            });
        }
        if self.keeping == Keeping::NotOurs {
            let why = format!("a new one could not be kept, see the store: {refused}");
            return Err(Finding::skipped("token", why));
        }
        let (_, access) = self.line.refresh().map_err(|trouble| match trouble {
            Trouble::Denied { why, .. } | Trouble::TokenRefused { why } => {
                Finding::fail("token", why, "see credentials.json and upstream.data_centre")
            }
            Trouble::Throttled { why, .. } => {
                Finding::fail("token", why, "leave it alone for ten minutes")
            }
            Trouble::Unreachable { why }
            | Trouble::NoRoom { why }
            | Trouble::Failed { why, .. } => Finding::fail("token", why, NETWORK),
        })?;
        if self.keeping == Keeping::NoStore {
            return Ok(Finding::ok("token", "granted, not kept, since there is no store yet"));
        }
        match self.identity.keep_access(access) {
            Ok(()) => Ok(Finding::ok("token", "granted, and kept")),
            Err(error) => Ok(Finding::told("token", State::Warn, &error.to_string())),
        }
    }

    /// The channel as upstream sees it.
    fn channel(&mut self) -> Finding {
        if self.config.channel.is_none() {
            return Finding::skipped("channel", "the configuration has none: crmirror only pulls");
        }
        if RemovalFile::of(&self.config.store).read().is_ok_and(|removal| removal.is_some()) {
            let says = "it is closed, since the extension was removed";
            return Finding::warn("channel", says, "see the platform below");
        }
        if self.status.is_some_and(|status| status["channel"]["state"] == "none") {
            let to_do = "crmirror channel renew opens it again";
            return Finding::warn("channel", "it was closed by command", to_do);
        }
        let Some(id) = id_of(self.config, &self.identity) else {
            return Finding::skipped("channel", "none was opened yet, crmirror run opens it");
        };
        let rows = match self.line.channel_rows(id) {
            Ok(rows) => rows,
            Err(trouble) => {
                let to_do = "see the scope ZohoCRM.notifications.ALL, and crmirror status";
                return Finding::fail("channel", trouble.why(), to_do);
            }
        };
        self.judge_channel(&rows, &desired_channel(self.config, id))
    }

    fn judge_channel(&self, rows: &[Row], desired: &crate::mirror::channel::Desired) -> Finding {
        let tokens: Vec<Secret> = self
            .identity
            .channel()
            .map(|channel| channel.tokens.iter().map(|kept| kept.token.clone()).collect())
            .unwrap_or_default();
        let id = desired.id;
        let renew = "crmirror channel renew mends it now";
        match (desired.compare(rows, &tokens), self.status) {
            (Shown::Absent, Some(_)) => {
                let says = format!("upstream does not have {id}: no callbacks come");
                Finding::fail("channel", says, renew)
            }
            (Shown::Absent, None) => {
                let says = format!("upstream does not have {id} any more");
                Finding::warn("channel", says, "crmirror run opens it")
            }
            (Shown::Differs(how), _) => {
                let to_do =
                    "restart the daemon if the configuration is new; crmirror channel renew";
                Finding::warn("channel", format!("upstream has {id}, but {how}"), to_do)
            }
            (Shown::Matches(expires), _)
                if self.line.upstream_now().is_some_and(|now| now >= expires) =>
            {
                Finding::fail("channel", format!("{id} ended at {expires}"), renew)
            }
            (Shown::Matches(expires), _) => {
                Finding::ok("channel", format!("{id} is open until {expires}"))
            }
        }
    }
}
