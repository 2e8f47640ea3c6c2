//! A stand-in for systemd's end of `sd_notify(3)`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::agent::PATIENCE;

/// Says to the thread that it may end.
const END: &[u8] = b"end";

/// Hears what services say.
pub(super) struct StandIn {
    name: String,
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    listening: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Listens at a path.
    pub(super) fn at(path: &Path) -> StandIn {
        let name = path.to_str().unwrap().to_owned();
        StandIn::listen(name, SocketAddr::from_pathname(path).unwrap())
    }

    /// Listens where no file is.
    pub(super) fn nowhere(name: &str) -> StandIn {
        let name = format!("crmirror-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        StandIn::listen(format!("@{name}"), address)
    }

    fn listen(name: String, address: SocketAddr) -> StandIn {
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let ours = Arc::clone(&heard);
        let listening = thread::spawn(move || {
            let mut datagram = [0; 4_096];
            while let Ok(count) = socket.recv(&mut datagram) {
                if &datagram[..count] == END {
                    return;
                }
                let said = String::from_utf8(datagram[..count].to_vec()).unwrap();
                ours.lock().unwrap().extend(said.lines().map(str::to_owned));
            }
        });
        StandIn { name, address, heard, listening: Some(listening) }
    }

    /// What `NOTIFY_SOCKET` has to say.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All lines that were heard.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// How often this line was heard.
    pub(super) fn count(&self, line: &str) -> usize {
        self.heard().iter().filter(|heard| *heard == line).count()
    }

    /// The last line of status that was heard.
    pub(super) fn status(&self) -> String {
        let heard = self.heard();
        let last = heard.iter().rev().find_map(|line| line.strip_prefix("STATUS="));
        last.unwrap_or_default().to_owned()
    }

    /// Comes back when all that was said before has been heard.
    pub(super) fn settle(&self) {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("X_MARK={}", MARKS.fetch_add(1, Ordering::Relaxed));
        let own = UnixDatagram::unbound().unwrap();
        own.send_to_addr(mark.as_bytes(), &self.address).unwrap();
        self.until("it has heard all", |systemd| systemd.count(&mark) == 1);
    }

    /// Waits until something was heard.
    pub(super) fn until(&self, what: &str, mut look: impl FnMut(&StandIn) -> bool) {
        let began = Instant::now();
        while !look(self) {
            assert!(began.elapsed() < PATIENCE, "in vain until {what}: {:#?}", self.heard());
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let woken = UnixDatagram::unbound().and_then(|own| own.send_to_addr(END, &self.address));
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            let _ = listening.join();
        }
    }
}
