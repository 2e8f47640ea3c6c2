//! The way to upstream: its names, its connections, its certificates, before anything is asked for
//! that needs a token. Nothing secret is sent, and no API credit is spent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::clock::Evidence;
use super::finding::Finding;
use crate::clock::Clock;
use crate::mirror::origin::{Origin, Scheme};
use crate::mirror::time::UpstreamTime;
use crate::upstream::transport::{
    Body, Method, Patience, Reply, Request, Transport, TransportError, look_up,
};

/// How long a call of the doctor's may take: half of what the daemon gives it, since a person
/// waits, and still enough for a poor radio link.
pub(super) const PATIENCE: Patience = Patience {
    call: Duration::from_secs(20),
    // The system's resolver asks twice, 5 seconds each.
    resolve: Duration::from_secs(10),
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(15),
};

/// The way to one of upstream's addresses, gone once.
pub(super) struct Way {
    pub(super) origin: Origin,
    /// What is behind its name.
    addresses: Result<Vec<SocketAddr>, TransportError>,
    /// What came back, when there was somewhere to go.
    reply: Option<Result<Reply, TransportError>>,
    /// What our clock showed then.
    clock: UpstreamTime,
}

/// What stands in the way.
pub(super) enum Stop {
    /// Another line tells of it.
    Told,
    /// The connection, or what came over it.
    Here(String),
}

impl Way {
    /// Goes there.
    pub(super) fn go(origin: Origin, transport: &dyn Transport, clock: &dyn Clock) -> Way {
        let name = format!("{}:{}", origin.host(), origin.port());
        let addresses = look_up(&name, PATIENCE.resolve);
        let reply = addresses.is_ok().then(|| transport.send(&look_at(&format!("{origin}/"))));
        Way { origin, addresses, reply, clock: clock.wall() }
    }

    /// What stands in the way; `None` when it can be gone.
    pub(super) fn stop(&self) -> Option<Stop> {
        match &self.reply {
            None => Some(Stop::Told),
            Some(Ok(_)) => None,
            Some(Err(TransportError::Untrusted(_) | TransportError::WrongClock(_))) => {
                Some(Stop::Told)
            }
            Some(Err(error)) => Some(Stop::Here(format!("{}: {error}", self.origin))),
        }
    }

    fn is_named(&self) -> bool {
        let host = self.origin.host();
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
    }
}

/// A look at an address, with nothing of ours.
pub(super) fn look_at(url: &str) -> Request {
    let (method, url) = (Method::Get, url.to_owned());
    Request { method, url, token: None, modified_since: None, body: Body::Empty }
}

/// Upstream's names.
pub(super) fn names(ways: &[Way]) -> Finding {
    let mut found = Vec::new();
    for way in ways.iter().filter(|way| way.is_named()) {
        let host = way.origin.host();
        match &way.addresses {
            Ok(addresses) => found.push(format!("{host} has {}", addresses.len())),
            Err(TransportError::Unreachable(why) | TransportError::TimedOut(why)) => {
                let to_do = "see the network and its DNS: resolvectl status, /etc/resolv.conf";
                return Finding::fail("dns", format!("{host}: {why}"), to_do);
            }
            Err(error) => return Finding::fail("dns", format!("{host}: {error}"), "try again"),
        }
    }
    match found.is_empty() {
        true => Finding::skipped("dns", "upstream is configured by its address, without a name"),
        false => Finding::ok("dns", format!("{} addresses", found.join(", "))),
    }
}

/// Upstream's certificates.
pub(super) fn certificates(ways: &[Way]) -> Finding {
    let mut trusted = Vec::new();
    let mut missing = None;
    for way in ways.iter().filter(|way| way.origin.scheme() == Scheme::Https) {
        let host = way.origin.host();
        match &way.reply {
            Some(Ok(_)) => trusted.push(host),
            Some(Err(TransportError::Untrusted(why))) => {
                let says = format!("{host}: the certificate is not trusted: {why}");
                let to_do = "is there a proxy between? add its authority as upstream.ca_file";
                return Finding::fail("tls", says, to_do);
            }
            Some(Err(TransportError::WrongClock(why))) => {
                let to_do = "see the clock above: most likely it is wrong";
                return Finding::fail("tls", format!("{host}: {why}"), to_do);
            }
            Some(Err(_)) | None => missing = Some(format!("there is no connection to {host}")),
        }
    }
    match (missing, trusted.is_empty()) {
        (Some(missing), _) => Finding::skipped("tls", missing),
        (None, true) => Finding::skipped("tls", "upstream is on this device, without TLS"),
        (None, false) => Finding::ok("tls", format!("{} trusted", trusted.join(", "))),
    }
}

/// What upstream has to say about our clock.
pub(super) fn evidence(ways: &[Way]) -> (Evidence, Option<UpstreamTime>) {
    let replies = || ways.iter().filter_map(|way| Some((way, way.reply.as_ref()?)));
    let told = replies().find_map(|(way, reply)| Some((reply.as_ref().ok()?.date?, way.clock)));
    if let Some((date, clock)) = told {
        return (Evidence::Told(date), Some(clock));
    }
    let doubted = replies().find_map(|(_, reply)| match reply {
        Err(TransportError::WrongClock(why)) if why.contains("not valid yet") => {
            Some(Evidence::NotYetValid)
        }
        Err(TransportError::WrongClock(_)) => Some(Evidence::Expired),
        Ok(_) | Err(_) => None,
    });
    (doubted.unwrap_or(Evidence::Nothing), None)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    /// A way to this origin, on which this happened.
    fn way(origin: &str, reply: Option<Result<Reply, TransportError>>) -> Way {
        let missing = TransportError::Unreachable("the name cannot be resolved".into());
        let addresses = match reply {
            Some(_) => Ok(vec!["192.0.2.1:443".parse().unwrap()]),
            None => Err(missing),
        };
        let clock = UpstreamTime::from_unix(1_000);
        Way { origin: Origin::parse(origin).unwrap(), addresses, reply, clock }
    }

    fn reply(date: Option<i64>) -> Option<Result<Reply, TransportError>> {
        let date = date.map(UpstreamTime::from_unix);
        Some(Ok(Reply { status: 404, date, retry_after: None, body: Vec::new() }))
    }

    const HERE: &str = "http://127.0.0.1:1";
    const THERE: &str = "https://accounts.zoho.eu";

    #[test]
    fn each_obstacle_is_told_in_one_place() {
        let check = |way: Way, dns: State, tls: State, part: &str| {
            let ways = [way];
            let (found, secured) = (names(&ways), certificates(&ways));
            assert_eq!((found.state, secured.state), (dns, tls), "{found:?} {secured:?}");
            let text = format!("{}\n{}", found.line(), secured.line());
            assert!(text.contains(part), "{part}: {text}");
            let stops = u8::from(dns == State::Fail) + u8::from(tls == State::Fail);
            let here = matches!(ways[0].stop(), Some(Stop::Here(_)));
            let goes = ways[0].stop().is_none();
            assert_eq!(stops + u8::from(here) + u8::from(goes), 1, "{text}");
        };
        let error = |error: TransportError| Some(Err(error));
        check(way(THERE, reply(None)), State::Ok, State::Ok, "accounts.zoho.eu trusted");
        check(way(HERE, reply(None)), State::Skipped, State::Skipped, "without TLS");
        check(way(THERE, None), State::Fail, State::Skipped, "cannot be resolved; see");
        let untrusted = error(TransportError::Untrusted("UnknownIssuer".into()));
        check(way(THERE, untrusted), State::Ok, State::Fail, "upstream.ca_file");
        let old = error(TransportError::WrongClock("the certificate has expired".into()));
        check(way(THERE, old), State::Ok, State::Fail, "see the clock");
        let refused = error(TransportError::Unreachable("refused".into()));
        check(way(THERE, refused.clone()), State::Ok, State::Skipped, "no connection");
        check(way(HERE, refused), State::Skipped, State::Skipped, "without TLS");
    }

    #[test]
    fn the_clock_is_held_against_whatever_upstream_shows() {
        let wrong = |why: &str| Some(Err(TransportError::WrongClock(why.to_owned())));
        let yet = || way(THERE, wrong("the certificate is not valid yet"));
        let old = || way(THERE, wrong("the certificate has expired"));
        let told = way(HERE, reply(Some(7)));
        let seven = Evidence::Told(UpstreamTime::from_unix(7));
        assert_eq!(evidence(&[yet(), told]).0, seven, "a time is better than a doubt");
        assert_eq!(evidence(&[yet(), old()]).0, Evidence::NotYetValid);
        assert_eq!(evidence(&[way(HERE, reply(None)), old()]).0, Evidence::Expired);
        assert_eq!(evidence(&[way(THERE, None)]).0, Evidence::Nothing);
    }
}
