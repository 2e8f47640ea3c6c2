//! The agent in process: the real heart, courier, store and reception, on the simulator's
//! transport.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use crmirror::clock::Clock;
use crmirror::config::Config;
use crmirror::courier::{self, Courier};
use crmirror::credentials::Credentials;
use crmirror::heart::{Heart, Turn};
use crmirror::identity::Identity;
use crmirror::mirror::planner::Input;
use crmirror::secret::Secret;
use crmirror::server::board::Board;
use crmirror::server::intake::Intake;
use crmirror::server::receive::Notifications;
use crmirror::server::receive_books::Announced;
use crmirror::server::reception::Reception;
use crmirror::store::{INBOX_LIMIT, Store};

use super::device::Device;
use super::post::Door;
use crate::sim::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, SimTransport, ZAPIKEY};

/// A running agent.
pub(super) struct Agent {
    pub(super) heart: Heart,
    pub(super) store: Store,
    pub(super) board: Arc<Board>,
    courier: Option<Courier>,
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
            zapikey: Some(Secret::new(ZAPIKEY.to_owned())),
        };
        let courier = (!config.functions.is_empty()).then(|| {
            let (key, caller) = (credentials.zapikey.clone(), transport.clone());
            let (store, board) = (store.clone(), Arc::clone(&board));
            Courier::new(config, key, caller, Arc::clone(&clock), store, board, bell.clone())
                .unwrap()
        });
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
        let intake = Intake::new(store.clone(), Arc::clone(&board), bell, clock);
        *door.lock().unwrap() = Some(reception(config, Arc::new(intake)));
        Agent { heart, store, board, courier, rung, door: Arc::clone(door) }
    }

    /// Takes in what rang, and turns once.
    pub(super) fn turn(&mut self) -> Turn {
        while let Ok(input) = self.rung.try_recv() {
            self.heart.hear(input);
        }
        let of_heart = self.heart.turn().unwrap();
        let Some(courier) = &mut self.courier else { return of_heart };
        match (of_heart, courier.turn().unwrap()) {
            (Turn::WaitUntil(one), courier::Turn::WaitUntil(other)) => {
                Turn::WaitUntil(one.min(other))
            }
            (Turn::Acted, _) | (_, courier::Turn::Acted) => Turn::Acted,
        }
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

/// What is received at which path, as the daemon has it.
fn reception(config: &Config, intake: Arc<Intake>) -> Reception {
    let mut reception = Reception::new(Arc::clone(&intake), false);
    if let Some(channel) = &config.channel {
        let modules = config.modules.iter().map(|module| module.name.clone()).collect();
        let notifications = Notifications::new(modules, Arc::clone(&intake));
        reception = reception.with(channel.notify_url.path(), notifications);
    }
    for webhook in config.books.iter().flat_map(|books| &books.webhooks) {
        let (entity, intake) = (webhook.entity, Arc::clone(&intake));
        let announced = Announced::new(&webhook.name, entity, webhook.secret, intake);
        reception = reception.with(webhook.notify_url.path(), announced);
    }
    reception
}

/// The configuration of a world, read from a text as every other is.
pub(super) fn config(text: &str, store: &Path) -> Config {
    let text = format!("{text}\n[store]\npath = \"{}\"\n", store.display());
    Config::parse(Path::new("/world.toml"), text.as_bytes(), None)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}
