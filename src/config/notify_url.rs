//! The address that upstream is told to send callbacks to.

use std::fmt;

use super::values::refuse_clear_text;
use crate::mirror::origin::Origin;

/// Longest address that upstream takes (facts §1.2).
pub const NOTIFY_URL_LIMIT: usize = 255;

/// The address of our callbacks, as strangers reach it: `https://kiosk.example/callback/4f1c9a`.
///
/// `Debug` shows where it lies but not its path, which is kept from strangers as the token is.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifyUrl {
    text: Box<str>,
    origin: Origin,
    path_at: usize,
    path_end: usize,
}

impl NotifyUrl {
    /// Reads an `https://` address with a path and perhaps a query; `http://` on loopback only.
    /// The error says what to write and never repeats the address.
    pub(super) fn parse(text: &str) -> Result<NotifyUrl, String> {
        if text.len() > NOTIFY_URL_LIMIT {
            return Err(format!(
                "the address has {} bytes, upstream takes {NOTIFY_URL_LIMIT}; shorten its path",
                text.len()
            ));
        }
        if text.contains('#') {
            return Err("a fragment is never sent; leave out the # and what follows it".into());
        }
        let path_end = text.find('?').unwrap_or(text.len());
        let authority_at = text.find("://").map_or(0, |at| at + "://".len());
        let authority_end =
            text[authority_at..].find(['/', '?']).map_or(text.len(), |at| authority_at + at);
        let origin = Origin::parse(&text[..authority_end])
            .map_err(|error| format!("{error}; write for example {EXAMPLE}"))?;
        refuse_clear_text(&origin)?;
        if authority_end == path_end {
            return Err(format!("a path is missing; write for example {EXAMPLE}"));
        }
        if !text[authority_end..].bytes().all(is_path_or_query) {
            return Err(
                "a character has no place in an address; write letters, digits and -._~/".into()
            );
        }
        if text[authority_end + 1..path_end].split('/').any(|part| matches!(part, "." | "..")) {
            return Err("proxies resolve . and .. in a path; write it without them".into());
        }
        Ok(NotifyUrl { text: text.into(), origin, path_at: authority_end, path_end })
    }

    /// The whole address, for upstream.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without the query: the only one that callbacks are accepted on.
    pub fn path(&self) -> &str {
        &self.text[self.path_at..self.path_end]
    }

    /// The path and the query: all that a stranger is not to know.
    pub fn secret_part(&self) -> &str {
        &self.text[self.path_at..]
    }

    /// Scheme, host and port, which may be shown to anybody.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// The paths that callbacks are received at: each is for one kind of them.
#[derive(Default)]
pub(super) struct Paths(Vec<String>);

impl Paths {
    /// Takes the path of this address, unless it is taken already.
    pub(super) fn take(&mut self, url: &NotifyUrl) -> bool {
        let is_free = !self.0.iter().any(|taken| taken == url.path());
        self.0.push(url.path().to_owned());
        is_free
    }

    /// Whether upstream calls at none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const EXAMPLE: &str = "https://kiosk-7.example.com/callback/4f1c9a";

/// What a path and a query may hold (RFC 3986).
fn is_path_or_query(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte)
}

impl fmt::Debug for NotifyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_origin_are_told_apart() {
        let check = |text: &str, path: &str, shown: &str| {
            let url = NotifyUrl::parse(text).unwrap_or_else(|what| panic!("{text}: {what}"));
            assert_eq!((url.as_str(), url.path()), (text, path));
            assert!(text.ends_with(url.secret_part()) && url.secret_part().starts_with(path));
            assert_eq!(format!("{url:?}"), shown);
        };
        check("https://a.example/callback/4f1c9a", "/callback/4f1c9a", "https://a.example/…");
        check("https://a.example:8443/c?x=/y://z", "/c", "https://a.example:8443/…");
        check("https://a.example/", "/", "https://a.example/…");
        check("https://A.example/C/?a", "/C/", "https://a.example/…");
        check("http://127.0.0.1:1/c", "/c", "http://127.0.0.1:1/…");
        check("http://[::1]:1/c%20d", "/c%20d", "http://[::1]:1/…");
        let longest = format!("https://a.example/{}", "x".repeat(NOTIFY_URL_LIMIT - 18));
        assert_eq!(NotifyUrl::parse(&longest).unwrap().as_str().len(), NOTIFY_URL_LIMIT);
        assert!(NotifyUrl::parse(&(longest + "x")).is_err());
    }

    #[test]
    fn what_cannot_be_called_is_refused_and_not_repeated() {
        for text in [
            "",
            "a.example/SECRET",
            "/SECRET",
            "ftp://a.example/SECRET",
            "https://a.example",
            "https://a.example?SECRET",
            "https://SECRET@a.example/x",
            "http://a.example/SECRET",
            "https://a.example/SECRET#x",
            "https://a.example/SECRET x",
            "https://a.example/SECRET\n",
            "https://a.example/SECR\u{c9}T",
            "https://a.example\\SECRET",
            "https://a.example/a/../SECRET",
            "https://a.example/./SECRET",
            "https:///SECRET",
            "https://a.example:0/SECRET",
        ] {
            let what = NotifyUrl::parse(text).expect_err(text);
            assert!(!what.contains("SECR"), "{text}: {what}");
        }
    }
}
