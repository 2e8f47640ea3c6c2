//! TLS at the gate: a certificate and its key from files, read again when they change.
//!
//! A renewal must need no restart, and a renewal that went wrong must not close the gate: a bad
//! new pair is reported once and the old one kept. Whether the certificate is still valid is not
//! asked here; peers will say, and `doctor` does. This file and the transport to upstream are the
//! only ones that name rustls.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use zeroize::Zeroizing;

use super::GateError;
use super::deadline::{Deadline, Timed, Wire};
use crate::secret;

/// Longest certificate or key file: a chain is below 20 KiB.
const FILE_LIMIT: u64 = 1 << 20;

/// Where the certificate chain and its key are, both in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, then those between it and the root (certbot's `fullchain.pem`).
    pub cert: PathBuf,
    /// The private key (certbot's `privkey.pem`).
    pub key: PathBuf,
}

/// The pair in use.
pub(super) struct Certificates {
    files: TlsFiles,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    /// What the files looked like when they were read last, whether that went well or not.
    seen: Option<[Stamp; 2]>,
    next_look: Deadline,
}

/// What changes when a file is written or replaced.
type Stamp = (u64, u64, i64, i64, u64);

impl Certificates {
    /// Reads the pair. The files are looked at again once they were left alone for `every`.
    pub(super) fn open(files: TlsFiles, every: Duration) -> Result<Certificates, GateError> {
        let seen = files.stamps();
        let config = files.load_and_warn()?;
        let state = Mutex::new(State { config, seen, next_look: Deadline::after(every) });
        Ok(Certificates { files, every, state })
    }

    /// Reads the pair again now.
    pub(super) fn reload(&self) -> Result<(), GateError> {
        let mut state = self.state();
        state.seen = self.files.stamps();
        state.next_look = Deadline::after(self.every);
        state.config = self.files.load_and_warn()?;
        Ok(())
    }

    /// Shakes hands within the deadline of the socket.
    pub(super) fn accept(&self, mut timed: Timed) -> Result<TlsWire, (Timed, io::Error)> {
        let mut connection = match ServerConnection::new(self.current()) {
            Ok(connection) => connection,
            Err(error) => return Err((timed, io::Error::other(error))),
        };
        while connection.is_handshaking() {
            match connection.complete_io(&mut timed) {
                Ok((0, 0)) => return Err((timed, io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err((timed, error)),
            }
        }
        Ok(TlsWire(Box::new(StreamOwned::new(connection, timed))))
    }

    /// The pair for the next handshake.
    fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state();
        if state.next_look.left().is_zero() {
            state.next_look = Deadline::after(self.every);
            let stamps = self.files.stamps();
            // A file that is missing for a moment, while it is being replaced, changes nothing.
            if stamps.is_some() && stamps != state.seen {
                state.seen = stamps;
                match self.files.load_and_warn() {
                    Ok(config) => {
                        log::info!("{}: new certificate in use", self.files.cert.display());
                        state.config = config;
                    }
                    Err(error) => log::warn!("{error}; the old certificate stays in use"),
                }
            }
        }
        Arc::clone(&state.config)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    /// Whether the pair can be used: its warning, when other users can read the key.
    pub fn examine(&self) -> Result<Option<String>, GateError> {
        self.load().map(|(_, warning)| warning)
    }

    fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamp = |metadata: Metadata| {
            let written = (metadata.mtime(), metadata.mtime_nsec());
            (metadata.dev(), metadata.ino(), written.0, written.1, metadata.size())
        };
        let look = |path: &Path| path.metadata().ok().map(stamp);
        Some([look(&self.cert)?, look(&self.key)?])
    }

    fn load_and_warn(&self) -> Result<Arc<ServerConfig>, GateError> {
        let (config, warning) = self.load()?;
        if let Some(warning) = warning {
            log::warn!("{warning}");
        }
        Ok(config)
    }

    fn load(&self) -> Result<(Arc<ServerConfig>, Option<String>), GateError> {
        let cert = |why: String| GateError::certificate(&self.cert, why);
        let pem = read(&self.cert).map_err(|error| cert(error.to_string()))?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| cert(error.to_string()))?;
        if chain.is_empty() {
            return Err(cert("no certificate in it".into()));
        }
        let pem = read(&self.key).map_err(|error| GateError::key(&self.key, error.to_string()))?;
        let mode = self.key.metadata().map_or(0, |file| file.mode());
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| GateError::key(&self.key, error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| cert(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| cert(format!("{error}, with the key {}", self.key.display())))?;
        Ok((Arc::new(config), secret::exposure(&self.key, mode)))
    }
}

/// Reads a file that may hold a key: its bytes are wiped when dropped.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Room for all of it at once: growing would leave copies behind that nobody wipes.
    let length = file.metadata()?.len().min(FILE_LIMIT) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A conversation under TLS.
pub(super) struct TlsWire(Box<StreamOwned<ServerConnection, Timed>>);

impl Wire for TlsWire {
    fn timed(&mut self) -> &mut Timed {
        &mut self.0.sock
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

impl Read for TlsWire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for TlsWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
