//! What holds for whatever bytes come from outside: nothing panics, and each answer keeps its word.
//!
//! The fuzzer calls these with what it makes up, and the tests with every seed and every finding of
//! the past (`tests/fuzz/seeds`).
#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use crmirror::mirror::callback::{Known, Notification};
use crmirror::mirror::criteria::{Criteria, terms_of_record};
use crmirror::mirror::origin::Origin;
use crmirror::mirror::platform::{Event, Payload, proof};
use crmirror::mirror::record::{ChannelId, ModuleName, Record};
use crmirror::mirror::time::UpstreamTime;
use crmirror::secret::Secret;
use crmirror::server::asked::FOREIGN;
use crmirror::server::gate::chunks::Chunks;
use crmirror::server::gate::request::{BODY_LIMIT, HEAD_LIMIT, head_end, parse_head};
use crmirror::store::examine_pair;
use crmirror::upstream::functions::{self, Pass};
use crmirror::upstream::transport::Reply;
use crmirror::upstream::transport::call::Answered;
use crmirror::upstream::verdict::judge;
use crmirror::upstream::{channels, metadata, records, token};

/// A target and what it promises.
pub type Promise = (&'static str, fn(&[u8]));

/// All of them, by the names of their directories of seeds.
pub const ALL: [Promise; 5] = [
    ("callback", callback),
    ("head", head),
    ("criteria", criteria),
    ("stored", stored),
    ("reply", reply),
];

/// The body of a callback. What is accepted names records of a module that is mirrored.
pub fn callback(body: &[u8]) {
    let modules = ["Leads", "Deals"].map(|name| ModuleName::parse(name).expect("it is a name"));
    let tokens = [Secret::new("a-token".into()), Secret::new(String::new())];
    let origin = Origin::parse("https://www.zohoapis.com").expect("it is an origin");
    let known = Known {
        channel: ChannelId::new(1_000_000_068_001),
        tokens: &tokens,
        origin: Some(&origin),
        modules: &modules,
    };
    match Notification::judge(body, &known) {
        Ok(notification) => {
            assert!(modules.contains(&notification.module));
            let arrivals = notification.arrivals(None);
            assert!(!arrivals.is_empty() && arrivals.len() <= notification.ids.len());
            assert!(arrivals.windows(2).all(|pair| pair[0].id < pair[1].id));
            let _ = notification.fingerprint();
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    of_platform(body);
}

/// The same bytes as a callback of the platform: nobody's guess of a hash proves it, and what is
/// read can be proved.
fn of_platform(body: &[u8]) {
    let secret = Secret::new("the manifest's".into());
    assert_eq!(proof::form(&secret, body, &"0".repeat(64)), None);
    match (Payload::parse(body), std::str::from_utf8(body)) {
        (Ok(payload), Ok(text)) => {
            assert!(Event::parse(payload.event.as_str()).is_some());
            assert!(proof::form(&secret, body, &proof::hash(&secret, text)).is_some());
        }
        (Ok(_), Err(_)) => panic!("JSON is UTF-8"),
        (Err(why), _) => assert!(!why.is_empty()),
    }
}

/// A request as it comes over the wire: its head, then a body in chunks. However it is cut into
/// pieces, it is understood alike; and what was understood says the same when it is written anew.
pub fn head(bytes: &[u8]) {
    let whole = head_end(bytes, 0);
    let mut judged = 0;
    let mut in_pieces = Ok(None);
    for end in 1..=bytes.len().min(HEAD_LIMIT + 1) {
        in_pieces = head_end(&bytes[..end], judged);
        match in_pieces {
            Ok(None) => judged = end,
            Ok(Some(_)) | Err(_) => break,
        }
    }
    if let Ok(Some(end)) = whole {
        assert_eq!(in_pieces, Ok(Some(end)), "it depends on the pieces");
        if let Ok(head) = parse_head(&bytes[..end]) {
            let mut again = format!("{} {} HTTP/1.1\r\n", head.method, head.target);
            for (name, value) in &head.headers {
                again += &format!("{name}: {value}\r\n");
            }
            if !head.headers.iter().any(|(name, _)| name == "host") {
                again += "host: x\r\n";
            }
            again += "\r\n";
            if again.len() < HEAD_LIMIT && head.headers.len() < 64 {
                let foreign = |byte| if char::from(byte) == FOREIGN { 0xff } else { byte };
                let again: Vec<u8> = again.bytes().map(foreign).collect();
                let again = parse_head(&again).expect("it is canonical");
                assert_eq!((&again.method, &again.target), (&head.method, &head.target));
                assert_eq!(again.framing, head.framing);
            }
            chunks(&bytes[end..]);
        }
    }
    chunks(bytes);
}

fn chunks(bytes: &[u8]) {
    let (mut whole, mut in_pieces) = (Chunks::new(), Chunks::new());
    let all = whole.feed(bytes);
    let mut taken = 0;
    let mut refused = false;
    for piece in bytes.chunks(3) {
        match in_pieces.feed(piece) {
            Ok(count) => taken += count,
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    assert_eq!(all.is_err(), refused, "it depends on the pieces");
    if let Ok(count) = all {
        assert_eq!((count, whole.is_done()), (taken, in_pieces.is_done()));
        assert!(whole.held() <= BODY_LIMIT && count <= bytes.len());
        assert_eq!(whole.into_body(), in_pieces.into_body());
    }
}

/// Criteria in the first line, a record in the rest.
pub fn criteria(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, json) = text.split_once('\n').unwrap_or((text, r#"{"id":"1","A":"b"}"#));
    match Criteria::parse(text) {
        Ok(criteria) => {
            assert!(!criteria.fields().is_empty());
            let _ = criteria.equality();
            if let Ok(record) = Record::parse(json) {
                assert_eq!(criteria.matches(&record), criteria.matches(&record));
                let lookup = criteria.lookup(|_| true);
                let found = lookup.is_none_or(|lookup| {
                    lookup.fields().any(|(field, sought)| {
                        let shown = terms_of_record(&record, std::slice::from_ref(field));
                        !shown[0].is_disjoint(sought)
                    })
                });
                assert!(found || !criteria.matches(&record), "an index would hide it");
            }
        }
        Err(error) => {
            assert!(error.position() <= text.len() && text.is_char_boundary(error.position()));
            assert!(error.character() >= 1 && !error.message().is_empty());
        }
    }
}

/// An entry of the store: the length of its key, the key, the value. The fuzzer's build takes every
/// checksum for right.
pub fn stored(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
    let _ = examine_pair(key, value);
}

/// A reply of upstream, the status in the first two bytes.
pub fn reply(bytes: &[u8]) {
    let Some((status, body)) = bytes.split_first_chunk() else { return };
    let status = u16::from_be_bytes(*status);
    let reply = Reply { status, date: None, retry_after: None, body: body.to_vec() };
    function(&reply);
    let now = UpstreamTime::from_unix(1_800_000_000);
    let _ = channels::parse_grant(&reply, now);
    let _ = channels::parse_close(&reply);
    if let Ok(grant) = token::parse(&reply) {
        assert!(grant.life <= Duration::from_secs(u64::from(u32::MAX)));
    }
    let verdict = match judge(&reply) {
        Ok(verdict) => verdict,
        Err(trouble) => {
            assert!(!trouble.why().is_empty() && trouble.why().len() < 2_000, "{trouble:?}");
            return;
        }
    };
    if let Ok((rows, _)) = records::parse(verdict) {
        for row in &rows {
            assert_eq!(Record::parse(row.json()).ok().as_ref(), Some(row), "it is kept as it came");
        }
    }
    let _ = records::parse_deleted(verdict);
    let _ = records::parse_count(verdict);
    let _ = channels::parse_rows(verdict);
    let _ = metadata::parse_fields(verdict);
}

/// What a function answered. What is kept of it is bounded, and does not hold the key.
fn function(reply: &Reply) {
    let key = "zapikey+1";
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    let answered = Answered { reply: reply.clone(), headers };
    match functions::parse(&answered, &Pass::Key(Secret::new(key.to_owned()))) {
        Ok(answer) => {
            let kept = answer.to_json();
            assert!(kept.len() < 1 << 20 && !kept.contains(key), "{kept}");
        }
        Err((setback, _)) => {
            assert!(setback.why().len() < 2_000 && !setback.why().contains(key), "{setback:?}");
        }
    }
}
