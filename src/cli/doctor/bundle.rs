//! The support bundle: one JSON file that a person can read through before sending it.
//!
//! What goes into it is named here, key by key; no file is copied. It holds no secret and nothing
//! of a record, and what the findings and the status say passes a last look for every secret that
//! this device knows.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::finding::{Finding, kernel_text};
use crate::clock::{Clock, DeviceClock};
use crate::config::{Books, Channel, Config, Function, Module, Outbox, Platform, Webhook};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::identity::context::ContextFile;
use crate::identity::{Identity, login_fingerprint};
use crate::mirror::gather::Gather;
use crate::mirror::record::FieldName;
use crate::reader_token;
use crate::secret::Secret;
use crate::store::file;

/// Secrets shorter than this are not looked for: what they are would be found in every text.
const SHORTEST: usize = 6;

/// Writes the bundle, for its owner alone.
pub(super) fn write(
    path: &Path,
    config: Option<&Config>,
    status: Option<&Value>,
    findings: &[Finding],
) -> Result<(), Failure> {
    let bundle = json!({
        "crmirror": env!("CARGO_PKG_VERSION"),
        "device_time": DeviceClock.wall(),
        "system": system(),
        "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        "status": status,
        "configuration": config.map(configuration),
    });
    let bundle = redacted(bundle, &config.map(secrets).unwrap_or_default());
    let text = serde_json::to_string_pretty(&bundle).expect("JSON can be written") + "\n";
    file::replace(path, text.as_bytes(), 0o600).map_err(|error| {
        Failure::failed(format!(
            "{} cannot be written: {error}; name another file with --bundle",
            path.display()
        ))
    })
}

fn system() -> Value {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "architecture": std::env::consts::ARCH,
        "kernel": kernel_text(Path::new("/proc/sys/kernel/osrelease")),
        "board": kernel_text(Path::new("/proc/device-tree/model")),
        "system": name.map(|name| name.trim_matches('"')),
    })
}

/// The configuration as it is understood, with the address of callbacks cut to what anybody may
/// know.
fn configuration(config: &Config) -> Value {
    let Config {
        upstream,
        channel: _,
        books,
        platform,
        callbacks,
        local,
        store,
        catch_up,
        modules,
        functions,
        outbox,
        warnings: _,
    } = config;
    let origin = |origin: &_| format!("{origin}");
    let path = |path: &PathBuf| path.display().to_string();
    let channel = |channel: &Channel| {
        json!({
            "notify_url": format!("{}/…", channel.notify_url.origin()),
            "id": channel.id,
            "lifetime_seconds": channel.lifetime.as_secs(),
            "related_actions": channel.related_actions,
        })
    };
    let function = |called: &Function| json!({ "name": called.name, "auth": called.auth.as_str() });
    let tls = callbacks.tls.as_ref();
    json!({
        "upstream": {
            "accounts": origin(&upstream.accounts),
            "api": upstream.api.as_ref().map(origin),
            "api_version": upstream.version.as_str(),
            "credentials": path(&upstream.credentials),
            "ca_file": upstream.ca_file.as_ref().map(path),
        },
        "channel": config.channel.as_ref().map(channel),
        "callbacks": {
            "listen": callbacks.listen,
            "tls_cert": tls.map(|tls| path(&tls.cert)),
            "tls_key": tls.map(|tls| path(&tls.key)),
            "behind_proxy": callbacks.behind_proxy,
        },
        "local": {
            "listen": local.listen,
            "token_file": local.token_file.as_ref().map(path),
            "socket": local.socket.as_ref().map(path),
            "socket_mode": format!("{:04o}", local.socket_mode),
            "socket_group": local.socket_group,
            "allow_origins": local.allow_origins.iter().map(origin).collect::<Vec<_>>(),
        },
        "store": { "path": path(store) },
        "catch_up": {
            "every_seconds": catch_up.every.as_secs(),
            "sweep_every_seconds": catch_up.sweep_every.as_secs(),
            "credits_per_day": catch_up.credits_per_day,
        },
        "modules": modules.iter().map(of_module).collect::<Vec<_>>(),
        "books": books.as_ref().map(of_books),
        "functions": functions.iter().map(function).collect::<Vec<_>>(),
        "outbox": limits(outbox),
        "platform": platform.as_ref().map(of_platform),
    })
}

fn of_module(module: &Module) -> Value {
    let operations: Vec<&str> = module.operations.iter().map(|each| each.as_str()).collect();
    let names = |all: &Vec<FieldName>| all.iter().map(FieldName::to_string).collect::<Vec<_>>();
    json!({
        "name": module.name,
        "operations": operations,
        "fields": module.fields.as_ref().map(names),
        "index": names(&module.index),
        "whole_records": module.whole_records,
        "refresh_every_seconds": module.refresh_every.map(|every| every.as_secs()),
    })
}

/// The limits of the outbox.
fn limits(outbox: &Outbox) -> Value {
    json!({
        "calls_per_day": outbox.calls_per_day,
        "max_age_seconds": outbox.max_age.as_secs(),
        "kept_seconds": outbox.kept.as_secs(),
    })
}

fn of_platform(platform: &Platform) -> Value {
    json!({
        "notify_url": format!("{}/…", platform.notify_url.origin()),
        "verify": platform.verify.as_str(),
        "on_uninstall": platform.on_uninstall.as_str(),
        "org_id": platform.org_id,
        "desk": platform.desk.as_ref().map(|desk| desk.to_string()),
    })
}

fn of_books(books: &Books) -> Value {
    let webhook = |webhook: &Webhook| {
        json!({
            "name": webhook.name,
            "entity": webhook.entity.singular(),
            "notify_url": format!("{}/…", webhook.notify_url.origin()),
            "secret": webhook.secret,
        })
    };
    json!({
    "organization_id": books.organization_id,
    "calls_per_day": books.calls_per_day,
    "entities": books.entities.iter().map(|entity| entity.singular()).collect::<Vec<_>>(),
    "webhooks": books.webhooks.iter().map(webhook).collect::<Vec<_>>(),
        })
}

/// Every secret that this device knows, as far as its files can be read.
fn secrets(config: &Config) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for (_, url) in config.notify_urls() {
        secrets.extend([url.secret_part(), url.path()].map(|text| Secret::new(text.to_owned())));
    }
    let token = config.local.token_file.as_deref().and_then(|file| reader_token::load(file).ok());
    secrets.extend(token.map(|(token, _)| token));
    let identity = Identity::open(&config.store).ok();
    let context = ContextFile::of(&config.store).load().ok().flatten();
    secrets.extend(context.map(|context| context.security_context));
    if let Some(channel) = identity.as_ref().and_then(Identity::channel) {
        secrets.extend(channel.tokens.iter().map(|kept| kept.token.clone()));
    }
    if let Some(books) = identity.as_ref().map(Identity::books) {
        let webhooks = books.webhooks().values();
        secrets.extend(
            webhooks.flat_map(|webhook| webhook.secrets.iter().map(|kept| kept.secret.clone())),
        );
    }
    if let Ok((credentials, _)) = Credentials::load(&config.upstream.credentials) {
        let login = credentials.refresh_token.as_ref().map(login_fingerprint);
        let access = identity.as_ref().zip(login).and_then(|(all, login)| all.access(&login));
        secrets.extend(access.map(|access| access.token.clone()));
        let Credentials { client_secret, refresh_token, platform_secret, zapikey, .. } =
            credentials;
        let others = [refresh_token, platform_secret, zapikey].into_iter().flatten();
        secrets.extend(others.chain([client_secret]));
    }
    secrets.retain(|secret| secret.reveal().len() >= SHORTEST);
    secrets
}

/// The same without these texts, wherever they stand in a text.
fn redacted(value: Value, secrets: &[Secret]) -> Value {
    match value {
        Value::String(text) => Value::String(
            secrets.iter().fold(text, |text, secret| text.replace(secret.reveal(), "(secret)")),
        ),
        Value::Array(all) => all.into_iter().map(|each| redacted(each, secrets)).collect(),
        Value::Object(all) => {
            let each = |(key, value)| (key, redacted(value, secrets));
            Value::Object(all.into_iter().map(each).gather())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let secrets = ["S3CRET", "/callback/4f"].map(|text| Secret::new(text.to_owned()));
        let before = json!({ "a": ["xS3CRETx", 7], "b": { "c": "https://k/callback/4f1" } });
        let after = json!({ "a": ["x(secret)x", 7], "b": { "c": "https://k(secret)1" } });
        assert_eq!(redacted(before, &secrets), after);
    }
}
