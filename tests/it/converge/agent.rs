//! The agent in process: the real heart, store and reception, on the simulator's transport.

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use crmirror::clock::Clock;
use crmirror::config::Config;
use crmirror::credentials::Credentials;
use crmirror::heart::{Heart, Turn};
use crmirror::identity::Identity;
use crmirror::mirror::planner::Input;
use crmirror::secret::Secret;
use crmirror::server::asked::{Asked, Peer};
use crmirror::server::board::Board;
use crmirror::server::intake::Intake;
use crmirror::server::receive::Notifications;
use crmirror::server::reception::Reception;
use crmirror::store::{INBOX_LIMIT, Store};

use super::device::Device;
use crate::sim::{CLIENT_ID, CLIENT_SECRET, Callback, REFRESH_TOKEN, SimTransport};

/// Where upstream calls back.
pub(super) const NOTIFY_PATH: &str = "/callback/4f1c9a";

/// The door for callbacks, which stays open while the heart is at work.
pub(super) type Door = Arc<Mutex<Option<Reception>>>;

/// A running agent.
pub(super) struct Agent {
    pub(super) heart: Heart,
    pub(super) store: Store,
    pub(super) board: Arc<Board>,
    rung: Receiver<Input>,
    door: Door,
}

impl Agent {
    /// Starts on whatever lies in the directory, as the daemon does.
    pub(super) fn start(
        config: &Config,
        transport: &Arc<SimTransport>,
        device: &Arc<Device>,
        door: &Door,
    ) -> Agent {
        let clock: Arc<dyn Clock> = device.clone();
        let (store, healings) = Store::open(&config.store).unwrap();
        assert!(healings.is_empty(), "nothing was broken: {healings:?}");
        let identity = Identity::open(&config.store).unwrap();
        if let Some(books) = &config.books {
            // The daemon does it as it goes.
            let modules = books.entities.iter().map(|entity| (entity.module(), Vec::new()));
            store.set_indexes(&modules.collect());
            while store.build_indexes(1_000).unwrap() {}
        }
        let board = Arc::new(Board::default());
        let (bell, rung) = mpsc::sync_channel(INBOX_LIMIT as usize);
        let credentials = Credentials {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET.to_owned()),
            refresh_token: Some(Secret::new(REFRESH_TOKEN.to_owned())),
            platform_secret: None,
            zapikey: None,
        };
        let heart = Heart::new(
            config,
            credentials,
            transport.clone(),
            Arc::clone(&clock),
            store.clone(),
            identity,
            Arc::clone(&board),
        )
        .unwrap();
        let modules = config.modules.iter().map(|module| module.name.clone()).collect();
        let intake = Intake::new(store.clone(), Arc::clone(&board), bell, Arc::clone(&clock));
        let intake = Arc::new(intake);
        let reception = Reception::new(Arc::clone(&intake), false)
            .with(NOTIFY_PATH, Notifications::new(modules, intake));
        *door.lock().unwrap() = Some(reception);
        Agent { heart, store, board, rung, door: Arc::clone(door) }
    }

    /// Takes in what rang, and turns once.
    pub(super) fn turn(&mut self) -> Turn {
        while let Ok(input) = self.rung.try_recv() {
            self.heart.hear(input);
        }
        self.heart.turn().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A test that panics may have poisoned it; the store is to close all the same.
        if let Ok(mut door) = self.door.lock() {
            *door = None;
        }
    }
}

/// Hands a callback in at the door; the status, or `None` when nobody is there.
pub(super) fn deliver(door: &Door, callback: &Callback) -> Option<u16> {
    let asked = Asked {
        method: "POST".to_owned(),
        target: NOTIFY_PATH.to_owned(),
        headers: Vec::new(),
        body: callback.body.clone().into_bytes(),
        peer: Peer::Unix,
        secure: false,
    };
    door.lock().unwrap().as_ref().map(|reception| reception.respond(&asked).status())
}

/// The configuration of a world, read from a text as every other is.
pub(super) fn config(text: &str, store: &Path) -> Config {
    let text = format!("{text}\n[store]\npath = \"{}\"\n", store.display());
    Config::parse(Path::new("/world.toml"), text.as_bytes(), None)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}
