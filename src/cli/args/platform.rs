//! The arguments of `platform`.

use crate::error::Failure;
use crate::mirror::platform::invoke::Invocation;

use super::{Command, Words, usage};

/// Methods that Desk calls addresses with.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What to do about the platform.
#[derive(Debug)]
pub enum PlatformCommand {
    /// Show what it told.
    Events,
    /// Have Desk call an address.
    Invoke(Invocation),
}

impl Words {
    /// `platform …`
    pub(super) fn platform(&mut self, words: &[&str]) -> Result<Command, Failure> {
        let command = match words {
            ["events"] => PlatformCommand::Events,
            ["invoke", method, url] => PlatformCommand::Invoke(self.invocation(method, url)?),
            ["invoke", ..] => return Err(usage("platform invoke needs a method and an address")),
            _ => return Err(usage("platform is followed by events or invoke")),
        };
        Ok(Command::Platform(command))
    }

    fn invocation(&mut self, method: &str, url: &str) -> Result<Invocation, Failure> {
        let method = method.to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            return Err(usage(&format!("platform invoke takes one of {}", METHODS.join(" "))));
        }
        if !url.starts_with("https://") {
            return Err(usage("platform invoke needs an address that begins with https://"));
        }
        let mut data = std::mem::take(&mut self.call.data);
        if data.len() > 1 {
            return Err(usage("platform invoke takes --data once"));
        }
        Ok(Invocation {
            url: url.to_owned(),
            method,
            query: pairs("--query", &std::mem::take(&mut self.query))?,
            body: data.pop().unwrap_or_default(),
            headers: pairs("--header", &std::mem::take(&mut self.header))?,
            connection: self.connection.take().unwrap_or_default(),
        })
    }
}

/// Texts like `name=value`, taken apart.
fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| {
        let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = parts.ok_or_else(|| usage(&format!("{option} takes NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}
