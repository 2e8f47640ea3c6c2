//! What a process takes of the device, as the system counts it.

use std::fmt;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

/// How often a process is looked at while it is watched.
const LOOK: Duration = Duration::from_millis(25);
/// Ticks of processor time in a second: the same on every Linux that we run on.
const TICKS: u64 = 100;

/// What a process has at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vitals {
    /// Memory, its share of what it shares included.
    pub(super) pss_kib: u64,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    /// Processor time since it was started.
    pub(super) busy: Duration,
}

impl Vitals {
    pub(super) fn of(pid: Pid) -> Vitals {
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        let read = |name: &str| fs::read_to_string(format!("{process}/{name}")).unwrap();
        let count = |name: &str| fs::read_dir(format!("{process}/{name}")).unwrap().count();
        let memory = read("smaps_rollup");
        let pss = memory.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        let pss_kib = pss.trim().trim_end_matches(" kB").parse().unwrap();
        // The name of the program, which stands in parentheses, may hold anything.
        let stat = read("stat");
        let (_, numbers) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            numbers.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        let busy = Duration::from_millis(ticks * 1_000 / TICKS);
        Vitals { pss_kib, threads: count("task"), descriptors: count("fd"), busy }
    }

    /// The most of each that was seen until it was over.
    pub(super) fn peak(pid: Pid, over: &AtomicBool) -> Vitals {
        let mut peak = Vitals::of(pid);
        while !over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
            let now = Vitals::of(pid);
            peak = Vitals {
                pss_kib: peak.pss_kib.max(now.pss_kib),
                threads: peak.threads.max(now.threads),
                descriptors: peak.descriptors.max(now.descriptors),
                busy: now.busy,
            };
        }
        peak
    }
}

/// How many guests the gates have: each has its thread.
pub(super) fn guests(pid: Pid) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let name = |thread: io::Result<fs::DirEntry>| fs::read_to_string(thread?.path().join("comm"));
    threads.map(name).filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "gate")).count()
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vitals { pss_kib, threads, descriptors, .. } = self;
        let (whole, tenths) = (pss_kib >> 10, ((pss_kib & 1023) * 10) >> 10);
        write!(f, "{whole}.{tenths} MiB, {threads} threads, {descriptors} descriptors")
    }
}
