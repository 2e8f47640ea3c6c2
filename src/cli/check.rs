//! `crmirror check`: the configuration, the files it names, and the store when it is not in use.
//! Opens nothing on the network.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::json;

use crate::config::{Config, Platform};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::reader_token;
use crate::server::gate::{GateError, TlsFiles};
use crate::store::{OpenError, Store};
use crate::upstream::transport::HttpsTransport;

use super::{print, user};

/// Looks at everything, and prints what is wrong.
pub(super) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            if json {
                let problems: Vec<String> =
                    errors.problems().iter().map(ToString::to_string).collect();
                print(&format!("{}\n", json!({ "ok": false, "problems": problems })))?;
            }
            return Err(errors.into());
        }
    };
    let mut warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let (credentials, of_credentials) = Credentials::load(&config.upstream.credentials)?;
    warnings.extend(of_credentials);
    credentials.require_refresh_token(&config.upstream.credentials)?;
    if config.platform.as_ref().is_some_and(Platform::needs_secret) {
        credentials.require_platform_secret(&config.upstream.credentials)?;
    }
    if config.needs_zapikey() {
        credentials.require_zapikey(&config.upstream.credentials)?;
    }
    if let Some(file) = &config.local.token_file {
        let (_, of_token) = reader_token::load(file)?;
        warnings.extend(of_token);
    }
    HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let of_key = certificate(&config).map_err(|error| Failure::failed(error.to_string()))?;
    warnings.extend(of_key);
    let store = look_at_store(&config.store, &mut warnings)?;
    if json {
        return print(&format!(
            "{}\n",
            json!({ "ok": true, "warnings": warnings, "store": store })
        ));
    }
    for warning in &warnings {
        eprintln!("crmirror: {warning}");
    }
    print(&format!("{}: good\n{}: {store}\n", path.display(), config.store.display()))
}

/// Looks at the certificate and its key, if there are any. What is to be said of a pair that can be
/// used, or that we cannot judge.
pub(super) fn certificate(config: &Config) -> Result<Option<String>, GateError> {
    let Some(tls) = &config.callbacks.tls else { return Ok(None) };
    let pair = TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() };
    match pair.examine() {
        Err(error) if is_the_services(&pair) => {
            Ok(Some(format!("{error}; the service alone can read it, not looked at")))
        }
        examined => examined,
    }
}

/// Whether systemd gives these files to the daemon's service and to nobody else, us included.
fn is_the_services(pair: &TlsFiles) -> bool {
    let ours = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let given = |file: &Path| {
        file.starts_with("/run/credentials") && !ours.as_ref().is_some_and(|o| file.starts_with(o))
    };
    given(&pair.cert) || given(&pair.key)
}

/// Whose a store is.
pub(super) enum Owner {
    /// There is none yet.
    Nobody,
    /// Ours to open.
    Us,
    /// This user's: what we would write would belong to us, and the daemon could not write it.
    Another(u32),
    /// It cannot be seen from here.
    Unknown(io::Error),
}

/// Whose the store in this directory is.
pub(super) fn owner_of(store: &Path) -> Owner {
    match fs::metadata(store.join("mirror.sled")) {
        Ok(there) if there.uid() == user() => Owner::Us,
        Ok(there) => Owner::Another(there.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Owner::Nobody,
        Err(error) => Owner::Unknown(error),
    }
}

/// Opens the store if there is one that is ours, and nobody else has it. One that is not there yet
/// is not made: it would belong to whoever checks, and not to the daemon.
fn look_at_store(path: &Path, warnings: &mut Vec<String>) -> Result<&'static str, Failure> {
    match owner_of(path) {
        Owner::Nobody => return Ok("no store yet; the daemon makes it"),
        Owner::Another(_) => return Ok("another user's, not looked at"),
        Owner::Unknown(_) => return Ok("out of our reach, not looked at"),
        Owner::Us => {}
    }
    match Store::open(path) {
        Ok((_, healings)) => {
            warnings.extend(healings.iter().map(ToString::to_string));
            Ok("good")
        }
        Err(OpenError::InUse { .. }) => Ok("in use, not looked at"),
        Err(error) => Err(Failure::failed(error.to_string())),
    }
}
