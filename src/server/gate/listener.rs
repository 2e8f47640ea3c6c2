//! The listening socket of a gate, on the network or in the file system.
//!
//! It may be ours or systemd's; nothing is done to it that would keep the next process from using
//! it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::time::Duration;

use super::deadline::Socket;
use crate::server::asked::Peer;

/// Connections that the system queues while none is accepted: a burst of callbacks waits there.
const BACKLOG: i32 = 1024;
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

/// Where a gate listens.
pub(super) enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(UnixAddr),
}

impl Listener {
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
