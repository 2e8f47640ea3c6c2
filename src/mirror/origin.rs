//! Origins: scheme, host and port, compared by meaning and not by text.
//!
//! A callback names the address that its records are to be fetched from, with our access token in
//! hand. Whether that address lies upstream is decided here, by accepting the one form that
//! upstream writes and refusing the rest. This is no URL parser: what a lenient parser would mend
//! is exactly what an attacker sends.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::record::ModuleName;

/// Where requests of one kind go to: scheme, host and port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// How an origin is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Host {
    /// In lower case.
    Name(Box<str>),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Origin {
    /// Reads `https://www.zohoapis.com`, `http://127.0.0.1:8080` or `https://[::1]:8443/`: nothing
    /// but scheme, host and port, save for a single `/` at the end.
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        let (scheme, rest) = split_scheme(text).ok_or(OriginError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(OriginError::UserInfo);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(OriginError::NotBare);
        }
        let (host, port) = split_port(rest);
        let port = match port {
            None => scheme.default_port(),
            Some(port) => parse_port(port).ok_or(OriginError::Port)?,
        };
        Ok(Origin { scheme, host: Host::parse(host).ok_or(OriginError::Host)?, port })
    }

    /// How the origin is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without a port, in lower case, an IPv6 address in brackets.
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// The port, the scheme's own when none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host is this device itself: `localhost`, 127.0.0.0/8 or ::1.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Name(name) => &**name == "localhost",
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        }
    }
}

/// Reads the address that upstream says a module's records have: this origin, then
/// `/crm/v{N}/{Module}` and not one byte more. Answers the version as it stands there (`v2`,
/// `v2.1`) and the module.
///
/// Upstream often writes `v2` whichever version it was called with (facts §1.3), so that the
/// version is for the caller to replace.
pub fn parse_resource<'a>(uri: &'a str, origin: &Origin) -> Option<(&'a str, ModuleName)> {
    let (_, rest) = split_scheme(uri)?;
    let path_at = uri.len() - rest.len() + rest.find('/')?;
    let (address, path) = uri.split_at(path_at);
    if Origin::parse(address).ok()? != *origin {
        return None;
    }
    let (version, module) = path.strip_prefix("/crm/")?.split_once('/')?;
    if !is_version(version) {
        return None;
    }
    Some((version, ModuleName::parse(module).ok()?))
}

/// `v2`, `v2.1`, `v8`, and what upstream may number so in years to come: a number of one or two
/// digits, perhaps with another behind a dot.
fn is_version(text: &str) -> bool {
    fn is_short_number(text: &str) -> bool {
        (1..=2).contains(&text.len())
            && !text.starts_with('0')
            && text.bytes().all(|byte| byte.is_ascii_digit())
    }
    let Some(number) = text.strip_prefix('v') else { return false };
    match number.split_once('.') {
        None => is_short_number(number),
        Some((major, minor)) => is_short_number(major) && is_short_number(minor),
    }
}

fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.as_str()))
        .map(|known| (known, rest))
}

/// The colons within the brackets of an IPv6 address separate no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let brackets_end = if text.starts_with('[') { text.find(']').unwrap_or(text.len()) } else { 0 };
    match text[brackets_end..].find(':') {
        None => (text, None),
        Some(colon) => {
            let colon = brackets_end + colon;
            (&text[..colon], Some(&text[colon + 1..]))
        }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let canonical = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { text.parse().ok() } else { None }
}

/// Longest host name, and longest part between two of its dots: those of the DNS (RFC 1035).
const HOST_LIMIT: usize = 253;
const LABEL_LIMIT: usize = 63;

impl Host {
    fn parse(text: &str) -> Option<Host> {
        if let Some(rest) = text.strip_prefix('[') {
            return rest.strip_suffix(']')?.parse().ok().map(Host::V6);
        }
        if let Ok(address) = text.parse() {
            return Some(Host::V4(address));
        }
        let is_name = text.len() <= HOST_LIMIT
            && text.split('.').all(is_label)
            && !text.rsplit('.').next().is_some_and(is_number);
        is_name.then(|| Host::Name(text.to_ascii_lowercase().into()))
    }
}

/// What ends in a number (`127.1`, `0x7f000001`) is an address to some programs and a name to
/// others.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or(label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_LIMIT).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The canonical text: lower case, without the scheme's own port and without a `/` at the end.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an origin. It never repeats the text, in which somebody may have put a
/// password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OriginError {
    /// It does not begin with `https://` or `http://`.
    Scheme,
    /// It has a user name before the host.
    UserInfo,
    /// It goes on behind host and port.
    NotBare,
    /// The host is neither a name nor an address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginError::Scheme => "an address begins with https:// or http://",
            OriginError::UserInfo => "a user name has no place in an address",
            OriginError::NotBare => {
                "the address goes on behind host and port: a path, a query or a fragment has no \
                 place here"
            }
            OriginError::Host => "the host is neither a name nor an IP address",
            OriginError::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_origin_is_shown_in_one_form() {
        let check = |text: &str, shown: &str| assert_eq!(origin(text).to_string(), shown, "{text}");
        check("https://www.zohoapis.com", "https://www.zohoapis.com");
        check("https://www.zohoapis.com/", "https://www.zohoapis.com");
        check("HTTPS://WWW.ZohoAPIs.com:443", "https://www.zohoapis.com");
        check("http://a.example:80", "http://a.example");
        check("http://a.example:443", "http://a.example:443");
        check("https://a.example:80/", "https://a.example:80");
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080");
        check("http://[::1]:8080", "http://[::1]:8080");
        check("http://[0:0:0:0:0:0:0:1]", "http://[::1]");
        check("http://kiosk_1.local", "http://kiosk_1.local");
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        let check = |text: &str, why| assert_eq!(Origin::parse(text), Err(why), "{text:?}");
        for text in ["", "www.zohoapis.com", "ftp://a", "https:a", "https:/a", "//a", " https://a"]
        {
            check(text, OriginError::Scheme);
        }
        for text in ["https://me@a", "https://me:pw@a", "https://@a", "https://a@b/"] {
            check(text, OriginError::UserInfo);
        }
        for text in ["https://a/b", "https://a//", "https://a?b", "https://a#b", "https:///a"] {
            check(text, OriginError::NotBare);
        }
        let long = format!("https://{}", "a.".repeat(127) + "a");
        for text in [
            "https://",
            "https:///",
            "https://:443",
            "https://.",
            "https://a..b",
            "https://a.",
            "https://a b",
            "https://a\t",
            "https://a\n",
            "https://a\\b",
            "https://a%2e",
            "https://ä",
            "https://-a",
            "https://a-",
            "https://a,b",
            "https://*",
            "https://127.1",
            "https://0x7f000001",
            "https://2130706433",
            "https://127.0.0.01",
            "https://1.2.3.4.5",
            "https://[::1",
            "https://[]",
            "https://[fe80::1%eth0]",
            "https://[127.0.0.1]",
            "https://[::1]a",
            &long,
        ] {
            check(text, OriginError::Host);
        }
        for text in [
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:+80",
            "https://a:080",
            "https://a:80:80",
            "https://a: 80",
            "https://::1",
            "https://::1]",
            "https://a[::1]",
            "https://[::1]:",
        ] {
            check(text, OriginError::Port);
        }
    }

    #[test]
    fn loopback_is_this_device_only() {
        for text in ["http://localhost", "http://LOCALHOST:1", "http://127.9.9.9", "http://[::1]"] {
            assert!(origin(text).is_loopback(), "{text}");
        }
        for text in [
            "http://localhost.evil.example",
            "http://notlocalhost",
            "http://128.0.0.1",
            "http://0.0.0.0",
            "http://[::]",
            "http://[::2]",
            "http://127.0.0.1.example",
        ] {
            assert!(!origin(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_resource_lies_on_the_origin_and_names_a_module() {
        let upstream = origin("https://www.zohoapis.com");
        let check = |uri: &str, version: &str, module: &str| {
            let (v, m) = parse_resource(uri, &upstream).unwrap_or_else(|| panic!("{uri}"));
            assert_eq!((v, m.as_str()), (version, module), "{uri}");
        };
        check("https://www.zohoapis.com/crm/v2/Leads", "v2", "Leads");
        check("https://www.zohoapis.com:443/crm/v2.1/Price_Books", "v2.1", "Price_Books");
        check("HTTPS://WWW.ZOHOAPIS.COM/crm/v8/ns__Custom1", "v8", "ns__Custom1");
        check("https://www.zohoapis.com/crm/v10/Leads", "v10", "Leads");

        let simulated = origin("http://127.0.0.1:4711");
        assert!(parse_resource("http://127.0.0.1:4711/crm/v2/Leads", &simulated).is_some());
        assert!(parse_resource("http://127.0.0.1:4712/crm/v2/Leads", &simulated).is_none());
        assert!(parse_resource("http://127.0.0.1/crm/v2/Leads", &simulated).is_none());
        assert!(parse_resource("http://localhost:4711/crm/v2/Leads", &simulated).is_none());
    }

    /// What strangers may write to have us call somebody else.
    const ELSEWHERE: &[&str] = &[
        // Another host that looks like upstream.
        "https://www.zohoapis.com@evil.example/crm/v2/Leads",
        "https://www.zohoapis.com:443@evil.example/crm/v2/Leads",
        "https://me:pw@www.zohoapis.com/crm/v2/Leads",
        "https://@www.zohoapis.com/crm/v2/Leads",
        "https://www.zohoapis.com.evil.example/crm/v2/Leads",
        "https://www.zohoapis.com./crm/v2/Leads",
        "https://evil.example/crm/v2/Leads",
        "https://evil.example/https://www.zohoapis.com/crm/v2/Leads",
        "https://evil.example\\@www.zohoapis.com/crm/v2/Leads",
        "https://evil.example#@www.zohoapis.com/crm/v2/Leads",
        "https://evil.example?@www.zohoapis.com/crm/v2/Leads",
        "https://zohoapis.com/crm/v2/Leads",
        "https://www.zohoapis.eu/crm/v2/Leads",
        "https://www.zohoapis\u{3002}com/crm/v2/Leads",
        "https://www.zoho\u{430}pis.com/crm/v2/Leads",
        "https://www.zohoapis.com%00.evil.example/crm/v2/Leads",
        "https://www.zohoapis.com%2f@evil.example/crm/v2/Leads",
        // Another scheme or port, or none.
        "http://www.zohoapis.com/crm/v2/Leads",
        "http://www.zohoapis.com:443/crm/v2/Leads",
        "https://www.zohoapis.com:80/crm/v2/Leads",
        "https://www.zohoapis.com:8443/crm/v2/Leads",
        "https://www.zohoapis.com:/crm/v2/Leads",
        "https://www.zohoapis.com:0443/crm/v2/Leads",
        "file:///crm/v2/Leads",
        "//www.zohoapis.com/crm/v2/Leads",
        "https:/www.zohoapis.com/crm/v2/Leads",
        "https:\\\\www.zohoapis.com\\crm\\v2\\Leads",
        "/crm/v2/Leads",
        "",
        // Another path.
        "https://www.zohoapis.com",
        "https://www.zohoapis.com/",
        "https://www.zohoapis.com/crm/v2",
        "https://www.zohoapis.com/crm/v2/",
        "https://www.zohoapis.com/crm/v2/Leads/",
        "https://www.zohoapis.com/crm/v2/Leads/1",
        "https://www.zohoapis.com/crm/v2/Leads/../../v2/org",
        "https://www.zohoapis.com/crm/v2/../Leads",
        "https://www.zohoapis.com/crm/../v2/Leads",
        "https://www.zohoapis.com/../crm/v2/Leads",
        "https://www.zohoapis.com/crm/v2/..",
        "https://www.zohoapis.com/crm/v2/.",
        "https://www.zohoapis.com/crm/v2/%2e%2e",
        "https://www.zohoapis.com/crm/v2/%4ceads",
        "https://www.zohoapis.com/crm/v2/Leads%2f1",
        "https://www.zohoapis.com/crm/v2/Leads\\1",
        "https://www.zohoapis.com/crm\\v2\\Leads",
        "https://www.zohoapis.com//crm/v2/Leads",
        "https://www.zohoapis.com/crm//v2/Leads",
        "https://www.zohoapis.com/crm/v2//Leads",
        "https://www.zohoapis.com/CRM/v2/Leads",
        "https://www.zohoapis.com/crm/V2/Leads",
        "https://www.zohoapis.com/crm/2/Leads",
        "https://www.zohoapis.com/crm/v/Leads",
        "https://www.zohoapis.com/crm/v0/Leads",
        "https://www.zohoapis.com/crm/v02/Leads",
        "https://www.zohoapis.com/crm/v2./Leads",
        "https://www.zohoapis.com/crm/v2.1.1/Leads",
        "https://www.zohoapis.com/crm/v200/Leads",
        "https://www.zohoapis.com/crm/v2;x/Leads",
        "https://www.zohoapis.com/bigin/v2/Leads",
        "https://www.zohoapis.com/crm/v2/settings/fields",
        "https://www.zohoapis.com/crm/v2/Leads?ids=1",
        "https://www.zohoapis.com/crm/v2/Leads?",
        "https://www.zohoapis.com/crm/v2/Leads#x",
        "https://www.zohoapis.com/crm/v2/Leads;x",
        "https://www.zohoapis.com?/crm/v2/Leads",
        "https://www.zohoapis.com#/crm/v2/Leads",
        // What some parsers remove before they look.
        " https://www.zohoapis.com/crm/v2/Leads",
        "https://www.zohoapis.com/crm/v2/Leads ",
        "https://www.zohoapis.com/crm/v2/Leads\t",
        "https://www.zohoapis.com/crm/v2/Le\tads",
        "https://www.zohoapis.com/crm/v2/Leads\r\nHost: evil.example",
        "https://www.zoho\napis.com/crm/v2/Leads",
        "ht\ttps://www.zohoapis.com/crm/v2/Leads",
        "\u{feff}https://www.zohoapis.com/crm/v2/Leads",
        "https://www.zohoapis.com/crm/v2/Leads\0",
        "https://www.zohoapis.com/crm/v2/Le\u{e4}ds",
    ];

    #[test]
    fn a_resource_elsewhere_is_refused() {
        let upstream = origin("https://www.zohoapis.com");
        for uri in ELSEWHERE {
            assert_eq!(parse_resource(uri, &upstream), None, "{uri:?}");
        }
    }
}
