//! Snapshots: everything in the store in one file beside it, from which a store can be made anew.
//!
//! ```text
//! head    magic (8) · format (4) · upstream time taken (8) entry   key length (2) · value length
//! (4) · CRC-32 of both lengths, key and value (4) · key · value foot    0 (2) · count of entries
//! (8) · CRC-32 of all before it (4)
//! ```
//! Numbers are big-endian. A file without a foot that fits is no snapshot. It is written beside its
//! name, flushed as it grows, and takes the name when it is whole on disk; two are kept.
//!
//! A snapshot is no point in time: writers go on while it is taken, and it takes minutes on a slow
//! card. It is safe because of the order in which the kinds are read. *Ledgers* come before
//! *records*, so the records hold at least what the ledgers say is complete; what is newer does no
//! harm, since a catch-up from there finds it again. *Changes* come after records, so no record
//! carries the sequence of a change that is missing, which would be given out a second time. A
//! change whose record is older than it is made again when a catch-up finds the record. *Inbox*
//! comes after both: an id that was settled in the meantime is one whose record is found by that
//! catch-up; and the *quarantine* last, since ids move there from the inbox. Scans in progress are
//! not taken over. The *outbox* depends on nothing else; a call that ended meanwhile is sent again
//! under its id after a restore. *Dictionaries* come before what was packed with them; records
//! that are kept in parts are whole. Indexes are left out: they can be built from the records. So
//! is what the platform told and is not recorded yet: an old removal of the extension is not to
//! happen a second time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file::sync_directory_of;
use super::keys::{
    CHANGE, DICTIONARY, DOCUMENT, FIELDS, INBOX, LEDGER, OUTBOX, QUARANTINED, RECORD,
};
use super::pack::{Dictionaries, Unpacker};
use super::past::{Past, Step};
use super::{Damage, Store, StoreError, values};
use crate::mirror::time::UpstreamTime;

const MAGIC: &[u8; 8] = b"crmirror";
const FORMAT: u32 = 1;
const HEAD: usize = 20;

/// Snapshots that are kept: the newest, and one more in case that cannot be read.
const KEPT: usize = 2;

/// Longest value that is read back; a record is far smaller, and a wrong length is not to take all
/// memory.
const VALUE_LIMIT: u32 = 64 << 20;

/// Bytes after which the file is brought to disk: small enough that a callback does not wait long
/// for its own fsync behind ours.
const SYNC_EVERY: u64 = 4 << 20;

/// The kinds in the order in which they are safe to read (see above).
const ORDER: [u8; 9] =
    [LEDGER, FIELDS, DOCUMENT, DICTIONARY, RECORD, CHANGE, INBOX, QUARANTINED, OUTBOX];

/// A snapshot that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotReport {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// Values that were left out, since they cannot be read.
    pub unreadable: u64,
}

impl Store {
    /// Writes a snapshot, taken at `now` in upstream's time, and removes those beyond two. Takes as
    /// long as reading the whole store; writers go on. Memory stays small.
    ///
    /// A store with pages that cannot be read gets none: what it would lack is in an older one.
    pub fn snapshot(&self, now: UpstreamTime) -> Result<SnapshotReport, StoreError> {
        let _alone = self.0.snapshots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let directory = self.0.place.snapshots();
        let failed = |cause: io::Error| StoreError::NoSnapshot {
            path: directory.clone(),
            cause: cause.to_string(),
        };
        let kept = list(&directory).map_err(failed)?;
        let number = kept.first().map_or(1, |newest| newest.number.saturating_add(1));
        let path = directory.join(name(number));
        let fresh = path.with_extension("new");
        let written = self.write_snapshot(&fresh, now);
        let report = match written {
            Ok((bytes, entries, unreadable)) => {
                let named = fs::rename(&fresh, &path).and_then(|()| sync_directory_of(&path));
                named.map_err(failed)?;
                SnapshotReport { path, bytes, entries, unreadable }
            }
            Err(cause) => {
                // The first error is the one to tell; what is left behind goes with the next.
                let _ = fs::remove_file(&fresh);
                return Err(failed(cause));
            }
        };
        for surplus in kept.iter().skip(KEPT - 1) {
            fs::remove_file(&surplus.path).map_err(failed)?;
        }
        Ok(report)
    }

    fn write_snapshot(&self, path: &Path, now: UpstreamTime) -> io::Result<(u64, u64, u64)> {
        let mut writer = Writer::create(path, now)?;
        let (mut unreadable, known) = (0, Dictionaries::default());
        for kind in ORDER {
            for step in Past::kind(&self.0.db, kind) {
                match step.map_err(io::Error::other)? {
                    Step::Pair(key, value)
                        if self.is_good(&mut writer, &known, &key, &value)? =>
                    {
                        writer.add(&key, &value)?;
                        if writer.unsynced >= SYNC_EVERY {
                            writer.sync()?;
                            self.leave_room()?;
                        }
                    }
                    Step::Pair(..) => unreadable += 1,
                    Step::Gap(gap) => {
                        self.found_damage(&gap);
                        return Err(io::Error::other(gap.cause));
                    }
                }
            }
        }
        let (bytes, entries) = writer.finish()?;
        Ok((bytes, entries, unreadable))
    }

    /// Whether a value can be read by whoever has read the snapshot up to here. A dictionary that
    /// was made since they were written is added before what was packed with it.
    fn is_good(
        &self,
        writer: &mut Writer,
        known: &Dictionaries,
        key: &[u8],
        value: &[u8],
    ) -> io::Result<bool> {
        let readable = || Unpacker::new(known).is_live(key, value);
        match key.first() {
            Some(&DICTIONARY) => return Ok(known.learn(key, value).is_ok()),
            Some(&RECORD) if readable() == Err(Damage::Dictionary) => {}
            Some(&RECORD) => return Ok(readable().is_ok()),
            Some(_) | None => return Ok(values::check(key, value).is_ok()),
        }
        for step in Past::kind(&self.0.db, DICTIONARY) {
            let Step::Pair(key, value) = step.map_err(io::Error::other)? else { continue };
            if !known.knows(&key) && known.learn(&key, &value).is_ok() {
                writer.add(&key, &value)?;
            }
        }
        Ok(readable().is_ok())
    }

    /// A snapshot is a comfort: it is not to take the space that callbacks need.
    fn leave_room(&self) -> io::Result<()> {
        if self.room().low { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// A snapshot file by its name; whether it can be read is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    number: u64,
}

/// The snapshots in a directory, the newest first. Makes the directory, and removes half-made ones.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut listed = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        match path.extension().and_then(|end| end.to_str()) {
            Some("new") => fs::remove_file(&path)?,
            Some("snapshot") => listed.extend(number.map(|number| Listed { path, number })),
            Some(_) | None => {}
        }
    }
    listed.sort_unstable_by_key(|listed| std::cmp::Reverse(listed.number));
    Ok(listed)
}

fn name(number: u64) -> String {
    format!("{number:010}.snapshot")
}

/// When a snapshot was taken, by its head alone.
pub(super) fn taken(path: &Path) -> io::Result<UpstreamTime> {
    Reader::begin(BufReader::new(File::open(path)?)).map(|reader| reader.taken)
}

/// Reads a snapshot to its end, and hands over each entry; an error means that it is none, or is
/// damaged. Returns the number of entries.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>,
) -> io::Result<u64> {
    read_from(BufReader::new(File::open(path)?), &mut take)
}

/// The same of a snapshot that lies elsewhere.
pub(super) fn read_from(
    input: impl Read,
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut reader = Reader::begin(input)?;
    let mut count = 0;
    while let Some((key, value)) = reader.next()? {
        count += 1;
        take(key, value)?;
    }
    if reader.count()? == count { Ok(count) } else { Err(damaged("entries are missing")) }
}

struct Writer {
    out: BufWriter<File>,
    sum: crc32fast::Hasher,
    bytes: u64,
    unsynced: u64,
    entries: u64,
}

impl Writer {
    fn create(path: &Path, taken: UpstreamTime) -> io::Result<Writer> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let sum = crc32fast::Hasher::new();
        let out = BufWriter::new(file);
        let mut writer = Writer { out, sum, bytes: 0, unsynced: 0, entries: 0 };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        writer.put(&taken.unix().to_be_bytes())?;
        Ok(writer)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let (Ok(key_length), Ok(value_length)) =
            (u16::try_from(key.len()), u32::try_from(value.len()))
        else {
            return Err(damaged("a key or a value is too long"));
        };
        let (key_length, value_length) = (key_length.to_be_bytes(), value_length.to_be_bytes());
        let sum = entry_sum(key_length, value_length, key, value);
        for part in [&key_length[..], &value_length, &sum.to_be_bytes(), key, value] {
            self.put(part)?;
        }
        self.entries += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<(u64, u64)> {
        self.put(&0_u16.to_be_bytes())?;
        self.put(&self.entries.to_be_bytes())?;
        let sum = self.sum.clone().finalize();
        self.put(&sum.to_be_bytes())?;
        self.sync()?;
        Ok((self.bytes, self.entries))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }
}

struct Reader<R> {
    input: R,
    sum: crc32fast::Hasher,
    taken: UpstreamTime,
}

impl<R: Read> Reader<R> {
    fn begin(input: R) -> io::Result<Reader<R>> {
        let sum = crc32fast::Hasher::new();
        let mut reader = Reader { input, sum, taken: UpstreamTime::EPOCH };
        let head: [u8; HEAD] = reader.take()?;
        if head[..8] != MAGIC[..] {
            return Err(damaged("it does not begin like one"));
        }
        let [a, b, c, d, time @ ..] = *head[8..].first_chunk::<12>().expect("the rest is 12 long");
        let format = u32::from_be_bytes([a, b, c, d]);
        if format != FORMAT {
            return Err(damaged(&format!("it has format {format}")));
        }
        reader.taken = UpstreamTime::from_unix(i64::from_be_bytes(time));
        Ok(reader)
    }

    fn next(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let key_length: [u8; 2] = self.take()?;
        if key_length == [0, 0] {
            return Ok(None);
        }
        let value_length: [u8; 4] = self.take()?;
        let length = u32::from_be_bytes(value_length);
        let sum = u32::from_be_bytes(self.take()?);
        if length > VALUE_LIMIT {
            return Err(damaged("a length is wrong"));
        }
        let key = self.take_long(u16::from_be_bytes(key_length).into())?;
        let value = self.take_long(length as usize)?;
        if entry_sum(key_length, value_length, &key, &value) != sum {
            return Err(damaged("a checksum is wrong"));
        }
        Ok(Some((key, value)))
    }

    /// The foot, whose first two bytes have been read: how many entries there are.
    fn count(&mut self) -> io::Result<u64> {
        let count = u64::from_be_bytes(self.take()?);
        let sum = self.sum.clone().finalize();
        if u32::from_be_bytes(self.take()?) != sum || self.input.read(&mut [0])? > 0 {
            return Err(damaged("its end is wrong"));
        }
        Ok(count)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn take_long(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Grows with what is there, whatever the length says.
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }
}

fn entry_sum(key_length: [u8; 2], value_length: [u8; 4], key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [&key_length[..], &value_length, key, value] {
        hasher.update(part);
    }
    hasher.finalize()
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
