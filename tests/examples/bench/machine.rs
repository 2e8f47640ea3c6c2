//! What the kernel says of the machine, its disk, and the agent's process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One line about where this was measured.
pub(crate) fn facts(directory: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = line_of("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text));
    let memory = memory.map_or(0, |kib| kib >> 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{} {}, {cores} cores ({cpu}), {memory} GiB, Linux {}, store on {}, load {load} at first",
        std::env::consts::ARCH,
        if cfg!(debug_assertions) { "DEBUG BUILD" } else { "release build" },
        kernel.trim(),
        file_system(directory).unwrap_or_else(|| "an unknown file system".to_owned()),
    )
}

/// The type of the file system that a directory is on, by the longest mount point above it.
fn file_system(directory: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

/// The disk that a directory is on.
pub(crate) struct Disk(Option<PathBuf>);

impl Disk {
    pub(crate) fn of(directory: &Path) -> Disk {
        let Ok(device) = fs::metadata(directory).map(|found| found.dev()) else {
            return Disk(None);
        };
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
        // Flushes are counted for whole disks only.
        let whole = device.and_then(|path| match path.join("partition").exists() {
            true => path.parent().map(Path::to_owned),
            false => Some(path),
        });
        Disk(whole.map(|path| path.join("stat")))
    }

    /// Flushes of the disk's cache so far, by anybody; NaN where the kernel does not count them.
    pub(crate) fn flushes(&self) -> f64 {
        self.field(15)
    }

    /// What anybody has written to the disk so far, KiB.
    pub(crate) fn written(&self) -> f64 {
        self.field(6) / 2.0
    }

    fn field(&self, number: usize) -> f64 {
        let text = self.0.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let field = text.and_then(|text| text.split_whitespace().nth(number)?.parse().ok());
        field.unwrap_or(f64::NAN)
    }
}

/// What a process takes. Of what only root is shown (the daemon forbids its own dumps, and with
/// them looks at its memory), everybody else sees `NaN`.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Proportional set size, MiB: shared pages count in part.
    pub(crate) pss: f64,
    /// Resident set size, MiB.
    pub(crate) rss: f64,
    /// The largest resident set so far, MiB.
    pub(crate) peak: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
    /// What it has handed to the kernel to be written, to files and sockets alike, KiB.
    pub(crate) handed: f64,
    /// What the kernel books on it as written to the disk, KiB. Far too much on file systems with
    /// large folios, where 24 bytes can count as 2 MiB.
    pub(crate) booked: f64,
    /// Processor time, milliseconds.
    pub(crate) busy: f64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> io::Result<Usage> {
        let of = |file: &str| format!("/proc/{process}/{file}");
        let field = |file: &str, name: &str| {
            let missing = || io::Error::other(format!("{} has no {name}", of(file)));
            line_of(&of(file), name).and_then(|text| kibibytes(&text)).ok_or_else(missing)
        };
        let mib = |kib: u64| kib as f64 / 1024.0;
        Ok(Usage {
            pss: field("smaps_rollup", "Pss").map_or(f64::NAN, mib),
            rss: mib(field("status", "VmRSS")?),
            peak: mib(field("status", "VmHWM")?),
            threads: field("status", "Threads")? as f64,
            descriptors: fs::read_dir(of("fd")).map_or(f64::NAN, |all| all.count() as f64),
            handed: field("io", "wchar").map_or(f64::NAN, |bytes| bytes as f64 / 1024.0),
            booked: field("io", "write_bytes").map_or(f64::NAN, |bytes| bytes as f64 / 1024.0),
            busy: busy(&fs::read_to_string(of("stat"))?),
        })
    }
}

/// User and system time of a line of `/proc/PID/stat`, whose unit is 10 ms on every Linux.
fn busy(stat: &str) -> f64 {
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let times = after_name.split(' ').skip(11).take(2);
    times.filter_map(|text| text.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// The value of `name: value` in a file of such lines.
fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The number at the start of a value.
fn kibibytes(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}
