//! What Books could not deliver is asked for again, once each.

use std::thread;
use std::time::Duration;

use super::{SETTINGS, begin, carry, place, until_ready};
use crate::agent::{PATIENCE, Place};
use crate::sim::{Aim, Fault};

#[test]
fn what_was_missed_in_an_outage_is_asked_for_once() {
    let mut place = place("webhooks-outage");
    begin(&mut place);
    until_counting(&mut place);
    place.upstream().fire("invoice", 1);
    assert_eq!(carry(&place), [200]);
    place.kill();
    let missed: Vec<u64> = (1_000..1_012).collect();
    for record in &missed {
        place.upstream().fire("invoice", *record);
    }
    // Upstream tries each of them some times, and gives up.
    let announced = place.upstream().take_announced();
    for callback in &announced {
        (0..3).for_each(|_| place.upstream().answered(callback.history, None));
    }
    start_without_scans(&mut place);
    place.until("all were asked for again", |place| {
        (place.status()["books"]["histories"]["resent"] == missed.len()).then_some(())
    });
    let answers = carry(&place);
    assert_eq!((answers.len(), answers.iter().all(|status| *status == 200)), (12, true));
    let status = place.status();
    assert!(status["books"]["histories"]["last_seen"].is_string(), "{status}");
    assert_eq!(status["books"]["histories"]["failed"], 0);
    // Those that fail again are not asked for again, whatever happens.
    for callback in &announced[..10] {
        place.upstream().answered(callback.history, Some(503));
    }
    for _ in 0..2 {
        place.kill();
        place.upstream().forget_calls();
        start_without_scans(&mut place);
        // What waits is fetched first, and Books is asked no more than 80 times a minute.
        place.until_for(4 * PATIENCE, "histories were looked at", |place| {
            let listed = place.calls(|call| call.path == format!("{SETTINGS}/histories"));
            (!listed.is_empty()).then_some(())
        });
    }
    let resent: Vec<u32> =
        place.upstream().webhooks.histories().values().map(|history| history.resent).collect();
    assert_eq!(resent.iter().filter(|times| **times == 1).count(), 12);
    assert_eq!(resent.iter().filter(|times| **times == 0).count(), 1);
    assert!(place.run(&["status"]).out.contains("12 callbacks asked for again"));
}

#[test]
fn what_catch_up_has_found_is_not_asked_for() {
    let mut place = place("webhooks-healed");
    let ids = [0; 3].map(|_| place.upstream().create("invoices", &[("total", "1.50")]));
    begin(&mut place);
    until_counting(&mut place);
    place.kill();
    place.upstream().webhooks.ruled = true;
    place.upstream().edit("invoices", ids[0], &[("total", "2.50")]);
    place.upstream().delete("invoices", ids[1]);
    place.upstream().create("invoices", &[("total", "3.50")]);
    let announced = place.upstream().take_announced();
    announced.iter().for_each(|callback| place.upstream().answered(callback.history, None));
    // Times are whole seconds.
    thread::sleep(Duration::from_millis(1_100));
    place.start();
    place.until("the histories were looked at", |place| {
        place.status()["books"]["histories"]["last_seen"].is_string().then_some(())
    });
    let status = place.status();
    assert_eq!(status["books"]["histories"]["healed"], announced.len(), "{status}");
    assert_eq!(status["books"]["histories"]["resent"], 0, "{status}");
    assert!(place.upstream().webhooks.histories().values().all(|history| history.resent == 0));
    assert_eq!(place.upstream().ids("invoices").len(), 3);
}

#[test]
fn one_whose_answer_is_lost_is_not_asked_for_twice() {
    let mut place = place("webhooks-resend-lost");
    begin(&mut place);
    until_counting(&mut place);
    place.kill();
    place.upstream().fire("invoice", 7);
    let callback = place.upstream().take_announced().remove(0);
    place.upstream().answered(callback.history, Some(503));
    let aim = || Aim::path(&format!("{SETTINGS}/histories")).method("POST");
    place.upstream().faults.script(1, aim(), Fault::ResetAfter);
    start_without_scans(&mut place);
    place.until("it is looked at again", |place| {
        let listed = place.calls(|call| call.path == format!("{SETTINGS}/histories"));
        (listed.len() >= 2).then_some(())
    });
    assert_eq!(place.upstream().webhooks.histories()[&callback.history].resent, 1);
    assert_eq!(place.status()["books"]["histories"]["resent"], 1);
}

/// Starts the daemon where scans are denied, which would find what failed before it is asked for.
fn start_without_scans(place: &mut Place) {
    let aim = Aim::path("/books/v3/invoices");
    place.upstream().faults.script(100_000, aim, Fault::Status(403));
    place.start();
    until_ready(place);
}

/// Waits until what fails from now on will be asked for.
fn until_counting(place: &mut Place) {
    place.until("failures count", |place| {
        place.status()["books"]["histories"]["since"].is_string().then_some(())
    });
}
