//! The status page: one document for a person in front of the device, and the records behind it.
//!
//! It is the same for everybody and tells nothing by itself: what it shows, its script asks for,
//! over the same local interface as everybody else. It loads nothing from anywhere, and its policy
//! lets it run and style nothing but what stands in it here.

use std::sync::OnceLock;

use ring::digest::{SHA256, digest};

use super::reply::Reply;
use super::text::{Packed, packed};

/// The document, with a place for the style and one for the script; all three as they are read by
/// people.
const DOCUMENT: Packed = packed!("page/index.html");
const STYLE: Packed = packed!("page/style.css");
/// One script in four files: what the others build upon first, what starts it last.
const SCRIPT: [Packed; 4] = [
    packed!("page/base.js"),
    packed!("page/status.js"),
    packed!("page/feed.js"),
    packed!("page/records.js"),
];
/// Where the style and the script go.
const STYLE_PLACE: &str = "{{style}}";
const SCRIPT_PLACE: &str = "{{script}}";

/// What is sent.
struct Page {
    body: String,
    policy: String,
}

static PAGE: OnceLock<Page> = OnceLock::new();

/// `GET /`
pub(super) fn page() -> Reply {
    let Page { body, policy } = PAGE.get_or_init(Page::new);
    Reply::text(200, "text/html; charset=utf-8", body.as_str())
        .with("Content-Security-Policy", policy.as_str())
        .with("X-Content-Type-Options", "nosniff")
        .with("X-Frame-Options", "DENY")
        .with("Referrer-Policy", "no-referrer")
        .with("Cross-Origin-Opener-Policy", "same-origin")
        .with("Cross-Origin-Resource-Policy", "same-origin")
        // The next release has another page, and loading this one costs next to nothing.
        .with("Cache-Control", "no-store")
}

impl Page {
    fn new() -> Page {
        let script = SCRIPT.map(|file| file.text()).concat();
        let [document, style, script] =
            [DOCUMENT.text(), STYLE.text(), script].map(|text| told(&text));
        let body = document.replace(STYLE_PLACE, &style).replace(SCRIPT_PLACE, &script);
        let [style, script] = [style, script].map(|inside| checksum(&inside));
        // Trusted types: no script of the page's own may turn text into markup either.
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        );
        Page { body, policy }
    }
}

/// Without indentation, empty lines and lines that are comments: the files are for those who read
/// them. None of the three has a text that goes over several lines.
fn told(text: &str) -> String {
    let lines = text.lines().map(str::trim_start);
    let said = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    said.collect::<Vec<_>>().join("\n")
}

/// As a policy names what may run: the SHA-256 in base64.
fn checksum(text: &str) -> String {
    base64(digest(&SHA256, text.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that is asked for over a poor radio link: it comes in some ten packets when zipped by
    /// a proxy, and in some thirty when not.
    const SIZE_LIMIT: usize = 44 << 10;

    fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
        let parts = text.split(start).skip(1);
        parts.map(|part| part.split_once(end).unwrap().0).collect()
    }

    #[test]
    fn base64_is_as_rfc_4648_has_it() {
        let check = |plain: &str, expected: &str| assert_eq!(base64(plain.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
        assert_eq!(checksum(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn its_policy_names_just_what_stands_in_it() {
        let Page { body, policy } = Page::new();
        for (kind, element) in [("style-src", "style"), ("script-src", "script")] {
            let inside = between(&body, &format!("<{element}>"), &format!("</{element}>"));
            assert_eq!(inside.len(), 1, "{element}");
            let source = format!("{kind} 'sha256-{}';", checksum(inside[0]));
            assert!(policy.contains(&source), "{policy}\n{source}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for attribute in [" style=", " onclick=", " onload=", "<link rel=\"stylesheet", " src="] {
            assert!(!body.contains(attribute), "{attribute} would be refused by the policy");
        }
    }

    #[test]
    fn it_needs_nothing_from_elsewhere_and_is_small() {
        let Page { body, .. } = Page::new();
        assert!(body.len() <= SIZE_LIMIT, "{} bytes", body.len());
        let named = body.replace("http://www.w3.org/2000/svg", "");
        for foreign in ["http://", "https://", "\"//", "@import", "url("] {
            assert!(!named.contains(foreign), "{foreign}");
        }
        assert!(!body.contains("{{"), "a place was left empty");
    }

    #[test]
    fn its_script_never_makes_markup_out_of_text() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!Page::new().body.contains(way), "{way}");
        }
    }
}
