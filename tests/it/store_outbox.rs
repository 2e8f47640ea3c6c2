//! The outbox in the store: what is accepted comes back, whatever is done to the store, and there
//! is no end to none of it.

use crmirror::mirror::credits::Spending;
use crmirror::mirror::outbox::{CallId, Form, FunctionName, Standing, State};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::outbox::{Accepted, Changed, NewCall, Sending, WAITING_LIMIT, is_whole};
use crmirror::store::{Store, examine};

use crate::scratch::Scratch;

fn function() -> FunctionName {
    FunctionName::parse("a").unwrap()
}

fn accept(store: &Store, content: &[u8], key: Option<&str>) -> Accepted {
    let (function, form, media_type) = (function(), Form::File, "image/png");
    let since = Some(UpstreamTime::from_unix(1_800_000_000));
    let call = NewCall { function: &function, form, media_type, content, key, since };
    store.accept_call(&call).unwrap()
}

fn new(store: &Store, content: &[u8]) -> CallId {
    match accept(store, content, None) {
        Accepted::New(id, _) => id,
        other => panic!("{other:?}"),
    }
}

/// Ends a call, well or not, with this answer.
fn end(store: &Store, id: CallId, answer: &str, well: bool) {
    let (item, _) = store.take_up_call(id.number).unwrap().unwrap();
    let at = Some(UpstreamTime::from_unix(1_800_000_001));
    let state = if well { State::Sent { at } } else { State::Failed { at, why: "no".into() } };
    let item = crmirror::mirror::outbox::Item { state, ..item };
    let answer = Some(answer.to_owned());
    store.settle_call(id.number, &Sending { item, answer, runs: Spending::default() }).unwrap();
}

#[test]
fn contents_and_answers_come_back_over_restarts_and_out_of_a_damaged_store() {
    let scratch = Scratch::new("store-outbox");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let contents: Vec<Vec<u8>> =
        [0, 1, 3_071, 3_072, 3_073, 200_000].map(|n| (0..n).map(|n| n as u8).collect()).into();
    let ids: Vec<CallId> = contents.iter().map(|content| new(&store, content)).collect();
    let (sent, failed) = (new(&store, b"sent"), new(&store, b"failed"));
    let long = format!("\"{}\"", "é".repeat(20_000));
    end(&store, sent, &long, true);
    end(&store, failed, "{}", false);
    let look = |store: &Store| {
        for (id, content) in ids.iter().zip(&contents) {
            let (item, read) = store.take_up_call(id.number).unwrap().unwrap();
            assert!(item.id(id.number) == *id && is_whole(&item, &read) && read == *content);
            let part = &read[..read.len().saturating_sub(1)];
            assert!(read.is_empty() || !is_whole(&item, part));
        }
        let item = store.call(sent).unwrap().unwrap();
        assert_eq!(store.call_answer(sent, &item).unwrap().as_deref(), Some(long.as_str()));
        assert!(store.take_up_call(sent.number).unwrap().is_none());
        let counts = store.call_counts();
        assert_eq!((counts.waiting, counts.sent, counts.failed), (6, 1, 1));
        assert_eq!(counts.bytes, 209_223, "what was sent takes no more room");
    };
    look(&store);
    store.snapshot(UpstreamTime::from_unix(1_800_000_002)).unwrap();
    drop(store);
    let found = examine(scratch.path(), false).unwrap();
    assert!(found.is_good(), "{found:?}");
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(healings.is_empty(), "{healings:?}");
    look(&store);
    // A failed call is as good as new.
    assert_eq!(store.retry_call(failed).unwrap(), Changed::Done);
    let (item, content) = store.take_up_call(failed.number).unwrap().unwrap();
    assert!(is_whole(&item, &content) && content == b"failed");
    drop(store);
    // The store is gone: the snapshot has them, as they were.
    std::fs::remove_dir_all(scratch.path().join("mirror.sled")).unwrap();
    std::fs::create_dir(scratch.path().join("mirror.sled")).unwrap();
    std::fs::write(scratch.path().join("mirror.sled/db"), vec![7; 1 << 20]).unwrap();
    let (store, healings) = Store::open(scratch.path()).unwrap();
    assert!(!healings.is_empty());
    look(&store);
}

#[test]
fn there_is_an_end_to_what_can_wait() {
    let scratch = Scratch::in_memory("store-outbox-full");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let large = vec![0; 1 << 20];
    let first = new(&store, &large);
    for _ in 1..32 {
        new(&store, &large);
    }
    assert!(matches!(accept(&store, b"1", None), Accepted::Full(counts) if counts.waiting == 32));
    assert!(matches!(accept(&store, b"", Some("k")), Accepted::New(..)), "nothing takes no room");
    assert_eq!(store.withdraw_call(first).unwrap(), Changed::Done);
    assert!(matches!(accept(&store, b"1", None), Accepted::New(..)));
    let list = || store.calls_after(0, Some(Standing::Waiting), usize::MAX).unwrap();
    for (id, _) in list() {
        assert_eq!(store.withdraw_call(id).unwrap(), Changed::Done);
    }
    assert_eq!(store.withdraw_call(first).unwrap(), Changed::Absent);
    assert!(matches!(accept(&store, b"2", Some("k")), Accepted::New(..)), "the key went too");
    for _ in 1..WAITING_LIMIT {
        new(&store, b"");
    }
    assert!(matches!(accept(&store, b"", None), Accepted::Full(_)));
    assert_eq!(store.call_counts().waiting, WAITING_LIMIT);
}

#[test]
fn what_is_in_the_air_is_not_withdrawn() {
    let scratch = Scratch::in_memory("store-outbox-air");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let id = new(&store, b"x");
    let other = CallId { salt: id.salt ^ 1, ..id };
    assert_eq!(store.withdraw_call(other).unwrap(), Changed::Absent, "another's number");
    assert!(store.call(other).unwrap().is_none());
    assert!(store.take_up_call(id.number).unwrap().is_some());
    let refused = store.withdraw_call(id).unwrap();
    assert_eq!(refused, Changed::Not(Standing::Waiting, true));
    end(&store, id, "{}", true);
    assert_eq!(store.withdraw_call(id).unwrap(), Changed::Not(Standing::Sent, false));
    assert_eq!(store.retry_call(id).unwrap(), Changed::Not(Standing::Sent, false));
    assert!(store.call_fronts().is_empty());
}
