//! What systemd and a service say to each other: sockets that are passed, readiness, a line of
//! status, the watchdog.
//!
//! The protocols are environment variables and datagrams, `sd_listen_fds(3)` and `sd_notify(3)`.
//! Where the variables are not set there is no systemd, and nothing here does anything. Not the
//! library of systemd, and no judge: what is told is for others to say.
//!
//! Children are told nothing of it but one: the program that takes the place of this one.

use std::fmt;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::Command;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

/// How long a datagram to systemd may wait for room: a systemd that is busy takes milliseconds.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// Sockets that may be passed: two kinds, each for a few addresses.
const SOCKETS_LIMIT: usize = 8;

/// Who calls at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Upstream, with callbacks.
    Callbacks,
    /// Local programs, to read.
    Local,
}

impl Use {
    /// By its `FileDescriptorName`, which without one is the name of its unit.
    fn of_name(name: &str) -> Option<Use> {
        match name {
            "callbacks" | "crmirror.socket" => Some(Use::Callbacks),
            "local" | "crmirror-local.socket" => Some(Use::Local),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Use::Callbacks => "callbacks",
            Use::Local => "local",
        }
    }
}

/// The way to systemd.
#[derive(Debug, Default)]
pub struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// As the environment says.
    pub fn of_environment() -> Systemd {
        let name = std::env::var("NOTIFY_SOCKET").ok();
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let watchdog = micros.filter(|micros| *micros > 0 && is_for_us("WATCHDOG_PID", true));
        Systemd::at(name.as_deref(), watchdog.map(Duration::from_micros))
    }

    /// Where systemd listens, and how long it may hear nothing.
    pub fn at(name: Option<&str>, watchdog: Option<Duration>) -> Systemd {
        let socket = name.and_then(address).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_write_timeout(Some(TELL_LIMIT)).ok()?;
            Some((socket, address))
        });
        Systemd { socket, watchdog }
    }

    /// Whether there is anybody to tell.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// How long systemd may hear nothing of us before it ends us.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells systemd this: `READY=1`, or several such lines.
    pub fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            log::debug!("systemd does not hear '{state}': {error}");
        }
    }

    /// Tells systemd how things stand, in a line. What upstream has said may stand in it: what
    /// would end the line does not, since each line of a datagram is a word to systemd of its own.
    pub fn status(&self, line: &str) {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.tell(&format!("STATUS={line}"));
    }
}

/// The address of a socket; a name that begins with `@` is in no file system.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
        None => None,
    }
}

/// Whether this variable names our process; `or_absent` where it need not be there.
fn is_for_us(variable: &str, or_absent: bool) -> bool {
    match std::env::var(variable) {
        Ok(process) => process.parse() == Ok(std::process::id()),
        Err(_) => or_absent,
    }
}

/// The sockets that systemd has passed. They stay open, in their places, for as long as this
/// process lives: whoever calls between two runs waits in their queues.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<(Use, Socket)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn port(&self) -> Option<u16> {
        match self {
            Socket::Tcp(socket) => Some(socket.local_addr().ok()?.port()),
            Socket::Unix(_) => None,
        }
    }
}

/// Why sockets that were passed cannot be used: only a person can help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassedError(String);

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "systemd passes {}; pass stream sockets, with FileDescriptorName=callbacks or local",
            self.0
        )
    }
}

impl std::error::Error for PassedError {}

impl Passed {
    /// Takes the sockets over. Which is which is told by their names, else by their ports as
    /// `configured` knows them; callbacks are what a socket is for that is alone and neither.
    ///
    /// To be called once, before there are threads: it takes variables out of the environment.
    pub fn take_over(configured: impl Fn(u16) -> Option<Use>) -> Result<Passed, PassedError> {
        if !is_for_us("LISTEN_PID", false) {
            return Ok(Passed::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let count = passed.len();
        if count > SOCKETS_LIMIT {
            return Err(PassedError(format!("{count} sockets, {SOCKETS_LIMIT} are the most")));
        }
        let mut sockets = Vec::new();
        for place in 0..count {
            let name = names.next().unwrap_or_default();
            let socket = match passed.take_tcp_listener(place) {
                Ok(Some(socket)) => Socket::Tcp(socket),
                Ok(None) | Err(_) => match passed.take_unix_listener(place) {
                    Ok(Some(socket)) => Socket::Unix(socket),
                    Ok(None) | Err(_) => {
                        return Err(PassedError(format!("no stream socket as '{name}'")));
                    }
                },
            };
            let by_port = || configured(socket.port()?);
            let alone = (count == 1).then_some(Use::Callbacks);
            match (Use::of_name(name).or_else(by_port).or(alone), &socket) {
                (Some(Use::Callbacks), Socket::Unix(_)) => {
                    return Err(PassedError("a Unix socket for callbacks".to_owned()));
                }
                (Some(whose), _) => sockets.push((whose, socket)),
                (None, _) => return Err(PassedError(format!("a socket that is named '{name}'"))),
            }
        }
        Ok(Passed { sockets })
    }

    /// Those for callbacks, each a further handle of it.
    pub fn callbacks(&self) -> std::io::Result<Vec<TcpListener>> {
        self.tcp(Use::Callbacks)
    }

    /// Those for local programs on the network, each a further handle of it.
    pub fn local(&self) -> std::io::Result<Vec<TcpListener>> {
        self.tcp(Use::Local)
    }

    /// Those for local programs in the file system, each a further handle of it.
    pub fn local_unix(&self) -> std::io::Result<Vec<UnixListener>> {
        let unix = self.sockets.iter().filter_map(|(_, socket)| match socket {
            Socket::Unix(socket) => Some(socket.try_clone()),
            Socket::Tcp(_) => None,
        });
        unix.collect()
    }

    fn tcp(&self, wanted: Use) -> std::io::Result<Vec<TcpListener>> {
        let tcp = self.sockets.iter().filter_map(|(whose, socket)| match socket {
            Socket::Tcp(socket) if *whose == wanted => Some(socket.try_clone()),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        });
        tcp.collect()
    }

    /// Passes them on to the program that takes the place of this one, as the same process. They
    /// have their places still, since they were never closed.
    pub fn pass_on(&self, command: &mut Command) {
        if self.sockets.is_empty() {
            return;
        }
        for (_, socket) in &self.sockets {
            let descriptor = match socket {
                Socket::Tcp(socket) => socket.as_fd(),
                Socket::Unix(socket) => socket.as_fd(),
            };
            // It fails for no descriptor that is open.
            let _ = fcntl_setfd(descriptor, FdFlags::empty());
        }
        let names: Vec<&str> = self.sockets.iter().map(|(whose, _)| whose.name()).collect();
        command
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract() {
        let path = address("/run/systemd/notify").unwrap();
        assert_eq!(path.as_pathname().unwrap().to_str(), Some("/run/systemd/notify"));
        assert_eq!(address("@there").unwrap().as_abstract_name(), Some(&b"there"[..]));
        assert!(address("vsock:2:1").is_none());
        assert!(address("").is_none());
    }
}
