//! `crmirror export --all` and `crmirror import`: the whole mirror of a device, for another one to
//! begin with.
//!
//! A running daemon alone has its store open: it is asked for a snapshot, which lies beside the
//! store and is read from there. Importing takes a store that nobody has open.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::clock::{Clock, DeviceClock};
use crate::config::Config;
use crate::daemon::open_store;
use crate::error::Failure;
use crate::mirror::gather::Gather;
use crate::store::{self, Contents, Description, Imported, SeedError, Shape, Terms, write_seed};
use crate::upstream::transport::Patience;

use super::client::{Daemon, refused};
use super::export::output::{Output, PRIVATE};
use super::progress::Progress;
use super::table::Table;
use super::{give_back, print, terminal_width};

/// How long the daemon may take for a snapshot: of the largest store on the slowest card, minutes.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Writes the whole mirror to a file.
pub(super) fn export(config: &Config, file: &Path, force: bool, json: bool) -> Result<(), Failure> {
    let mut out = Output::open(Some(file), force, PRIVATE)?;
    take_snapshot(config)?;
    let (mut bar, mut shown) = (None, 0);
    let written = write_seed(&config.store, terms(config), &mut out, &mut |done, total| {
        let bar = bar.get_or_insert_with(|| Progress::of("exporting", total >> 10, false));
        bar.advance((done >> 10) - shown);
        shown = done >> 10;
    });
    drop(bar);
    let description = written.map_err(failure)?;
    out.finish().map_err(|cause| failure(SeedError::Unwritten(cause)))?;
    if json {
        return print(&format!("{}\n", json!({ "file": file, "seed": description })));
    }
    print(&format!("{}{}: written\n", table(&description).render(terminal_width()), file.display()))
}

/// Begins with the mirror of another device.
pub(super) fn import(
    config: &Config,
    file: &Path,
    replace: bool,
    json: bool,
) -> Result<(), Failure> {
    let imported = store::import(&config.store, file, &terms(config), replace);
    give_back(&config.store);
    let imported = imported.map_err(failure)?;
    if json {
        return print(&format!("{}\n", json!(imported)));
    }
    print(&told(&imported))
}

/// Has the newest snapshot of the store be one of now.
fn take_snapshot(config: &Config) -> Result<(), Failure> {
    let patience = Patience { call: SNAPSHOT_LIMIT, answer: SNAPSHOT_LIMIT, ..Patience::default() };
    let daemon = Daemon::with_patience(config, patience)?;
    if daemon.get("/healthz").is_some() {
        let reply = daemon.post("/snapshot").ok_or_else(|| daemon.absent())?;
        return if reply.status == 200 { Ok(()) } else { Err(refused(&reply)) };
    }
    let store = open_store(&config.store)?;
    let taken = store.snapshot(DeviceClock.wall());
    drop(store);
    give_back(&config.store);
    taken.map(drop).map_err(|error| Failure::failed(error.to_string()))
}

/// What this configuration mirrors.
fn terms(config: &Config) -> Terms {
    let shape = |module: &crate::config::Module| {
        let (fields, whole_records) = (module.fields.clone(), module.whole_records);
        (module.name.clone(), Shape { fields, whole_records, organization: None })
    };
    // Records of Books of another organization prove nothing here.
    let of_books = config.books.iter().flat_map(|books| {
        let organization = Some(books.organization_id.clone());
        let shape = Shape { fields: None, whole_records: true, organization };
        books.entities.iter().map(move |entity| (entity.module(), shape.clone()))
    });
    Terms {
        accounts: config.upstream.accounts.to_string(),
        api_version: config.upstream.version.to_string(),
        modules: config.modules.iter().map(shape).chain(of_books).gather(),
    }
}

fn failure(error: SeedError) -> Failure {
    Failure::failed(error.to_string())
}

fn table(description: &Description) -> Table {
    let mut table = Table::new(["module", "records", "complete through"]);
    for (name, Contents { records, complete_through }) in &description.modules {
        let through = complete_through.map_or("-".to_owned(), |time| time.to_string());
        table.push([name.as_str(), records.to_string().as_str(), through.as_str()]);
    }
    table
}

fn told(imported: &Imported) -> String {
    let Imported { seed, let_go, unproved, replaced } = imported;
    let mut text = table(seed).render(terminal_width());
    for module in let_go {
        text.push_str(&format!("{module}: let go, since it is not mirrored here\n"));
    }
    for module in unproved {
        text.push_str(&format!("{module}: mirrored in another shape here: it is listed anew\n"));
    }
    if let Some(path) = replaced {
        text.push_str(&format!("what was here is kept in {}\n", path.display()));
    }
    text + "imported; start the daemon, and it catches up from there\n"
}
