//! The device's clock is wrong, and jumps; the device sleeps. Nothing is decided by it: the channel
//! stays open, is not renewed in a storm, and the proof follows upstream's clock.

use std::time::Duration;

use super::device::Time;
use super::people::{Desk, People};
use super::world::{START, World};
use crate::sim::{Clock as _, Moment, Upstream};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY_SECONDS: i64 = 24 * 3_600;
/// Hours that are lived through.
const HOURS: u32 = 72;
/// Two renewals a day are due for a channel of a day; a start or a wakening may add one each.
const RENEWALS: usize = 12;

fn world(start: Moment) -> World {
    let time = Time::starting(start);
    let mut upstream = Upstream::new(time.upstream.clone());
    upstream.model.add("Deals").with_fields(&["Amount"]);
    for number in 1..=20 {
        let at = Moment::from_unix(start.unix() - 1_000 * number as i64);
        upstream.load("Deals", number, at, &[("Amount", "1")]);
    }
    let text = "[upstream]\ndata_centre = \"us\"\n\
                [channel]\nnotify_url = \"https://kiosk-7.example.com/callback/4f1c9a\"\n\
                [[module]]\nname = \"Deals\"\n";
    let desk = Desk { module: "Deals".to_owned(), fields: vec!["Amount".to_owned()] };
    World::new(text, upstream, People::new(1, vec![desk], Vec::new(), 1), time)
}

/// Lives through three days, in each hour of which the wall clock is set to `wall` and a record is
/// changed whose callback is lost.
fn check(what: &str, start: Moment, wall: impl Fn(&World, u32) -> i64) {
    let mut world = world(start);
    world.live(HOUR);
    for hour in 0..HOURS {
        let shown = wall(&world, hour);
        world.time.set_wall(shown);
        let value = format!("{hour}");
        world.upstream().edit("Deals", 1 + u64::from(hour % 20), &[("Amount", &value)]);
        world.collect_callbacks();
        world.post.clear();
        world.live(HOUR);
        let open = world.upstream().live_channels().len();
        assert_eq!(open, 1, "{what}: the channel in hour {hour}");
    }
    let renewals = world.upstream().calls();
    let is_renewal = |method: &str| ["POST", "PUT", "PATCH"].contains(&method);
    let renewals = renewals
        .iter()
        .filter(|call| call.path.ends_with("/actions/watch") && is_renewal(&call.method))
        .count();
    println!("{what}: {renewals} renewals in {HOURS} hours");
    assert!(renewals <= RENEWALS, "{what}: {renewals} renewals");
    let found = world.differences(Some(HOUR));
    world.fail_on(what, &found);
}

#[test]
fn a_clock_that_is_wrong_or_jumps_changes_nothing() {
    let upstream = |world: &World| world.time.upstream.now().unix();
    check("a board without a battery", START, |_, hour| i64::from(hour) * 3_600);
    check("a day back, a day on", START, |world, hour| {
        upstream(world) + DAY_SECONDS * (i64::from(hour % 3) - 1)
    });
    check("decades ahead", START, |_, _| 4_000_000_000);
    let end = Moment::from_unix(i64::from(i32::MAX) - DAY_SECONDS);
    check("over the end of 32 bits", end, |world, _| upstream(world));
    check("the device's clock ends at 32 bits", end, |world, _| i64::from(upstream(world) as i32));
}

#[test]
fn a_device_that_sleeps_catches_up_when_it_wakes() {
    let mut world = world(START);
    world.live(HOUR);
    for night in 0..5_u32 {
        let (value, id) = (format!("{night}"), 1 + u64::from(night));
        world.time.pass(10 * HOUR);
        world.upstream().edit("Deals", id, &[("Amount", &value)]);
        // The third night lasts until the channel has expired.
        let rest = if night == 2 { 30 * HOUR } else { 2 * HOUR };
        world.time.pass(rest);
        world.collect_callbacks();
        world.post.clear();
        world.live(HOUR / 2);
        assert_eq!(world.upstream().live_channels().len(), 1, "night {night}");
        let found = world.differences(Some(HOUR));
        world.fail_on("after a night", &found);
    }
}
