//! A directory per test, and the seeds of random tests.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// An empty directory, removed when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// On the disk that the build is on.
    pub(crate) fn new(name: &str) -> Scratch {
        // Examples are not told where that is.
        let build = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
        Scratch::within(&build.unwrap_or_else(std::env::temp_dir), name)
    }

    /// In memory, where the system has a place for that: for tests that flush often and cut no
    /// power.
    pub(crate) fn in_memory(name: &str) -> Scratch {
        let memory = Path::new("/dev/shm");
        match fs::metadata(memory) {
            Ok(place) if place.is_dir() && !place.permissions().readonly() => {
                Scratch::within(memory, name)
            }
            Ok(_) | Err(_) => Scratch::new(name),
        }
    }

    fn within(place: &Path, name: &str) -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crmirror-{name}-{}-{number}", std::process::id());
        let path = place.join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Letters that nothing can pack, from a seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect()
}

/// `SEEDS=100` runs a hundred, `SEEDS=7..8` one again.
pub(crate) fn seeds(usual: u64) -> Range<u64> {
    let Ok(text) = std::env::var("SEEDS") else {
        return 0..usual;
    };
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    from.parse().unwrap()..to.parse().unwrap()
}

/// Names the seed when the test that uses it panics.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with SEEDS={}..{}", self.0, self.0 + 1);
        }
    }
}
