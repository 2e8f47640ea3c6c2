//! The daemon: open everything, start the threads, run the heart.
//!
//! There is one way to start, whatever ended the last run. Reads are served before upstream is
//! asked for anything, so that a device without a network is useful from its first second.

use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::{Clock, DeviceClock};
use crate::config::{self, Config};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::heart::{Heart, HeartError, Turn};
use crate::identity::Identity;
use crate::mirror::planner::Input;
use crate::mirror::record::ModuleName;
use crate::reader_token;
use crate::server::board::Board;
use crate::server::gate::{Access, Gate, Limits, Listener, TlsFiles};
use crate::server::hall::{Hall, Respond};
use crate::server::local::Local;
use crate::server::receive::Reception;
use crate::store::{INBOX_LIMIT, OpenError, SnapshotReport, Store, TOMBSTONE_AGE};
use crate::upstream::transport::HttpsTransport;

/// Threads that answer callbacks. They wait for the disk, and those that wait together share one
/// flush, so they are more than a small device has cores.
const CALLBACK_WORKERS: usize = 8;
/// Threads that answer local programs.
const LOCAL_WORKERS: usize = 8;
/// The heart looks around at least this often: after the device was suspended, a wait measured by
/// the waking clock may be far too long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often the store is looked after. A snapshot is due once a day.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// When it is looked after first: until there is a snapshot, nothing can be restored.
const FIRST_UPKEEP: Duration = Duration::from_secs(5);
/// Entries that are looked at for old tombstones in one go.
const TOMBSTONES_A_TIME: usize = 500;
/// What is left of a polite stop for the disk to take what is written.
const STOP_LIMIT: Duration = Duration::from_millis(1_800);

/// Runs until a signal ends it. Returns early only when it cannot start or cannot go on.
pub fn run(config: &Config) -> Result<(), Failure> {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let credentials = load_credentials(config)?;
    let transport = HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let store = open_store(&config.store)?;
    let identity = Identity::open(&config.store).map_err(|e| Failure::failed(e.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(DeviceClock);
    let board = Arc::new(Board::default());
    let (bell, rung) = mpsc::sync_channel(INBOX_LIMIT as usize);
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Failure::failed(format!("signals cannot be received: {error}")))?;

    let transport = Arc::new(transport);
    let clock_of_heart = Arc::clone(&clock);
    let mut heart = Heart::new(
        config,
        credentials,
        transport,
        clock_of_heart,
        store.clone(),
        identity,
        Arc::clone(&board),
    )
    .map_err(|error| Failure::failed(error.to_string()))?;
    let doors = Doors::open(config, &store, &board, &bell, &clock)?;
    log::info!("crmirror {} started", env!("CARGO_PKG_VERSION"));

    let (ended, end) = mpsc::channel();
    let for_heart = (ended.clone(), clock);
    spawn("heart", move || {
        let (ended, clock) = for_heart;
        // A heart that panics must end the daemon, not leave it without one: it reports inside.
        let beating = AssertUnwindSafe(|| beat(&mut heart, &rung, &*clock));
        let error = catch_unwind(beating).unwrap_or_default();
        let _ = ended.send(End::Heart(error));
    })?;
    let (for_upkeep, board_of_upkeep, oversized) =
        (store.clone(), Arc::clone(&board), ended.clone());
    spawn("upkeep", move || keep_up(&for_upkeep, &board_of_upkeep, &oversized))?;
    spawn("signals", move || {
        watch(signals, &ended);
    })?;
    // The bell goes on ringing as long as the doors are open; this end of it is not needed here.
    drop(bell);
    wait(&end, &doors, &store)
}

/// Why the daemon ends.
enum End {
    Signal,
    Reload,
    Oversized,
    Heart(Option<HeartError>),
}

/// The listeners.
struct Doors {
    gates: Vec<Gate>,
    // The gates lead here: they come first in the order of dropping.
    _halls: Vec<Hall>,
}

impl Doors {
    fn open(
        config: &Config,
        store: &Store,
        board: &Arc<Board>,
        bell: &SyncSender<Input>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Doors, Failure> {
        let modules: Vec<ModuleName> = config.modules.iter().map(|m| m.name.clone()).collect();
        let mut gates = Vec::new();
        let mut halls = Vec::new();

        let mut local = Local::new(
            modules.clone(),
            config.local.allow_origins.clone(),
            store.clone(),
            Arc::clone(board),
            bell.clone(),
            Arc::clone(clock),
        );
        if let Some(file) = &config.local.token_file {
            let (token, warning) = reader_token::load(file)?;
            warning.iter().for_each(|warning| log::warn!("{warning}"));
            local = local.guarded_by(token);
        }
        let hall = open_hall(LOCAL_WORKERS, Arc::new(move |asked| local.respond(asked)))?;
        let limits = Limits { one_peer: true, ..Limits::default() };
        let tcp = Listener::Tcp(listen("local.listen", config.local.listen)?);
        gates.push(open_gate(tcp, None, limits.clone(), &hall)?);
        if let Some(path) = &config.local.socket {
            gates.push(open_gate(listen_at(path, &config.local)?, None, limits, &hall)?);
        }
        halls.push(hall);

        if let Some(channel) = &config.channel {
            let callbacks = &config.callbacks;
            let mut reception = Reception::new(
                channel.notify_url.path(),
                modules,
                store.clone(),
                Arc::clone(board),
                bell.clone(),
                Arc::clone(clock),
            );
            if callbacks.behind_proxy {
                reception = reception.behind_proxy();
            }
            let hall =
                open_hall(CALLBACK_WORKERS, Arc::new(move |asked| reception.respond(asked)))?;
            let tls = callbacks.tls.as_ref();
            let tls = tls.map(|tls| TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() });
            // Behind a proxy every caller has the proxy's address, and on a loopback address that
            // of this device: whoever leads strangers there is a tunnel or a proxy too.
            let one_peer = callbacks.behind_proxy || callbacks.listen.ip().is_loopback();
            let limits = Limits { one_peer, ..Limits::default() };
            let tcp = Listener::Tcp(listen("callbacks.listen", callbacks.listen)?);
            gates.push(open_gate(tcp, tls, limits, &hall)?);
            halls.push(hall);
        }
        Ok(Doors { gates, _halls: halls })
    }

    /// Lets nobody in any more, and lets those inside finish.
    fn close(&self) {
        thread::scope(|scope| {
            for gate in &self.gates {
                scope.spawn(|| gate.stop());
            }
        });
    }

    fn reload(&self) {
        for gate in &self.gates {
            if let Err(error) = gate.reload() {
                log::error!("{error}; the old certificate stays in use");
            }
        }
    }
}

/// Runs the heart until it cannot go on, or until nobody is left to ring for it.
fn beat(heart: &mut Heart, rung: &Receiver<Input>, clock: &dyn Clock) -> Option<HeartError> {
    loop {
        while let Ok(input) = rung.try_recv() {
            heart.hear(input);
        }
        let tick = match heart.turn() {
            Ok(Turn::Acted) => continue,
            Ok(Turn::WaitUntil(tick)) => tick,
            Err(error) => return Some(error),
        };
        let wait = tick.since(clock.tick()).min(LONGEST_WAIT);
        match rung.recv_timeout(wait) {
            Ok(input) => heart.hear(input),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Keeps the store small and its backup fresh, for as long as the process lives. It goes by
/// upstream's clock, since ours may be decades off.
fn keep_up(store: &Store, board: &Board, ended: &mpsc::Sender<End>) {
    thread::sleep(FIRST_UPKEEP);
    loop {
        let report = board.report();
        let Some(now) = report.upstream_time else {
            thread::sleep(FIRST_UPKEEP);
            continue;
        };
        match store.maintain(now) {
            Ok(done) => {
                if let Some(snapshot) = done.snapshot {
                    let SnapshotReport { entries, bytes, .. } = snapshot;
                    log::info!("a snapshot is taken: {entries} entries, {} KiB", bytes >> 10);
                    // Once a day at most, since so often is there a snapshot.
                    if done.wants_compaction && ended.send(End::Oversized).is_err() {
                        return;
                    }
                }
            }
            Err(error) => log::warn!("{error}"),
        }
        for module in report.modules.keys() {
            let forgotten = now.before(TOMBSTONE_AGE);
            if let Err(error) = store.trim_tombstones(module, forgotten, TOMBSTONES_A_TIME) {
                log::warn!("{error}");
            }
        }
        thread::sleep(UPKEEP_EVERY);
    }
}

fn watch(mut signals: Signals, ended: &mpsc::Sender<End>) {
    for signal in signals.forever() {
        let end = if signal == SIGHUP { End::Reload } else { End::Signal };
        if ended.send(end).is_err() {
            return;
        }
    }
}

fn wait(end: &Receiver<End>, doors: &Doors, store: &Store) -> Result<(), Failure> {
    loop {
        match end.recv() {
            Ok(End::Reload) => doors.reload(),
            Ok(End::Signal) => {
                stop(doors, store, || std::process::exit(0));
                return Ok(());
            }
            Ok(End::Oversized) => {
                log::info!("the store takes more room than it need: starting anew to mend that");
                stop(doors, store, start_anew);
                start_anew();
            }
            Ok(End::Heart(Some(error))) => return Err(Failure::failed(error.to_string())),
            Ok(End::Heart(None)) | Err(_) => {
                return Err(Failure::failed("the heart stopped; see the log above"));
            }
        }
    }
}

/// Puts a new run of this program in the place of this one, as the same process: sled gives back
/// neither memory nor disk to a process that goes on.
fn start_anew() -> ! {
    let mut arguments = std::env::args_os();
    let program = std::env::current_exe().ok().or_else(|| arguments.next().map(PathBuf::from));
    let error = match program {
        Some(program) => Command::new(program).args(std::env::args_os().skip(1)).exec(),
        None => io::ErrorKind::NotFound.into(),
    };
    log::error!("cannot start anew: {error}; start crmirror again");
    std::process::exit(1)
}

/// Stops politely. An upstream call in flight is not waited for: what it would have brought is
/// fetched again, as after any other end. What takes too long ends with `give_up`.
fn stop(doors: &Doors, store: &Store, give_up: fn() -> !) {
    log::info!("stopping");
    let (done, waits) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            doors.close();
            // Nothing depends on this flush; it only spares the next start some fetching.
            let _ = store.flush();
            let _ = done.send(());
        });
        if waits.recv_timeout(STOP_LIMIT).is_err() {
            log::warn!("the stop takes too long: what is in hand is given up");
            give_up();
        }
    });
}

fn load_credentials(config: &Config) -> Result<Credentials, Failure> {
    let (credentials, warnings) = Credentials::load(&config.upstream.credentials)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    credentials.require_refresh_token(&config.upstream.credentials)?;
    Ok(credentials)
}

/// Opens the store, and tells what had to be mended.
pub fn open_store(path: &Path) -> Result<Store, Failure> {
    let (store, healings) =
        Store::open(path).map_err(|error: OpenError| Failure::failed(error.to_string()))?;
    for healing in healings {
        log::warn!("{healing}");
    }
    Ok(store)
}

fn listen(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; stop it or change",
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a capability; use a higher one in"
            }
            _ => "change",
        };
        Failure::failed(format!("cannot listen on {address}: {error}; {hint} {key}"))
    })
}

/// Listens on the Unix socket of local programs. The store's lock has shown that no other daemon of
/// ours is using it.
fn listen_at(path: &Path, local: &config::Local) -> Result<Listener, Failure> {
    let access = Access { mode: local.socket_mode, group: local.socket_group.clone() };
    Listener::at(path, &access).map_err(|error| {
        let path = path.display();
        let hint = match &access.group {
            Some(group) => format!(
                "see that the daemon's user may write there and belongs to the group {group}, or \
                 change local.socket and local.socket_group"
            ),
            None => "change local.socket".to_owned(),
        };
        Failure::failed(format!("cannot listen on {path}: {error}; {hint}"))
    })
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

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(|_| ()).map_err(|error| Failure::failed(format!("no thread for {name}: {error}")))
}
