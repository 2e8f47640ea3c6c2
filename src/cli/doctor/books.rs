//! Zoho Books: whether the organization can be read, whether our webhooks stand there as they are
//! declared, and what of their callbacks did not reach us. One call for each of the three, and none
//! that changes anything.

use serde_json::Value;

use super::account::{Account, NETWORK};
use super::finding::Finding;
use crate::config::{Books, Config};
use crate::heart::declared_webhooks;
use crate::mirror::books::histories::{Memory, Ours};
use crate::mirror::books::webhooks::{Before, Declared, Row, Shown};
use crate::mirror::trouble::Trouble;
use crate::upstream::books::histories::{self, Column};
use crate::upstream::books::records;
use crate::upstream::books::verdict::content;
use crate::upstream::books::webhooks::Listing;

const RIGHTS: &str = "see books.organization_id, the user's rights there, and the scopes for Books \
                      in README; then log in again";

const CHECK: &str = "webhooks";
const SWITCH: &str = "switch it on there: Settings, Automation, Webhooks";

/// The lines of what cannot be looked at, for this reason.
pub(super) fn unknown(config: &Config, why: &str) -> Vec<Finding> {
    let webhooks = config.books.as_ref().is_some_and(|books| !books.webhooks.is_empty());
    let checks = match (&config.books, webhooks) {
        (None, _) => &[][..],
        (Some(_), false) => &["books"],
        (Some(_), true) => &["books", "webhooks", "histories"],
    };
    checks.iter().map(|check| Finding::skipped(check, why)).collect()
}

impl Account<'_> {
    /// Looks at what is configured of Books, with a token that was accepted.
    pub(super) fn books(&mut self) -> Vec<Finding> {
        let Some(books) = &self.config.books else { return Vec::new() };
        let glance = self.glance_at_books(books);
        let is_away = matches!(
            glance,
            Err(Trouble::Unreachable { .. } | Trouble::NoRoom { .. } | Trouble::Failed { .. })
        );
        let mut found = unknown(self.config, "Books does not answer, see above");
        found[0] = match glance {
            Ok(()) => self.judge_books(books),
            Err(trouble) => told("books", trouble),
        };
        if is_away || books.webhooks.is_empty() {
            return found;
        }
        found.truncate(1);
        match self.line.webhook_rows(Listing::default()) {
            Ok(rows) => found.extend(self.judge_webhooks(books, &rows)),
            Err(trouble) => found.push(told("webhooks", trouble)),
        }
        found.push(self.histories(books).unwrap_or_else(|trouble| told("histories", trouble)));
        found
    }

    /// Reads a row of the first entity; of the others the daemon tells.
    pub(super) fn glance_at_books(&mut self, books: &Books) -> Result<(), Trouble> {
        let entity = books.entities.first().expect("the configuration names one at least");
        let request = records::glance(&self.line.books_api()?, *entity);
        let reply = self.line.books_call(&request)?;
        content(&reply).map(|_| ())
    }

    fn judge_books(&self, books: &Books) -> Finding {
        let standing = self.status.map(|status| &status["books"]);
        if let Some(error) = standing.and_then(|books| books["last_error"].as_str()) {
            let to_do = "it is tried again; where rights are missing, see the scopes in README";
            return Finding::warn("books", error, to_do);
        }
        if standing.is_some_and(|books| books["waiting_for_calls"] == true) {
            let says = format!("the {} calls of a day are made: it waits", books.calls_per_day);
            return Finding::warn("books", says, "raise books.calls_per_day, if the plan has more");
        }
        let organization = &books.organization_id;
        let entity = books.entities.first().map_or("", |entity| entity.plural());
        Finding::ok("books", format!("the organization {organization} shows {entity}"))
    }

    fn judge_webhooks(&self, books: &Books, rows: &[Row]) -> Vec<Finding> {
        let declared = declared_webhooks(self.config);
        let look = |webhook: &Declared| judge(webhook, self.before(books, webhook), rows);
        let restart = match self.status {
            Some(_) => "systemctl restart crmirror has it as it is declared",
            None => "crmirror run has it as it is declared",
        };
        let tell = |wrong| match wrong {
            // What runs nowhere is not set up yet.
            Wrong::Absent(says) if self.status.is_none() => Finding::warn(CHECK, says, restart),
            Wrong::Absent(says) => Finding::fail(CHECK, says, restart),
            Wrong::Off(says) => Finding::fail(CHECK, says, SWITCH),
            Wrong::Differs(says) => Finding::warn(CHECK, says, restart),
        };
        let mut found: Vec<Finding> = declared.iter().filter_map(look).map(tell).collect();
        if found.is_empty() {
            let names: Vec<&str> = declared.iter().map(|webhook| webhook.name.as_str()).collect();
            let last = self.status.map(|status| heard(&status["books"])).unwrap_or_default();
            let says = format!("{} as declared{last}", names.join(", "));
            found.push(Finding::ok(CHECK, says));
        }
        found
    }

    fn before(&self, books: &Books, webhook: &Declared) -> Before {
        self.identity.books().before_at(&books.organization_id, &webhook.name)
    }

    /// What failed among the newest executions, and is not looked after yet.
    fn histories(&mut self, books: &Books) -> Result<Finding, Trouble> {
        let api = self.line.books_api()?;
        let reply = self.line.books_call(&histories::list(&api, Column::EventTime, 1))?;
        let (executions, _) = histories::parse(content(&reply)?)?;
        let ours: Vec<Ours> = declared_webhooks(self.config)
            .iter()
            .map(|webhook| Ours::of(webhook, self.before(books, webhook)))
            .collect();
        let memory = self.identity.books().histories();
        // Whether the mirror has seen those records since, only the daemon can tell.
        let found = memory.sort_out(&executions, &ours, |_, _| None);
        let has_run = found.latest.is_some();
        Ok(judge_histories(memory, has_run, found.resend.len(), self.status.is_some()))
    }
}

/// What is wrong with a webhook, in words.
enum Wrong {
    Absent(String),
    Off(String),
    Differs(String),
}

/// What is wrong with it; `None` when it is as it is declared.
fn judge(webhook: &Declared, before: Before, rows: &[Row]) -> Option<Wrong> {
    let (name, entities) = (&webhook.name, webhook.entity.plural());
    let is_off = webhook.find(before, rows).is_some_and(|row| row.is_active == Some(false));
    match webhook.compare(before, rows) {
        Shown::Absent => {
            Some(Wrong::Absent(format!("Books does not have {name}: nothing tells of {entities}")))
        }
        _ if is_off => Some(Wrong::Off(format!("{name} is switched off at Books"))),
        Shown::Differs(_, how) => Some(Wrong::Differs(format!("Books has {name}, but {how}"))),
        Shown::Matches(_) => None,
    }
}

/// When a callback of Books came last, as the daemon says it.
fn heard(books: &Value) -> String {
    match books["last_callback"].as_str() {
        Some(time) => format!(", the last callback came at {time}"),
        None => ", no callback since the daemon's start".to_owned(),
    }
}

fn judge_histories(memory: &Memory, has_run: bool, failed: usize, runs: bool) -> Finding {
    let check = "histories";
    if memory.since().is_none() {
        return Finding::skipped(check, "the daemon has not looked at them yet");
    }
    if !has_run {
        let to_do = "make a workflow rule that triggers them, as README says";
        return Finding::warn(check, "nothing has triggered our webhooks lately", to_do);
    }
    if failed > 0 {
        let callbacks = if failed == 1 { "callback" } else { "callbacks" };
        let says = format!("{failed} {callbacks} could not be delivered");
        let to_do = match runs {
            true => {
                "the daemon sees to them within six hours, or when it is restarted; crmirror \
                 books histories list --failed"
            }
            false => "crmirror run sees to them",
        };
        return Finding::warn(check, says, to_do);
    }
    let [resent, healed, denied] = memory.counts();
    Finding::ok(
        check,
        format!(
            "nothing waits, {resent} were asked for again, {healed} made up for, {denied} denied"
        ),
    )
}

fn told(check: &'static str, trouble: Trouble) -> Finding {
    match trouble {
        Trouble::Denied { why, .. } | Trouble::TokenRefused { why } => {
            Finding::fail(check, why, RIGHTS)
        }
        Trouble::Throttled { why, .. } => {
            Finding::warn(check, why, "wait; see who else calls the API of Books")
        }
        Trouble::Unreachable { why } | Trouble::NoRoom { why } | Trouble::Failed { why, .. } => {
            Finding::fail(check, why, NETWORK)
        }
    }
}
