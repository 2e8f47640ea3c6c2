//! The real heart, store and watch in virtual time: a transport that never returns is noticed, and
//! systemd hears no more of us; a disk that stands still for minutes is not taken for that.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crmirror::clock::Clock;
use crmirror::config::Config;
use crmirror::credentials::Credentials;
use crmirror::daemon::watch::Watch;
use crmirror::heart::{Heart, Turn};
use crmirror::identity::Identity;
use crmirror::mirror::time::{Tick, UpstreamTime};
use crmirror::secret::Secret;
use crmirror::server::asked::{Asked, Peer};
use crmirror::server::board::Board;
use crmirror::server::local::Local;
use crmirror::store::Store;
use crmirror::systemd::Systemd;
use crmirror::upstream::transport::{Patience, Reply, Request, Transport, TransportError};
use crmirror::vitals::{LONGEST_REST, Organ, Vitals};

use super::stand_in::StandIn;
use crate::fsync::SlowDisk;
use crate::journeys::old_leads;
use crate::scratch::Scratch;
use crate::sim::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, RealClock, SimTransport, Upstream};

const CONFIG: &str = "[upstream]\naccounts = \"https://accounts.zoho.com\"\n\
                      api = \"https://www.zohoapis.com\"\n[[module]]\nname = \"Leads\"\n";

/// The device's clock, in seconds.
#[derive(Default)]
struct Device(AtomicU64);

impl Clock for Device {
    fn tick(&self) -> Tick {
        Tick::from_origin(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> UpstreamTime {
        UpstreamTime::EPOCH
    }
}

/// A transport that, once it is stuck, returns from no call until it is let go.
struct Sticky {
    inner: SimTransport,
    is_stuck: AtomicBool,
    entered: mpsc::Sender<()>,
    let_go: Mutex<Receiver<()>>,
}

impl Transport for Sticky {
    fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        if self.is_stuck.load(Ordering::SeqCst) {
            self.entered.send(()).unwrap();
            let _ = self.let_go.lock().unwrap().recv();
            self.is_stuck.store(false, Ordering::SeqCst);
        }
        self.inner.send(request)
    }
}

/// A heart that beats, and a watch over it.
struct Body {
    systemd: StandIn,
    device: Arc<Device>,
    transport: Arc<Sticky>,
    entered: Receiver<()>,
    let_go: mpsc::Sender<()>,
    store: Store,
    board: Arc<Board>,
    watch: Watch,
    ending: Arc<AtomicBool>,
    beating: Option<JoinHandle<()>>,
    scratch: Scratch,
}

impl Body {
    fn new(name: &str, is_stuck: bool) -> Body {
        let scratch = Scratch::new(name);
        let config = Config::parse(Path::new("/c.toml"), CONFIG.as_bytes(), None).unwrap();
        let (store, _) = Store::open(scratch.path()).unwrap();
        let identity = Identity::open(scratch.path()).unwrap();
        let mut upstream = Upstream::new(Arc::new(RealClock));
        upstream.model.add("Leads").with_fields(&["Last_Name"]);
        old_leads(&mut upstream, 5);
        let (entered, enters) = mpsc::channel();
        let (let_go, lets_go) = mpsc::channel();
        let transport = Arc::new(Sticky {
            inner: SimTransport::new(Arc::new(Mutex::new(upstream))),
            is_stuck: AtomicBool::new(is_stuck),
            entered,
            let_go: Mutex::new(lets_go),
        });
        let (device, board) = (Arc::new(Device::default()), Arc::new(Board::default()));
        let credentials = Credentials {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET.to_owned()),
            refresh_token: Some(Secret::new(REFRESH_TOKEN.to_owned())),
            platform_secret: None,
            zapikey: None,
        };
        let mut heart = Heart::new(
            &config,
            credentials,
            transport.clone(),
            device.clone(),
            store.clone(),
            identity,
            Arc::clone(&board),
        )
        .unwrap();
        let systemd = StandIn::nowhere(name);
        let told = Systemd::at(Some(systemd.name()), Some(Duration::from_secs(60)));
        let (of_heart, of_store) = (Arc::clone(&board), store.clone());
        let organs = vec![
            Organ::new("heart", Some(LONGEST_REST), move || of_heart.heart.mark()),
            Organ::new("store", None, move || of_store.mark()),
        ];
        let vitals = Vitals::new(organs, device.tick());
        let (board_of_watch, clock) = (Arc::clone(&board), device.clone());
        let watch = Watch::new(Arc::new(told), vitals, board_of_watch, store.clone(), clock);
        let ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ending);
        let beating = thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                if heart.turn().unwrap() != Turn::Acted {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Body {
            systemd,
            device,
            transport,
            entered: enters,
            let_go,
            store,
            board,
            watch,
            ending,
            beating: Some(beating),
            scratch,
        }
    }

    /// Lets so many minutes pass, with a look at each second; how often systemd heard of us.
    fn pass(&mut self, minutes: u64) -> usize {
        let before = self.pings();
        for _ in 0..minutes * 60 {
            self.device.0.fetch_add(1, Ordering::SeqCst);
            self.watch.look();
        }
        self.pings() - before
    }

    fn pings(&self) -> usize {
        self.systemd.settle();
        self.systemd.count("WATCHDOG=1")
    }

    /// What `/healthz` answers, and says.
    fn health(&self) -> (u16, String) {
        let (bell, _rung) = mpsc::sync_channel(1);
        let board = Arc::clone(&self.board);
        let clock = self.device.clone();
        let local = Local::new(Vec::new(), Vec::new(), self.store.clone(), board, bell, clock);
        let asked = Asked {
            method: "GET".to_owned(),
            target: "/healthz".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        let reply = local.respond(&asked);
        (reply.status(), String::from_utf8_lossy(reply.body()).into_owned())
    }

    /// Waits, in real time, until this is so.
    fn until(&self, what: &str, is_so: impl Fn(&Body) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < crate::agent::PATIENCE, "in vain until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_bootstrapped(&self) -> bool {
        let report = self.board.report();
        report.modules.values().all(|ledger| ledger.complete_through.is_some())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = self.let_go.send(());
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
    }
}

#[test]
fn a_transport_that_never_returns_is_noticed() {
    let mut body = Body::new("stuck", true);
    body.entered.recv_timeout(crate::agent::PATIENCE).unwrap();
    // As long as a call may take it is let be.
    let longest = Patience::default().call * 2;
    let minutes = longest.as_secs() / 60;
    assert!(body.pass(minutes) >= 4);
    assert_eq!(body.health().0, 200);
    body.pass(2);
    assert_eq!(body.pass(10), 0, "systemd hears no more of us");
    let (status, said) = body.health();
    assert_eq!(status, 503);
    assert!(said.contains("the heart has been in one call for "), "{said}");
    assert!(body.systemd.status().starts_with("the heart has been in one call for "));

    // It came back after all, before systemd has ended us.
    body.let_go.send(()).unwrap();
    body.until("the bootstrap has ended", Body::is_bootstrapped);
    assert!(body.pass(1) >= 2);
    assert_eq!(body.health().0, 200);
    assert!(!body.transport.is_stuck.load(Ordering::SeqCst));
}

#[test]
fn a_slow_disk_is_no_heart_that_stopped() {
    let mut body = Body::new("slow-disk", true);
    body.entered.recv_timeout(crate::agent::PATIENCE).unwrap();
    let slow = SlowDisk::of(&body.scratch.path().join("mirror.sled/db"));
    body.let_go.send(()).unwrap();
    body.until("it waits for the disk", |body| {
        let before = (body.store.mark(), body.board.heart.mark());
        thread::sleep(Duration::from_millis(100));
        body.board.report().upstream_time.is_some()
            && before == (body.store.mark(), body.board.heart.mark())
    });
    assert!(!body.is_bootstrapped(), "the disk holds it up");
    let pings = body.pass(8);
    assert!(pings >= 16, "{pings} in 8 minutes");
    assert_eq!(body.health().0, 200);
    // A disk that does not come back at all is another matter.
    body.pass(5);
    assert_eq!(body.pass(1), 0);
    assert_eq!(body.health().0, 503);
    drop(slow);
    body.until("the bootstrap has ended", Body::is_bootstrapped);
    assert!(body.pass(1) >= 2);
    assert_eq!(body.health().0, 200);
}

#[test]
fn a_heart_that_rests_is_alive_as_long_as_it_looks_around() {
    let mut body = Body::new("resting", false);
    body.until("the bootstrap has ended", Body::is_bootstrapped);
    for _ in 0..10 {
        assert!(body.pass(1) >= 2);
        thread::sleep(Duration::from_millis(20));
    }
    // Nobody lets it look around.
    body.ending.store(true, Ordering::SeqCst);
    body.beating.take().unwrap().join().unwrap();
    body.pass(3);
    assert_eq!(body.pass(1), 0);
    assert!(body.health().1.contains("the heart has not woken for "));
}
