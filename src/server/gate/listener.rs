//! The listening socket of a gate, on the network or in the file system.
//!
//! It may be ours or systemd's; nothing is done to it that would keep the next process from using
//! it.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;

use super::deadline::Socket;
use crate::server::asked::Peer;

/// Connections that the system queues while none is accepted: a burst of callbacks waits there, and
/// whoever finds it full is heard a second later at the earliest. Linux takes no more by default.
const BACKLOG: i32 = 4096;
/// How long the connection that wakes the accept loop may take.
const WAKE_WAIT: Duration = Duration::from_millis(100);

/// A listening socket, bound by us or passed by systemd.
#[derive(Debug)]
pub enum Listener {
    /// On the network.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// Who may connect to a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The permissions of its file.
    pub mode: u32,
    /// The group of its file, by a name of `/etc/group` or by number; else the process's.
    pub group: Option<String>,
}

/// Where a gate listens.
pub(super) enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(UnixAddr),
}

impl Listener {
    /// Listens on a Unix socket. A socket that a crash left at `path` is removed: that nobody uses
    /// it is for the caller to know. At no moment may more connect than `access` says.
    pub fn at(path: &Path, access: &Access) -> io::Result<Listener> {
        if path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        // For this moment whatever another thread makes is closed to others too: no harm.
        let usual = umask(Mode::RWXG | Mode::RWXO);
        let bound = UnixListener::bind(path);
        umask(usual);
        let listener = bound?;
        if let Some(group) = &access.group {
            chown(path, None, Some(group_number(group)?))?;
        }
        fs::set_permissions(path, Permissions::from_mode(access.mode))?;
        Ok(Listener::Unix(listener))
    }

    /// Makes the socket as the accept loop needs it, whoever made it; its address.
    pub(super) fn prepare(&self) -> io::Result<Address> {
        // To listen again only changes the length of the queue.
        match self {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(false)?;
                rustix::net::listen(listener, BACKLOG)?;
                listener.local_addr().map(Address::Tcp)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(false)?;
                rustix::net::listen(listener, BACKLOG)?;
                listener.local_addr().map(Address::Unix)
            }
        }
    }

    /// The next connection, and who is at its other end.
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                // Without it a kept connection gets 23 replies a second. Where it cannot be set
                // the peer has gone, and reading will tell.
                let _ = socket.set_nodelay(true);
                let peer = SocketAddr::new(address.ip().to_canonical(), address.port());
                Ok((Socket::from(socket), Peer::Tcp(peer)))
            }
            Listener::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                Ok((Socket::from(socket), Peer::Unix))
            }
        }
    }
}

impl Address {
    /// Wakes the accept loop: nothing but a connection does. (Shutting the socket would, too, but
    /// a socket of systemd's must go on listening for the next process.)
    pub(super) fn wake(&self) -> io::Result<()> {
        match self {
            Address::Tcp(address) => {
                let ip = match address.ip() {
                    ip if !ip.is_unspecified() => ip,
                    ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
                    _ => Ipv6Addr::LOCALHOST.into(),
                };
                let address = SocketAddr::new(ip, address.port());
                TcpStream::connect_timeout(&address, WAKE_WAIT).map(drop)
            }
            Address::Unix(address) => UnixStream::connect_addr(address).map(drop),
        }
    }
}

/// The number of a group. Only the file is asked: what a directory service knows besides is not
/// worth its library on a small device, and has a number too.
fn group_number(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")?;
    find_group(&groups, group).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("/etc/group has no group {group}"))
    })
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        let groups = "root:x:0:\nkiosk-2:x:7:\nkiosk:x:1007:ann,bob\nbroken\n";
        assert_eq!(find_group(groups, "kiosk"), Some(1007));
        assert_eq!(find_group(groups, "kiosk-2"), Some(7));
        assert_eq!(find_group(groups, "broken"), None);
        assert_eq!(find_group(groups, "ann"), None);
        assert_eq!(group_number("1007").unwrap(), 1007);
    }
}
