//! Wiring the courier, which makes the calls of the outbox. Without a `[[function]]` there is none.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::clock::Clock;
use crate::config::Config;
use crate::courier::Courier;
use crate::credentials::Credentials;
use crate::error::Failure;
use crate::mirror::planner::Input;
use crate::secret::Secret;
use crate::server::board::Board;
use crate::store::Store;
use crate::upstream::transport::{HttpsTransport, Patience};
use crate::vitals::{LONGEST_REST, Organ};

/// The key that functions are called with; an error when one needs it and there is none.
pub(super) fn key(config: &Config, credentials: &Credentials) -> Result<Option<Secret>, Failure> {
    if config.needs_zapikey() {
        credentials.require_zapikey(&config.upstream.credentials)?;
    }
    Ok(credentials.zapikey.clone())
}

/// The courier, if there is a function to call.
pub(super) fn courier(
    config: &Config,
    zapikey: Option<Secret>,
    clock: &Arc<dyn Clock>,
    store: &Store,
    board: &Arc<Board>,
    bell: &SyncSender<Input>,
) -> Result<Option<Courier>, Failure> {
    if config.functions.is_empty() {
        let left = store.call_counts().waiting;
        if left > 0 {
            log::warn!("{left} calls wait in the outbox, and there is no [[function]] any more");
        }
        return Ok(None);
    }
    let ca_file = config.upstream.ca_file.as_deref();
    let transport = HttpsTransport::with_patience(ca_file, Patience::for_functions())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let courier = Courier::new(
        config,
        zapikey,
        Arc::new(transport),
        Arc::clone(clock),
        store.clone(),
        Arc::clone(board),
        bell.clone(),
    );
    courier.map(Some).map_err(|error| Failure::failed(error.to_string()))
}

/// How the courier is watched over.
pub(super) fn organ(board: &Arc<Board>) -> Organ {
    let board = Arc::clone(board);
    Organ::new("courier", Some(LONGEST_REST), move || board.hatch.courier.mark())
}

/// Delivers until the daemon stops. A store that fails ends the daemon with it.
pub(super) fn deliver(courier: &mut Courier) {
    if let Err(error) = courier.deliver() {
        log::error!("{error}");
    }
}
