//! What upstream says of itself, from the mirror: modules, fields, the organisation, the user.
//!
//! A reply is upstream's own, byte for byte, also where upstream denied it; a single module, field
//! or user is cut out of it. Nothing is asked of upstream here, and no request is conditional: a
//! list that is shown whole is right for whoever wants to know what is new.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::mirror::document::{Document, DocumentName};
use crate::mirror::record::ModuleName;
use crate::store::Store;

use super::query::{BadParameter, Parameters};
use super::reply::Reply;
use super::zoho::{NoRead, bad_parameter, not_mirrored, nothing_here};

/// When to ask again for what has not been read yet: it is read within seconds of the bootstrap.
const ASK_AGAIN: &str = "10";

/// What metadata is answered from.
pub(super) struct Metadata<'a> {
    pub(super) store: &'a Store,
    /// The modules that are mirrored: those whose fields are kept.
    pub(super) modules: &'a [ModuleName],
}

impl Metadata<'_> {
    /// Answers a `GET` of this path, of which `/crm/v2/` is left out.
    pub(super) fn answer(&self, path: &[&str], parameters: Parameters) -> Reply {
        let answered = match path {
            ["settings", "modules"] => self.whole(&DocumentName::Modules, parameters),
            ["settings", "modules", module] => self.module(module, parameters),
            ["settings", "fields"] => self.fields(None, parameters),
            ["settings", "fields", id] => self.fields(Some(id), parameters),
            ["org"] => self.whole(&DocumentName::Org, parameters),
            ["users"] => self.users(parameters),
            ["users", id] => self.user(id, parameters),
            _ => Err(nothing_here()),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    fn whole(&self, name: &DocumentName, parameters: Parameters) -> Result<Reply, Reply> {
        finish(parameters)?;
        self.document(name).map(|document| shown(document, None))
    }

    fn module(&self, module: &str, parameters: Parameters) -> Result<Reply, Reply> {
        finish(parameters)?;
        let document = self.document(&DocumentName::Modules)?;
        let is_it = |item: &Value| item["api_name"] == module || item["id"] == module;
        one(document, &DocumentName::Modules, is_it, || {
            let message = "the module name given seems to be invalid";
            Reply::error(400, "INVALID_MODULE", message)
        })
    }

    fn fields(&self, id: Option<&str>, mut parameters: Parameters) -> Result<Reply, Reply> {
        let module = parameters.take("module").ok_or_else(|| missing("module"))?;
        match parameters.take("type").as_deref() {
            None | Some("all") => {}
            Some(_) => return Err(bad("type", "is all here: unused fields are not mirrored")),
        }
        finish(parameters)?;
        let module = self.modules.iter().find(|mirrored| mirrored.as_str() == module);
        let name = DocumentName::Fields(module.ok_or_else(not_mirrored)?.clone());
        let document = self.document(&name)?;
        match id {
            None => Ok(shown(document, None)),
            Some(id) => one(document, &name, |item| item["id"] == id, || Reply::empty(204)),
        }
    }

    fn users(&self, mut parameters: Parameters) -> Result<Reply, Reply> {
        let only = "is CurrentUser here: other users are not mirrored";
        match parameters.take("type").as_deref() {
            Some("CurrentUser") => self.whole(&DocumentName::User, parameters),
            Some(_) | None => Err(bad("type", only)),
        }
    }

    fn user(&self, id: &str, parameters: Parameters) -> Result<Reply, Reply> {
        finish(parameters)?;
        let document = self.document(&DocumentName::User)?;
        let only = "is that of a user who is not mirrored: only type=CurrentUser is";
        one(document, &DocumentName::User, |item| item["id"] == id, || bad("id", only))
    }

    fn document(&self, name: &DocumentName) -> Result<Document, Reply> {
        match self.store.document(name) {
            Ok(Some(document)) => Ok(document),
            Ok(None) => {
                let message = format!(
                    "{name} has not been read yet; it is as soon as upstream answers and the \
                     records are there"
                );
                let reply = Reply::error(503, "NOT_MIRRORED_YET", &message);
                Err(reply.with("Retry-After", ASK_AGAIN))
            }
            Err(error) => Err(NoRead::Store(error).into()),
        }
    }
}

/// The document as upstream gave it, or with another body; it says as of when.
fn shown(document: Document, body: Option<String>) -> Reply {
    let reply = match body.unwrap_or(document.body) {
        body if body.is_empty() => Reply::empty(document.status),
        body => Reply::json(document.status, body),
    };
    reply.with("Mirror-Complete-Through", document.read.to_string())
}

/// The one item of the document's list that is wanted, as the only one of the list.
fn one(
    document: Document,
    name: &DocumentName,
    is_it: impl Fn(&Value) -> bool,
    none: impl FnOnce() -> Reply,
) -> Result<Reply, Reply> {
    let Some(items) = items(&document, name.list()) else {
        return Ok(shown(document, None));
    };
    let parsed = |item: &RawValue| serde_json::from_str::<Value>(item.get()).unwrap_or_default();
    let item = items.iter().find(|item| is_it(&parsed(item))).ok_or_else(none)?;
    Ok(shown(document, Some(format!("{{\"{}\":[{}]}}", name.list(), item.get()))))
}

/// The items of the list; `None` where upstream had none to give.
fn items(document: &Document, list: &str) -> Option<Vec<Box<RawValue>>> {
    let body: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&document.body).ok()?;
    serde_json::from_str(body.get(list)?.get()).ok()
}

fn finish(parameters: Parameters) -> Result<(), Reply> {
    parameters.finish().map_err(|bad| bad_parameter(&bad))
}

fn bad(name: &str, why: &str) -> Reply {
    bad_parameter(&BadParameter::new(name, why))
}

/// The refusal of a request that lacks a parameter, as upstream has it (facts §4.10).
fn missing(name: &str) -> Reply {
    let message = "One of the expected parameter is missing";
    Reply::detailed(400, "REQUIRED_PARAM_MISSING", json!({ "param": name }), message)
}
