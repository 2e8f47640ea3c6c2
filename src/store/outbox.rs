//! The outbox: calls that local programs left here, and what became of them.
//!
//! A call is accepted when it is on disk, whole. Its content and its answer are kept in parts, for
//! the reason that documents are. What a crash undoes is that a call was sent, never that it was
//! accepted: so it is sent again, under the same id. Nothing else in the store can be had from
//! nowhere else but here; a snapshot holds it too.

mod calls;

use std::fmt;
use std::sync::{MutexGuard, PoisonError};

use ring::digest::{Context, SHA256};
use ring::rand::SecureRandom;

use super::keys::{ANSWER, Key};
use super::{Durable, Store, StoreError, read, values};
use crate::mirror::credits::Spending;
use crate::mirror::outbox::plan::Front;
use crate::mirror::outbox::{CallId, Form, FunctionName, Item, Standing, State};
use crate::mirror::time::UpstreamTime;

pub use self::calls::{BYTES_LIMIT, CallCounts, Calls, ENDED_LIMIT, WAITING_LIMIT};

/// Bytes of a part: as of documents, but that bytes are kept as they are.
const PART: usize = 3 << 10;

/// Calls that are forgotten in one go: each is removed part by part.
const FORGOTTEN_A_TIME: usize = 50;

/// A call that somebody wants to have made.
#[derive(Clone, Copy, Debug)]
pub struct NewCall<'a> {
    /// The function.
    pub function: &'a FunctionName,
    /// The form of the content.
    pub form: Form,
    /// Its media type; empty when there is no content.
    pub media_type: &'a str,
    /// The content.
    pub content: &'a [u8],
    /// The `Idempotency-Key`.
    pub key: Option<&'a str>,
    /// When (upstream) it came, if upstream has told its time.
    pub since: Option<UpstreamTime>,
}

/// What became of a call that was left here.
#[derive(Debug)]
pub enum Accepted {
    /// It waits, on disk.
    New(CallId, Durable),
    /// It is the one that came under the same key before, which is on disk.
    Known(CallId, Durable),
    /// Another call came under the same key before.
    Conflict(CallId),
    /// There is no room.
    Full(CallCounts),
}

/// What became of a wish to withdraw a call, or to have it tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// It is done.
    Done,
    /// There is no such call.
    Absent,
    /// It stands so that it cannot be done; whether it is being sent just now.
    Not(Standing, bool),
}

/// What sending a call came to.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The call as it is from now on.
    pub item: Item,
    /// The answer, as JSON, if there is one to keep.
    pub answer: Option<String>,
    /// What all runs of functions came to.
    pub runs: Spending,
}

impl Store {
    /// Puts a call into the outbox, and comes back when it is on disk.
    pub fn accept_call(&self, call: &NewCall<'_>) -> Result<Accepted, StoreError> {
        let fingerprint = fingerprint(call);
        let salt = salt();
        let bytes = call.content.len() as u64;
        let accepted = self.write_much("accept a call", bytes, 0, |db, _| {
            if let Some(known) = self.known_call(call, &fingerprint) {
                return Ok(known);
            }
            let number = {
                let calls = self.calls();
                if !calls.has_room(bytes) {
                    return Ok(Accepted::Full(calls.counts()));
                }
                calls.next()
            };
            let item = Item {
                function: call.function.clone(),
                salt,
                form: call.form,
                media_type: call.media_type.to_owned(),
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                fingerprint,
                key: call.key.map(str::to_owned),
                since: call.since,
                attempts: 0,
                denials: 0,
                answer_parts: 0,
                state: State::Waiting { why: None },
            };
            let mut batch = sled::Batch::default();
            keep_item(&mut batch, number, &item);
            keep_parts(&mut batch, number, 1, call.content);
            db.apply_batch(batch)?;
            db.flush()?;
            self.calls().put(number, &item);
            Ok(Accepted::New(CallId { number, salt }, Durable(())))
        })?;
        Ok(accepted)
    }

    /// Whoever writes after the first has the store to itself, so that the first is on disk.
    fn known_call(&self, call: &NewCall<'_>, fingerprint: &str) -> Option<Accepted> {
        let calls = self.calls();
        let (id, slot) = calls.by_key(call.function, call.key?)?;
        Some(match slot.fingerprint == fingerprint {
            true => Accepted::Known(id, Durable(())),
            false => Accepted::Conflict(id),
        })
    }

    /// The first waiting call of each function.
    pub fn call_fronts(&self) -> Vec<Front> {
        self.calls().fronts()
    }

    /// Takes a call up to be sent, with its content. `None` when it does not wait any more. From
    /// here on it cannot be withdrawn, until it is said what that came to.
    pub fn take_up_call(&self, number: u64) -> Result<Option<(Item, Vec<u8>)>, StoreError> {
        if !self.calls().take_up(number) {
            return Ok(None);
        }
        let item: Option<Item> = self.plain(&Key::Outbox(number, 0))?;
        let Some(item) = item else {
            self.forget_calls(&[number])?;
            log::error!("call {number} cannot be read and is lost: the disk has damaged it");
            return Ok(None);
        };
        let content = self.parts(number, 1, u64::from(item.bytes).div_ceil(PART as u64))?;
        Ok(Some((item, content)))
    }

    /// Keeps what sending a call came to. When it has ended, that is on disk: it is not to be sent
    /// again after a crash, as far as that can be helped.
    pub fn settle_call(&self, number: u64, sending: &Sending) -> Result<(), StoreError> {
        let answer = sending.answer.as_deref().unwrap_or_default().as_bytes();
        let mut item = sending.item.clone();
        let before = item.answer_parts;
        item.answer_parts = u16::try_from(answer.len().div_ceil(PART)).unwrap_or(0);
        let has_ended = item.state.standing() != Standing::Waiting;
        self.write_much("settle a call", answer.len() as u64, 0, |db, _| {
            let mut batch = sled::Batch::default();
            keep_item(&mut batch, number, &item);
            (0..before).for_each(|part| batch.remove(Key::Outbox(number, ANSWER + part).bytes()));
            keep_parts(&mut batch, number, ANSWER, answer);
            if item.state.standing() == Standing::Sent {
                let parts = u64::from(item.bytes).div_ceil(PART as u64);
                (1..).take(parts as usize).for_each(|part| {
                    batch.remove(Key::Outbox(number, part).bytes());
                });
            }
            let key = Key::Runs.bytes();
            let value = values::write_plain(&key, &sending.runs);
            batch.insert(key, value);
            db.apply_batch(batch)?;
            // It can be read from here on, and is counted.
            self.calls().put(number, &item);
            if has_ended {
                db.flush()?;
            }
            Ok(())
        })
    }

    /// Takes a waiting call out again.
    pub fn withdraw_call(&self, id: CallId) -> Result<Changed, StoreError> {
        self.write("withdraw a call", |db, _| {
            match self.calls().standing(id) {
                None => return Ok(Changed::Absent),
                Some((Standing::Waiting, false)) => {}
                Some((standing, in_the_air)) => return Ok(Changed::Not(standing, in_the_air)),
            }
            remove_call(db, id.number)?;
            db.flush()?;
            self.calls().remove(id.number);
            Ok(Changed::Done)
        })
    }

    /// Has a call that failed wait again, in its old place. One that waits already does.
    pub fn retry_call(&self, id: CallId) -> Result<Changed, StoreError> {
        let Some(item) = self.call(id)? else { return Ok(Changed::Absent) };
        self.write("try a call again", |db, _| {
            match self.calls().standing(id) {
                None => return Ok(Changed::Absent),
                Some((Standing::Waiting, _)) => return Ok(Changed::Done),
                Some((Standing::Failed, _)) => {}
                Some((Standing::Sent, in_the_air)) => {
                    return Ok(Changed::Not(Standing::Sent, in_the_air));
                }
            }
            // It has as much time again.
            let state = State::Waiting { why: None };
            let item = Item { denials: 0, since: None, state, ..item };
            let mut batch = sled::Batch::default();
            keep_item(&mut batch, id.number, &item);
            db.apply_batch(batch)?;
            db.flush()?;
            self.calls().put(id.number, &item);
            Ok(Changed::Done)
        })
    }

    /// A call as it stands; `None` when it is not here.
    pub fn call(&self, id: CallId) -> Result<Option<Item>, StoreError> {
        let item: Option<Item> = self.plain(&Key::Outbox(id.number, 0))?;
        Ok(item.filter(|item| item.salt == id.salt))
    }

    /// Calls with numbers above `after`, in the order of acceptance, at most `limit`.
    pub fn calls_after(
        &self,
        after: u64,
        standing: Option<Standing>,
        limit: usize,
    ) -> Result<Vec<(CallId, Item)>, StoreError> {
        let numbers = self.calls().list(standing, after, limit);
        let mut found = Vec::with_capacity(numbers.len());
        for number in numbers {
            let item: Option<Item> = self.plain(&Key::Outbox(number, 0))?;
            found.extend(item.map(|item| (item.id(number), item)));
        }
        Ok(found)
    }

    /// The answer to a call, as JSON; `None` when there is none.
    pub fn call_answer(&self, id: CallId, item: &Item) -> Result<Option<String>, StoreError> {
        if item.answer_parts == 0 {
            return Ok(None);
        }
        let bytes = self.parts(id.number, ANSWER, item.answer_parts.into())?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// How many calls there are of each standing.
    pub fn call_counts(&self) -> CallCounts {
        self.calls().counts()
    }

    /// Forgets calls that have ended: the oldest of too many, and those that ended before
    /// `forgotten`. Whether it forgot as many as it does in one go.
    pub fn trim_calls(&self, forgotten: Option<UpstreamTime>) -> Result<bool, StoreError> {
        let mut surplus = self.calls().surplus(forgotten);
        surplus.truncate(FORGOTTEN_A_TIME);
        if !surplus.is_empty() {
            self.forget_calls(&surplus)?;
        }
        Ok(surplus.len() == FORGOTTEN_A_TIME)
    }

    /// The runs of functions in the last day.
    pub fn runs(&self) -> Result<Spending, StoreError> {
        Ok(self.plain(&Key::Runs)?.unwrap_or_default())
    }

    fn forget_calls(&self, numbers: &[u64]) -> Result<(), StoreError> {
        self.write("forget calls", |db, _| {
            for number in numbers {
                remove_call(db, *number)?;
                self.calls().remove(*number);
            }
            Ok(())
        })
    }

    /// So many parts from this one on, put together. One that cannot be read is left out: whoever
    /// needs them whole looks whether they are.
    fn parts(&self, number: u64, first: u16, count: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        for part in (first..).take(count as usize) {
            let key = Key::Outbox(number, part).bytes();
            let value = self.value("read a call", &key)?;
            match value.map(|value| value.unwrap_or_default()) {
                Ok(value) => match values::read_bytes(&key, &value) {
                    Ok(content) => bytes.extend_from_slice(content),
                    Err(damage) => self.pass_over(&key, damage),
                },
                Err(damage) => self.pass_over(&key, damage),
            }
        }
        Ok(bytes)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the whole content of the call.
pub fn is_whole(item: &Item, content: &[u8]) -> bool {
    let call = NewCall {
        function: &item.function,
        form: item.form,
        media_type: &item.media_type,
        content,
        key: None,
        since: None,
    };
    fingerprint(&call) == item.fingerprint
}

/// Reads what is in the outbox. A call that cannot be read is lost, and that is told.
pub(super) fn survey(db: &sled::Db) -> sled::Result<Calls> {
    let mut calls = Calls::default();
    let mut first = 0;
    while let Some(pair) = db.range(Key::outbox_from(first)).next() {
        let (key, value) = pair?;
        let Some(Key::Outbox(number, part)) = Key::parse(&key) else { break };
        match (part, values::read_plain::<Item>(&key, &value)) {
            (0, Ok(item)) => calls.put(number, &item),
            (0, Err(damage)) => {
                log::error!("{} is lost: {damage}", read::describe(&key));
                remove_call(db, number)?;
            }
            // Its head is gone with a page that was.
            (_, _) => remove_call(db, number)?,
        }
        let Some(next) = number.checked_add(1) else { break };
        first = next;
    }
    Ok(calls)
}

fn keep_item(batch: &mut sled::Batch, number: u64, item: &Item) {
    let key = Key::Outbox(number, 0).bytes();
    let value = values::write_plain(&key, item);
    batch.insert(key, value);
}

fn keep_parts(batch: &mut sled::Batch, number: u64, first: u16, bytes: &[u8]) {
    for (part, bytes) in (first..).zip(bytes.chunks(PART)) {
        let key = Key::Outbox(number, part).bytes();
        let value = values::write_bytes(&key, bytes);
        batch.insert(key, value);
    }
}

fn remove_call(db: &sled::Db, number: u64) -> sled::Result<()> {
    let mut batch = sled::Batch::default();
    for key in db.range(Key::call_from(number, 0)).keys() {
        batch.remove(key?);
    }
    db.apply_batch(batch)
}

/// Of everything that makes it this call and no other.
fn fingerprint(call: &NewCall<'_>) -> String {
    let mut digest = Context::new(&SHA256);
    let form: &[u8] = match call.form {
        Form::AsItCame => b"as it came",
        Form::File => b"file",
    };
    for part in [form, call.function.as_str().as_bytes(), call.media_type.as_bytes(), call.content]
    {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn salt() -> u64 {
    let mut bytes = [0; 8];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.expect("the system's random generator answers");
    u64::from_be_bytes(bytes)
}

/// For messages: what stands against it.
impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Changed::Done => f.write_str("done"),
            Changed::Absent => f.write_str("there is no such call"),
            Changed::Not(_, true) => f.write_str("it is being sent just now"),
            Changed::Not(Standing::Waiting, false) => f.write_str("it waits"),
            Changed::Not(Standing::Sent, false) => f.write_str("it has been sent"),
            Changed::Not(Standing::Failed, false) => f.write_str("it has failed already"),
        }
    }
}
