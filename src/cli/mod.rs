//! The commands that are not the daemon itself, and how they show what they found.

pub mod args;
mod asker;
mod books;
mod changes;
mod channel;
mod check;
mod client;
mod doctor;
mod explain;
mod export;
mod fsck;
mod install;
mod login;
mod outbox;
mod platform;
mod program;
mod progress;
mod read;
mod seed;
mod send;
mod source;
mod status;
mod sync;
pub mod table;
mod update;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Config;
use crate::daemon;
use crate::error::Failure;

use self::args::{Args, Command, HELP};

/// Does what the person wants.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Help => return print(HELP),
        Command::Version => {
            return print(concat!("crmirror ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Command::Check => return check::run(&args.config, args.json),
        Command::Doctor { bundle } => {
            return doctor::run(&args.config, bundle.as_deref(), args.json);
        }
        Command::Update(options) => return update::run(&args.config, &options, args.json),
        Command::Install(options) => return install::install(&args.config, &options, args.json),
        Command::Uninstall(options) => {
            return install::uninstall(&args.config, &options, args.json);
        }
        _ => {}
    }
    let config = Config::load(&args.config)?;
    match args.command {
        Command::Run => daemon::run(&config),
        Command::Login { code } => login::run(&config, &code, args.json),
        Command::Status => status::run(&config, args.json),
        Command::Get { module, id } => read::get(&config, &module, id, args.json),
        Command::List(list) => read::list(&config, &list, args.json),
        Command::Changes(wanted) => changes::run(&config, &wanted, args.json),
        Command::Explain { module, id } => explain::run(&config, &module, id, args.json),
        Command::Export(options) => export::run(&config, &options, args.json),
        Command::ExportAll { file, force } => seed::export(&config, &file, force, args.json),
        Command::Import { file, replace } => seed::import(&config, &file, replace, args.json),
        Command::Sync { module, sweep, wait } => {
            sync::run(&config, module.as_ref(), sweep, wait, args.json)
        }
        Command::Send(send) => send::run(&config, &send, args.json),
        Command::Outbox(command) => outbox::run(&config, &command, args.json),
        Command::Fsck { repair } => fsck::run(&config.store, repair, args.json),
        Command::Channel(command) => channel::run(&config, command, args.json),
        Command::Books(command) => books::run(&config, &command, args.json),
        Command::Platform(command) => platform::run(&config, command, args.json),
        Command::Check
        | Command::Doctor { .. }
        | Command::Update(_)
        | Command::Install(_)
        | Command::Uninstall(_)
        | Command::Help
        | Command::Version => Ok(()),
    }
}

/// Prints a result. A reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the result cannot be printed: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The width of the terminal that the result is printed on; `None` for a file or a pipe.
fn terminal_width() -> Option<usize> {
    width_of(std::io::stdout())
}

/// The width of a terminal; `None` for a file or a pipe.
fn width_of(terminal: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Gives what was written in the store's directory to its owner: a command that root runs while no
/// daemon does is to leave nothing there that the daemon cannot use.
fn give_back(directory: &Path) {
    // With `DynamicUser`, systemd makes the directory a link.
    let Ok(directory) = directory.canonicalize() else { return };
    let Ok(owner) = directory.metadata().map(|there| (there.uid(), there.gid())) else { return };
    if owner.0 == user() {
        return;
    }
    let mut left = vec![directory];
    while let Some(path) = left.pop() {
        // What cannot be given is told by the daemon that cannot use it.
        let _ = std::os::unix::fs::lchown(&path, Some(owner.0), Some(owner.1));
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            let inside = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(inside.map(|entry| entry.path()));
        }
    }
}

/// The user that this process acts as, by number.
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A device's number, as the kernel writes it: major and minor.
fn device_number(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}
