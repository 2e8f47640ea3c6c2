//! Keeping documents: texts of up to some MiB that are replaced as a whole.
//!
//! A text is kept in parts, so small that sled writes a page of them into its log. A larger page it
//! puts into a file of its own which it does not flush: a power cut could leave the log with a file
//! that is not there. Writers replace a document in one batch; a reader who meets two
//! editions of it reads once more, and waits for nobody.

use serde::{Deserialize, Serialize};

use super::keys::Key;
use super::{Store, StoreError, values};
use crate::mirror::document::{Document, DocumentName};
use crate::mirror::time::UpstreamTime;

/// Bytes of a part: sled's own files begin at pages of 128 KiB, a page has up to 17 values, and
/// JSON at most doubles when it is written as a string.
const PART: usize = 3 << 10;

/// How often a document is read when it is replaced meanwhile: once a day is how often that is.
const READINGS: usize = 3;

/// What is known of a document without its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct DocumentHead {
    read: UpstreamTime,
    status: u16,
    parts: u16,
    /// Of the whole text: tells the parts of one edition from those of another.
    sum: u32,
}

impl Store {
    /// Keeps a document of at most [`crate::mirror::document::DOCUMENT_LIMIT`] bytes, in place of
    /// the one kept before. Not flushed: it can be asked for again.
    pub fn set_document(&self, name: &DocumentName, kept: &Document) -> Result<(), StoreError> {
        let parts = parts(&kept.body);
        let count = u16::try_from(parts.len()).expect("8 MiB are some 2,800 parts");
        let sum = values::sum(kept.body.as_bytes());
        let head = DocumentHead { read: kept.read, status: kept.status, parts: count, sum };
        let before = self.document_head(name)?.map_or(0, |head| head.parts);
        let mut batch = sled::Batch::default();
        let key = Key::Document(name.clone(), 0).bytes();
        let value = values::write_plain(&key, &head);
        batch.insert(key, value);
        for (number, part) in (1..).zip(parts) {
            let key = Key::Document(name.clone(), number).bytes();
            let value = values::write_plain(&key, &part);
            batch.insert(key, value);
        }
        for number in count + 1..=before {
            batch.remove(Key::Document(name.clone(), number).bytes());
        }
        let bytes = kept.body.len() as u64;
        self.write_much("keep a document", bytes, 0, |db, _| db.apply_batch(batch))
    }

    /// The document kept under this name; `None` when there is none, or it cannot be read.
    pub fn document(&self, name: &DocumentName) -> Result<Option<Document>, StoreError> {
        for _ in 0..READINGS {
            let Some(head) = self.document_head(name)? else { return Ok(None) };
            let mut body = String::new();
            for number in 1..=head.parts {
                let part: Option<String> = self.plain(&Key::Document(name.clone(), number))?;
                body.push_str(&part.unwrap_or_default());
            }
            if values::sum(body.as_bytes()) == head.sum {
                return Ok(Some(Document { read: head.read, status: head.status, body }));
            }
        }
        Ok(None)
    }

    /// When (upstream) the document that is kept was read: another edition has another time.
    pub fn document_read(&self, name: &DocumentName) -> Result<Option<UpstreamTime>, StoreError> {
        Ok(self.document_head(name)?.map(|head| head.read))
    }

    fn document_head(&self, name: &DocumentName) -> Result<Option<DocumentHead>, StoreError> {
        self.plain(&Key::Document(name.clone(), 0))
    }
}

/// The text in parts, none of which ends within a character.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let end = (0..=PART.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let (part, rest) = text.split_at(end.unwrap_or(text.len()));
        parts.push(part);
        text = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_make_the_text_again() {
        for text in ["", "a", &"ä€".repeat(PART), &"x".repeat(PART), &"x".repeat(PART + 1)] {
            let parts = parts(text);
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| (1..=PART).contains(&part.len())));
        }
    }
}
