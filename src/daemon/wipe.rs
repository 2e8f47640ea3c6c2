//! Erasing what a removed extension leaves behind, before anything of it is opened.
//!
//! It was decided, and is on disk, that all goes; nothing that happens here takes that back. The
//! channel is closed first, since nobody could afterwards, but not at any price: what cannot be
//! closed within [`CLOSING_LIMIT`] expires upstream by itself. A start that was broken off does the
//! same again.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::heart::line::Line;
use crate::identity::Identity;
use crate::identity::removal::{self, RemovalFile};
use crate::mirror::channel::ChannelOutcome;
use crate::mirror::credits::Spending;
use crate::mirror::platform::Removal;
use crate::mirror::record::ChannelId;
use crate::mirror::trouble::Trouble;
use crate::store;
use crate::upstream::channels;
use crate::upstream::transport::{HttpsTransport, Patience};

/// No try to close the channel begins later than this. A removal takes the token back within
/// moments, and a device without a network may not get one before its owner takes it away.
const CLOSING_LIMIT: Duration = Duration::from_secs(20);
/// From one try to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// One call of a try. With the one that asks for a token there are three at most.
const PATIENCE: Patience = Patience {
    call: Duration::from_secs(6),
    resolve: Duration::from_secs(4),
    connect: Duration::from_secs(4),
    answer: Duration::from_secs(5),
};

/// Whether everything is still to be erased.
pub(super) fn is_due(directory: &Path) -> Result<bool, Failure> {
    let removal = RemovalFile::of(directory).read();
    Ok(removal.map_err(|error| Failure::failed(error.to_string()))? == Some(Removal::Wiping))
}

/// Closes the channel if it can be, and erases everything.
pub(super) fn finish(config: &Config) -> Result<(), Failure> {
    log::warn!("the extension was removed: {} is erased", config.store.display());
    match close(config) {
        Ok(()) => log::info!("the channel is closed"),
        Err(why) => log::warn!("the channel is left to expire by itself: {why}"),
    }
    store::erase(&config.store, removal::NAME).map_err(|e| Failure::failed(e.to_string()))?;
    let kept = RemovalFile::of(&config.store).set(Some(Removal::Wiped));
    kept.map_err(|error| Failure::failed(error.to_string()))?;
    log::warn!("mirror and tokens are erased; nothing is fetched until the extension is back");
    Ok(())
}

/// Tries to close the channel until it is closed, denied, or the time is up.
fn close(config: &Config) -> Result<(), String> {
    let clock = Arc::new(DeviceClock);
    let began = clock.tick();
    let identity = Identity::open(&config.store).map_err(|error| error.to_string())?;
    let Some(channel) = identity.channel() else { return Err("none was opened".into()) };
    let file = &config.upstream.credentials;
    let (credentials, _) = Credentials::load(file).map_err(|error| error.to_string())?;
    let ca_file = config.upstream.ca_file.as_deref();
    let transport =
        HttpsTransport::with_patience(ca_file, PATIENCE).map_err(|error| error.to_string())?;
    let (transport, spent) = (Arc::new(transport), Spending::default());
    let mut line = Line::new(config, credentials, transport, clock.clone(), &identity, spent);
    loop {
        let why = match try_to_close(&mut line, channel.id) {
            Ok(()) => return Ok(()),
            Err(Trouble::Denied { why, .. } | Trouble::TokenRefused { why }) => return Err(why),
            Err(trouble) => trouble.why().to_owned(),
        };
        if clock.tick().since(began) + PAUSE > CLOSING_LIMIT {
            return Err(why);
        }
        thread::sleep(PAUSE);
    }
}

/// Closes the channel, with a new token where the one that is kept is not accepted.
fn try_to_close(line: &mut Line, channel: ChannelId) -> Result<(), Trouble> {
    match close_once(line, channel) {
        Err(Trouble::TokenRefused { .. }) => {
            line.refresh()?;
            close_once(line, channel)
        }
        closed => closed,
    }
}

fn close_once(line: &mut Line, channel: ChannelId) -> Result<(), Trouble> {
    let request = channels::close(&line.api()?, channel);
    match channels::parse_close(&line.call(&request)?) {
        ChannelOutcome::Closed | ChannelOutcome::NotSubscribed => Ok(()),
        ChannelOutcome::Trouble(trouble) => Err(trouble),
        ChannelOutcome::Shown(..)
        | ChannelOutcome::Granted { .. }
        | ChannelOutcome::AlreadyUsed => {
            let why = "the answer is none about closing a channel".to_owned();
            Err(Trouble::Failed { after: None, why })
        }
    }
}
