//! What is ours: the configuration and the files it names, the running daemon, the store.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::finding::{Finding, State, within};
use crate::cli::check::{Owner, certificate, owner_of};
use crate::cli::client::{Daemon, refused};
use crate::config::{Config, ConfigErrors};
use crate::credentials::{Credentials, CredentialsError};
use crate::error::Failure;
use crate::reader_token;
use crate::store::{OpenError, Store, examine};

/// How long the store may take to be read whole and opened: longer than 100,000 records take on a
/// card, and as long as a person may wait.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// What is wrong with a configuration that cannot be used.
pub(super) fn problems(errors: &ConfigErrors) -> Vec<Finding> {
    let told = |problem: &_| Finding::told("configuration", State::Fail, &format!("{problem}"));
    errors.problems().iter().map(told).collect()
}

/// A configuration that can be used, and what is to be said of it and of the files it names.
pub(super) fn configuration(path: &Path, config: &Config) -> Vec<Finding> {
    let told = |state: State, what: &str| Finding::told("configuration", state, what);
    let warn = |what: &str| told(State::Warn, what);
    let mut found: Vec<Finding> =
        config.warnings.iter().map(|warning| warn(&warning.to_string())).collect();
    // That there is none is told where the daemon is asked, which cannot be done without it.
    let token = config.local.token_file.as_deref().and_then(|file| reader_token::load(file).ok());
    found.extend(token.and_then(|(_, warning)| warning).map(|warning| warn(&warning)));
    match certificate(config) {
        Ok(warning) => found.extend(warning.map(|warning| warn(&warning))),
        Err(error) => found.push(told(State::Fail, &error.to_string())),
    }
    if found.is_empty() {
        let modules = match config.modules.len() {
            1 => "1 module".to_owned(),
            count => format!("{count} modules"),
        };
        found.push(Finding::ok("configuration", format!("{}, {modules}", path.display())));
    }
    found
}

/// The credentials file.
pub(super) fn credentials(config: &Config) -> (Vec<Finding>, Option<Credentials>) {
    let file = config.upstream.credentials.as_path();
    let load = || -> Result<_, CredentialsError> {
        let (credentials, warnings) = Credentials::load(file)?;
        credentials.require_refresh_token(file)?;
        if config.needs_zapikey() {
            credentials.require_zapikey(file)?;
        }
        Ok((credentials, warnings))
    };
    match load() {
        Ok((credentials, warnings)) if warnings.is_empty() => {
            let says = format!("{}: client, secret, refresh token", file.display());
            (vec![Finding::ok("credentials", says)], Some(credentials))
        }
        Ok((credentials, warnings)) => {
            let told = |warning: &String| Finding::told("credentials", State::Warn, warning);
            (warnings.iter().map(told).collect(), Some(credentials))
        }
        Err(error) => (vec![Finding::told("credentials", State::Fail, &error.to_string())], None),
    }
}

/// The running daemon, and its status.
pub(super) fn daemon(config: &Config) -> Result<(Finding, Option<Value>), Failure> {
    let daemon = Daemon::of(config)?;
    let Some(reply) = daemon.get("/status") else {
        return Ok((Finding::told("daemon", State::Skipped, &daemon.absent().message), None));
    };
    if reply.status != 200 {
        let to_do = "see local.listen and local.token_file";
        return Ok((Finding::fail("daemon", refused(&reply).message, to_do), None));
    }
    let status = serde_json::from_slice(&reply.body).ok();
    match status.filter(|status: &Value| status["version"].is_string()) {
        Some(status) => Ok((judge_daemon(&status), Some(status))),
        None => {
            let says = format!("what answers at {} is not crmirror", config.local.listen);
            let to_do = "see local.listen, and what else listens there: ss -ltnp";
            Ok((Finding::fail("daemon", says, to_do), None))
        }
    }
}

fn judge_daemon(status: &Value) -> Finding {
    let version = status["version"].as_str().unwrap_or_default();
    let ours = env!("CARGO_PKG_VERSION");
    if version != ours {
        let says = format!("{version} runs, and this is {ours}");
        return Finding::warn("daemon", says, "systemctl restart crmirror");
    }
    if let Some(error) = status["upstream"]["last_error"].as_str() {
        return Finding::warn("daemon", error, "see what follows, and crmirror status");
    }
    let (waiting, aside) = (&status["inbox"]["waiting"], &status["inbox"]["quarantined"]);
    let upstream = status["upstream"]["state"].as_str().unwrap_or_default();
    let says = format!("{version} runs, {upstream}, {waiting} waiting, {aside} set aside");
    match aside.as_u64() {
        Some(1..) => Finding::warn("daemon", says, "its log says which records, and why"),
        Some(0) | None => Finding::ok("daemon", says),
    }
}

/// The store: as the daemon tells, when one runs; else it is opened, and held, so that no daemon
/// starts beside what follows.
pub(super) fn store(path: &Path, status: Option<&Value>) -> (Vec<Finding>, Option<Store>) {
    let skipped = |why: String| (vec![Finding::skipped("store", why)], None);
    if let Some(status) = status {
        return (vec![told_store(status)], None);
    }
    match owner_of(path) {
        Owner::Us => {}
        Owner::Nobody => {
            return skipped(format!("{} has none yet, the daemon makes it", path.display()));
        }
        Owner::Another(owner) => {
            let how = format!("sudo -u '#{owner}' crmirror doctor");
            return skipped(format!("{} is of user {owner}; run {how}", path.display()));
        }
        Owner::Unknown(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let says = format!("{} is no directory", path.display());
            let to_do = "change store.path, or remove what lies there";
            return (vec![Finding::fail("store", says, to_do)], None);
        }
        Owner::Unknown(error) => {
            return skipped(format!("{}: {error}; run as root", path.display()));
        }
    }
    let directory = path.to_owned();
    match within(OPEN_LIMIT, move || examined(&directory)) {
        Some(Ok(examined)) => examined,
        Some(Err(OpenError::InUse { .. })) => {
            let says = format!("{} is in use, and no daemon answers", path.display());
            let to_do = "wait if it was just started; else systemctl restart crmirror";
            (vec![Finding::fail("store", says, to_do)], None)
        }
        Some(Err(error)) => (vec![Finding::told("store", State::Fail, &error.to_string())], None),
        None => {
            let limit = OPEN_LIMIT.as_secs();
            skipped(format!("not all of it is read within {limit} s, crmirror fsck takes its time"))
        }
    }
}

/// Reads all of it, and opens it if it is good: one that is not is the daemon's to make anew.
fn examined(path: &Path) -> Result<(Vec<Finding>, Option<Store>), OpenError> {
    let found = examine(path, false)?;
    if !found.is_good() {
        let places: u64 = found.kinds.iter().map(|kind| kind.unreadable + kind.gaps).sum();
        let says = match found.trouble {
            Some(trouble) => format!("it is damaged: {trouble}"),
            None => format!("it is damaged: {places} places cannot be read"),
        };
        let to_do = "the next start of the daemon makes it anew; then look at the card";
        return Ok((vec![Finding::warn("store", says, to_do)], None));
    }
    let (store, healings) = Store::open(path)?;
    let told = |healing: &_| Finding::told("store", State::Warn, &format!("{healing}"));
    let mut all: Vec<Finding> = healings.iter().map(told).collect();
    if all.is_empty() {
        let records = found.kinds.iter().find(|kind| kind.kind == "records");
        let count = records.map_or(0, |records| records.good);
        all.push(Finding::ok("store", format!("{} is good, {count} records", path.display())));
    }
    Ok((all, Some(store)))
}

fn told_store(status: &Value) -> Finding {
    match status["store"]["unreadable"].as_u64() {
        Some(0) => Finding::ok("store", "the daemon reads and writes it"),
        Some(count) => Finding::fail(
            "store",
            format!("{count} places in it cannot be read"),
            "systemctl restart crmirror mends it; then look at the card",
        ),
        None => Finding::skipped("store", "the daemon does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_daemons_word_is_judged() {
        let ours = env!("CARGO_PKG_VERSION");
        let status = |version: &str, error: Option<&str>, aside: u64| {
            let upstream = json!({ "state": "online", "last_error": error });
            let inbox = json!({ "waiting": 3, "quarantined": aside });
            judge_daemon(&json!({ "version": version, "upstream": upstream, "inbox": inbox }))
        };
        let good = status(ours, None, 0);
        let line = format!("ok       daemon         {ours} runs, online, 3 waiting, 0 set aside");
        assert_eq!(good.line(), line);
        assert!(status("0.0.1", None, 0).line().ends_with("; systemctl restart crmirror"));
        assert!(status(ours, Some("no network"), 0).line().starts_with("warn     daemon"));
        assert!(status(ours, None, 1).line().contains("1 set aside; its log"));
        let store = |count: u64| told_store(&json!({ "store": { "unreadable": count } })).state;
        assert_eq!((store(0), store(1)), (State::Ok, State::Fail));
        assert_eq!(told_store(&json!({})).state, State::Skipped);
    }
}
