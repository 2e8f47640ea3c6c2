//! The listening sockets: what systemd has passed, else what the configuration says.
//!
//! A socket that was passed wins over a configured address, but not over what the configuration
//! forbids: nobody shall be let in by a unit file whom `crmirror check` keeps out.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::config::{self, Config};
use crate::error::Failure;
use crate::server::gate::{Access, Listener};
use crate::systemd::{Passed, Use};

/// What systemd has passed.
pub(super) fn take_over(config: &Config) -> Result<Passed, Failure> {
    let uses = [
        (config.callbacks.listen.port(), Use::Callbacks),
        (config.local.listen.port(), Use::Local),
    ];
    let configured = |port| uses.into_iter().find_map(|(of, whose)| (of == port).then_some(whose));
    Passed::take_over(configured).map_err(|error| Failure::configuration(error.to_string()))
}

/// The sockets that local programs read at: at least one on the network.
pub(super) fn local(config: &Config, passed: &Passed) -> Result<Vec<Listener>, Failure> {
    let local = &config.local;
    let open = |address: SocketAddr| {
        let forbidden = !address.ip().is_loopback() && local.token_file.is_none();
        forbidden.then_some("readers are not asked who they are: give local.token_file")
    };
    let handed = passed.local().map_err(unusable)?;
    let mut listeners = tcp("local.listen", local.listen, handed, open)?;
    let handed = passed.local_unix().map_err(unusable)?;
    if let (true, Some(path)) = (handed.is_empty(), &local.socket) {
        listeners.push(listen_at(path, local)?);
    }
    listeners.extend(handed.into_iter().map(Listener::Unix));
    Ok(listeners)
}

/// The sockets that callbacks arrive at: at least one.
pub(super) fn callbacks(config: &Config, passed: &Passed) -> Result<Vec<Listener>, Failure> {
    let callbacks = &config.callbacks;
    let in_the_clear = callbacks.tls.is_none() && !callbacks.behind_proxy;
    let open = |address: SocketAddr| {
        let forbidden = !address.ip().is_loopback() && in_the_clear;
        forbidden.then_some("there is no TLS: give callbacks.tls_cert and callbacks.tls_key")
    };
    let handed = passed.callbacks().map_err(unusable)?;
    tcp("callbacks.listen", callbacks.listen, handed, open)
}

/// Says that nobody is listening where systemd does, when there is no channel.
pub(super) fn warn_of_idle_callbacks(passed: &Passed) {
    if passed.callbacks().is_ok_and(|sockets| !sockets.is_empty()) {
        log::warn!(
            "systemd listens for callbacks, and there is no [channel]: nobody answers there; \
             run: systemctl disable --now crmirror.socket"
        );
    }
}

fn tcp(
    key: &str,
    configured: SocketAddr,
    handed: Vec<TcpListener>,
    forbids: impl Fn(SocketAddr) -> Option<&'static str>,
) -> Result<Vec<Listener>, Failure> {
    if handed.is_empty() {
        return Ok(vec![Listener::Tcp(listen(key, configured)?)]);
    }
    for socket in &handed {
        let address = socket.local_addr().map_err(unusable)?;
        if let Some(why) = forbids(address) {
            return Err(Failure::configuration(format!(
                "systemd listens on {address}, which other machines reach, and {why}, or change \
                 ListenStream of the socket unit"
            )));
        }
        if handed.len() == 1 && address != configured {
            log::warn!("systemd listens on {address}: {key} = {configured} is not used");
        }
    }
    Ok(handed.into_iter().map(Listener::Tcp).collect())
}

fn unusable(error: io::Error) -> Failure {
    Failure::failed(format!("a socket of systemd's cannot be used: {error}; restart its unit"))
}

fn listen(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another program listens there; stop it or change",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a capability; use a higher one in"
            }
            _ => "change",
        };
        Failure::failed(format!("cannot listen on {address}: {error}; {hint} {key}"))
    })
}

/// Listens on the Unix socket of local programs. The store's lock has shown that no other daemon of
/// ours is using it.
fn listen_at(path: &Path, local: &config::Local) -> Result<Listener, Failure> {
    let access = Access { mode: local.socket_mode, group: local.socket_group.clone() };
    Listener::at(path, &access).map_err(|error| {
        let path = path.display();
        let hint = match &access.group {
            Some(group) => format!(
                "see that the daemon's user may write there and belongs to the group {group}, or \
                 change local.socket and local.socket_group; under systemd, use \
                 crmirror-local.socket"
            ),
            None => "change local.socket".to_owned(),
        };
        Failure::failed(format!("cannot listen on {path}: {error}; {hint}"))
    })
}
