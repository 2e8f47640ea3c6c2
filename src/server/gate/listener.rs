//! The listening socket of a gate, on the network or in the file system.
//!
//! It may be ours or systemd's; nothing is done to it that would keep the next process from using
//! it.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::process::umask;

use super::deadline::Socket;
use crate::server::asked::Peer;

/// Connections that the system queues while none is accepted: a burst of callbacks waits there, and
/// whoever finds it full is heard a second later at the earliest. Linux takes no more by default.
const BACKLOG: i32 = 4096;

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

    /// Whether only this device can connect, by the network.
    pub fn is_on_loopback(&self) -> bool {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
            }
            Listener::Unix(_) => false,
        }
    }

    /// Makes the socket as the accept loop needs it, whoever made it; its address on the network.
    pub(super) fn prepare(&self) -> io::Result<Option<SocketAddr>> {
        // To listen again only changes the length of the queue.
        rustix::net::listen(self.descriptor(), BACKLOG)?;
        // Whoever is gone again before he is accepted is not to hold us up.
        match self {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                listener.local_addr().map(Some)
            }
            Listener::Unix(listener) => listener.set_nonblocking(true).map(|()| None),
        }
    }

    /// Waits for somebody who wants to come in, or for the other end of `bell` to be closed. A
    /// connection of our own would wake us too, but it is left in the queue of a socket that goes
    /// on listening for the next process, and we may not be allowed to make one.
    pub(super) fn await_caller(&self, bell: &UnixStream) -> io::Result<()> {
        let mut both = [self.descriptor(), bell.as_fd()]
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        poll(&mut both, None)?;
        Ok(())
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
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
