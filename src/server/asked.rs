//! One request as whoever answers it sees it: whole, checked, and in one form.
//!
//! It knows nothing of framing, connections or TLS records; the gate has dealt with those.

use std::fmt;
use std::net::SocketAddr;

/// What stands for a byte outside of ASCII in a header's value. No request may carry this character
/// itself, so that whoever reads a value knows that something else was there.
pub const FOREIGN: char = '\x7f';

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The method as sent; methods are case-sensitive.
    pub method: String,
    /// The target in origin form, as sent: a path beginning with `/`, perhaps `?` and a query.
    pub target: String,
    /// Header lines in the order sent, names in lower case. Those that speak of the connection
    /// (`connection`, `transfer-encoding`, `content-length`, …) stay behind in the gate. Bytes
    /// outside of ASCII in a value have become [`FOREIGN`].
    pub headers: Vec<(String, String)>,
    /// The body, decoded from its framing; at most the gate's body limit.
    pub body: Vec<u8>,
    /// Who asked.
    pub peer: Peer,
    /// Whether the request came through our own TLS.
    pub secure: bool,
}

impl Asked {
    /// The value of the first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// The values of all headers of this name, which is given in lower case.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |(held, _): &&(String, String)| held == name;
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The address that the connection came from; a proxy's own when one stands in front.
    Tcp(SocketAddr),
    /// Somebody on this device, let in by the mode of the socket file.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}
