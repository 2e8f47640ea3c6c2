//! The agent as a process of its own, so that its memory and its writes are its alone: this very
//! program, called again with a private first argument.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crmirror::config::{CREDITS_LIMIT, Config};
use crmirror::{daemon, logger, memory};
use rustix::process::{Pid, Signal, kill_process};

use super::Bench;
use super::home::{Home, Wishes, lock};
use super::machine::Usage;
use super::sim::{Loopback, RealClock, Upstream, lifelike};
use super::wire::{Wire, get};

/// The private first argument.
pub(crate) const ARGUMENT: &str = "--be-the-agent";
/// How long the agent may take to start, to bootstrap, or to settle what waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the called program does: runs the daemon until it is told to stop, or whoever called it
/// is gone.
pub(crate) fn be(config: &OsStr) -> ExitCode {
    memory::give_back_large_pieces();
    logger::start(Some("error"));
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    match Config::load(Path::new(config)).map_err(Into::into).and_then(|c| daemon::run(&c)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: the agent: {failure}");
            failure.exit.into()
        }
    }
}

/// A simulated upstream and an agent that mirrors it.
pub(crate) struct Stage {
    pub(crate) upstream: Arc<Mutex<Upstream>>,
    /// Where upstream answers.
    pub(crate) loopback: Loopback,
    pub(crate) home: Home,
    /// From the start of its process until the agent answered its first read.
    pub(crate) first_read: Duration,
    /// Fields by whose values the agent is to find records.
    pub(crate) index: &'static [&'static str],
    /// Whether callbacks come by TLS, from the next start on.
    pub(crate) tls: bool,
    child: Option<Child>,
}

impl Stage {
    /// An upstream with what `fill` puts there, and no agent yet.
    pub(crate) fn new(bench: &Bench, fill: impl FnOnce(&mut Upstream)) -> io::Result<Stage> {
        let upstream = Arc::new(Mutex::new(Upstream::new(Arc::new(RealClock))));
        fill(&mut lock(&upstream));
        let loopback = Loopback::start(Arc::clone(&upstream));
        let home = Home::at(&bench.directory.join(format!("{:016x}", fastrand::u64(..))), true)?;
        let first_read = Duration::ZERO;
        Ok(Stage { upstream, loopback, home, first_read, index: &[], tls: false, child: None })
    }

    /// An agent that has mirrored and indexed `records` records of `bytes` bytes, and their ids.
    pub(crate) fn full(
        bench: &Bench,
        records: usize,
        bytes: usize,
        index: &'static [&'static str],
    ) -> io::Result<(Stage, Vec<u64>)> {
        let mut ids = Vec::new();
        let fill =
            |upstream: &mut Upstream| ids = lifelike::leads(upstream, "Leads", records, bytes);
        let mut stage = Stage::new(bench, fill)?;
        stage.index = index;
        stage.start()?;
        stage.wait_until_ready()?;
        stage.wait_for(|stage| {
            let status = stage.status()?;
            let indexes = status["modules"]["Leads"]["indexes"].as_object();
            Ok(indexes.is_some_and(|all| all.values().all(|state| state == "whole")))
        })?;
        Ok((stage, ids))
    }

    /// Starts the agent, with or without a store from before; returns when it answers.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let wishes = Wishes {
            modules: &["Leads"],
            lifetime: "24h",
            catch_up_every: "15m",
            credits_per_day: CREDITS_LIMIT,
            socket: true,
            index: self.index,
            books: None,
            platform: false,
            functions: &[],
            tls: self.tls,
        };
        self.home.furnish(&self.loopback.origin(), &wishes)?;
        self.home.release();
        let began = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(self.home.configuration())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let read = "/crm/v2/Leads?per_page=1";
        let answers = |stage: &Stage| stage.ask(read).is_ok_and(|(status, _)| status < 300);
        self.wait_for(|stage| Ok(answers(stage)))?;
        self.first_read = began.elapsed();
        Ok(())
    }

    /// Waits until everything is mirrored, and callbacks are let in.
    pub(crate) fn wait_until_ready(&mut self) -> io::Result<()> {
        self.wait_for(|stage| Ok(stage.ask("/readyz")?.0 == 200))?;
        self.wait_for(|stage| Ok(TcpStream::connect(stage.home.callbacks).is_ok()))
    }

    /// Waits until no id waits to be fetched.
    pub(crate) fn wait_until_settled(&mut self) -> io::Result<()> {
        self.wait_for(|stage| Ok(stage.status()?["inbox"]["waiting"] == 0))
    }

    /// What the agent takes.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.child.as_ref().expect("it was started").id())
    }

    /// Stops the agent as a service manager does.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a number"), Signal::TERM)?;
        child.wait().map(drop)
    }

    /// What the agent says of itself.
    pub(crate) fn status(&self) -> io::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.ask("/status")?.1)?)
    }

    fn ask(&self, target: &str) -> io::Result<(u16, Vec<u8>)> {
        ask(self.home.local, target)
    }

    fn wait_for(&mut self, done: impl Fn(&Stage) -> io::Result<bool>) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done(self)? {
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the agent has ended: {status}")));
            }
            if Instant::now() > until {
                let (_, status) = self.ask("/status")?;
                let status = String::from_utf8_lossy(&status).into_owned();
                return Err(io::Error::other(format!("waited in vain; the agent says {status}")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads once, over a connection of its own.
fn ask(address: SocketAddr, target: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut wire = Wire::connect(address)?;
    let status = wire.ask(&get(target))?;
    Ok((status, wire.body().to_vec()))
}

/// The directory for everything that is measured: beside the program, since the system's own
/// directory for temporary files is often in memory, where a flush costs nothing.
pub(crate) fn place() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.parent().ok_or_else(|| io::Error::other("no directory"))?;
    Ok(directory.to_owned())
}
