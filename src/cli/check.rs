//! `crmirror check`: the configuration, the files it names, and the store when it is not in use.
//! Opens nothing on the network.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::json;

use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::reader_token;
use crate::server::gate::TlsFiles;
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
    if let Some(file) = &config.local.token_file {
        let (_, of_token) = reader_token::load(file)?;
        warnings.extend(of_token);
    }
    HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    if let Some(tls) = &config.callbacks.tls {
        let pair = TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() };
        match pair.examine() {
            Ok(of_key) => warnings.extend(of_key),
            Err(error) if is_the_services(&pair) => {
                warnings.push(format!("{error}; the service alone can read it, not looked at"));
            }
            Err(error) => return Err(Failure::failed(error.to_string())),
        }
    }
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

/// Whether systemd gives these files to the daemon's service and to nobody else, us included.
fn is_the_services(pair: &TlsFiles) -> bool {
    let ours = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let given = |file: &Path| {
        file.starts_with("/run/credentials") && !ours.as_ref().is_some_and(|o| file.starts_with(o))
    };
    given(&pair.cert) || given(&pair.key)
}

/// Opens the store if there is one and nobody else has it. One that is not there yet is not made,
/// and another user's is not opened: what is written would belong to whoever checks, and not to the
/// daemon.
fn look_at_store(path: &Path, warnings: &mut Vec<String>) -> Result<&'static str, Failure> {
    let there = match fs::metadata(path.join("mirror.sled")) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok("no store yet; the daemon makes it");
        }
        Err(_) => return Ok("out of our reach, not looked at"),
    };
    if there.uid() != user() {
        return Ok("another user's, not looked at");
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
