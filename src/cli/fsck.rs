//! `crmirror fsck`: how much of the store can be read, while the daemon is not running; with
//! `--repair`, a store made anew from that.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use crate::error::Failure;
use crate::store::{Examination, OpenError, Store, examine};

use super::{give_back, print};

/// Looks at the store and prints what it found, what was done, and how the store is now. Fails when
/// that is not good.
pub(super) fn run(path: &Path, repair: bool, json: bool) -> Result<(), Failure> {
    let failed = |error: OpenError| Failure::failed(error.to_string());
    if !path.join("mirror.sled").exists() {
        let there = format!("there is no store in {} yet; the daemon makes it", path.display());
        return Err(Failure::failed(there));
    }
    let found = examine(path, repair).map_err(failed)?;
    let mut healings = Vec::new();
    let mut left = None;
    if repair && !found.is_good() {
        healings = Store::open(path).map_err(failed)?.1.iter().map(ToString::to_string).collect();
        left = Some(examine(path, false).map_err(failed)?);
    }
    give_back(path);
    let left = left.as_ref().unwrap_or(&found);
    let good = left.is_good();
    print(&if json {
        let document = json!({ "good": good, "found": found, "repaired": healings });
        format!("{document}\n")
    } else {
        let verdict = left.trouble.as_deref().unwrap_or(if good { "good" } else { "damaged" });
        format!("{}{}: {verdict}\n", shown(&found, &healings), path.display())
    })?;
    if good {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the store {} is damaged; crmirror fsck --repair makes it anew from what can be read, as \
         the next start of the daemon does",
        path.display()
    )))
}

/// What was found, and what was done about it.
fn shown(found: &Examination, healings: &[String]) -> String {
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
    for healing in healings {
        let _ = writeln!(text, "repaired: {healing}");
    }
    text
}
