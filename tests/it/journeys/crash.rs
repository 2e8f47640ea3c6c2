//! `kill -9` right after an acknowledgement: what was acknowledged is fetched after a restart.
//!
//! The change of a formula moves no stamp (facts §2.4), so that no catch-up finds it: only the
//! inbox can bring it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place};
use crate::sim::{Aim, Fault, http};

/// What keeps a fetch from happening before the kill.
#[derive(Clone, Copy, Debug)]
enum Down {
    Offline,
    Unavailable,
    Hangs,
}

impl Down {
    fn set(self, place: &Place) {
        let faults = &mut place.upstream().faults;
        match self {
            Down::Offline => faults.offline(true),
            Down::Unavailable => faults.script(1_000, Aim::path("/crm/"), Fault::Status(503)),
            Down::Hangs => faults.script(1_000, Aim::path("/crm/"), Fault::TimeOutBefore),
        }
    }
}

fn touch(place: &Place, id: u64, text: &str) {
    assert!(place.upstream().touch_formula("Leads", id, "Score", text));
}

#[test]
fn a_kill_after_an_acknowledgement_loses_nothing() {
    let mut place = Place::new("kill");
    let ids = old_leads(&mut place.upstream(), 6);
    place.begin();
    for (round, &id) in ids.iter().enumerate() {
        let down = [Down::Offline, Down::Unavailable, Down::Hangs][round % 3];
        touch(&place, id, "1");
        let body = place.callback("update", &[id]).to_string();
        down.set(&place);
        assert_eq!(place.post(&body), 200, "{down:?}");
        place.kill();
        if round % 2 == 1 {
            // Twice: a start that cannot fetch either must not let go of it.
            place.start();
            assert_eq!(place.status()["inbox"]["waiting"], 1, "{down:?}");
            place.kill();
        }
        place.upstream().faults.calm();
        place.start();
        place.until_reads("Leads", id, "Score", "1");
        place.until_settled();
    }
    assert_eq!(place.records("Leads"), place.truth("Leads", false));
}

#[test]
fn a_kill_in_the_midst_of_a_burst_loses_none_of_the_acknowledged() {
    const CALLERS: usize = 6;
    let mut place = Place::new("kill-burst");
    let ids = old_leads(&mut place.upstream(), 300);
    place.begin();
    for round in 0..3_u64 {
        let score = format!("{}", round + 10);
        ids.iter().for_each(|&id| touch(&place, id, &score));
        let made = place.callback("update", &[0]);
        if round < 2 {
            Down::Offline.set(&place);
        }
        let acknowledged = Mutex::new(BTreeSet::new());
        let address = place.callbacks;
        thread::scope(|scope| {
            for some in ids.chunks(ids.len() / CALLERS) {
                let (acknowledged, made) = (&acknowledged, &made);
                scope.spawn(move || {
                    for &id in some {
                        let mut body = made.clone();
                        body["ids"] = serde_json::json!([id]);
                        let body = body.to_string();
                        match http(address, "POST", CALLBACK_PATH, &[], body.as_bytes()) {
                            Ok(heard) if heard.status == 200 => {
                                acknowledged.lock().unwrap().insert(id);
                            }
                            _ => return,
                        }
                    }
                });
            }
            let soon = Duration::from_millis(40 + 30 * round);
            thread::sleep(soon);
            place.kill();
        });
        place.upstream().faults.calm();
        place.start();
        let acknowledged = acknowledged.into_inner().unwrap();
        println!("round {round}: {} acknowledged before the kill", acknowledged.len());
        for id in acknowledged {
            place.until_reads("Leads", id, "Score", &score);
        }
        place.until_settled();
    }
}
