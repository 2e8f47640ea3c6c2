//! Callbacks carried over loopback to a listener, one after another on a thread of their own, as
//! reliably as a test wants. None is tried twice: upstream is not known to (facts §2.3).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Upstream;
use super::callbacks::Callback;
use super::client::http;
use super::transport::lock;

/// Deliveries remembered.
const DELIVERED_KEPT: usize = 100_000;

/// How callbacks are carried.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// So many of a thousand are lost.
    pub lose_per_mille: u32,
    /// So many of a thousand are sent twice.
    pub double_per_mille: u32,
    /// Each is sent this long after its change, or after the one before it.
    pub delay: Duration,
    /// Seed of what is lost and doubled.
    pub seed: u64,
}

/// One delivery.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The records.
    pub ids: Vec<u64>,
    /// What the listener answered; `None` when it did not, or when the callback was lost.
    pub status: Option<u16>,
    /// From connecting to the answer.
    pub latency: Duration,
    /// When the answer was there.
    pub at: Instant,
}

/// Carries callbacks until dropped; those that come after wait in the outbox.
pub struct Delivery {
    delivered: Arc<Mutex<VecDeque<Delivered>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Delivery {
    pub(super) fn start(
        upstream: &Mutex<Upstream>,
        listener: SocketAddr,
        manners: Manners,
    ) -> Delivery {
        let (sender, callbacks) = mpsc::channel();
        lock(upstream).forward_callbacks(sender);
        let delivered = Arc::new(Mutex::new(VecDeque::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let carrier = Carrier {
            callbacks,
            listener,
            random: fastrand::Rng::with_seed(manners.seed),
            manners,
            delivered: Arc::clone(&delivered),
            stopping: Arc::clone(&stopping),
        };
        let thread = Some(thread::spawn(move || carrier.run()));
        Delivery { delivered, stopping, thread }
    }

    /// The deliveries so far, lost ones included; at most the last 100,000.
    pub fn delivered(&self) -> Vec<Delivered> {
        lock(&self.delivered).iter().cloned().collect()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    callbacks: Receiver<Callback>,
    listener: SocketAddr,
    random: fastrand::Rng,
    manners: Manners,
    delivered: Arc<Mutex<VecDeque<Delivered>>>,
    stopping: Arc<AtomicBool>,
}

impl Carrier {
    fn run(mut self) {
        while !self.stopping.load(Ordering::SeqCst) {
            match self.callbacks.recv_timeout(Duration::from_millis(20)) {
                Ok(callback) => self.carry(&callback),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry(&mut self, callback: &Callback) {
        let due = Instant::now() + self.manners.delay;
        while Instant::now() < due && !self.stopping.load(Ordering::SeqCst) {
            let left = due.saturating_duration_since(Instant::now());
            thread::sleep(left.min(Duration::from_millis(20)));
        }
        if self.draw(self.manners.lose_per_mille) {
            self.note(callback, None, Duration::ZERO);
            return;
        }
        let times = if self.draw(self.manners.double_per_mille) { 2 } else { 1 };
        for _ in 0..times {
            let began = Instant::now();
            // Zoho's neighbours send this type with a JSON body (facts §2.3).
            let headers = [("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8")];
            let target = target(&callback.url);
            let heard = http(self.listener, "POST", target, &headers, callback.body.as_bytes());
            let status = heard.ok().map(|heard| heard.status);
            self.note(callback, status, began.elapsed());
        }
    }

    fn draw(&mut self, per_mille: u32) -> bool {
        self.random.u32(0..1_000) < per_mille
    }

    fn note(&self, callback: &Callback, status: Option<u16>, latency: Duration) {
        let mut delivered = lock(&self.delivered);
        if delivered.len() == DELIVERED_KEPT {
            delivered.pop_front();
        }
        let ids = callback.ids.clone();
        delivered.push_back(Delivered { ids, status, latency, at: Instant::now() });
    }
}

/// Path and query of an address.
pub(super) fn target(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or("/", |at| &url[host + at..])
}
