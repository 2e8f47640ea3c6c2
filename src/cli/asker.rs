//! Asking upstream from a command, with a running daemon or without one.

use std::sync::Arc;

use crate::clock::DeviceClock;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::heart::line::Line;
use crate::identity::Identity;
use crate::mirror::credits::Spending;
use crate::mirror::trouble::Trouble;
use crate::upstream::transport::HttpsTransport;

use super::client::Daemon;
use super::give_back;
use super::login::failure;

/// Who asks upstream.
pub(super) struct Asker<'a> {
    config: &'a Config,
    pub(super) line: Line,
    pub(super) identity: Identity,
}

impl<'a> Asker<'a> {
    pub(super) fn open(config: &'a Config) -> Result<Asker<'a>, Failure> {
        let identity = identity(config)?;
        let (credentials, _) = Credentials::load(&config.upstream.credentials)?;
        let transport = HttpsTransport::new(config.upstream.ca_file.as_deref())
            .map_err(|error| Failure::configuration(error.to_string()))?;
        let (transport, clock) = (Arc::new(transport), Arc::new(DeviceClock));
        let spent = Spending::default();
        let line = Line::new(config, credentials, transport, clock, &identity, spent);
        Ok(Asker { config, line, identity })
    }

    /// Asks, with a fresh token where the kept one is not accepted.
    pub(super) fn ask<T>(
        &mut self,
        ask: impl Fn(&mut Line) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        match ask(&mut self.line) {
            Err(Trouble::TokenRefused { .. }) => {
                self.refresh()?;
                ask(&mut self.line).map_err(failure)
            }
            answer => answer.map_err(failure),
        }
    }

    /// Gets a fresh token, and keeps it for who asks next: upstream gives ten in ten minutes (facts
    /// §3.2). A running daemon has one of its own in hand, and would write over it.
    fn refresh(&mut self) -> Result<(), Failure> {
        let (_, access) = self.line.refresh().map_err(failure)?;
        if Daemon::of(self.config)?.get("/healthz").is_none() {
            match self.identity.keep_access(access) {
                Ok(()) => give_back(&self.config.store),
                Err(error) => eprintln!("crmirror: the fresh token is not kept: {error}"),
            }
        }
        Ok(())
    }
}

/// Who we are to upstream, as it is kept in the store.
pub(super) fn identity(config: &Config) -> Result<Identity, Failure> {
    Identity::open(&config.store).map_err(|error| Failure::failed(error.to_string()))
}
