//! When there are no descriptors left: the daemon waits, and neither dies nor spins.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};

use super::callers::Road;
use super::{SPAN, Siege, connect};
use crate::agent::Place;

/// As few as a service may be given.
const FEW: u32 = 64;

#[test]
fn few_descriptors_from_the_start() {
    let few = |place: &mut Place| {
        place.descriptors(FEW);
    };
    let siege = Siege::prepared("few-descriptors", Road::Plain, few);
    let busy = siege.before.busy;
    for (door, address) in [("callbacks", siege.place.callbacks), ("local", siege.place.local)] {
        siege.during(&format!("120 silent at {door}, {FEW} descriptors"), || {
            let crowd: Vec<TcpStream> = (0..120).filter_map(|_| connect(address).ok()).collect();
            thread::sleep(SPAN);
            drop(crowd);
        });
    }
    let spent = super::Vitals::of(siege.pid()).busy - busy;
    println!("    {} ms of processor time", spent.as_millis());
    siege.recovers();
}

#[test]
fn no_descriptors_at_all() {
    let siege = Siege::new("no-descriptors");
    let pid = siege.pid();
    let before = super::Vitals::of(pid);
    let usual = rustix::process::getrlimit(Resource::Nofile);
    let limit = |current: Option<u64>| {
        prlimit(Some(pid), Resource::Nofile, Rlimit { current, ..usual }).unwrap();
    };
    limit(Some(before.descriptors as u64));
    let crowd: Vec<TcpStream> =
        (0..20).filter_map(|_| connect(siege.place.callbacks).ok()).collect();
    thread::sleep(SPAN);
    let during = super::Vitals::of(pid);
    let spent = during.busy - before.busy;
    println!(
        "no descriptors for {} ms: {} ms of processor time, {during}",
        SPAN.as_millis(),
        spent.as_millis()
    );
    assert!(spent < SPAN / 4, "it spins: {spent:?} of {SPAN:?}");
    let told = siege.place.printed().matches("no connection can be accepted").count();
    assert_eq!(told, 1, "it is told once");
    limit(usual.current);
    // Those who wait in the system's queue are let in before those who come now.
    drop(crowd);
    thread::sleep(Duration::from_millis(200));
    siege.recovers();
}
