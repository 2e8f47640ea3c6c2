//! Attacks on the real binary, on loopback, while good callers go on calling.
//!
//! During each attack callbacks are posted and records read all the time, each over a connection
//! of its own; every one must be answered, and soon. The daemon's memory and threads are watched,
//! and afterwards it must have what it had before, and no more. What each attack cost is printed.
//!
//! - `crowd` those who take places: the silent, the dripping, those who come and go.
//! - `flood` those who send without end: heads, bodies, requests whose replies they do not read.
//! - `framing` requests that could be read in two ways. `handshake` what is no TLS.
//! - `allotted` how long each of them is waited for. `descriptors` when there are none left.
//! - `pages` web pages of other origins. `curl` TLS with a client that others have written.
//! - `callers` the good ones, `vitals` what the daemon takes of the device.

mod allotted;
mod callers;
mod crowd;
mod curl;
mod descriptors;
mod flood;
mod framing;
mod handshake;
mod pages;
mod vitals;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

use crate::agent::Place;

use self::callers::{Calls, Road};
use self::vitals::Vitals;

/// Within this a caller is to be answered: upstream gives up not much later.
const PROMPT: Duration = Duration::from_secs(1);
/// What is asserted of it: the machine that runs the tests is busy with others.
const PROMPT_ENOUGH: Duration = Duration::from_secs(5);
/// Memory of the daemon, whoever attacks.
const MEMORY_LIMIT: u64 = 64 << 10;
/// What the allocator may keep of it afterwards, in pieces too small to be given back.
const KEPT: u64 = 16 << 10;
/// Places at a gate, and so the threads that its guests have.
const PLACES: usize = 128;
/// Threads and descriptors that come and go without any attack: the store's, those of calls
/// upstream, and of guests who are about to leave.
const SPARE: usize = 16;
/// How long an attack lasts that could go on for ever.
const SPAN: Duration = Duration::from_millis(700);
/// Attackers wait for nothing longer than this.
const SHORT: Duration = Duration::from_secs(5);

/// Attacks run one after another, so that each has its own figures.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A daemon that is about to be attacked.
struct Siege {
    place: Place,
    road: Road,
    /// A record that there is, to be announced and read.
    id: u64,
    before: Vitals,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    /// A daemon whose callbacks come without TLS, as behind a tunnel.
    fn new(name: &str) -> Siege {
        Siege::prepared(name, Road::Plain, |_| {})
    }

    /// A daemon whose callbacks come by TLS.
    fn with_tls(name: &str) -> Siege {
        Siege::prepared(name, Road::tls(), |place| {
            place.set("callbacks.tls_cert", &quoted(&data("first-cert.pem")));
            place.set("callbacks.tls_key", &quoted(&data("first-key.pem")));
        })
    }

    fn prepared(name: &str, road: Road, prepare: impl FnOnce(&mut Place)) -> Siege {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = Place::new(&format!("attack-{name}"));
        let id = place.upstream().create("Leads", &[("Last_Name", "\"Holmes\"")]);
        prepare(&mut place);
        place.begin();
        place.until_settled();
        let mut siege = Siege { road, id, before: Vitals::of(place.pid()), place, _alone: alone };
        // What the first callers cause to be opened stays open.
        siege.during("calm", || thread::sleep(Duration::from_millis(200)));
        siege.before = Vitals::of(siege.pid());
        siege
    }

    fn pid(&self) -> Pid {
        self.place.pid()
    }

    /// Lets good callers call while one door is attacked; every one must be answered in time, and
    /// the daemon stay within its bounds.
    fn during(&self, attack_name: &str, attack: impl FnOnce()) {
        self.during_at(1, attack_name, attack);
    }

    /// The same for an attack on so many doors.
    fn during_at(&self, doors: usize, attack_name: &str, attack: impl FnOnce()) {
        let callback = self.place.callback("update", &[self.id]).to_string();
        let over = AtomicBool::new(false);
        let (acknowledged, read, peak) = thread::scope(|scope| {
            let posting = [(); 2].map(|()| scope.spawn(|| self.post_until(&over, &callback)));
            let reading = scope.spawn(|| self.read_until(&over));
            let watching = scope.spawn(|| Vitals::peak(self.pid(), &over));
            let end = End(&over);
            attack();
            drop(end);
            let [one, other] = posting.map(|caller| caller.join().unwrap());
            (one.and(other), reading.join().unwrap(), watching.join().unwrap())
        });
        println!("{attack_name}: callbacks {acknowledged}; reads {read}; {peak}");
        for calls in [acknowledged, read] {
            calls.expect(200, attack_name);
        }
        assert!(peak.pss_kib < MEMORY_LIMIT, "{attack_name}: {peak}");
        let threads_limit = self.before.threads + doors * PLACES + SPARE;
        assert!(peak.threads <= threads_limit, "{attack_name}: {peak}, at most {threads_limit}");
    }

    /// The attack is over: everything must return to where it was.
    fn recovers(mut self) {
        let (before, pid) = (self.before, self.pid());
        let after = self.place.until("what the attack took is given back", |_| {
            let now = Vitals::of(pid);
            let is_back = now.threads <= before.threads + SPARE
                && now.descriptors <= before.descriptors + SPARE
                && now.pss_kib <= before.pss_kib + KEPT;
            is_back.then_some(now)
        });
        println!("    before: {before}; after: {after}");
        self.during("calm again", || thread::sleep(Duration::from_millis(100)));
        assert!(!self.place.printed().contains("panicked"), "something panicked inside");
    }

    fn post_until(&self, over: &AtomicBool, callback: &str) -> Calls {
        Calls::until(over, || self.road.post(self.place.callbacks, callback))
    }

    fn read_until(&self, over: &AtomicBool) -> Calls {
        let target = format!("/crm/v2/Leads/{}", self.id);
        Calls::until(over, || callers::read(self.place.local, &target))
    }
}

/// Says that an attack is over, whatever ended it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection of an attacker.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, SHORT)?;
    stream.set_read_timeout(Some(SHORT))?;
    stream.set_write_timeout(Some(SHORT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends bytes over a connection of their own; all that comes back until the end. The gate may
/// refuse before it has read everything.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    if let Ok(mut stream) = connect(address) {
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut reply);
    }
    reply
}

/// The status of a reply; 0 when there is none.
fn status(reply: &[u8]) -> u16 {
    let digits = reply.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

/// A file of the tests.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

/// A path as a TOML value.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
