//! What it costs: a quiet day, a large module, a long outage, a crowded organization of Books. The
//! figures are printed; what is asserted is generous, but for Books' pace.

use std::time::Duration;

use super::books;
use super::device::Time;
use super::people::{Desk, People};
use super::world::{START, World};
use crate::sim::{Upstream, data};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A world with one module, mirrored as the example configuration has it.
fn world(version: &str, upstream: Upstream, time: Time) -> World {
    let text = format!(
        "[upstream]\ndata_centre = \"us\"\napi_version = \"{version}\"\n\
         [channel]\nnotify_url = \"https://kiosk-7.example.com/callback/4f1c9a\"\n\
         [catch_up]\ncredits_per_day = 10000\n[[module]]\nname = \"Leads\"\n"
    );
    let desk = Desk { module: "Leads".to_owned(), fields: vec!["Description".to_owned()] };
    let mut world = World::new(&text, upstream, People::new(1, vec![desk], Vec::new(), 1), time);
    world.is_honest = false;
    world
}

fn spent(world: &World) -> (u64, u64) {
    let spent = world.upstream().call_count();
    world.upstream().forget_calls();
    spent
}

fn fail_on_differences(world: &mut World) {
    let found = world.differences(Some(HOUR));
    world.fail_on("the mirror differs from upstream", &found);
}

#[test]
fn a_quiet_day_costs_few_credits() {
    let time = Time::starting(START);
    let mut upstream = Upstream::new(time.upstream.clone());
    data::bulky(&mut upstream, "Leads", 300, 300);
    let mut world = world("v8", upstream, time);
    world.live(HOUR);
    let _ = spent(&world);
    world.live(DAY);
    let (calls, credits) = spent(&world);
    println!("a quiet day of a module with 300 records: {calls} calls, {credits} credits");
    assert!(credits <= 600, "{credits} credits");
    fail_on_differences(&mut world);
}

#[test]
fn a_large_module_and_ninety_days_without_a_network() {
    for version in ["v2", "v8"] {
        let time = Time::starting(START);
        let mut upstream = Upstream::new(time.upstream.clone());
        upstream.knobs.page_tokens_in_v2 = false;
        let ids = data::bulky(&mut upstream, "Leads", 7_000, 300);
        upstream.mass_create("Leads", 5_000, &[("Description", "\"imported\"")]);
        let mut world = world(version, upstream, time);
        world.live(HOUR);
        let (calls, credits) = spent(&world);
        println!(
            "{version}: 12,000 records, 5,000 in one second: {calls} calls, {credits} credits"
        );
        fail_on_differences(&mut world);

        world.upstream().faults.offline(true);
        world.upstream().mass_update("Leads", &ids[..5_000], &[("Description", "\"new\"")]);
        for id in &ids[6_000..] {
            world.upstream().delete("Leads", *id);
        }
        world.upstream().take_callbacks();
        world.live(45 * DAY);
        world.time.pass(45 * DAY);
        world.upstream().faults.calm();
        let _ = spent(&world);
        world.live(HOUR);
        let (calls, credits) = spent(&world);
        println!("{version}: 90 days offline, 6,000 changes: {calls} calls, {credits} credits");
        assert!(credits < 1_000, "{credits} credits");
        fail_on_differences(&mut world);
    }
}

#[test]
fn each_page_of_a_list_counts_in_books_pace() {
    let time = Time::starting(START);
    let mut upstream = Upstream::new(time.upstream.clone());
    upstream.books.a_minute = usize::MAX;
    books::add_foreign_webhooks(&mut upstream, 1_900);
    upstream.books.a_minute = 100;
    time.pass(MINUTE);
    let desks = books::desks(&mut upstream, &["bills"]);
    let text = "[upstream]\ndata_centre = \"us\"\n[[module]]\nname = \"Leads\"\n".to_owned()
        + &books::section(&desks, |_| true);
    upstream.model.add("Leads");
    let mut people = People::new(1, desks, Vec::new(), 1);
    people.settle_in(&mut upstream, "bills", 400);
    let mut world = World::new(&text, upstream, people, time);
    world.upstream().forget_calls();
    world.live(4 * MINUTE);
    let most = books::most_calls_in(MINUTE, &world.upstream().calls());
    println!("ten pages of webhooks, then 400 records: {most} calls of Books in a minute");
    assert!((70..=81).contains(&most), "{most}");
}
