//! `crmirror send`: leaves a call to a function in the running daemon's outbox.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::config::Config;
use crate::error::Failure;
use crate::server::gate::request::BODY_LIMIT;

use super::args::{Content, Send};
use super::client::{Daemon, refused};
use super::print;

/// Largest file: what the local interface takes.
const FILE_LIMIT: u64 = BODY_LIMIT as u64;

/// Leaves the call, and prints its id.
pub(super) fn run(config: &Config, send: &Send, json: bool) -> Result<(), Failure> {
    let Send { function, content, key } = send;
    if !config.functions.iter().any(|configured| configured.name == *function) {
        let names: Vec<&str> = config.functions.iter().map(|it| it.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::usage(format!("{function} is no [[function]]; there are {known}")));
    }
    let (media_type, content) = body(content)?;
    let daemon = Daemon::of(config)?;
    let reply = daemon.leave(&format!("/outbox/{function}"), media_type, content, key.as_deref());
    let reply = reply.ok_or_else(|| daemon.absent())?;
    if !matches!(reply.status, 200 | 202) {
        return Err(refused(&reply));
    }
    let left: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if json {
        return print(&format!("{left}\n"));
    }
    print(&format!("{}\n", left["id"].as_str().unwrap_or_default()))
}

fn body(content: &Content) -> Result<(Option<String>, Vec<u8>), Failure> {
    match content {
        Content::Empty => Ok((None, Vec::new())),
        Content::Json(text) => Ok((Some("application/json".into()), text.clone().into_bytes())),
        Content::Form(pairs) => {
            let encode = |text: &String| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
                .collect();
            let media_type = "application/x-www-form-urlencoded".into();
            Ok((Some(media_type), pairs.join("&").into_bytes()))
        }
        Content::File(path, media_type) => Ok((Some(media_type.clone()), read(path)?)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut content));
    read.map_err(|error| Failure::failed(format!("{} cannot be read: {error}", path.display())))?;
    if content.len() as u64 > FILE_LIMIT {
        let (path, limit) = (path.display(), FILE_LIMIT >> 10);
        return Err(Failure::failed(format!("{path} is larger than {limit} KiB; send less")));
    }
    Ok(content)
}
