//! `/changes`: what has changed in the mirror, in the order of sequences, and what changes next.
//!
//! A reader says through which sequence it has seen everything, and is told what came after: at
//! once, when something comes, or as a stream. It either misses nothing or is told that it has to
//! begin anew (410); there is no third way. What it does not want to hear of is passed over, and
//! `last_sequence` says how far that was. Nothing is kept here about any reader.

mod told;

use std::time::Duration;

use serde_json::json;

use super::again::{Again, Mode, Round};
use super::asked::Asked;
use super::query::{BadParameter, Parameters, whole_number};
use super::reply::Reply;
use super::zoho::not_mirrored;
use crate::mirror::record::{ChangeKind, Entry, ModuleName, RecordId};
use crate::store::{Change, Store, StoreError};

pub use self::told::to_json;
use self::told::{Form, Page};

/// Changes of one answer, unless the reader says otherwise, and of each piece of a stream.
const USUAL_LIMIT: usize = 200;
/// Most changes of one answer: with their records they stay below [`told::BYTES_LIMIT`] mostly.
const LIMIT: usize = 1_000;
/// Changes that are looked at for one answer, so that a reader who wants to hear of little holds
/// up nobody: a tenth of a second on a slow board.
const LOOK_LIMIT: usize = 20_000;
/// Changes that are read from the store in one go.
const READ_AT_ONCE: usize = 1_000;
/// Ids that a reader can name, as in a list of records.
const IDS_LIMIT: usize = 100;
/// Longest wait of one answer, in seconds: below the patience of what stands between.
const WAIT_LIMIT: usize = 60;
/// A stream is not quiet for longer, so that each end sees when the other is gone.
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// What a reader wants to hear.
struct Wish {
    form: Form,
    since: Since,
    module: Option<ModuleName>,
    ids: Option<Vec<RecordId>>,
    limit: usize,
    wait: Duration,
    with_records: bool,
    generation: Option<String>,
}

/// From where on.
enum Since {
    /// From the oldest change that is kept.
    Oldest,
    /// From now on.
    Now,
    After(u64),
}

/// Answers `GET /changes` about these modules; the platform's own may be among them.
pub(super) fn changes(
    store: &Store,
    modules: &[ModuleName],
    parameters: Parameters,
    asked: &Asked,
) -> Result<Reply, BadParameter> {
    let wish = Wish::take(parameters, asked)?;
    if wish.module.as_ref().is_some_and(|module| !modules.contains(module)) {
        return Ok(not_mirrored());
    }
    let round = Round::of(asked);
    // Not above what is told of: whoever goes on from it is to miss nothing.
    let newest = store.last_sequence();
    let since = match (&round, &wish.since) {
        (Some(round), _) => round.after,
        (None, Since::Oldest) => store.beginning(),
        (None, Since::Now) => newest,
        (None, Since::After(since)) => *since,
    };
    let reply = match wish.look(store, modules, since) {
        Ok(Some(page)) => wish.reply(page, round),
        Ok(None) => too_old(store),
        Err(error) => {
            log::error!("changes cannot be read: {error}");
            Reply::error(500, "INTERNAL_ERROR", "the changes cannot be read; see the log")
        }
    };
    Ok(reply
        .with("Mirror-Sequence", newest.to_string())
        .with("Mirror-Generation", store.generation())
        .with("Cache-Control", "no-store"))
}

/// What a reader is told whom the kept changes do not bring up to date.
fn too_old(store: &Store) -> Reply {
    let details = json!({ "oldest": store.beginning() + 1, "generation": store.generation() });
    let message = "changes after 'since' are not kept, or it is of another store: note the \
                   sequence of /status, read the records anew, then go on from that sequence";
    Reply::detailed(410, "TOO_OLD", details, message)
}

impl Wish {
    fn take(mut parameters: Parameters, asked: &Asked) -> Result<Wish, BadParameter> {
        let form = Form::accepted(asked.header("accept").unwrap_or_default());
        let since = parameters.take("since");
        let since = match (form, asked.header("last-event-id")) {
            (Form::Events, Some(id)) => Since::parse("Last-Event-ID", Some(id)),
            _ => Since::parse("since", since.as_deref()),
        }?;
        let module = parameters.take("module").map(|name| ModuleName::of_ours(&name)).transpose();
        let module = module.map_err(|_| BadParameter::new("module", "is no module's name"))?;
        let ids = parameters.take_list("ids", IDS_LIMIT, |id| id.parse::<RecordId>().ok())?;
        let limit = parameters.take_number("limit", 1..=LIMIT)?;
        let wait = parameters.take_number("wait", 0..=WAIT_LIMIT)?;
        let with_records = match parameters.take("include").as_deref() {
            None => false,
            Some("record") => true,
            Some(_) => return Err(BadParameter::new("include", "is record")),
        };
        let generation = parameters.take("generation");
        parameters.finish()?;
        if form != Form::Document {
            let named = [("limit", limit.is_some()), ("wait", wait.is_some())];
            if let Some((name, _)) = named.into_iter().find(|(_, given)| *given) {
                return Err(BadParameter::new(name, "does not go with a stream"));
            }
        }
        let limit = limit.unwrap_or(USUAL_LIMIT);
        let wait = Duration::from_secs(wait.unwrap_or(0) as u64);
        Ok(Wish { form, since, module, ids, limit, wait, with_records, generation })
    }

    /// The changes after `since` that are wanted; `None` when some of them may be missing.
    fn look(
        &self,
        store: &Store,
        modules: &[ModuleName],
        since: u64,
    ) -> Result<Option<Page>, StoreError> {
        if self.generation.as_ref().is_some_and(|wanted| wanted != store.generation()) {
            return Ok(None);
        }
        let unreadable = store.unreadable();
        // What is committed from here on is another answer's: a reader is not to be told of a
        // sequence that is not shown yet, or would be ahead of the store with its next question.
        let newest = store.last_sequence();
        let mut page = Page::new(self.form, since);
        let mut looked = 0;
        'pages: while looked < LOOK_LIMIT {
            let changes = store.changes(page.last(), READ_AT_ONCE)?;
            let is_last = changes.last().is_none_or(|last| last.sequence >= newest);
            for change in changes {
                if change.sequence > newest {
                    break;
                }
                looked += 1;
                if !self.wants(modules, &change) {
                    page.pass_over(&change);
                    continue;
                }
                page.push(&change, self.record(store, &change)?.as_deref());
                if page.len() >= self.limit || page.is_full() {
                    break 'pages;
                }
            }
            if is_last {
                page.reach(newest);
                break;
            }
        }
        // Afterwards: what went away meanwhile, or could not be read, is missing from the page.
        let is_whole = store.knows(since) && store.unreadable() == unreadable;
        Ok(is_whole.then_some(page))
    }

    fn wants(&self, modules: &[ModuleName], change: &Change) -> bool {
        let of_module = match &self.module {
            Some(module) => *module == change.module,
            None => modules.contains(&change.module),
        };
        of_module && self.ids.as_ref().is_none_or(|ids| ids.contains(&change.id))
    }

    /// The record as it is stored now, if it is wanted and still there.
    fn record(&self, store: &Store, change: &Change) -> Result<Option<String>, StoreError> {
        if !self.with_records || change.kind == ChangeKind::Delete {
            return Ok(None);
        }
        match store.entry(&change.module, change.id) {
            Ok(Some(stored)) => match stored.entry {
                Entry::Live(record) => Ok(Some(record.json().to_owned())),
                Entry::Tombstone { .. } => Ok(None),
            },
            Ok(None) => Ok(None),
            // As good as gone, until it has been fetched again.
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn reply(&self, page: Page, round: Option<Round>) -> Reply {
        let after = page.last();
        let Round { waited, quiet, .. } = round.unwrap_or_default();
        if self.form == Form::Document {
            let left = self.wait.saturating_sub(waited);
            let reply = Reply::json(200, page.document());
            if !page.is_empty() || left.is_zero() {
                return reply;
            }
            // What was passed over does not end the wait.
            return reply.again(Again { after, within: left, mode: Mode::Held });
        }
        let speaks = !page.is_empty() || quiet >= QUIET_LIMIT;
        let within = if speaks { QUIET_LIMIT } else { QUIET_LIMIT.saturating_sub(quiet) };
        let piece = match round {
            None => page.first_piece(),
            Some(_) if page.is_empty() && speaks => page.sign_of_life(),
            Some(_) => page.into_piece(),
        };
        let reply = Reply::text(200, self.form.media_type(), piece);
        reply.again(Again { after, within, mode: Mode::Streamed })
    }
}

impl Since {
    fn parse(name: &str, text: Option<&str>) -> Result<Since, BadParameter> {
        match text {
            None => Ok(Since::Oldest),
            Some("now") => Ok(Since::Now),
            Some(number) => match whole_number(number) {
                Some(number) => Ok(Since::After(number)),
                None => Err(BadParameter::new(name, "is a sequence: a whole number, or now")),
            },
        }
    }
}

#[cfg(test)]
mod tests;
