//! Making a seed of a snapshot, which is read to its end first: nothing damaged is passed on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ring::digest::{Context, SHA256};

use super::super::keys::Key;
use super::super::{snapshot, values};
use super::{Contents, Description, FORMAT, MAGIC, PIECE, SeedError, Terms};
use crate::mirror::ledger::Ledger;
use crate::mirror::record::ModuleName;

/// Makes a seed of the newest snapshot of the store in `directory`, which may be in use: a snapshot
/// never changes. `read` hears how many bytes of it have been read.
pub fn write_seed(
    directory: &Path,
    terms: Terms,
    out: &mut impl Write,
    read: &mut dyn FnMut(u64, u64),
) -> Result<Description, SeedError> {
    let snapshots = directory.join("snapshots");
    let newest = newest(&snapshots).map_err(|cause| SeedError::Locked(snapshots.clone(), cause))?;
    let path = newest.ok_or_else(|| SeedError::NoSnapshot(snapshots.clone()))?;
    let damaged = |cause| SeedError::Locked(path.clone(), cause);
    // Once open it stays readable, though a newer one may take its place at any time.
    let mut file = File::open(&path).map_err(damaged)?;
    let description = describe(&mut file, &path, terms).map_err(damaged)?;
    file.seek(SeekFrom::Start(0)).map_err(damaged)?;
    write(&mut file, &description, out, read).map_err(SeedError::Unwritten)?;
    Ok(description)
}

/// The newest snapshot by its name. Looks only: whoever has the store open may be writing one.
fn newest(directory: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest = None;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "snapshot") {
            newest = newest.max(Some(path));
        }
    }
    Ok(newest)
}

/// Reads a snapshot to its end, so that nothing damaged is passed on, and says what is in it.
fn describe(file: &mut File, path: &Path, terms: Terms) -> io::Result<Description> {
    let mut modules: BTreeMap<ModuleName, Contents> = BTreeMap::new();
    snapshot::read_from(BufReader::new(&*file), |key, value| {
        match Key::parse(&key) {
            Some(Key::Ledger(module)) => {
                let ledger = values::read_plain::<Ledger>(&key, &value).unwrap_or_default();
                modules.entry(module).or_default().complete_through = ledger.complete_through;
            }
            Some(Key::Record(module, _)) => {
                let live = values::is_live(&key, &value).unwrap_or(false);
                modules.entry(module).or_default().records += u64::from(live);
            }
            Some(_) | None => {}
        }
        Ok(())
    })?;
    Ok(Description {
        crmirror: env!("CARGO_PKG_VERSION").to_owned(),
        taken: snapshot::taken(path)?,
        bytes: file.metadata()?.len(),
        terms,
        modules,
    })
}

fn write(
    snapshot: &mut impl Read,
    description: &Description,
    out: &mut impl Write,
    read: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    let mut summed = Summed { out, sum: Context::new(&SHA256) };
    let said = values::write_plain(MAGIC, description);
    summed.write_all(MAGIC)?;
    summed.write_all(&FORMAT.to_be_bytes())?;
    summed.write_all(&(said.len() as u32).to_be_bytes())?;
    summed.write_all(&said)?;
    // The fastest: records shrink to a sixth by it, and a small board is not kept busy.
    let mut body = ZlibEncoder::new(&mut summed, Compression::fast());
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        let count = snapshot.read(&mut piece)?;
        if count == 0 {
            break;
        }
        body.write_all(&piece[..count])?;
        done += count as u64;
        read(done, description.bytes);
    }
    body.finish()?;
    let Summed { out, sum } = summed;
    out.write_all(sum.finish().as_ref())?;
    out.flush()
}

/// Writes, and sums up what is written.
struct Summed<'a, W> {
    out: &'a mut W,
    sum: Context,
}

impl<W: Write> Write for Summed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
