//! `crmirror books`: webhooks of Zoho Books, and what became of their executions.
//!
//! Upstream is asked itself, with the token that is kept or with a fresh one. What it answers is
//! shown as it says it, but for secrets: those are never shown.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Books, Config};
use crate::error::Failure;
use crate::heart::declared_webhooks;
use crate::mirror::books::histories::BATCH_LIMIT;
use crate::mirror::books::webhooks::Before;
use crate::mirror::credits::Spending;
use crate::mirror::gather::Gather;
use crate::mirror::record::RecordId;
use crate::upstream::books::verdict::content;
use crate::upstream::books::webhooks::{Draft, Listing};
use crate::upstream::books::{BooksApi, histories, webhooks};
use crate::upstream::transport::Request;

use super::args::BooksCommand;
use super::asker::Asker;
use super::client::Daemon;
use super::table::Table;
use super::{give_back, print, terminal_width};

/// Largest file that describes a webhook: a raw body has 100,000 characters (facts §5.1).
const FILE_LIMIT: u64 = 1 << 20;
/// Pages that are read at most, whatever the limit.
const PAGES_LIMIT: u32 = 50;

/// The columns of lists: the title, and upstream's key.
const OF_WEBHOOKS: [(&str, &str); 6] = [
    ("id", "webhook_id"),
    ("name", "webhook_name"),
    ("entity", "entity"),
    ("method", "method"),
    ("active", "is_active"),
    ("url", "url"),
];
const OF_HISTORIES: [(&str, &str); 7] = [
    ("id", "history_id"),
    ("webhook", "webhook_name"),
    ("entity", "entity_type"),
    ("record", "entity_id"),
    ("answer", "response_code"),
    ("status", "status"),
    ("time", "history_time"),
];

/// Does what is wanted.
pub(super) fn run(config: &Config, command: &BooksCommand, json: bool) -> Result<(), Failure> {
    let books = config.books.as_ref().ok_or_else(|| {
        Failure::failed("the configuration has no [books]: nothing of Zoho Books is mirrored")
    })?;
    let mut caller = Caller::open(config, books)?;
    let shown = Shown { json };
    match command {
        BooksCommand::ListWebhooks(listing, limit) => {
            let rows = caller.rows(
                "webhooks",
                *limit,
                |_| true,
                |api, page| webhooks::list(api, *listing, page),
            )?;
            shown.rows("webhooks", &OF_WEBHOOKS, rows)
        }
        BooksCommand::ShowWebhook(id) => {
            shown.one(&caller.ask(|api| webhooks::show(api, *id))?["webhook"])
        }
        BooksCommand::CreateWebhook(file) => {
            let draft = draft(file, true)?;
            shown.one(&caller.ask(|api| webhooks::create(api, &draft))?["webhook"])
        }
        BooksCommand::UpdateWebhook(id, file) => {
            let draft = draft(file, false)?;
            if draft.has_secret() && caller.is_ours(*id) {
                return Err(Failure::failed(
                    "crmirror makes the secret of this webhook itself; leave 'secret' out",
                ));
            }
            shown.one(&caller.ask(|api| webhooks::update(api, *id, &draft))?["webhook"])
        }
        BooksCommand::DeleteWebhook(id) => {
            caller.ask(|api| webhooks::delete(api, *id))?;
            shown.told(&json!({ "deleted": id }), &format!("the webhook {id} is deleted"))
        }
        BooksCommand::EditPage => {
            let mut page = caller.ask(webhooks::edit_page)?;
            let all = page.as_object_mut().into_iter();
            all.for_each(|all| all.retain(|key, _| !matches!(key.as_str(), "code" | "message")));
            shown.one(&page)
        }
        BooksCommand::Prune => prune(config, caller, shown),
        BooksCommand::ListHistories { sort, limit, failed } => {
            let wanted = |row: &Value| !failed || has_failed(row);
            let rows = caller
                .rows("histories", *limit, wanted, |api, page| histories::list(api, *sort, page))?;
            shown.rows("histories", &OF_HISTORIES, rows)
        }
        BooksCommand::ShowHistory(id) => {
            shown.one(&caller.ask(|api| histories::show(api, *id))?["history"])
        }
        BooksCommand::Resend(ids) => resend(&mut caller, ids, shown),
    }
}

fn resend(caller: &mut Caller, ids: &[RecordId], shown: Shown) -> Result<(), Failure> {
    match ids {
        [one] => drop(caller.ask(|api| histories::resend(api, *one))?),
        _ => {
            for batch in ids.chunks(BATCH_LIMIT) {
                caller.ask(|api| histories::resend_all(api, batch))?;
            }
        }
    }
    let told = format!("{} asked for again", ids.len());
    shown.told(&json!({ "resent": ids }), &told)
}

/// Deletes the webhooks that are declared, and those of ours that are declared no longer.
fn prune(config: &Config, mut caller: Caller<'_>, shown: Shown) -> Result<(), Failure> {
    let declared = declared_webhooks(config);
    let rows = caller.asker.ask(|line| line.webhook_rows(Listing::default()))?;
    let ours = caller.asker.identity.books();
    let kept = ours.webhooks().iter().filter(|_| ours.organization() == caller.organization);
    let mut doomed: Vec<(String, RecordId)> = Vec::new();
    for webhook in &declared {
        let row = webhook.find(caller.before(&webhook.name), &rows);
        doomed.extend(row.map(|row| (webhook.name.clone(), row.id)));
    }
    for (name, webhook) in kept {
        let row = rows.iter().find(|row| Some(row.id) == webhook.id);
        let row = row.filter(|row| doomed.iter().all(|(_, id)| *id != row.id));
        doomed.extend(row.map(|row| (name.clone(), row.id)));
    }
    // A running daemon has what is kept in hand, and would write over it.
    let is_running = Daemon::of(config)?.get("/healthz").is_some();
    let mut told = String::new();
    for (name, id) in &doomed {
        caller.ask(|api| webhooks::delete(api, *id))?;
        if !is_running {
            let forgotten = caller.asker.identity.forget_webhook(name);
            forgotten.map_err(|error| Failure::failed(error.to_string()))?;
        }
        told += &format!("the webhook {name} ({id}) is deleted\n");
    }
    give_back(&config.store);
    match (doomed.is_empty(), is_running && !declared.is_empty()) {
        (true, _) => told += "Books has no webhook of ours\n",
        (false, true) => told += "the running daemon creates what is declared again within a day\n",
        (false, false) => {}
    }
    let each = doomed.iter().map(|(name, id)| json!({ "name": name, "id": id }));
    shown.told(&json!({ "deleted": each.collect::<Vec<_>>() }), told.trim_end())
}

/// Who asks upstream.
struct Caller<'a> {
    asker: Asker<'a>,
    organization: String,
}

impl<'a> Caller<'a> {
    fn open(config: &'a Config, books: &Books) -> Result<Caller<'a>, Failure> {
        let mut asker = Asker::open(config)?;
        asker.line.open_books(books, Spending::default());
        Ok(Caller { asker, organization: books.organization_id.clone() })
    }

    /// Asks once, for something that upstream answers as JSON.
    fn ask(&mut self, request: impl Fn(&BooksApi) -> Request) -> Result<Value, Failure> {
        self.asker.ask(|line| {
            let request = request(&line.books_api()?);
            let reply = line.books_call(&request)?;
            let value: Value = serde_json::from_str(content(&reply)?).unwrap_or_default();
            Ok(without_secrets(value))
        })
    }

    /// Asks for pages until there are enough rows, or no more.
    fn rows(
        &mut self,
        key: &str,
        limit: usize,
        wanted: impl Fn(&Value) -> bool,
        request: impl Fn(&BooksApi, u32) -> Request,
    ) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        for page in 1..=PAGES_LIMIT {
            let mut answer = self.ask(|api| request(api, page))?;
            let all = answer[key].take();
            let all = all.as_array().cloned().unwrap_or_default();
            rows.extend(all.into_iter().filter(&wanted));
            if rows.len() >= limit || answer["page_context"]["has_more_page"] != true {
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// What is known of the webhook of this name.
    fn before(&self, name: &str) -> Before {
        self.asker.identity.books().before_at(&self.organization, name)
    }

    /// Whether the daemon looks after this webhook.
    fn is_ours(&self, id: RecordId) -> bool {
        let mut ours = self.asker.identity.books().webhooks().keys();
        ours.any(|name| self.before(name).id == Some(id))
    }
}

/// How results are shown.
#[derive(Clone, Copy)]
struct Shown {
    json: bool,
}

impl Shown {
    fn rows(self, key: &str, columns: &[(&str, &str)], rows: Vec<Value>) -> Result<(), Failure> {
        if self.json {
            return print(&format!("{}\n", json!({ key: rows })));
        }
        let mut table = Table::new(columns.iter().map(|(title, _)| *title));
        for row in &rows {
            let cells: Vec<String> = columns.iter().map(|(_, key)| text(&row[*key])).collect();
            table.push(cells.iter().map(String::as_str));
        }
        print(&table.render(terminal_width()))
    }

    fn one(self, value: &Value) -> Result<(), Failure> {
        if self.json {
            return print(&format!("{value}\n"));
        }
        let mut table = Table::new(["key", "value"]);
        for (key, value) in value.as_object().into_iter().flatten() {
            table.push([key.as_str(), &text(value)]);
        }
        print(&table.render(terminal_width()))
    }

    fn told(self, json: &Value, told: &str) -> Result<(), Failure> {
        if self.json { print(&format!("{json}\n")) } else { print(&format!("{told}\n")) }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Whether an execution was not answered with success.
fn has_failed(row: &Value) -> bool {
    let code = &row["response_code"];
    let code = code.as_u64().or_else(|| code.as_str()?.parse().ok());
    !code.is_some_and(|code| (200..300).contains(&code))
}

/// The same without the values of keys that are called so, wherever they stand.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(mut all) => {
            all.remove("secret");
            let each = all.into_iter().map(|(key, value)| (key, without_secrets(value)));
            Value::Object(each.gather())
        }
        Value::Array(all) => all.into_iter().map(without_secrets).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn draft(file: &Path, whole: bool) -> Result<Draft, Failure> {
    let shown = file.display();
    let size = file.metadata().map_or(0, |there| there.len());
    if size > FILE_LIMIT {
        return Err(Failure::failed(format!("{shown} is too large to describe a webhook")));
    }
    let json = std::fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("{shown} cannot be read: {error}")))?;
    Draft::parse(&json, whole).map_err(|what| Failure::failed(format!("{shown}: {what}")))
}
