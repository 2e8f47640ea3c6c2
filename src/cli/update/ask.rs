//! Asking others: a binary, systemd, the running daemon. Each answers within a limit, or has not
//! answered.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::decide::{Ran, Works};
use crate::cli::client::Daemon;
use crate::cli::end_group;
use crate::clock::Clock;
use crate::config::Config;
use crate::upstream::transport::Patience;

/// The daemon's unit.
pub(super) const SERVICE: &str = "crmirror.service";
/// What `systemctl` takes to tell a state.
const STATE_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks whether a program has ended, or can be run.
const LOOK: Duration = Duration::from_millis(20);
/// What is left of a program's words is here by now, or its descendants hold the pipe.
const WORDS_LIMIT: Duration = Duration::from_secs(1);
/// What is kept of a program's words: a line is told of them.
const WORDS_KEPT: u64 = 16 << 10;
/// How long the daemon may take to answer a read. It is on this device.
const PATIENCE: Patience = Patience {
    call: Duration::from_secs(5),
    resolve: Duration::from_secs(1),
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(4),
};

/// Runs a program, for at most so long; with all its descendants it ends then.
pub(super) fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    limit: Duration,
    clock: &dyn Clock,
) -> Ran {
    let began = clock.tick();
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            Ok(child) => break child,
            // Somebody still writes to it.
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && clock.tick().since(began) < limit =>
            {
                thread::sleep(LOOK);
            }
            Err(error) => return Ran::NotStarted(error.to_string()),
        }
    };
    let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock.tick().since(began) < limit => thread::sleep(LOOK),
            Ok(None) => {
                end(&mut child);
                return Ran::Late(limit);
            }
            Err(error) => {
                end(&mut child);
                return Ran::NotStarted(error.to_string());
            }
        }
    };
    let words = |of: Receiver<String>| of.recv_timeout(WORDS_LIMIT).unwrap_or_default();
    if status.success() {
        return Ran::Done(words(out));
    }
    let words = words(err);
    match words.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Ran::Failed(format!("{status}: {line}")),
        None => Ran::Failed(status.to_string()),
    }
}

fn end(child: &mut Child) {
    end_group(child);
    // It is gone, or will be: it is not waited for longer than that takes.
    let _ = child.wait();
}

/// Takes in all that is said, so that nobody waits for us, and keeps the beginning.
fn listen(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (tell, told) = mpsc::sync_channel(1);
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut words = Vec::new();
            let _ = pipe.by_ref().take(WORDS_KEPT).read_to_end(&mut words);
            let _ = io::copy(&mut pipe, &mut io::sink());
            let _ = tell.send(String::from_utf8_lossy(&words).into_owned());
        });
    }
    told
}

/// Has systemd restart the daemon; done when the daemon says that it is ready.
pub(super) fn restart(limit: Duration, clock: &dyn Clock) -> Ran {
    run(Path::new("systemctl"), &["restart", SERVICE], limit, clock)
}

/// What systemd calls the state of the daemon: `active`, `inactive`, `failed`, `activating`.
pub(super) fn state(clock: &dyn Clock) -> Result<String, String> {
    let told = ["show", "--property=ActiveState", "--value", SERVICE];
    match run(Path::new("systemctl"), &told, STATE_LIMIT, clock) {
        Ran::Done(state) => Ok(state.trim().to_owned()),
        other => Err(other.trouble().unwrap_or_default()),
    }
}

/// What the running daemon does; nothing when none answers.
pub(super) fn works(config: &Config) -> Works {
    let Ok(daemon) = Daemon::with_patience(config, PATIENCE) else {
        return Works::default();
    };
    let status = daemon.get("/status").filter(|reply| reply.status == 200);
    let status: Option<Value> = status.and_then(|reply| serde_json::from_slice(&reply.body).ok());
    let Some(status) = status else { return Works::default() };
    let reads = config.modules.iter().all(|module| {
        let reply = daemon.get(&format!("/crm/v2/{}?per_page=1", module.name));
        reply.is_some_and(|reply| matches!(reply.status, 200 | 204))
    });
    let upstream = &status["upstream"];
    // Whoever may not spend credits does not ask upstream, and cannot show that he could.
    let unasked = upstream["state"] == "offline"
        && upstream["last_error"].is_null()
        && !status["credits"]["waiting_for_credits"].is_null();
    Works {
        reads,
        token: upstream["state"] == "online" || unasked,
        // Whoever took it out of the configuration does not lose it.
        channel: config.channel.is_some() && status["channel"]["state"] == "open",
    }
}

/// Has the daemon call upstream now: by itself it may not need to for a while, and nothing would
/// show that it can.
pub(super) fn wake(config: &Config) {
    let daemon = Daemon::with_patience(config, PATIENCE);
    // That it does not is seen when it is looked at.
    let _ = daemon.map(|daemon| daemon.post("/sync?sweep=false"));
}
