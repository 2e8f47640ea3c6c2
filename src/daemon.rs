//! The daemon: open everything, start the threads, run the heart.
//!
//! There is one way to start, whatever ended the last run. Reads are served before upstream is
//! asked for anything, so that a device without a network is useful from its first second.

mod calls;
mod doors;
mod sockets;
pub mod watch;
mod wipe;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::aside;
use crate::clock::{Clock, DeviceClock};
use crate::config::{Config, Platform};
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::heart::{Heart, HeartError, Turn};
use crate::identity::Identity;
use crate::memory;
use crate::mirror::gather::Gather;
use crate::mirror::planner::Input;
use crate::mirror::record::{FieldName, ModuleName};
use crate::server::board::Board;
use crate::server::process::Process;
use crate::store::{INBOX_LIMIT, OpenError, SnapshotReport, Store, TOMBSTONE_AGE};
use crate::systemd::{Passed, Systemd};
use crate::upstream::transport::HttpsTransport;
use crate::vitals::{LONGEST_REST, Organ, Vitals};

use self::doors::Doors;
use self::watch::Watch;

/// The heart looks around at least this often: after the device was suspended, a wait measured by
/// the waking clock may be far too long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often the store is looked after. A snapshot is due once a day.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// When it is looked after first: until there is a snapshot, nothing can be restored.
const FIRST_UPKEEP: Duration = Duration::from_secs(5);
/// Entries that are looked at for old tombstones in one go.
const TOMBSTONES_A_TIME: usize = 500;
/// Records that are added to indexes in one go: a millisecond or two on a small device, in which
/// callbacks wait for the store.
const INDEXED_A_TIME: usize = 100;
/// Growth of the process from which on sled may hold more than its cache: as much as that may hold.
const SHED_FROM: u64 = 16 << 20;
/// Growth from which on it is worth looking for freed memory.
const GIVE_BACK_FROM: u64 = 1 << 20;
/// What others have of the store between two goes. A hundred thousand records take ten seconds.
const BETWEEN_STEPS: Duration = Duration::from_millis(10);
/// How long a start anew may take before systemd takes it for a failure: the whole store is carried
/// over, on a slow card.
const ANEW_LIMIT: Duration = Duration::from_secs(15 * 60);
/// What is left of a polite stop for the disk to take what is written.
const STOP_LIMIT: Duration = Duration::from_millis(1_800);

/// Runs until a signal ends it. Returns early only when it cannot start or cannot go on.
pub fn run(config: &Config) -> Result<(), Failure> {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    // First of all: there are no threads yet.
    let passed = sockets::take_over(config)?;
    let systemd = Arc::new(Systemd::of_environment());
    let ended = go(config, &passed, &systemd);
    if let Err(failure) = &ended {
        // What was told last stays to be seen, and is true no longer.
        systemd.status(&failure.to_string());
    }
    ended
}

fn go(config: &Config, passed: &Passed, systemd: &Arc<Systemd>) -> Result<(), Failure> {
    if wipe::is_due(&config.store)? {
        systemd.status("erasing what a removed extension left");
        wipe::finish(config)?;
    }
    let credentials = load_credentials(config)?;
    let platform_secret = credentials.platform_secret.clone();
    let zapikey = calls::key(config, &credentials)?;
    let transport = HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    systemd.status("opening the store");
    let store = open_store(&config.store)?;
    store.set_indexes(&indexes(config));
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
    let doors = Doors::open(config, platform_secret, passed, &store, &board, &bell, &clock)?;
    let courier = calls::courier(config, zapikey, &clock, &store, &board, &bell)?;
    let mut organs = organs(&board, &store, &doors);
    organs.extend(courier.as_ref().map(|_| calls::organ(&board)));
    let vitals = Vitals::new(organs, clock.tick());
    let lookout = Watch::new(
        Arc::clone(systemd),
        vitals,
        Arc::clone(&board),
        store.clone(),
        Arc::clone(&clock),
    );
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
    if let Some(mut courier) = courier {
        spawn_for_good("courier", &ended, move || calls::deliver(&mut courier))?;
    }
    let (for_upkeep, board_of_upkeep, oversized) =
        (store.clone(), Arc::clone(&board), ended.clone());
    spawn_for_good("upkeep", &ended, move || keep_up(&for_upkeep, &board_of_upkeep, &oversized))?;
    spawn_for_good("watch", &ended, move || lookout.keep())?;
    spawn("signals", move || {
        watch(signals, &ended);
    })?;
    // The bell goes on ringing as long as the doors are open; this end of it is not needed here.
    drop(bell);
    systemd.tell(&ready(systemd));
    wait(&end, &doors, &store, passed, systemd)
}

/// By which fields each module is indexed.
fn indexes(config: &Config) -> BTreeMap<ModuleName, Vec<FieldName>> {
    let of_crm = config.modules.iter().map(|module| (module.name.clone(), module.index.clone()));
    let entities = config.books.iter().flat_map(|books| &books.entities);
    // A module of Books is indexed by time alone: its lists are looked through by that.
    let of_books = entities.map(|entity| (entity.module(), Vec::new()));
    of_crm.chain(of_books).gather()
}

/// What is said when the doors are open. The watchdog's time is said again: a run before this one
/// may have asked for more, to start anew.
fn ready(systemd: &Systemd) -> String {
    let watchdog = systemd.watchdog().map(|limit| format!("\nWATCHDOG_USEC={}", limit.as_micros()));
    format!("READY=1{}", watchdog.unwrap_or_default())
}

/// Who is watched over.
fn organs(board: &Arc<Board>, store: &Store, doors: &Doors) -> Vec<Organ> {
    let (board, store) = (Arc::clone(board), store.clone());
    let mut organs = vec![
        Organ::new("heart", Some(LONGEST_REST), move || board.heart.mark()),
        Organ::new("store", None, move || store.mark()),
    ];
    for gate in &doors.gates {
        let pulse = gate.pulse();
        organs.push(Organ::new("listener", None, move || pulse.mark()));
    }
    for hall in &doors.halls {
        let crew = hall.crew();
        organs.push(Organ::new("hall", None, move || crew.mark()));
    }
    organs
}

/// Why the daemon ends.
enum End {
    Signal,
    Reload,
    Oversized,
    Heart(Option<HeartError>),
    /// A thread that does not end has ended: it panicked.
    Thread(&'static str),
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
    // Where there are no records yet, that is done at once, and whoever writes goes on with it.
    build_indexes(store);
    memory::give_back();
    let mut least = resident();
    thread::sleep(FIRST_UPKEEP);
    loop {
        build_indexes(store);
        least = stay_small(store, least);
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
                    // Once an hour at most, since so often is there a snapshot.
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
        least = stay_small(store, least);
        thread::sleep(UPKEEP_EVERY);
    }
}

/// Gives back memory that is not needed, if the process has grown beyond what it had at least.
/// Returns what that is from now on.
fn stay_small(store: &Store, least: u64) -> u64 {
    let now = resident();
    let grown = now.saturating_sub(least);
    if grown >= SHED_FROM {
        if let Err(error) = store.shed() {
            log::warn!("{error}");
        }
    }
    if grown >= GIVE_BACK_FROM {
        memory::give_back();
        return resident();
    }
    least.min(now)
}

/// Bytes of this process that are in memory; 0 where the kernel does not say.
fn resident() -> u64 {
    Process::look().resident.unwrap_or_default()
}

/// Builds the indexes that are missing, and leaves the store to others between any two steps.
fn build_indexes(store: &Store) {
    loop {
        match store.build_indexes(INDEXED_A_TIME) {
            Ok(true) => thread::sleep(BETWEEN_STEPS),
            Ok(false) => return,
            Err(error) => {
                log::warn!("{error}");
                return;
            }
        }
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

fn wait(
    end: &Receiver<End>,
    doors: &Doors,
    store: &Store,
    passed: &Passed,
    systemd: &Systemd,
) -> Result<(), Failure> {
    loop {
        match end.recv() {
            Ok(End::Reload) => {
                systemd.tell("RELOADING=1");
                doors.reload();
                systemd.tell("READY=1");
            }
            Ok(End::Signal) => {
                systemd.tell("STOPPING=1\nSTATUS=stopping");
                stop(doors, store, || std::process::exit(0));
                return Ok(());
            }
            Ok(End::Oversized) => {
                log::info!("the store takes more room than it needs: starting anew to mend that");
                systemd.tell(&format!("RELOADING=1\nWATCHDOG_USEC={}", ANEW_LIMIT.as_micros()));
                stop(doors, store, || start_anew(passed));
                start_anew(passed)
            }
            Ok(End::Heart(Some(HeartError::Removed))) => {
                log::warn!("the extension was removed: starting anew to erase everything");
                systemd.tell(&format!("RELOADING=1\nWATCHDOG_USEC={}", ANEW_LIMIT.as_micros()));
                stop(doors, store, || start_anew(passed));
                start_anew(passed)
            }
            Ok(End::Heart(Some(error))) => return Err(Failure::failed(error.to_string())),
            Ok(End::Heart(None)) | Err(_) => {
                return Err(Failure::failed("the heart stopped; see the log above"));
            }
            Ok(End::Thread(name)) => {
                return Err(Failure::failed(format!("the {name} stopped; see the log above")));
            }
        }
    }
}

/// Puts a new run of this program in the place of this one, as the same process: sled gives back
/// neither memory nor disk to a process that goes on. systemd sees one service all the time.
fn start_anew(passed: &Passed) -> ! {
    let mut arguments = std::env::args_os();
    // A program that was replaced meanwhile is where it was started from.
    let ours = std::env::current_exe().ok().filter(|program| program.exists());
    let program = ours.or_else(|| arguments.next().map(PathBuf::from));
    let error = match program {
        Some(program) => {
            let mut command = Command::new(program);
            passed.pass_on(&mut command);
            command.args(std::env::args_os().skip(1)).exec()
        }
        None => io::ErrorKind::NotFound.into(),
    };
    log::error!("cannot start anew: {error}; start crmirror again");
    std::process::exit(1)
}

/// Stops politely. An upstream call in flight is not waited for: what it would have brought is
/// fetched again, as after any other end. What takes too long ends with `give_up`, which does not
/// return.
fn stop(doors: &Doors, store: &Store, give_up: impl FnOnce()) {
    log::info!("stopping");
    let (done, waits) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            doors.close();
            // Nothing depends on this; it only spares the next start some fetching.
            let _ = store.settle();
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
    let file = &config.upstream.credentials;
    credentials.require_refresh_token(file)?;
    if config.platform.as_ref().is_some_and(Platform::needs_secret) {
        credentials.require_platform_secret(file)?;
    }
    Ok(credentials)
}

/// Opens the store, and tells what had to be mended. One that is to be erased is not opened.
pub fn open_store(path: &Path) -> Result<Store, Failure> {
    if wipe::is_due(path)? {
        return Err(Failure::failed(format!(
            "the extension was removed, and {} is to be erased; start crmirror run",
            path.display()
        )));
    }
    let (store, healings) =
        Store::open(path).map_err(|error: OpenError| Failure::failed(error.to_string()))?;
    for healing in healings {
        log::warn!("{healing}");
    }
    Ok(store)
}

/// Starts a thread that is to work for as long as the process lives: without it the daemon ends.
fn spawn_for_good(
    name: &'static str,
    ended: &mpsc::Sender<End>,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let ended = ended.clone();
    spawn(name, move || {
        // What it panicked with is on stderr already.
        let _ = catch_unwind(AssertUnwindSafe(work));
        let _ = ended.send(End::Thread(name));
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = aside::spawn(thread::Builder::new().name(name.into()), work);
    spawned.map(|_| ()).map_err(no_thread(name))
}

fn no_thread(name: &str) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::failed(format!("no thread for {name}: {error}"))
}
