//! Whether a callback is the platform's own: its `HASH`, made with the manifest's secret.
//!
//! The algorithm is documented (HMAC-SHA256, lower-case hexadecimal), but not what it is made over
//! (facts §6). So both forms are tried that are known of the platform, and it is told which one was
//! met. Neither comparison tells by its time how much of an offer was right.

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::secret::Secret;

/// Letters of a hash.
const LETTERS: usize = 64;

/// What a hash was made over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The body, byte by byte.
    Body,
    /// `event=…&orgId=…&securityContext=…`: the fields in the order sent, not encoded.
    Fields,
}

impl Form {
    /// What the log says of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Body => "the body",
            Form::Fields => "its fields, joined",
        }
    }
}

/// Over what this hash was made of this body, with this secret; `None` when it was not.
pub fn form(secret: &Secret, body: &[u8], hash: &str) -> Option<Form> {
    let offered = bytes(hash)?;
    let key = Key::new(HMAC_SHA256, secret.reveal().as_bytes());
    let fields = joined(body);
    let of_body = verify(&key, body, &offered).is_ok();
    let of_fields =
        fields.is_some_and(|text| verify(&key, text.reveal().as_bytes(), &offered).is_ok());
    match (of_body, of_fields) {
        (true, _) => Some(Form::Body),
        (false, true) => Some(Form::Fields),
        (false, false) => None,
    }
}

/// The hash of a text, as the platform writes it.
pub fn hash(secret: &Secret, text: &str) -> String {
    let key = Key::new(HMAC_SHA256, secret.reveal().as_bytes());
    let tag = sign(&key, text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that these letters write.
fn bytes(hash: &str) -> Option<Vec<u8>> {
    let is_digit = |letter: u8| matches!(letter, b'0'..=b'9' | b'a'..=b'f');
    if hash.len() != LETTERS || !hash.bytes().all(is_digit) {
        return None;
    }
    (0..LETTERS).step_by(2).map(|at| u8::from_str_radix(&hash[at..at + 2], 16).ok()).collect()
}

/// The fields of an object as the platform joins them: texts without their quotes, all else as it
/// was written.
fn joined(body: &[u8]) -> Option<Secret> {
    let Fields(fields) = serde_json::from_slice(body).ok()?;
    let pair =
        |(name, value): &(String, &RawValue)| match serde_json::from_str::<String>(value.get()) {
            Ok(text) => format!("{name}={text}"),
            Err(_) => format!("{name}={}", value.get()),
        };
    Some(Secret::new(fields.iter().map(pair).collect::<Vec<_>>().join("&")))
}

/// The fields of an object in the order in which they were written.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_hash_is_hmac_sha256_in_small_letters() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hash(&secret("Jefe"), "what do ya want for nothing?"), expected);
    }

    #[test]
    fn both_forms_are_known_and_told_apart() {
        let key = secret("manifest");
        let body = r#"{ "event":"onInstall", "orgId":387238, "securityContext":"a\u00e9&b=" }"#;
        let fields = "event=onInstall&orgId=387238&securityContext=aé&b=";
        let check = |hash: &str| form(&key, body.as_bytes(), hash);
        assert_eq!(check(&hash(&key, body)), Some(Form::Body));
        assert_eq!(check(&hash(&key, fields)), Some(Form::Fields));
        let turned = r#"{"securityContext":"a","orgId":"1","event":"onInstall"}"#;
        let fields = hash(&key, "securityContext=a&orgId=1&event=onInstall");
        assert_eq!(form(&key, turned.as_bytes(), &fields), Some(Form::Fields), "as sent");
    }

    #[test]
    fn what_is_not_quite_the_hash_is_none() {
        let key = secret("manifest");
        let body = br#"{"event":"onInstall","orgId":1,"securityContext":"a"}"#;
        let good = hash(&key, std::str::from_utf8(body).unwrap());
        assert_eq!(form(&key, body, &good), Some(Form::Body));
        let mut last = good.clone();
        let end = if last.pop() == Some('0') { '1' } else { '0' };
        last.push(end);
        for bad in ["", "é", &good[1..], &format!("{good}0"), &last, &good.to_uppercase()] {
            assert_eq!(form(&key, body, bad), None, "{bad}");
        }
        assert_eq!(form(&secret("manifesu"), body, &good), None);
        assert_eq!(form(&key, b"{}", &good), None);
    }
}
