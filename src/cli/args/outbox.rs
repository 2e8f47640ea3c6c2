//! The arguments of `send` and `outbox`.

use std::path::PathBuf;

use crate::error::Failure;
use crate::mirror::outbox::{CallId, FunctionName, Standing};

use super::{Command, Words, usage};

/// A call to leave in the outbox.
#[derive(Debug)]
pub struct Send {
    /// The function.
    pub function: FunctionName,
    /// What it gets.
    pub content: Content,
    /// The same key with the same content is the same call.
    pub key: Option<String>,
}

/// What a function gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// JSON, as it was written.
    Json(String),
    /// Names and values.
    Form(Vec<(String, String)>),
    /// A file, and its media type.
    File(PathBuf, String),
}

/// What to do with calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutboxCommand {
    /// Show them.
    List {
        /// Only those that stand so.
        state: Option<Standing>,
        /// At most so many.
        limit: usize,
    },
    /// Show one, with its answer.
    Show(CallId),
    /// Have one that failed tried again; one that waits now.
    Retry(CallId),
    /// Withdraw one that waits.
    Drop(CallId),
}

/// What the options of both said.
#[derive(Default)]
pub(super) struct CallWords {
    pub(super) data: Vec<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) media_type: Option<String>,
    pub(super) key: Option<String>,
    pub(super) state: Option<String>,
}

impl CallWords {
    /// The options that nobody has read.
    pub(super) fn left(&self) -> [(&'static str, bool); 5] {
        [
            ("--data", !self.data.is_empty()),
            ("--file", self.file.is_some()),
            ("--type", self.media_type.is_some()),
            ("--idempotency-key", self.key.is_some()),
            ("--state", self.state.is_some()),
        ]
    }
}

impl Words {
    /// `send FUNCTION [JSON]`
    pub(super) fn send(&mut self, function: &str, json: Option<&str>) -> Result<Command, Failure> {
        let function = FunctionName::parse(function)
            .map_err(|error| usage(&format!("'{function}' is no function: {error}")))?;
        let call = &mut self.call;
        let data = std::mem::take(&mut call.data);
        let content = match (json, data.is_empty(), call.file.take()) {
            (None, true, None) => Content::Empty,
            (Some(json), true, None) => Content::Json(json.to_owned()),
            (None, false, None) => {
                let pair = |text: &String| {
                    let pair = text.split_once('=');
                    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    pair.ok_or_else(|| usage("--data takes NAME=VALUE"))
                };
                Content::Form(data.iter().map(pair).collect::<Result<_, _>>()?)
            }
            (None, true, Some(file)) => {
                let media_type = call.media_type.take();
                Content::File(file, media_type.unwrap_or("application/octet-stream".into()))
            }
            _ => return Err(usage("send takes one of JSON, --data and --file")),
        };
        let key = call.key.take();
        if key.as_ref().is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(usage("--idempotency-key takes visible characters"));
        }
        Ok(Command::Send(Send { function, content, key }))
    }

    /// `outbox list|show|retry|drop`
    pub(super) fn outbox(&mut self, words: &[&str]) -> Result<OutboxCommand, Failure> {
        match words {
            ["list"] => {
                let standing = |word: String| {
                    Standing::parse(&word)
                        .ok_or_else(|| usage("--state is waiting, sent or failed"))
                };
                let state = self.call.state.take().map(standing).transpose()?;
                let limit = self.take_limit()?.unwrap_or(usize::MAX);
                Ok(OutboxCommand::List { state, limit })
            }
            ["show", id] => Ok(OutboxCommand::Show(call_id(id)?)),
            ["retry", id] => Ok(OutboxCommand::Retry(call_id(id)?)),
            ["drop", id] => Ok(OutboxCommand::Drop(call_id(id)?)),
            _ => Err(usage("outbox is followed by list, or by show, retry or drop and an id")),
        }
    }
}

fn call_id(text: &str) -> Result<CallId, Failure> {
    text.parse().map_err(|error| usage(&format!("'{text}' {error}")))
}
