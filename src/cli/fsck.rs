//! `crmirror fsck`: how much of the store can be read, while the daemon is not running; with
//! `--repair`, a store made anew from that.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use crate::error::Failure;
use crate::store::{Examination, OpenError, Store, examine};

use super::print;

/// Looks at the store and prints what it found. Fails when something is wrong and not repaired.
pub(super) fn run(path: &Path, repair: bool, json: bool) -> Result<(), Failure> {
    let failed = |error: OpenError| Failure::failed(error.to_string());
    if !path.join("mirror.sled").exists() {
        let there = format!("there is no store in {} yet; the daemon makes it", path.display());
        return Err(Failure::failed(there));
    }
    let found = examine(path, repair).map_err(failed)?;
    let mut healings = Vec::new();
    if repair && !found.is_good() {
        healings = Store::open(path).map_err(failed)?.1.iter().map(ToString::to_string).collect();
    }
    let good = found.is_good();
    print(&if json {
        let document = json!({ "good": good, "found": found, "repaired": healings });
        format!("{document}\n")
    } else {
        shown(path, &found, &healings)
    })?;
    if good || repair {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the store {} is damaged; crmirror fsck --repair makes it anew from what can be read, as \
         the next start of the daemon does",
        path.display()
    )))
}

fn shown(path: &Path, found: &Examination, healings: &[String]) -> String {
    let mut text = String::new();
    for kind in &found.kinds {
        let _ = write!(text, "{}: {} good", kind.kind, kind.good);
        if kind.unreadable > 0 {
            let _ = write!(text, ", {} unreadable", kind.unreadable);
        }
        if kind.gaps > 0 {
            let _ = write!(text, ", {} stretches unreadable", kind.gaps);
        }
        text.push('\n');
    }
    for snapshot in &found.good_snapshots {
        let _ = writeln!(text, "{}: good", snapshot.display());
    }
    for snapshot in &found.bad_snapshots {
        let _ = writeln!(text, "{}: unreadable; the next ones replace it", snapshot.display());
    }
    let verdict = found.trouble.as_deref();
    let verdict = verdict.unwrap_or(if found.is_good() { "good" } else { "damaged" });
    let _ = writeln!(text, "{}: {verdict}", path.display());
    for healing in healings {
        let _ = writeln!(text, "repaired: {healing}");
    }
    text
}
