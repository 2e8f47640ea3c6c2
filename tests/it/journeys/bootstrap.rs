//! Large modules: read whole with page tokens and without, and over crashes.

use std::time::Duration;

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Call, data};

const COUNT: usize = 2_500;
/// Pages of 200.
const PAGES: usize = COUNT.div_ceil(200);

fn is_listing(call: &Call) -> bool {
    call.path == "/crm/v2/Leads" && call.param("ids").is_none()
}

#[test]
fn a_large_module_is_read_whole_with_page_tokens_and_without() {
    for tokens in [true, false] {
        let mut place = Place::new("large");
        data::bulky(&mut place.upstream(), "Leads", COUNT, 400);
        place.upstream().knobs.page_tokens_in_v2 = tokens;
        place.begin();
        assert_eq!(place.records("Leads"), place.truth("Leads", false), "tokens: {tokens}");
        assert_eq!(place.status()["modules"]["Leads"]["records"], COUNT);
        let calls = place.calls(is_listing);
        println!("{COUNT} records, page tokens: {tokens}: {} pages", calls.len());
        let most = if tokens { PAGES + 5 } else { 3 * PAGES };
        assert!(calls.len() <= most, "{}", calls.len());
    }
}

#[test]
fn a_kill_in_the_midst_of_a_bootstrap_does_not_start_it_over() {
    let mut place = Place::new("resume");
    data::bulky(&mut place.upstream(), "Leads", COUNT, 200);
    let id = place.upstream().ids("Leads")[COUNT - 1];
    place.loopback.latency(Duration::from_millis(60));
    place.start();
    let mut seen = 0;
    for rows in [400, 1_200, 2_000] {
        seen = place.until("some pages are committed", |place| {
            let rows_so_far = place.status()["modules"]["Leads"]["scan"]["rows"].as_u64();
            rows_so_far.filter(|so_far| *so_far >= rows)
        });
        place.kill().start();
        let kept = place.status()["modules"]["Leads"]["scan"]["rows"].as_u64().unwrap();
        assert!(kept >= seen, "{kept} after {seen}");
    }
    assert!(seen < COUNT as u64, "the kills came before the end");
    place.ready();
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
    // Each kill may cost the page in the air, and its start a catch-up; the rest is what one
    // bootstrap reads.
    let pages = place.calls(is_listing).len();
    println!("{pages} pages for {COUNT} records and three kills");
    assert!(pages <= PAGES + 5 + 3 * 2, "{pages}");
    assert!(place.record("Leads", id).is_some());
}

#[test]
fn a_callback_goes_before_the_next_page() {
    let mut place = Place::new("callback-first");
    let old = old_leads(&mut place.upstream(), 2_000);
    place.loopback.latency(Duration::from_millis(150));
    place.start();
    place.until("the channel is open", |place| {
        (place.status()["channel"]["state"] == "open").then_some(())
    });
    let last = *old.last().unwrap();
    place.upstream().edit("Leads", last, &[("Phone", "\"1\"")]);
    place.carry();
    place.until_reads("Leads", last, "Phone", "\"1\"");
    assert_eq!(place.get("/readyz").status, 503, "it is read before the bootstrap has ended");
    place.loopback.latency(Duration::ZERO);
    place.ready();
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}

#[test]
fn records_deleted_while_nobody_looked_are_gone_after_a_start() {
    let mut place = Place::new("deleted-offline");
    let ids = old_leads(&mut place.upstream(), 50);
    place.begin();
    place.stop();
    for &id in &ids[..20] {
        place.upstream().delete("Leads", id);
    }
    place.upstream().create("Leads", &[("Last_Name", "\"New\"")]);
    place.upstream().take_callbacks();
    place.begin();
    let truth = place.truth("Leads", false);
    place.until("it is caught up", |place| (place.records("Leads") == truth).then_some(()));
    assert_eq!(place.status()["modules"]["Leads"]["records"], 31);
}
