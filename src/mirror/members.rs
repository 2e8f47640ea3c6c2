//! The members of a record's JSON, one after another, without reading what nobody asked for.
//!
//! Whoever looks through a hundred thousand records for one value spends his time here. It takes
//! for granted what holds for every record: that its text was read as JSON before it was stored. Of
//! a text that is none it shows a part, or nothing; it never panics and never goes on for ever.

/// The members of an object: each name as it is written between its quotes, and its value as text.
pub(super) fn members(json: &str) -> Members<'_> {
    let start = json.find('{').map_or(json.len(), |at| at + 1);
    Members { json, at: start }
}

/// What is left of an object.
pub(super) struct Members<'j> {
    json: &'j str,
    at: usize,
}

impl<'j> Iterator for Members<'j> {
    type Item = (&'j str, &'j str);

    fn next(&mut self) -> Option<(&'j str, &'j str)> {
        let bytes = self.json.as_bytes();
        // A comma stands before all but the first.
        let quote = skip(bytes, self.at, b", \t\r\n");
        if *bytes.get(quote)? != b'"' {
            return None;
        }
        let end = text_end(bytes, quote + 1)?;
        let start = skip(bytes, end + 1, b": \t\r\n");
        self.at = value_end(bytes, start)?;
        Some((self.json.get(quote + 1..end)?, self.json.get(start..self.at)?))
    }
}

/// The first place from here on that has none of these bytes.
fn skip(bytes: &[u8], mut at: usize, passed: &[u8]) -> usize {
    while bytes.get(at).is_some_and(|byte| passed.contains(byte)) {
        at += 1;
    }
    at
}

/// Where the value ends that begins here.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    match bytes.get(at)? {
        b'"' => return Some(text_end(bytes, at + 1)? + 1),
        b'{' | b'[' => {}
        _ => {
            let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
            return Some(at + bytes[at..].iter().position(is_over)?);
        }
    }
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            b'"' => at = text_end(bytes, at + 1)?,
            _ => {}
        }
        at += 1;
    }
}

/// Where the quote is that ends the text whose first letter is here. What a backslash stands before
/// is passed over.
fn text_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = next_special(bytes, at)?;
        match bytes[at] {
            b'"' => return Some(at),
            _ => at += 2,
        }
    }
}

/// The next quote or backslash: eight bytes at a time, since most of a record is text.
fn next_special(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The lowest byte of a word that is zero has its highest bit set, and none below it has.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let found =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    Some(at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn it_shows_what_a_parser_shows() {
        for json in [
            "{}",
            r#"{"a":1}"#,
            r#"{"":"","a":"b\"c","b":"\\","c":"\\\"","d":"\\\\","e":"\u0022é\n"}"#,
            r#" { "a" : [ 1 , "]}" , {"x":"[\"{"} ] , "b" : { } , "c" : -1.50e+3 , "d":null } "#,
            r#"{"deep":[[[[{"a":[{}]}]]]],"t":true,"f":false,"z":"}"}"#,
            r#"{"\\\"":1,"k\\":"v\\"}"#,
        ] {
            let parsed: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            let read = |name: &str| serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let shown: BTreeMap<String, &str> =
                members(json).map(|(name, value)| (read(name), value)).collect();
            let parsed: BTreeMap<String, &str> =
                parsed.into_iter().map(|(name, value)| (name, value.get())).collect();
            assert_eq!(shown, parsed, "{json}");
        }
    }

    #[test]
    fn a_text_that_ends_too_early_does_no_harm() {
        let json = r#"{"a":"é\\","b":[{"c":"]"},2],"d":1.5,"e":null}"#;
        let whole = members(json).count();
        for (end, _) in json.char_indices() {
            assert!(members(&json[..end]).count() <= whole);
        }
        for none in ["", "[1]", "null", "{", "{{", "{\"", "}", "{\"a\"}", "{\"a\":]}", "{a:1}"] {
            assert!(members(none).count() <= 1, "{none}");
        }
    }
}
