//! The watch: a thread that looks every second at how things stand, and tells it: to systemd the
//! line of status and that we go on, to `/healthz` who stands still, to the log what a bootstrap
//! has come to.
//!
//! It judges nothing itself (that is [`crate::vitals`]) and mends nothing: who stands still cannot
//! be woken, and systemd ends a service of which it hears nothing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::Clock;
use crate::logger;
use crate::mirror::time::Tick;
use crate::server::board::Board;
use crate::server::summary;
use crate::store::Store;
use crate::systemd::Systemd;
use crate::vitals::Vitals;

/// From one look to the next: the line of status is no older than that.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From one line about a bootstrap to the next in a log. On a terminal there is one at each look.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The watch.
pub struct Watch {
    systemd: Arc<Systemd>,
    vitals: Vitals,
    board: Arc<Board>,
    store: Store,
    clock: Arc<dyn Clock>,
    status: String,
    stopped: Option<String>,
    pinged: Option<Tick>,
    bootstrap: Bootstrap,
}

/// What was told of a bootstrap last.
struct Bootstrap {
    on_terminal: bool,
    told: Tick,
    records: u64,
}

impl Watch {
    /// A watch that begins now.
    pub fn new(
        systemd: Arc<Systemd>,
        vitals: Vitals,
        board: Arc<Board>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Watch {
        let bootstrap = Bootstrap {
            on_terminal: logger::is_on_terminal(),
            told: clock.tick(),
            records: summary::mirrored(&board.report()),
        };
        let (status, stopped, pinged) = (String::new(), None, None);
        Watch { systemd, vitals, board, store, clock, status, stopped, pinged, bootstrap }
    }

    /// Watches for as long as the process lives.
    pub fn keep(mut self) -> ! {
        loop {
            self.look();
            thread::sleep(self.pause());
        }
    }

    /// Looks once, and tells what is to be told.
    pub fn look(&mut self) {
        let now = self.clock.tick();
        self.judge(now);
        if self.stopped.is_none() {
            self.ping(now);
        }
        self.tell_status();
        self.tell_bootstrap(now);
    }

    /// Until the next look: the watchdog is to be told at half of its time.
    fn pause(&self) -> Duration {
        self.systemd.watchdog().map_or(LOOK_EVERY, |limit| LOOK_EVERY.min(limit / 2))
    }

    fn judge(&mut self, now: Tick) {
        let stopped = self.vitals.look(now).err();
        match (&stopped, &self.stopped) {
            (Some(stopped), None) => log::error!("{stopped}: start crmirror again"),
            (None, Some(_)) => log::info!("all goes on again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.stopped = stopped.map(|stopped| stopped.to_string());
        self.board.judge(self.stopped.clone());
    }

    fn ping(&mut self, now: Tick) {
        let Some(limit) = self.systemd.watchdog() else { return };
        let next_look = |pinged| now.since(pinged) + self.pause();
        if self.pinged.is_none_or(|pinged| next_look(pinged) > limit / 2) {
            self.systemd.tell("WATCHDOG=1");
            self.pinged = Some(now);
        }
    }

    fn tell_status(&mut self) {
        if !self.systemd.listens() {
            return;
        }
        let usual = summary::line(&self.board.report(), self.store.waiting());
        let line = match &self.stopped {
            Some(stopped) => format!("{stopped}; {usual}"),
            None if self.store.has_failed() => format!("the store takes no writes; {usual}"),
            None if self.store.room().low => format!("the disk is full; {usual}"),
            None => usual,
        };
        if line != self.status {
            self.systemd.status(&line);
            self.status = line;
        }
    }

    fn tell_bootstrap(&mut self, now: Tick) {
        let Bootstrap { on_terminal, told, records } = self.bootstrap;
        let ago = now.since(told);
        if !on_terminal && ago < TELL_EVERY {
            return;
        }
        let report = self.board.report();
        match summary::bootstrap(&report, records, ago) {
            Some(line) if on_terminal => logger::progress(&line),
            Some(line) => log::info!("{line}"),
            None => {}
        }
        let records = summary::mirrored(&report);
        self.bootstrap = Bootstrap { on_terminal, told: now, records };
    }
}
