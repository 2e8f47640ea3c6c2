//! The real binary in a place of its own: a directory, two addresses, a configuration, and an
//! upstream that is simulated behind a port.
//!
//! A journey changes records upstream, carries callbacks, and looks at what the daemon's doors and
//! commands show; it never looks into the daemon. The daemon is killed when its place is dropped.

mod looks;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::scratch::Scratch;
use crate::sim::{
    CLIENT_ID, CLIENT_SECRET, Loopback, REFRESH_TOKEN, RealClock, Upstream, ZAPIKEY, http,
};

pub(crate) use looks::{Fields, fields, rows};

/// Generous: what is waited for comes within milliseconds, or the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What a command may take that ends by itself; one that goes on is killed, and ends with -1.
const ENOUGH: Duration = PATIENCE.saturating_mul(4);
/// The path of the callbacks, as in the contract's example.
pub(crate) const CALLBACK_PATH: &str = "/callback/4f1c9a";
/// Lines of the daemon's log that a failed test shows.
const LINES_SHOWN: usize = 60;

/// A place where one daemon runs.
pub(crate) struct Place {
    /// Where programs on the device read.
    pub(crate) local: SocketAddr,
    /// Where callbacks arrive.
    pub(crate) callbacks: SocketAddr,
    /// The way to the simulator.
    pub(crate) loopback: Loopback,
    upstream: Arc<Mutex<Upstream>>,
    config: BTreeMap<String, BTreeMap<String, String>>,
    modules: Vec<(String, String)>,
    /// What else the configuration has.
    further: String,
    functions: Vec<(String, String)>,
    own_token: Mutex<String>,
    /// What readers show at the local interface.
    reader_token: Option<String>,
    printed: Arc<Mutex<String>>,
    answered: Mutex<String>,
    verbosity: Option<String>,
    descriptors: Option<u32>,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    handed: Vec<(&'static str, OwnedFd)>,
    run: Option<Run>,
    scratch: Scratch,
}

/// A daemon that runs.
struct Run {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

/// What a command left behind.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// A place with an upstream that has the module `Leads`; nothing runs yet.
    pub(crate) fn new(name: &str) -> Place {
        let mut upstream = Upstream::new(Arc::new(RealClock));
        upstream.model.add("Leads").with_fields(&["Last_Name", "Phone"]);
        let upstream = Arc::new(Mutex::new(upstream));
        let loopback = Loopback::start(Arc::clone(&upstream));
        let scratch = Scratch::new(name);
        let (callbacks, local) = (free_address(), free_address());
        let mut place = Place {
            local,
            callbacks,
            upstream,
            config: BTreeMap::new(),
            modules: vec![("Leads".to_owned(), String::new())],
            further: String::new(),
            functions: Vec::new(),
            own_token: Mutex::default(),
            reader_token: None,
            printed: Arc::default(),
            answered: Mutex::default(),
            verbosity: None,
            descriptors: None,
            program: env!("CARGO_BIN_EXE_crmirror").into(),
            environment: BTreeMap::new(),
            handed: Vec::new(),
            run: None,
            loopback,
            scratch,
        };
        place.set("upstream.accounts", &format!("\"{}\"", place.loopback.origin()));
        place.set("upstream.credentials", "\"credentials.json\"");
        place.set("channel.notify_url", &format!("\"https://kiosk.example{CALLBACK_PATH}\""));
        place.set("callbacks.listen", &format!("\"{callbacks}\""));
        place.set("local.listen", &format!("\"{local}\""));
        place.set("store.path", &format!("\"{}\"", place.path("store").display()));
        place.write_credentials(&credentials(CLIENT_SECRET, Some(REFRESH_TOKEN)));
        place
    }

    /// The upstream, to change and to look at.
    pub(crate) fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.upstream.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The same, for threads that work while the place is changed.
    pub(crate) fn shared_upstream(&self) -> Arc<Mutex<Upstream>> {
        Arc::clone(&self.upstream)
    }

    /// A path in this place's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Sets `section.key` of the configuration to a TOML value.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> &mut Place {
        let (section, key) = key.split_once('.').unwrap();
        self.config.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves a whole section of the configuration out.
    pub(crate) fn without(&mut self, section: &str) -> &mut Place {
        self.config.remove(section);
        self
    }

    /// Names the modules to mirror, each with further lines of its section.
    pub(crate) fn modules(&mut self, modules: &[(&str, &str)]) -> &mut Place {
        let owned = |&(name, lines): &(&str, &str)| (name.to_owned(), lines.to_owned());
        self.modules = modules.iter().map(owned).collect();
        self
    }

    /// Names the functions to call, each with how, and puts the key into the credentials. They are
    /// there upstream.
    pub(crate) fn functions(&mut self, functions: &[(&str, &str)]) -> &mut Place {
        let owned = |&(name, auth): &(&str, &str)| (name.to_owned(), auth.to_owned());
        self.functions = functions.iter().map(owned).collect();
        for (name, _) in functions {
            self.upstream().functions.add(name);
        }
        let credentials = credentials(CLIENT_SECRET, Some(REFRESH_TOKEN));
        self.write_credentials(&credentials.replacen(
            '{',
            &format!("{{\"zapikey\":\"{ZAPIKEY}\","),
            1,
        ));
        self
    }

    /// Sets `RUST_LOG` of what is started from now on.
    pub(crate) fn verbosity(&mut self, wanted: &str) -> &mut Place {
        self.verbosity = Some(wanted.to_owned());
        self
    }

    /// Ends the configuration with these lines.
    pub(crate) fn further(&mut self, lines: &str) -> &mut Place {
        self.further = lines.to_owned();
        self
    }

    /// Limits the descriptors of what is started from now on.
    pub(crate) fn descriptors(&mut self, limit: u32) -> &mut Place {
        self.descriptors = Some(limit);
        self
    }

    /// Has this program run from now on.
    pub(crate) fn program(&mut self, program: PathBuf) -> &mut Place {
        self.program = program;
        self
    }

    /// Sets a variable of the environment of what is started from now on. What begins with `$` is
    /// for the shell to say.
    pub(crate) fn environment(&mut self, name: &str, value: &str) -> &mut Place {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Hands this socket, by this name, to daemons that are started from now on; two at most.
    pub(crate) fn hand(&mut self, name: &'static str, socket: impl Into<OwnedFd>) -> &mut Place {
        assert!(self.handed.len() < 2, "a shell passes on its stdin and stdout, no more");
        self.handed.push((name, socket.into()));
        self
    }

    /// Has readers show this token from now on.
    pub(crate) fn guard(&mut self, token: &str) -> &mut Place {
        self.write_secret("reader-token", &format!("{token}\n"));
        self.reader_token = Some(token.to_owned());
        self.set("local.token_file", "\"reader-token\"")
    }

    /// Writes the credentials file.
    pub(crate) fn write_credentials(&self, text: &str) {
        self.write_secret("credentials.json", text);
    }

    /// Writes a file that its owner alone may read.
    fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the configuration; its path.
    pub(crate) fn write_config(&self) -> PathBuf {
        let mut text = String::new();
        for (section, keys) in &self.config {
            text.push_str(&format!("[{section}]\n"));
            keys.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        for (name, lines) in &self.modules {
            text.push_str(&format!("[[module]]\nname = \"{name}\"\n{lines}\n"));
        }
        text.push_str(&self.further);
        for (name, auth) in &self.functions {
            text.push_str(&format!("[[function]]\nname = \"{name}\"\nauth = \"{auth}\"\n"));
        }
        let path = self.path("crmirror.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the daemon, and waits until its doors are open.
    pub(crate) fn start(&mut self) -> &mut Place {
        self.launch();
        let takes_callbacks = self.config.contains_key("channel");
        self.until("the doors are open", |place| {
            let run = place.run.as_mut().unwrap();
            assert!(run.child.try_wait().unwrap().is_none(), "the daemon ended");
            let reads = http(place.local, "GET", "/healthz", &[], b"").is_ok();
            (reads && (!takes_callbacks || TcpStream::connect(place.callbacks).is_ok()))
                .then_some(())
        });
        self
    }

    /// Starts the daemon, and does not wait.
    pub(crate) fn launch(&mut self) {
        assert!(self.run.is_none(), "a daemon runs here already");
        let mut command = self.command(&self.write_config(), !self.handed.is_empty());
        command.arg("run").stdout(Stdio::null());
        if !self.handed.is_empty() {
            let names: Vec<&str> = self.handed.iter().map(|(name, _)| *name).collect();
            command.env("LISTEN_FDNAMES", names.join(":"));
            command.env("LISTEN_FDS", names.len().to_string());
        }
        let mut handed = self.handed.iter().map(|(_, socket)| socket.try_clone().unwrap());
        handed.next().map(|first| command.stdin(first));
        handed.next().map(|second| command.stdout(second));
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let printed = Arc::clone(&self.printed);
        let reader = thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(count @ 1..) = stderr.read(&mut piece) {
                printed.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        });
        self.run = Some(Run { child, reader: Some(reader) });
    }

    /// Starts the daemon, and waits until all is mirrored and the channel, if any, is open.
    pub(crate) fn begin(&mut self) -> &mut Place {
        self.start().ready()
    }

    /// Waits until all is mirrored, documents too, and the channel, if any, is open.
    pub(crate) fn ready(&mut self) -> &mut Place {
        let wanted = if self.config.contains_key("channel") { "open" } else { "none" };
        self.until("it is ready", |place| {
            let ready = place.get("/readyz").status == 200;
            // The document that is read last: whoever counts calls begins behind it.
            let read = place.get("/crm/v2/users?type=CurrentUser").status != 503;
            (ready && read && place.status()["channel"]["state"] == wanted).then_some(())
        });
        self
    }

    /// Ends the daemon as a power cut would end it, but for what the kernel holds.
    pub(crate) fn kill(&mut self) -> &mut Place {
        drop(self.run.take().expect("a daemon runs here"));
        self
    }

    /// Ends the daemon politely; its exit code and how long it took.
    pub(crate) fn stop(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let mut run = self.run.take().expect("a daemon runs here");
        while began.elapsed() < PATIENCE {
            if let Some(status) = run.child.try_wait().unwrap() {
                return (status.code(), began.elapsed());
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("SIGTERM does not end the daemon");
    }

    /// How the daemon ended, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.run.as_mut().expect("a daemon was started here").child.try_wait().unwrap()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let run = self.run.as_ref().expect("a daemon runs here");
        rustix::process::Pid::from_child(&run.child)
    }

    /// Runs a command with this place's configuration.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_with(&self.write_config(), args)
    }

    /// Runs a command with this configuration.
    pub(crate) fn run_with(&self, config: &Path, args: &[&str]) -> Ended {
        let mut command = self.command(config, false);
        let child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (done, ended) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            if ended.recv_timeout(ENOUGH) == Err(RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(done);
        guard.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ended = Ended {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        self.printed.lock().unwrap().push_str(&format!("{}{}", ended.out, ended.err));
        ended
    }

    fn command(&self, config: &Path, hands_over: bool) -> Command {
        // A shell does on its way what is to be done in the daemon's own process.
        let mut script = String::new();
        if let Some(limit) = self.descriptors {
            script.push_str(&format!("ulimit -n {limit}; "));
        }
        for (name, value) in &self.environment {
            script.push_str(&format!("export {name}={value}; "));
        }
        if hands_over {
            script.push_str("export LISTEN_PID=$$; exec 3<&0 4<&1 0</dev/null 1>/dev/null; ");
        }
        let mut command = Command::new(&self.program);
        if !script.is_empty() {
            command = Command::new("sh");
            command.args(["-c", &format!("{script} exec \"$0\" \"$@\"")]).arg(&self.program);
        }
        command.arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("CREDENTIALS_DIRECTORY").env_remove("RUST_LOG");
        if let Some(wanted) = &self.verbosity {
            command.env("RUST_LOG", wanted);
        }
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            let printed = self.printed();
            let lines: Vec<&str> = printed.lines().rev().take(LINES_SHOWN).collect();
            lines.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A credentials file.
pub(crate) fn credentials(secret: &str, refresh: Option<&str>) -> String {
    let mut keys = json!({"client_id": CLIENT_ID, "client_secret": secret});
    if let Some(refresh) = refresh {
        keys["refresh_token"] = json!(refresh);
    }
    keys.to_string()
}

/// An address on which nothing else of this machine listens. Each test process has an address of
/// its own, and its ports lie below those that the system gives to callers: a daemon can be started
/// again on the same one.
fn free_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    (address, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}
