//! Running another program, for a limited time.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::aside::Aside;
use crate::clock::Clock;

/// Pause between two looks whether a program has ended, or can be run.
const LOOK: Duration = Duration::from_millis(20);
/// What is left of a program's words is here by now, or its descendants hold the pipe.
const WORDS_LIMIT: Duration = Duration::from_secs(1);
/// What is kept of a program's words: a line is told of them.
const WORDS_KEPT: u64 = 16 << 10;

/// How a program that was run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Ran {
    /// With 0, having printed this.
    Done(String),
    /// Otherwise: how, and the last line of what it said.
    Failed(String),
    /// It did not end in time.
    Late(Duration),
    /// It could not be started.
    NotStarted(String),
}

impl Ran {
    /// Why this is no success.
    pub(in crate::cli) fn trouble(&self) -> Option<String> {
        match self {
            Ran::Done(_) => None,
            Ran::Failed(how) => Some(how.clone()),
            Ran::Late(limit) => Some(format!("it did not end within {} s", limit.as_secs())),
            Ran::NotStarted(why) => Some(format!("it cannot be started: {why}")),
        }
    }
}

/// Runs a program, for at most so long; with all its descendants it ends then.
pub(in crate::cli) fn run<A: AsRef<OsStr>>(
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
    let words = |of: Option<Aside<String>>| {
        of.and_then(|of| of.within(WORDS_LIMIT).ok()).unwrap_or_default()
    };
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
    // It may have ended by itself.
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::KILL);
    // It is gone, or will be: it is not waited for longer than that takes.
    let _ = child.wait();
}

/// Takes in all that is said, so that nobody waits for us, and keeps the beginning.
fn listen(pipe: Option<impl Read + Send + 'static>) -> Option<Aside<String>> {
    let mut pipe = pipe?;
    let words = move || {
        let mut words = Vec::new();
        let _ = pipe.by_ref().take(WORDS_KEPT).read_to_end(&mut words);
        let _ = io::copy(&mut pipe, &mut io::sink());
        String::from_utf8_lossy(&words).into_owned()
    };
    Aside::begin(thread::Builder::new(), words).ok()
}
