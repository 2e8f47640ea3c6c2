//! Reading a seed, of which nothing is believed before all of it was found right.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::super::{snapshot, values};
use super::{DESCRIPTION_LIMIT, Description, FORMAT, HEAD, MAGIC, PIECE, SeedError, damaged};

/// A seed that is whole: its foot was found right, and each of its values.
#[derive(Debug)]
pub(in crate::store) struct Seed {
    pub(in crate::store) description: Description,
    path: PathBuf,
    file: File,
    /// Where the body is.
    body: Range<u64>,
}

impl Seed {
    /// Opens a seed and reads all of it, once for its foot and once for its values.
    pub(in crate::store) fn open(path: &Path) -> Result<Seed, SeedError> {
        let seed = Seed::proved(path);
        seed.map_err(|cause| SeedError::Unreadable(path.to_owned(), cause))
    }

    fn proved(path: &Path) -> io::Result<Seed> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let end = length.saturating_sub(SHA256_OUTPUT_LEN as u64);
        prove(&mut file, end)?;
        let mut head = [0; HEAD as usize];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (format, said) = (number(8), number(12));
        if format != FORMAT {
            let why = format!("it has format {format}, this crmirror reads {FORMAT}");
            return Err(damaged(&why));
        }
        if said > DESCRIPTION_LIMIT {
            return Err(damaged("its description is too long"));
        }
        let mut description = vec![0; said as usize];
        file.read_exact(&mut description)?;
        let description = values::read_plain(MAGIC, &description)
            .map_err(|damage| damaged(&damage.to_string()))?;
        let body = HEAD + u64::from(said)..end;
        let mut seed = Seed { description, path: path.to_owned(), file, body };
        seed.for_each(|key, value| {
            values::check(&key, &value).map_err(|damage| damaged(&damage.to_string()))
        })?;
        Ok(seed)
    }

    /// Hands over each entry.
    pub(in crate::store) fn for_each(
        &mut self,
        take: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.body.start))?;
        let body = (&self.file).take(self.body.end.saturating_sub(self.body.start));
        let inflated = ZlibDecoder::new(BufReader::new(body)).take(self.description.bytes);
        snapshot::read_from(BufReader::new(inflated), take).map(drop)
    }

    /// What is told of a read that fails after all.
    pub(in crate::store) fn unreadable(&self, cause: io::Error) -> SeedError {
        SeedError::Unreadable(self.path.clone(), cause)
    }
}

/// Whether the foot is that of all before it; first of all, whether it is a seed.
fn prove(file: &mut File, end: u64) -> io::Result<()> {
    let mut sum = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut before = file.take(end);
    let mut first = true;
    loop {
        let count = before.read(&mut piece)?;
        if first && !piece[..count].starts_with(MAGIC) {
            return Err(damaged("it does not begin like one"));
        }
        first = false;
        if count == 0 {
            break;
        }
        sum.update(&piece[..count]);
    }
    let mut foot = [0; SHA256_OUTPUT_LEN];
    file.read_exact(&mut foot)?;
    if sum.finish().as_ref() != foot {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(())
}
