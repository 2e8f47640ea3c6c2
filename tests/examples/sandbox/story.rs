//! What happens upstream while the sandbox runs: now and then a record is created, edited or
//! deleted, its callback is carried to the agent, and the local copy is looked at until it shows
//! the change; or an invoice of Books is edited, and what its webhook sends is carried, or lost.
//! What is printed was measured, not hoped for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use super::home::{Home, lock};
use super::sim::{Delivery, Loopback, Upstream, data, http};
use super::{MODULES, Options, invitation, say};

/// How long the agent may take to mirror everything before a person is told to look.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a change may take to show, after which something is wrong.
const SHOWN_PATIENCE: Duration = Duration::from_secs(10);
/// From one change to the next, in milliseconds: slow enough to read along.
const PAUSE_MILLIS: std::ops::Range<u64> = 2_000..5_000;
/// Of so many callbacks of Books one is lost on its way, for a person to find it in the histories.
const BOOKS_LOSES_ONE_OF: u8 = 4;

/// What the story is about.
pub(crate) struct Story<'a> {
    pub(crate) upstream: Arc<Mutex<Upstream>>,
    pub(crate) home: &'a Home,
    pub(crate) loopback: &'a Loopback,
    pub(crate) delivery: &'a Delivery,
    pub(crate) stopping: &'a AtomicBool,
}

/// One change, as it is printed.
struct Change {
    what: String,
    module: &'static str,
    id: u64,
}

impl Story<'_> {
    /// Tells it until the agent stops, or stops the agent when nobody listens any more.
    pub(crate) fn tell(&mut self, options: &Options, used_before: bool) {
        let began = Instant::now();
        while !self.answers_ok("GET", "/readyz") {
            if self.rest(Duration::from_millis(10)) {
                return;
            }
            if began.elapsed() > READY_PATIENCE {
                let local = self.home.local;
                say(&format!("the agent is not ready yet; curl -s http://{local}/status"));
                break;
            }
        }
        if used_before {
            // The simulator forgets what was changed the last time, and a device cannot know that.
            self.answers_ok("POST", "/sync?sweep=true");
        }
        let leads = lock(&self.upstream).ids("Leads");
        let (first, invoice) = (leads[0], lock(&self.upstream).ids("invoices")[0]);
        let origin = self.loopback.origin();
        let invited = invitation::text(self.home, &origin, [first, leads[1]], invoice);
        let mut heard = say(&invited);
        let mut random = fastrand::Rng::with_seed(options.seed);
        while heard {
            if self.rest(Duration::from_millis(random.u64(PAUSE_MILLIS))) {
                return;
            }
            let told = match random.u8(0..5) {
                0 => {
                    edit_invoice(&mut lock(&self.upstream), &mut random);
                    let is_lost = random.u8(0..BOOKS_LOSES_ONE_OF) == 0;
                    self.carry_for_books(is_lost)
                }
                _ => {
                    let delivered = self.delivery.delivered().len();
                    let change = self.change(&mut random, first);
                    format!("{}: {}", change.what, self.follow(&change, delivered))
                }
            };
            // What a person has asked for again.
            let again = self.carry_for_books(false);
            for told in [told, again] {
                if !options.quiet && !told.is_empty() {
                    heard &= say(&told);
                }
            }
        }
        // As a program in a pipeline ends when its reader has; the agent takes it for Ctrl-C.
        let _ = kill_process(getpid(), Signal::TERM);
    }

    /// Changes something. The record `kept` may be edited but not deleted: it was printed.
    fn change(&self, random: &mut fastrand::Rng, kept: u64) -> Change {
        let mut upstream = lock(&self.upstream);
        let module = MODULES[random.usize(0..MODULES.len())];
        let ids = upstream.ids(module);
        let id = ids[random.usize(0..ids.len())];
        match random.u8(0..10) {
            0..2 => {
                let number = random.u16(..);
                let id = upstream.create(
                    "Leads",
                    &[
                        ("Last_Name", "\"Holmes\""),
                        ("Company", &format!("\"Baker Street {number}\"")),
                        ("Annual_Revenue", "221.10"),
                    ],
                );
                Change { what: format!("upstream: created Leads {id}"), module: "Leads", id }
            }
            2..4 if id != kept && ids.len() > 3 => {
                upstream.delete(module, id);
                Change { what: format!("upstream: deleted {module} {id}"), module, id }
            }
            _ => {
                data::edit(&mut upstream, random, module, id);
                let fields = if module == "Deals" { "Stage, Amount" } else { "Phone, Lead_Source" };
                Change { what: format!("upstream: edited {module} {id} ({fields})"), module, id }
            }
        }
    }

    /// Carries what Books wants to send, or loses it; what became of each, a line each.
    fn carry_for_books(&self, is_lost: bool) -> String {
        let announced = lock(&self.upstream).take_announced();
        let mut lines = Vec::new();
        for callback in announced {
            let headers: Vec<(&str, &str)> =
                callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (target, body) = (callback.target(), callback.body.as_bytes());
            let carry = || http(self.home.callbacks, "POST", target, &headers, body).ok();
            let status = if is_lost { None } else { carry() }.map(|heard| heard.status);
            lock(&self.upstream).answered(callback.history, status);
            let became =
                status.map_or("lost on its way".to_owned(), |status| format!("answered {status}"));
            lines.push(format!("Books: execution {} of a webhook: {became}", callback.history));
        }
        lines.join("\n")
    }

    /// Waits for the callback to be answered and for the change to be readable.
    fn follow(&self, change: &Change, delivered: usize) -> String {
        let began = Instant::now();
        let answered = loop {
            if let Some(answered) = self.delivery.delivered().get(delivered).cloned() {
                break answered;
            }
            if began.elapsed() > SHOWN_PATIENCE || self.rest(Duration::from_millis(1)) {
                return "no callback was sent".to_owned();
            }
        };
        let Some(status) = answered.status else {
            return "the callback was not answered".to_owned();
        };
        let latency = millis(answered.latency);
        while !self.is_mirrored(change) {
            if began.elapsed() > SHOWN_PATIENCE || self.rest(Duration::from_millis(1)) {
                return format!("callback answered {status} in {latency}; not mirrored yet");
            }
        }
        let later = millis(answered.at.elapsed());
        format!("callback answered {status} in {latency}, mirrored {later} later")
    }

    /// Whether the mirror shows of the record what upstream does.
    fn is_mirrored(&self, change: &Change) -> bool {
        let target = format!("/crm/v2/{}/{}", change.module, change.id);
        let Ok(heard) = http(self.home.local, "GET", &target, &[], &[]) else { return false };
        match lock(&self.upstream).truth(change.module, false).get(&change.id) {
            None => heard.status == 204,
            Some(record) => serde_json::from_str(record).is_ok_and(|record: Value| {
                heard.status == 200 && heard.value()["data"][0] == record
            }),
        }
    }

    fn answers_ok(&self, method: &str, target: &str) -> bool {
        let heard = http(self.home.local, method, target, &[], &[]);
        heard.is_ok_and(|heard| matches!(heard.status, 200 | 202))
    }

    /// Rests; true when the agent has stopped.
    fn rest(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stopping = self.stopping.load(Ordering::SeqCst);
            if stopping || left.is_zero() {
                return stopping;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// Edits an invoice, on which a workflow rule fires.
fn edit_invoice(upstream: &mut Upstream, random: &mut fastrand::Rng) {
    let ids = upstream.ids("invoices");
    let id = ids[random.usize(0..ids.len())];
    let total = format!("{}.{:02}", random.u32(10..5_000), random.u32(0..100));
    upstream.edit("invoices", id, &[("total", &total), ("status", "\"paid\"")]);
    upstream.fire("invoice", id);
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}
