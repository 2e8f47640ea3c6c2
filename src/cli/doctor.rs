//! `crmirror doctor`: everything that the daemon depends on, one line each, and what to do.
//!
//! `ours` the configuration, the daemon, the store · `clock` · `way` names, connections and
//! certificates · `account` token, modules, channel · `books` Zoho Books · `callbacks` whether
//! they find us · `platform` our extension · `outbox` · `disk` · `board` · `bundle` all of it for
//! somebody else. Each reads in one place and judges in another.
//!
//! Nothing is mended here, and a running daemon is not disturbed. Every check ends by itself: calls
//! have [`way::PATIENCE`], what may hang in the kernel is left behind after a limit of its own.

mod account;
mod board;
mod books;
mod bundle;
mod callbacks;
mod clock;
mod disk;
mod finding;
mod ours;
mod outbox;
mod platform;
#[cfg(test)]
mod tests;
mod way;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use self::account::{Account, Keeping, unknown};
use self::clock::Clock as Shown;
use self::finding::{Finding, State};
use self::way::{PATIENCE, Way};
use super::{print, terminal_width};
use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::identity::{Identity, api_origin, login_fingerprint};
use crate::store::Store;
use crate::upstream::transport::HttpsTransport;

/// Where the kernel tells of the device.
const SYS: &str = "/sys";
const PROC: &str = "/proc";

/// Looks at everything, prints what it finds as it finds it, and writes the bundle if wanted.
pub(super) fn run(path: &Path, bundle: Option<&Path>, json: bool) -> Result<(), Failure> {
    let mut told = Told { findings: Vec::new(), json, misconfigured: false };
    let config = Config::load(path);
    let status = match &config {
        Ok(config) => look(path, config, &mut told)?,
        Err(errors) => {
            told.misconfigured = true;
            told.tell(ours::problems(errors))?;
            told.tell(board::look(Path::new(SYS), Path::new(PROC)))?;
            None
        }
    };
    if let Some(file) = bundle {
        bundle::write(file, config.as_ref().ok(), status.as_ref(), &told.findings)?;
    }
    told.end(bundle)
}

/// Looks at everything; the status of the daemon, if one runs.
fn look(path: &Path, config: &Config, told: &mut Told) -> Result<Option<Value>, Failure> {
    told.tell(ours::configuration(path, config))?;
    let (found, credentials) = ours::credentials(config);
    told.misconfigured |= credentials.is_none();
    told.tell(found)?;
    let (daemon, status) = ours::daemon(config).unwrap_or_else(|failure| {
        told.misconfigured = true;
        (Finding::told("daemon", State::Fail, &failure.message), None)
    });
    told.tell([daemon])?;
    let (found, store) = ours::store(&config.store, status.as_ref());
    told.tell(found)?;
    look_upstream(config, credentials, status.as_ref(), store.as_ref(), told)?;
    told.tell(callbacks::look(config, status.is_some()))?;
    told.tell(platform::look(config, store.as_ref(), status.as_ref()))?;
    told.tell(outbox::look(config, status.as_ref(), store.as_ref()))?;
    // From here on a daemon may start again.
    drop(store);
    told.tell([disk::space(&config.store), disk::writes(&config.store, DeviceClock)])?;
    told.tell([disk::card(Path::new(SYS), &config.store)])?;
    told.tell(board::look(Path::new(SYS), Path::new(PROC)))?;
    Ok(status)
}

fn look_upstream(
    config: &Config,
    credentials: Option<Credentials>,
    status: Option<&Value>,
    store: Option<&Store>,
    told: &mut Told,
) -> Result<(), Failure> {
    let ca_file = config.upstream.ca_file.as_deref();
    let transport = match HttpsTransport::with_patience(ca_file, PATIENCE) {
        Ok(transport) => Arc::new(transport),
        Err(error) => {
            told.misconfigured = true;
            told.tell([Finding::told("tls", State::Fail, &error.to_string())])?;
            let why = "upstream cannot be called";
            told.tell(unknown(why))?;
            return told.tell(books::unknown(config, why));
        }
    };
    let identity = Identity::open(&config.store);
    let upstream = &config.upstream;
    let login = credentials.as_ref().and_then(|all| all.refresh_token.as_ref());
    let access = identity
        .as_ref()
        .ok()
        .zip(login)
        .and_then(|(identity, login)| identity.access(&login_fingerprint(login)));
    let named = access.and_then(|access| access.api_domain.as_deref());
    let api =
        api_origin(upstream.api.as_ref(), named, upstream.api_default.as_ref(), &upstream.accounts);
    let go = |origin: &_| Way::go(Clone::clone(origin), &*transport, &DeviceClock);
    let mut ways = vec![go(&upstream.accounts)];
    ways.extend(api.filter(|api| *api != upstream.accounts).as_ref().map(go));
    let (evidence, shows) = way::evidence(&ways);
    let shown = Shown {
        shows: shows.unwrap_or_else(|| DeviceClock.wall()),
        evidence,
        kept: clock::is_kept(),
        battery: clock::has_battery(Path::new(SYS)),
    };
    told.tell([shown.judge(), way::names(&ways), way::certificates(&ways)])?;
    let (accounts, api) = (&ways[0], ways.last().expect("there is one at least"));
    let all_unknown = |why: &str| [unknown(why), books::unknown(config, why)].concat();
    told.tell(match (credentials, identity) {
        (None, _) => all_unknown("there are no credentials to show"),
        (_, Err(error)) => all_unknown(&error.to_string()),
        (Some(credentials), Ok(identity)) => {
            let keeping = match store {
                Some(_) => Keeping::Kept,
                None if config.store.join("mirror.sled").exists() => Keeping::NotOurs,
                None => Keeping::NoStore,
            };
            let mut account =
                Account::new(config, credentials, identity, transport, status, keeping);
            account.look(accounts, api)
        }
    })
}

/// What was found so far, and how it is shown.
struct Told {
    findings: Vec<Finding>,
    json: bool,
    misconfigured: bool,
}

impl Told {
    /// Prints findings as they come: what follows may take its time.
    fn tell(&mut self, findings: impl IntoIterator<Item = Finding>) -> Result<(), Failure> {
        for finding in findings {
            if !self.json {
                let line = terminal_width().map_or(finding.line(), |width| finding.folded(width));
                print(&format!("{line}\n"))?;
            }
            self.findings.push(finding);
        }
        Ok(())
    }

    fn end(&self, bundle: Option<&Path>) -> Result<(), Failure> {
        let failed = self.findings.iter().filter(|found| found.state == State::Fail).count();
        if self.json {
            let bundle = bundle.map(|file| file.display().to_string());
            let findings: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
            print(&format!(
                "{}\n",
                json!({ "ok": failed == 0, "findings": findings, "bundle": bundle })
            ))?;
        } else if let Some(file) = bundle {
            let file = file.display();
            print(&format!("{file} has no secrets and no records; read it before you send it\n"))?;
        }
        if self.misconfigured {
            return Err(Failure::configuration("the configuration is wrong; see what fails above"));
        }
        match failed {
            0 => Ok(()),
            1 => Err(Failure::failed("1 check fails; what to do stands behind it")),
            count => {
                Err(Failure::failed(format!("{count} checks fail; what to do stands behind them")))
            }
        }
    }
}
