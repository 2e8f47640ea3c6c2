//! What every match has written in its JSON: a quick look that passes over most other records.
//!
//! Whoever looks through a module spends his time on records that do not match. Before one is read
//! as text, and its fields are looked for, it is seen whether the letters of the value that is
//! asked for stand anywhere in it. Where they do not, it is no match; where they do, it may be one.

use memchr::{memchr_iter, memchr2_iter};

/// Letters that stand often in records, from the most frequent on: what is looked for is found by
/// the rarest of its own.
const FREQUENT: &[u8] = b" eatonrsl0123456789-:,.dumchpgfwybv";

/// Letters that must stand side by side in the JSON of a match, in small or in capital letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sieve {
    letters: Box<[u8]>,
    /// The place of the rarest among them.
    rarest: usize,
}

impl Sieve {
    /// For records of which a value has this text in it, which is in small letters; `None` when
    /// no part of it is written alike everywhere.
    pub(in crate::mirror) fn of(folded: &str) -> Option<Sieve> {
        let parts = folded.as_bytes().split(|byte| !is_plain(*byte));
        let letters = parts.max_by_key(|part| part.len()).filter(|part| !part.is_empty())?;
        let rank = |byte: &u8| FREQUENT.iter().position(|frequent| frequent == byte);
        let rank = |byte: &u8| rank(byte).unwrap_or(FREQUENT.len());
        let rarest = (0..letters.len()).max_by_key(|place| rank(&letters[*place]))?;
        Some(Sieve { letters: letters.into(), rarest })
    }

    /// Whether the record with this JSON can be a match.
    pub fn passes(&self, json: &[u8]) -> bool {
        let rarest = self.letters[self.rarest];
        let stands_at = |place: usize| {
            let start = place.checked_sub(self.rarest)?;
            let shown = json.get(start..start + self.letters.len())?;
            Some(shown.eq_ignore_ascii_case(&self.letters))
        };
        memchr2_iter(rarest, rarest.to_ascii_uppercase(), json)
            .any(|place| stands_at(place) == Some(true))
            || memchr_iter(b'\\', json).any(|place| json.get(place + 1) == Some(&b'u'))
    }

    /// The one of two that passes less.
    pub(in crate::mirror) fn finer(self, other: Sieve) -> Sieve {
        if other.letters.len() > self.letters.len() { other } else { self }
    }
}

/// Whether a letter is written as itself in JSON, or as its capital, or by its number (`\u0061`):
/// not so what may have a backslash before it, and the two that a letter beyond ASCII is the
/// capital of (the signs of kelvin, and a dotted I).
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'/' | b'k' | b'i')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_letter_becomes_one_that_is_looked_for() {
        for letter in '\u{80}'..=char::MAX {
            let folded = letter.to_lowercase().collect::<String>();
            assert!(!folded.bytes().any(is_plain), "{letter:?} becomes {folded}");
        }
        for letter in '\0'..='\x7f' {
            let folded = letter.to_lowercase().collect::<String>();
            assert_eq!(folded, letter.to_ascii_lowercase().to_string());
        }
    }

    #[test]
    fn letters_are_found_wherever_they_stand_and_however_they_are_written() {
        let passes = |folded: &str, json: &str| Sieve::of(folded).unwrap().passes(json.as_bytes());
        for json in [r#"{"A":"x-77"}"#, r#"{"A":"mX-77y"}"#, r#"{"A":["x-7","X-77"]}"#, "x-77"] {
            assert!(passes("x-77", json), "{json}");
        }
        for json in ["", "x", "x-7", "-77", r#"{"A":"x-7"}"#, r#"{"A":"x\n-77"}"#] {
            assert!(!passes("x-77", json), "{json}");
        }
        assert!(passes("x-77", r#"{"A":"\u0078-77"}"#), "it may be written by its number");
        // Only the part that is written alike everywhere is looked for.
        assert!(passes("köln", r#"{"A":"KÖLN"}"#) && passes("a/bc", r#"{"A":"a\/bc"}"#));
        assert!(passes("kilo", "{\"A\":\"\u{212a}\u{130}LO\"}"));
        for none in ["", "ki", "\"", "ö"] {
            assert_eq!(Sieve::of(none), None, "{none}");
        }
    }
}
