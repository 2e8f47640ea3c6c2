//! A quiet day, in virtual time: what it costs upstream and the card when nothing changes.

use std::io;
use std::time::Duration;

use crmirror::heart::Turn;

use super::device::Time;
use super::people::{Desk, People};
use super::world::{START, World};
use crate::Bench;
use crate::figures::Table;
use crate::machine::Usage;
use crate::sim::{Clock as _, Upstream, data};

const HOUR: Duration = Duration::from_secs(3_600);
/// As in the README's example.
const MODULES: [&str; 3] = ["Leads", "Contacts", "Deals"];

/// A day of three modules, whose records are many but do not change.
pub(crate) fn run(bench: &Bench) -> io::Result<Table> {
    let columns = ["a quiet day", "API calls", "credits", "flushes", "KiB written"];
    let title = format!("{} modules, {} records, nothing changes", MODULES.len(), bench.records);
    let mut table = Table::new(title, &columns);
    for version in ["v2", "v8"] {
        let mut world = world(version, bench.records);
        world.live(HOUR);
        world.upstream().forget_calls();
        let before = Usage::of(std::process::id())?;
        let flushes = live_through_a_day(&mut world);
        let after = Usage::of(std::process::id())?;
        let (calls, credits) = world.upstream().call_count();
        let written = after.handed - before.handed;
        let row = [calls as f64, credits as f64, flushes as f64, written];
        let row = row.map(|value| format!("{value:.0}"));
        table.row(std::iter::once(version.to_owned()).chain(row).collect());
    }
    Ok(table)
}

fn world(version: &str, records: usize) -> World {
    let time = Time::starting(START);
    let mut upstream = Upstream::new(time.upstream.clone());
    let modules: String = MODULES.map(|name| format!("[[module]]\nname = \"{name}\"\n")).concat();
    for module in MODULES {
        data::bulky(&mut upstream, module, records / MODULES.len(), 300);
    }
    let text = format!(
        "[upstream]\ndata_centre = \"us\"\napi_version = \"{version}\"\n\
         [channel]\nnotify_url = \"https://kiosk-7.example.com/callback/4f1c9a\"\n{modules}"
    );
    let desk = |name: &&str| Desk { module: (*name).to_owned(), fields: Vec::new() };
    let people = People::new(1, MODULES.iter().map(desk).collect(), Vec::new(), 1);
    let mut world = World::new(&text, upstream, people, time);
    world.is_honest = false;
    world
}

/// Brings to disk at once whatever is written, as time would: sled flushes every few seconds.
fn live_through_a_day(world: &mut World) -> u64 {
    let end = world.time.upstream.now().after(24 * HOUR);
    let mut flushes = 0;
    while world.time.upstream.now() < end {
        match world.turn() {
            Turn::Acted => {
                let store = world.agent().store.clone();
                let _durable = store.flush().expect("the disk has room");
                flushes += 1;
            }
            Turn::WaitUntil(tick) => world.time.pass_until(tick),
        }
    }
    flushes
}
