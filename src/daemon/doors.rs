//! The doors: for local programs, and for what calls back.
//!
//! Which listener gets which gate, hall and limits is decided here, and which kind of callback is
//! received at which path.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::Failure;
use crate::identity::context::ContextFile;
use crate::mirror::planner::Input;
use crate::mirror::platform::OnUninstall;
use crate::mirror::record::ModuleName;
use crate::priority;
use crate::reader_token;
use crate::secret::Secret;
use crate::server::board::Board;
use crate::server::books::BooksMirrored;
use crate::server::gate::{Gate, Limits, Listener, Teller, TlsFiles};
use crate::server::hall::{Hall, Respond};
use crate::server::intake::Intake;
use crate::server::local::Local;
use crate::server::receive::Notifications;
use crate::server::receive_books::Announced;
use crate::server::receive_platform::{Demands, PlatformCallbacks};
use crate::server::reception::Reception;
use crate::store::Store;
use crate::systemd::Passed;

use super::sockets;

/// Threads that answer callbacks. They wait for the disk, and those that wait together share one
/// flush: so many more than a device has cores make one flush of ten, where many call at once. Each
/// has some 50 KiB, with its line and tiny_http's thread for that.
const CALLBACK_WORKERS: usize = 32;
/// Threads that answer local programs.
const LOCAL_WORKERS: usize = 8;

/// The listeners.
pub(super) struct Doors {
    board: Arc<Board>,
    pub(super) gates: Vec<Gate>,
    // The gates lead here: they come first in the order of dropping.
    pub(super) halls: Vec<Hall>,
}

impl Doors {
    /// Opens them all.
    pub(super) fn open(
        config: &Config,
        platform_secret: Option<Secret>,
        passed: &Passed,
        store: &Store,
        board: &Arc<Board>,
        bell: &SyncSender<Input>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Doors, Failure> {
        let (gates, halls) = (Vec::new(), Vec::new());
        let mut doors = Doors { board: Arc::clone(board), gates, halls };
        let mut tellers = doors.open_local(config, passed, store, board, bell, clock)?;
        let reception = reception(config, platform_secret, store, board, bell, clock)?;
        if reception.is_idle() {
            sockets::warn_of_idle_callbacks(passed);
        } else {
            tellers.extend(doors.open_callbacks(config, passed, reception)?);
        }
        // Opened once in a process: nothing was told before.
        let _ = board.meters.doors.set(tellers);
        Ok(doors)
    }

    /// Opens the doors of local programs.
    fn open_local(
        &mut self,
        config: &Config,
        passed: &Passed,
        store: &Store,
        board: &Arc<Board>,
        bell: &SyncSender<Input>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<(&'static str, Teller)>, Failure> {
        let mut local = Local::new(
            module_names(config),
            config.local.allow_origins.clone(),
            store.clone(),
            Arc::clone(board),
            bell.clone(),
            Arc::clone(clock),
        );
        // Books is read beside CRM, in its own shape.
        if let Some(books) = &config.books {
            let (organization, entities) = (books.organization_id.clone(), books.entities.clone());
            local = local.with_books(BooksMirrored { organization, entities });
        }
        if config.platform.is_some() {
            local = local.telling_of_platform();
        }
        if let Some(file) = &config.local.token_file {
            let (token, warning) = reader_token::load(file)?;
            warning.iter().for_each(|warning| log::warn!("{warning}"));
            local = local.guarded_by(token);
        }
        local = local.calling(config.functions.iter().map(|it| it.name.clone()).collect());
        // Whoever reads, and however much, leaves the processor to callbacks first.
        let opened = priority::behind(
            || open_behind(config, passed, local, store),
            |error| {
                let hint = "have SystemCallFilter allow setpriority";
                log::warn!("readers may hold callbacks up: {error}; {hint}");
            },
        );
        let (gates, hall) = opened.map_err(super::no_thread("local"))??;
        let door = |gate: &Gate| if gate.address().is_some() { "local" } else { "socket" };
        let tellers = gates.iter().map(|gate| (door(gate), gate.teller())).collect();
        self.gates.extend(gates);
        self.halls.push(hall);
        Ok(tellers)
    }

    /// Opens the doors that upstream calls at.
    fn open_callbacks(
        &mut self,
        config: &Config,
        passed: &Passed,
        reception: Reception,
    ) -> Result<Vec<(&'static str, Teller)>, Failure> {
        let callbacks = &config.callbacks;
        let hall = open_hall(CALLBACK_WORKERS, Arc::new(move |asked| reception.respond(asked)))?;
        let tls = callbacks.tls.as_ref();
        let tls = tls.map(|tls| TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() });
        let mut tellers = Vec::new();
        for listener in sockets::callbacks(config, passed)? {
            // Behind a proxy every caller has the proxy's address, and on a loopback address
            // that of this device: whoever leads strangers there is a tunnel or a proxy too.
            let one_peer = callbacks.behind_proxy || listener.is_on_loopback();
            let limits = Limits { one_peer, ..Limits::default() };
            let gate = open_gate(listener, tls.clone(), limits, &hall)?;
            tellers.push(("callbacks", gate.teller()));
            self.gates.push(gate);
        }
        self.halls.push(hall);
        Ok(tellers)
    }

    /// Lets nobody in any more, and lets those inside finish; nothing more is sent out either.
    pub(super) fn close(&self) {
        self.board.hatch.close();
        thread::scope(|scope| {
            for gate in &self.gates {
                scope.spawn(|| gate.stop());
            }
        });
    }

    /// Reads the certificates again.
    pub(super) fn reload(&self) {
        for gate in &self.gates {
            if let Err(error) = gate.reload() {
                log::error!("{error}; the old certificate stays in use");
            }
        }
    }
}

/// What is received at which path.
fn reception(
    config: &Config,
    platform_secret: Option<Secret>,
    store: &Store,
    board: &Arc<Board>,
    bell: &SyncSender<Input>,
    clock: &Arc<dyn Clock>,
) -> Result<Reception, Failure> {
    let intake = Intake::new(store.clone(), Arc::clone(board), bell.clone(), Arc::clone(clock));
    let intake = Arc::new(intake);
    let mut reception = Reception::new(Arc::clone(&intake), config.callbacks.behind_proxy);
    if let Some(channel) = &config.channel {
        let notifications = Notifications::new(module_names(config), Arc::clone(&intake));
        reception = reception.with(channel.notify_url.path(), notifications);
    }
    // Books does not say which webhook calls: the path does.
    for webhook in config.books.iter().flat_map(|books| &books.webhooks) {
        let (entity, intake) = (webhook.entity, Arc::clone(&intake));
        let announced = Announced::new(&webhook.name, entity, webhook.secret, intake);
        reception = reception.with(webhook.notify_url.path(), announced);
    }
    if let Some(platform) = &config.platform {
        let demands = Demands {
            secret: platform_secret,
            is_enforced: platform.needs_secret(),
            org: platform.org_id.clone(),
            removal_erases: platform.on_uninstall == OnUninstall::Wipe,
        };
        let callbacks = PlatformCallbacks::new(demands, intake, ContextFile::of(&config.store));
        let callbacks = callbacks.map_err(|error| Failure::failed(error.to_string()))?;
        reception = reception.with(platform.notify_url.path(), callbacks);
    }
    Ok(reception)
}

fn module_names(config: &Config) -> Vec<ModuleName> {
    config.modules.iter().map(|module| module.name.clone()).collect()
}

/// The doors of local programs, by threads that come behind those of callbacks.
fn open_behind(
    config: &Config,
    passed: &Passed,
    local: Local,
    store: &Store,
) -> Result<(Vec<Gate>, Hall), Failure> {
    let hall = open_hall(LOCAL_WORKERS, Arc::new(move |asked| local.respond(asked)))?;
    let hall = hall.live(store.bell());
    let limits = Limits { one_peer: true, ..Limits::default() };
    let listeners = sockets::local(config, passed)?.into_iter();
    let gates = listeners.map(|listener| open_gate(listener, None, limits.clone(), &hall));
    Ok((gates.collect::<Result<_, _>>()?, hall))
}

fn open_hall(workers: usize, respond: Respond) -> Result<Hall, Failure> {
    Hall::open(workers, respond).map_err(|error| Failure::failed(error.to_string()))
}

fn open_gate(
    listener: Listener,
    tls: Option<TlsFiles>,
    limits: Limits,
    hall: &Hall,
) -> Result<Gate, Failure> {
    Gate::open(listener, tls, limits, hall).map_err(|error| Failure::failed(error.to_string()))
}
