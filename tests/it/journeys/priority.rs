//! Readers come behind callbacks: the threads that serve them leave the processor to the others.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;

use crate::agent::Place;

/// How much nicer readers' threads are, and the end of that scale.
const NICER: i32 = 10;
const NICEST: i32 = 19;
/// Threads that answer callbacks, and those that answer readers; both are numbered from zero.
const FOR_CALLBACKS: usize = 32;
const FOR_READERS: usize = 8;

/// How nice the daemon's threads are, by their names.
fn threads(place: &Place) -> BTreeMap<String, Vec<i32>> {
    let all = fs::read_dir(format!("/proc/{}/task", place.pid().as_raw_nonzero())).unwrap();
    let mut threads: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    // One may end while they are looked at.
    let stats = all.flatten().filter_map(|one| fs::read_to_string(one.path().join("stat")).ok());
    for stat in stats {
        let (name, numbers) = stat.rsplit_once(") ").unwrap();
        let (_, name) = name.split_once('(').unwrap();
        let nice = numbers.split(' ').nth(16).unwrap().parse().unwrap();
        threads.entry(name.to_owned()).or_default().push(nice);
    }
    threads.values_mut().for_each(|nice| nice.sort_unstable());
    threads
}

#[test]
fn whoever_serves_readers_leaves_the_processor_to_callbacks() {
    let mut place = Place::new("priority");
    let socket = place.path("mirror.sock");
    place.set("local.socket", &format!("\"{}\"", socket.display())).begin();
    // One connection at each door, whose threads wait for a first byte.
    let _caller = TcpStream::connect(place.callbacks).unwrap();
    let _reader = TcpStream::connect(place.local).unwrap();
    let both = |place: &mut Place| {
        let threads = threads(place);
        // One of each, whoever else is just about to leave.
        let served = threads.get("gate").is_some_and(|gate| gate.first() != gate.last());
        served.then_some(threads)
    };
    let threads = place.until("both are served", both);
    let usual = threads["heart"][0];
    let nicer = (usual + NICER).min(NICEST);
    assert!(nicer > usual, "the tests themselves are as nice as can be: nothing can be seen");
    for number in 0..FOR_CALLBACKS {
        let both = [usual, nicer];
        let expected = if number < FOR_READERS { &both[..] } else { &both[..1] };
        assert_eq!(threads[&format!("hall-{number}")], expected, "{threads:?}");
    }
    assert_eq!(threads["gate-accept"], [usual, nicer, nicer], "callbacks, network, socket");
    // tiny_http has not named its own, which are called as who started them: the door's opener.
    assert!(threads["local"].len() >= FOR_READERS, "{threads:?}");
    for (name, all) in &threads {
        let expected: &[i32] = match name.as_str() {
            "local" => &[nicer],
            "gate" | "gate-accept" => &[usual, nicer],
            _ if name.starts_with("hall-") => continue,
            _ => &[usual],
        };
        assert!(expected.iter().all(|nice| all.contains(nice)), "{name}: {all:?}");
        assert!(all.iter().all(|nice| expected.contains(nice)), "{name}: {all:?}");
    }
    assert!(!place.printed().contains("readers may hold callbacks up"));
}
