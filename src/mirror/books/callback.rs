//! From a callback of Books to the id of a record, or to a refusal.
//!
//! A callback says neither what happened nor which webhook sends it: the path tells the entity, and
//! the signature the sender. Of the record that it carries only the id is taken; a record that was
//! deleted is not found when it is fetched, and so becomes a tombstone.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::entity::Entity;
use crate::mirror::record::RecordId;
use crate::secret::Secret;

/// The field of a form that carries a record as JSON, as all of Books' API has it.
const JSON_FIELD: &str = "JSONString";

/// A callback as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received<'a> {
    /// What the address has behind its path, decoded.
    pub query: Vec<(String, String)>,
    /// The body.
    pub content: Content<'a>,
    /// `X-Zoho-Webhook-Signature`, if it was sent.
    pub signature: Option<&'a str>,
}

/// The body of a callback: which of the two it is, its first character tells. What it is said to be
/// does not, since upstream sends JSON under the name of a form (facts §2.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// The default payload, or a raw one.
    Json(&'a [u8]),
    /// The fields of a form, decoded.
    Form(Vec<(String, String)>),
}

/// Why a callback is turned away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is not signed, and the webhook is.
    Unsigned,
    /// No secret of ours made its signature.
    WrongSignature,
    /// It does not say which record it speaks of.
    Unreadable(String),
    /// It carries a record of that entity, which is not the one of its path.
    OtherEntity(Entity),
}

/// Judges a callback that came to the path of this entity. `secrets` are those that may have signed
/// it; without any list, nothing is signed there. Nothing of a refused one may be kept.
pub fn judge(
    received: &Received<'_>,
    entity: Entity,
    secrets: Option<&[Secret]>,
) -> Result<RecordId, Refusal> {
    if let Some(secrets) = secrets {
        let signature = received.signature.ok_or(Refusal::Unsigned)?;
        if !received.is_signed(signature, secrets) {
            return Err(Refusal::WrongSignature);
        }
    }
    match &received.content {
        Content::Json(body) => id_in(body, entity),
        Content::Form(fields) => id_in_form(fields, entity),
    }
}

impl Received<'_> {
    /// Whether one of these secrets made the signature: HMAC-SHA256 of all keys and values of query
    /// and form in the order of the keys, then the JSON as it came (facts §5.3). Whether it is
    /// written in hexadecimal or in Base64 is not documented: either is accepted.
    fn is_signed(&self, signature: &str, secrets: &[Secret]) -> bool {
        let (fields, json): (&[(String, String)], &[u8]) = match &self.content {
            Content::Json(body) => (&[], body),
            Content::Form(fields) => (fields, b""),
        };
        let mut pairs: Vec<&(String, String)> = self.query.iter().chain(fields).collect();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        let pairs: String = pairs.iter().flat_map(|(key, value)| [&**key, &**value]).collect();
        let (lower, bare) = (signature.to_ascii_lowercase(), signature.trim_end_matches('='));
        // All are tried, so that the time does not tell which of them was right.
        secrets.iter().fold(false, |found, secret| {
            let code = secret.code_of(&[pairs.as_bytes(), json]);
            let [hexadecimal, base64] = [hexadecimal(&code), base64(&code)].map(Secret::new);
            found | hexadecimal.is(&lower) | base64.is(bare)
        })
    }
}

/// The id in a form: a field of its own, or in the record of a field that holds JSON.
fn id_in_form(fields: &[(String, String)], entity: Entity) -> Result<RecordId, Refusal> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let key = entity.id_key();
    match (field(key), field(JSON_FIELD)) {
        (Some(id), _) => id.parse().map_err(|_| no_id(key)),
        (None, Some(json)) => id_in(json.as_bytes(), entity),
        (None, None) => Err(Refusal::Unreadable(format!(
            "the body is neither JSON nor a form with '{key}' or '{JSON_FIELD}'"
        ))),
    }
}

/// The id in JSON: in the record under its entity's name, or among the outermost keys.
fn id_in(json: &[u8], entity: Entity) -> Result<RecordId, Refusal> {
    let whole = members(json)?;
    let key = entity.id_key();
    let names = [entity.around_one(), entity.singular()];
    let id = match names.iter().find_map(|name| whole.get(*name)) {
        Some(record) => members(record.get().as_bytes())?.get(key).copied(),
        None => whole.get(key).copied(),
    };
    match id {
        Some(id) => serde_json::from_str(id.get()).map_err(|_| no_id(key)),
        None => Err(other_in(&whole, entity).unwrap_or_else(|| no_id(key))),
    }
}

/// The refusal of a record of another entity, if there is one.
fn other_in(whole: &BTreeMap<String, &RawValue>, entity: Entity) -> Option<Refusal> {
    let others = Entity::all().filter(|other| *other != entity);
    let mut there = others.filter(|other| whole.contains_key(other.around_one()));
    there.next().map(Refusal::OtherEntity)
}

fn members(json: &[u8]) -> Result<BTreeMap<String, &RawValue>, Refusal> {
    // What was sent is not repeated.
    serde_json::from_slice(json).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Refusal::Unreadable(format!("the body is not a JSON object, at {place}"))
    })
}

fn no_id(key: &str) -> Refusal {
    Refusal::Unreadable(format!("'{key}' is missing or is not an id"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 (RFC 4648 §4) without the `=` at its end.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=three.len() {
            let six = number >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[six as usize]));
        }
    }
    text
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unsigned => f.write_str("it is not signed"),
            Refusal::WrongSignature => f.write_str("its signature is not the webhook's"),
            Refusal::Unreadable(why) => f.write_str(why),
            Refusal::OtherEntity(other) => write!(f, "it carries another entity: {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(name: &str) -> Entity {
        Entity::parse(name).unwrap()
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn unsigned(body: &str) -> Received<'_> {
        let content = Content::Json(body.as_bytes());
        Received { query: Vec::new(), content, signature: None }
    }

    /// The example of Zoho's own page (facts §5.3), whose string to sign is written there:
    /// `namebasicsubscription_id90343{"created_date":"2019-03-06","event_id":"5675"}`.
    const SECRET: &str = "abcdef1234567890";
    const IN_HEXADECIMAL: &str = "c8059fd21b450d47292fdf752ade2ec44b3abc87dbcbbe56a3186069c3373513";
    const IN_BASE64: &str = "yAWf0htFDUcpL991Kt4uxEs6vIfby75WoxhgacM3NRM=";

    fn official(signature: &str) -> Received<'_> {
        Received {
            query: pairs(&[("subscription_id", "90343"), ("name", "basic")]),
            content: Content::Json(br#"{"created_date":"2019-03-06","event_id":"5675"}"#),
            signature: Some(signature),
        }
    }

    #[test]
    fn the_official_example_is_signed_as_it_is_documented() {
        let secrets = ["another", SECRET].map(|text| Secret::new(text.to_owned()));
        let upper = IN_HEXADECIMAL.to_uppercase();
        for good in [IN_HEXADECIMAL, &upper, IN_BASE64, IN_BASE64.trim_end_matches('=')] {
            assert!(official(good).is_signed(good, &secrets), "{good}");
            assert!(!official(good).is_signed(good, &secrets[..1]), "{good}");
            assert!(!official(good).is_signed(good, &[]), "{good}");
        }
        for bad in ["", "=", &IN_HEXADECIMAL[1..], &IN_BASE64.to_lowercase(), SECRET] {
            assert!(!official(bad).is_signed(bad, &secrets), "{bad}");
        }
        // Fields of a form count as those of the query do, wherever they stand.
        let form = Received {
            query: pairs(&[("subscription_id", "90343")]),
            content: Content::Form(pairs(&[("name", "basic")])),
            signature: None,
        };
        let code = secrets[1].code_of(&[b"namebasicsubscription_id90343"]);
        assert!(form.is_signed(&hexadecimal(&code), &secrets));
        assert!(form.is_signed(&base64(&code), &secrets));
    }

    #[test]
    fn whoever_cannot_sign_is_refused_before_his_body_is_read() {
        let secrets = [Secret::new(SECRET.to_owned())];
        let judged = |received: &Received<'_>| judge(received, entity("invoice"), Some(&secrets));
        assert_eq!(judged(&unsigned("{")), Err(Refusal::Unsigned));
        let forged = Received { signature: Some(IN_HEXADECIMAL), ..unsigned("{") };
        assert_eq!(judged(&forged), Err(Refusal::WrongSignature));
        let code = hexadecimal(&secrets[0].code_of(&[br#"{"invoice":{"invoice_id":"7"}}"#]));
        let body = r#"{"invoice":{"invoice_id":"7"}}"#;
        let good = Received { signature: Some(&code), ..unsigned(body) };
        assert_eq!(judged(&good), Ok(RecordId::new(7)));
        let longer = Received { query: pairs(&[("a", "b")]), ..good };
        assert_eq!(judged(&longer), Err(Refusal::WrongSignature), "the query is signed too");
    }

    #[test]
    fn every_form_of_a_body_is_understood() {
        let check = |of: &str, body: &str, id: u64| {
            assert_eq!(judge(&unsigned(body), entity(of), None), Ok(RecordId::new(id)), "{body}");
        };
        let default = r#"{"invoice":{"total":1.5,"invoice_id":"460000000028085"}}"#;
        check("invoice", default, 460_000_000_028_085);
        check("invoice", r#" {"invoice":{"invoice_id":18446744073709551615},"x":""}"#, u64::MAX);
        check("invoice", r#"{"invoice_id":"7","number":"INV-1"}"#, 7);
        check("customerpayment", r#"{"payment":{"payment_id":"7"}}"#, 7);
        check("customerpayment", r#"{"customerpayment":{"payment_id":"7"}}"#, 7);
        check("salesorder", r#"{"bill":{},"salesorder":{"salesorder_id":"7"}}"#, 7);
        let form = |fields: &[(&str, &str)]| {
            let content = Content::Form(pairs(fields));
            judge(&Received { content, ..unsigned("") }, entity("item"), None)
        };
        assert_eq!(form(&[("a", "b"), ("item_id", "7")]), Ok(RecordId::new(7)));
        assert_eq!(form(&[("JSONString", r#"{"item":{"item_id":"7"}}"#)]), Ok(RecordId::new(7)));
        assert!(matches!(form(&[("item", "7")]), Err(Refusal::Unreadable(_))));
        assert!(matches!(form(&[("item_id", "seven")]), Err(Refusal::Unreadable(_))));
    }

    #[test]
    fn what_names_no_record_is_unreadable_and_not_repeated() {
        for body in [
            "",
            "hunter2",
            "[]",
            "{}",
            r#"{"invoice":"hunter2"}"#,
            r#"{"invoice":{}}"#,
            r#"{"invoice":{"invoice_id":"hunter2"}}"#,
            r#"{"invoice":{"invoice_id":1.5}}"#,
            r#"{"invoice":{"invoice_id":null}}"#,
            r#"{"invoice":{"invoice_id":"7"}"#,
        ] {
            match judge(&unsigned(body), entity("invoice"), None) {
                Err(Refusal::Unreadable(why)) => assert!(!why.contains("hunter2"), "{why}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        let other = judge(&unsigned(r#"{"bill":{"bill_id":"7"}}"#), entity("invoice"), None);
        assert_eq!(other, Err(Refusal::OtherEntity(entity("bill"))));
    }
}
