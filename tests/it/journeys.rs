//! Journeys with the real binary, each from what a person does to what a person sees.
//!
//! - `main_road`: start, edit, delete, a burst. `crash`: `kill -9` after an acknowledgement.
//! - `kill`: `kill -9` at any moment, round after round.
//! - `refused`: callbacks that are not upstream's. `accepted`: all shapes of those that are.
//! - `verbatim`: records as upstream wrote them. `versions`: v8, whole records, chosen fields.
//! - `channel`: opened, renewed, lost, closed. `tokens`: access tokens, and the lack of them.
//! - `trouble`: records that are denied. `bootstrap`: large modules, and crashes on the way.
//! - `reads`, `no_reads`, `wrong_reads`, `paging`, `sync`: the local interface.
//! - `like_upstream`: the same questions to upstream. `replies`: each answer, letter by letter.
//! - `commands`, `exits`: the command line.
//! - `metadata`: modules, fields, organisation, user, and tokens. `sdk`: Zoho's own clients.
//! - `freshness`: how old what is read may be.
//! - `openapi`: every operation as it is described.
//! - `outbox`: calls to functions, through outages and kills.
//! - `feed`: what changed, and what changes next. `live`: many who live on it.
//! - `explain`: how a record came here. `export`: for other programs. `seed`: for another device.
//! - `front_door`: proxies and certificates. `readers`: tokens, sockets, pages, deaf readers.
//! - `doctor`: what is said of each fault, and what to do. `bundle`: what may be sent to others.
//! - `install`: placed and removed, in a directory of its own. `update`: a binary is replaced.
//! - `priority`: readers come behind callbacks.
//! - `platform`: what Zoho's platform tells of our extension, and its removal.
//! - `page`, `scrape`: the status page and the metrics, as they leave the daemon.
//! - `secrets`: what is never printed. `ending`: SIGTERM. `full_disk`: while all of it goes on.
//! - `wrong_clock`: decades off at the start, and jumps.
//! - `books`: a second upstream, with its own shape, limits and troubles.
//! - `indexes`: named, built, removed. `secrets`: what is never printed. `ending`: SIGTERM.
//! - `full_disk`: while all of it goes on. `webhooks`: those of Zoho Books.

mod accepted;
mod books;
mod bootstrap;
mod bundle;
mod channel;
mod commands;
mod crash;
mod doctor;
mod ending;
mod exits;
mod explain;
mod export;
mod feed;
mod freshness;
mod front_door;
mod full_disk;
mod indexes;
mod install;
mod kill;
mod like_upstream;
mod live;
mod main_road;
mod metadata;
mod no_reads;
mod openapi;
mod outbox;
mod page;
mod paging;
mod platform;
mod priority;
mod readers;
mod reads;
mod refused;
mod replies;
mod scrape;
mod sdk;
mod secrets;
mod seed;
mod shrinking;
mod sync;
mod tokens;
mod trouble;
mod update;
mod verbatim;
mod versions;
mod webhooks;
mod wrong_clock;
mod wrong_reads;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub(crate) use self::shrinking::{bloat, swell};
use crate::sim::{Moment, Upstream};

/// Goes on one journey for each of these, all at the same time: most of it is waiting.
fn at_once<T: Sync>(each: &[T], journey: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for one in each {
            scope.spawn(|| journey(one));
        }
    });
}

/// Leads that were there long before the story begins, so that no catch-up looks at them.
pub(crate) fn old_leads(upstream: &mut Upstream, count: usize) -> Vec<u64> {
    // Far from the ids that upstream gives to new records.
    static LAST: AtomicU64 = AtomicU64::new(6_756_839_000_900_000_000);
    let at = Moment::from_unix(upstream.now().unix() - 90 * 86_400);
    let first = LAST.fetch_add(count as u64, Ordering::Relaxed);
    let ids: Vec<u64> = (first..).take(count).collect();
    for (number, &id) in ids.iter().enumerate() {
        upstream.load("Leads", id, at, &[("Last_Name", &format!("\"Lead {number:04}\""))]);
    }
    ids
}
