//! Who called through a proxy of the operator's own, by what that proxy says. Pure.
//!
//! Anybody can write these headers, and what comes before the proxy's own entry was written by a
//! stranger: only the last entry counts, and only where the configuration says that a proxy stands
//! in front. What is found here is for the log; no limit and no permission depends on it.

use std::net::{IpAddr, SocketAddr};

use super::asked::Asked;

/// The address that the proxy in front was called from. A proxy that writes one of the two headers
/// lets a stranger's copy of the other pass, so that two which do not agree say nothing.
pub(super) fn caller(asked: &Asked) -> Option<IpAddr> {
    let last = |name: &str| {
        let (_, value) = asked.headers.iter().rev().find(|(held, _)| held == name)?;
        value.rsplit(',').next()
    };
    let said = [
        last("x-forwarded-for").map(|entry| address(entry.trim())),
        last("forwarded").map(|entry| address(for_of(entry)?)),
    ];
    let mut said = said.into_iter().flatten();
    let first = said.next()?;
    said.all(|other| other == first).then_some(first)?
}

/// The value of `for=` in an element of `Forwarded`.
fn for_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        name.trim().eq_ignore_ascii_case("for").then_some(unquoted.unwrap_or(value))
    })
}

/// An address, alone or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let alone = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    alone().or_else(bracketed).or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::asked::Peer;

    fn check(headers: &[(&str, &str)], expected: Option<&str>) {
        let asked = Asked {
            method: "POST".into(),
            target: "/".into(),
            headers: headers.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        assert_eq!(caller(&asked), expected.map(|text| text.parse().unwrap()), "{headers:?}");
    }

    #[test]
    fn only_what_the_nearest_proxy_says_counts() {
        let x = "x-forwarded-for";
        check(&[], None);
        check(&[(x, "203.0.113.7")], Some("203.0.113.7"));
        check(&[(x, "6.6.6.6, 203.0.113.7")], Some("203.0.113.7"));
        check(&[(x, "6.6.6.6"), (x, "203.0.113.7:41000")], Some("203.0.113.7"));
        check(&[(x, "203.0.113.7,")], None);
        check(&[(x, "6.6.6.6, unknown")], None);
        check(&[(x, "[2001:db8::1]:7")], Some("2001:db8::1"));
        check(&[(x, "::ffff:203.0.113.7")], Some("203.0.113.7"));
        check(&[(x, "\u{1b}[31mroot logged in")], None);
        let f = "forwarded";
        check(&[(f, "for=6.6.6.6, for=203.0.113.7;proto=https;by=10.0.0.1")], Some("203.0.113.7"));
        check(&[(f, "proto=https; For=\"[2001:db8::1]:4711\"")], Some("2001:db8::1"));
        check(&[(f, "for=_hidden")], None);
        check(&[(f, "proto=https")], None);
    }

    #[test]
    fn two_headers_that_do_not_agree_say_nothing() {
        let (x, f) = ("x-forwarded-for", "forwarded");
        check(&[(x, "203.0.113.7"), (f, "for=203.0.113.7")], Some("203.0.113.7"));
        check(&[(x, "203.0.113.7"), (f, "for=6.6.6.6")], None);
        check(&[(x, "203.0.113.7"), (f, "for=unknown")], None);
    }
}
