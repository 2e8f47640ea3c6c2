//! The binary is copied over, again and again, while callbacks and reads come in without a pause
//! through the sockets that systemd holds: none is refused, none is lost, and what is acknowledged
//! is in the mirror.
//!
//! `ROUNDS=200` makes two hundred swaps.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::sockets::hand_both;
use super::stand_in::StandIn;
use crate::agent::{CALLBACK_PATH, Place};
use crate::journeys::old_leads;
use crate::sim::{Upstream, http};

/// Callers at the same time; each has records of its own.
const CALLERS: usize = 3;
/// From one call of a caller to the next.
const PACE: Duration = Duration::from_millis(5);

/// One who calls without a pause.
struct Caller {
    upstream: Arc<Mutex<Upstream>>,
    address: SocketAddr,
    template: Value,
    own: Vec<u64>,
    /// The newest score of each record that was acknowledged.
    acknowledged: BTreeMap<u64, u64>,
}

impl Caller {
    /// Changes a record and says so. A formula's value moves no stamp: no catch-up would find it.
    fn call(&mut self, number: u64) -> Duration {
        let id = self.own[number as usize % self.own.len()];
        let score = number.to_string();
        assert!(self.upstream.lock().unwrap().touch_formula("Leads", id, "Score", &score));
        self.template["ids"] = json!([id.to_string()]);
        let body = self.template.to_string();
        let began = Instant::now();
        let heard = http(self.address, "POST", CALLBACK_PATH, &[], body.as_bytes());
        let heard = heard.unwrap_or_else(|error| panic!("callback {number} is lost: {error}"));
        assert_eq!(heard.status, 200, "callback {number}: {}", heard.text());
        self.acknowledged.insert(id, number);
        began.elapsed()
    }
}

/// Puts a program in the place of another, as `install` does.
fn copy_over(to: &Path) {
    let fresh = to.with_extension("new");
    fs::copy(env!("CARGO_BIN_EXE_crmirror"), &fresh).unwrap();
    fs::rename(&fresh, to).unwrap();
}

#[test]
fn swaps_of_the_binary_refuse_and_lose_no_callback() {
    let rounds: usize = std::env::var("ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let systemd = StandIn::nowhere("swaps");
    let mut place = Place::new("swaps");
    place.environment("NOTIFY_SOCKET", systemd.name());
    place.set("catch_up.every", "\"7d\"").set("catch_up.sweep_every", "\"30d\"");
    place.set("catch_up.credits_per_day", "100000000");
    let program = place.path("program");
    copy_over(&program);
    place.program(program);
    hand_both(&mut place);
    let leads: Vec<Vec<u64>> = (0..CALLERS).map(|_| old_leads(&mut place.upstream(), 20)).collect();
    place.begin();
    let template = place.callback("update", &[]);
    let (upstream, address) = (place.shared_upstream(), place.callbacks);
    let mut callers: Vec<Caller> = leads
        .into_iter()
        .map(|own| Caller {
            upstream: Arc::clone(&upstream),
            address,
            template: template.clone(),
            own,
            acknowledged: BTreeMap::new(),
        })
        .collect();
    let (stop, calls, longest) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for caller in &mut callers {
            let (stop, calls, longest) = (&stop, &calls, &longest);
            scope.spawn(move || {
                let _stop = StopAtEnd(stop);
                while !stop.load(Ordering::Relaxed) {
                    let took = caller.call(calls.fetch_add(1, Ordering::Relaxed) + 1);
                    let mut longest = longest.lock().unwrap();
                    *longest = took.max(*longest);
                    drop(longest);
                    thread::sleep(PACE);
                }
            });
        }
        let (local, reading) = (place.local, &stop);
        scope.spawn(move || {
            let _stop = StopAtEnd(reading);
            while !reading.load(Ordering::Relaxed) {
                let heard = http(local, "GET", "/crm/v2/Leads?per_page=1", &[], b"").unwrap();
                assert_eq!(heard.status, 200, "{}", heard.text());
                thread::sleep(PACE);
            }
        });
        swap_over_and_over(&mut place, &systemd, rounds, &stop);
    });
    let (calls, longest) = (calls.into_inner(), longest.into_inner().unwrap());
    println!("{rounds} swaps, {calls} callbacks, the longest took {longest:?}");
    assert!(calls > rounds as u64, "too few to prove anything");
    place.until_settled();
    let mirrored = place.records("Leads");
    for (id, score) in callers.iter().flat_map(|caller| &caller.acknowledged) {
        assert_eq!(mirrored[id]["Score"], score.to_string(), "{id}");
    }
}

/// Copies the binary over and starts the daemon again, until a caller has failed.
fn swap_over_and_over(place: &mut Place, systemd: &StandIn, rounds: usize, failed: &AtomicBool) {
    let program = place.path("program");
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(random.u64(20..120)));
        copy_over(&program);
        let (code, _) = place.stop();
        assert_eq!(code, Some(0), "round {round}");
        let ready = systemd.count("READY=1");
        place.launch();
        systemd.until("it is ready", |systemd| systemd.count("READY=1") > ready);
        if failed.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Ends the others when one has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
