//! Names → addresses, in bounded time and by a bounded number of threads.
//!
//! The system's resolver cannot be told to stop: a lookup that hangs keeps its thread for as long
//! as it likes. So each has a thread of its own, which is left behind when the time is over; there
//! are never more of them than [`LOOKUPS_LIMIT`]. (ureq's own does the same without a limit, and
//! panics where no thread can be made.)

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::aside::{self, Aside};

/// Lookups that may hang at once. There is one call at a time, so more than one means that the
/// resolver is stuck, and more of them would not help it.
const LOOKUPS_LIMIT: usize = 4;
/// Stack of a lookup: the C library's resolver keeps answers of up to 64 KiB on it.
const LOOKUP_STACK: usize = 512 << 10;
/// Addresses of one name that are tried.
const ADDRESSES_LIMIT: usize = 16;

type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The names of the network.
#[derive(Debug)]
pub(super) struct Names {
    lookup: Lookup,
    /// One holder more than there are lookups in the air.
    in_the_air: Arc<()>,
}

impl Names {
    /// By the system's resolver.
    pub(super) fn of_the_system() -> Names {
        Names::by(|name| name.to_socket_addrs().map(Iterator::collect))
    }

    fn by(lookup: Lookup) -> Names {
        Names { lookup, in_the_air: Arc::new(()) }
    }

    /// The addresses behind `name`, which carries a port.
    pub(super) fn look_up(
        &self,
        name: String,
        patience: Duration,
    ) -> Result<Vec<SocketAddr>, Missing> {
        // An address needs nobody's help.
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        if Arc::strong_count(&self.in_the_air) > LOOKUPS_LIMIT {
            return Err(Missing::Late);
        }
        let (lookup, flying) = (self.lookup, Arc::clone(&self.in_the_air));
        let look = move || {
            let outcome = lookup(&name);
            drop(flying);
            outcome
        };
        let thread = thread::Builder::new().name("lookup".into()).stack_size(LOOKUP_STACK);
        let found = Aside::begin(thread, look).map_err(Missing::NoThread)?.within(patience);
        match found {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(aside::Missing::Ended) => Err(Missing::Unknown),
            Err(aside::Missing::Late) => Err(Missing::Late),
        }
    }
}

/// Why there are no addresses.
#[derive(Debug)]
pub(super) enum Missing {
    /// Nobody said anything in time.
    Late,
    /// There is no such name, as far as can be found out.
    Unknown,
    /// There is no thread to ask in.
    NoThread(io::Error),
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(Error::HostNotFound)?;
        let name = DefaultResolver::host_and_port(scheme, authority).ok_or(Error::HostNotFound)?;
        let found = self.look_up(name, *timeout.after).map_err(|missing| match missing {
            Missing::Late => Error::Timeout(timeout.reason),
            Missing::Unknown => Error::HostNotFound,
            Missing::NoThread(error) => Error::Io(error),
        })?;
        let mut addresses = self.empty();
        found.into_iter().take(ADDRESSES_LIMIT).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hang(_: &str) -> io::Result<Vec<SocketAddr>> {
        loop {
            thread::park();
        }
    }

    fn in_vain(names: &Names, patience: Duration) -> Missing {
        names.look_up("upstream.example:443".to_owned(), patience).unwrap_err()
    }

    #[test]
    fn a_lookup_that_hangs_is_given_up_and_leaves_few_threads_behind() {
        let names = Names::by(hang);
        for number in 0..LOOKUPS_LIMIT {
            assert!(matches!(in_vain(&names, Duration::from_millis(10)), Missing::Late));
            assert_eq!(Arc::strong_count(&names.in_the_air), number + 2);
        }
        // From now on nobody is asked, and nothing is waited for.
        assert!(matches!(in_vain(&names, Duration::from_secs(3_600)), Missing::Late));
        assert_eq!(Arc::strong_count(&names.in_the_air), LOOKUPS_LIMIT + 1);
        let address = names.look_up("[::1]:443".to_owned(), Duration::from_secs(1)).unwrap();
        assert_eq!(address, ["[::1]:443".parse().unwrap()], "an address is no name");
    }

    #[test]
    fn a_lookup_that_ends_is_forgotten() {
        let names = Names::by(|_| Ok(vec!["192.0.2.1:443".parse().unwrap()]));
        for _ in 0..3 * LOOKUPS_LIMIT {
            let found = names.look_up("upstream.example:443".to_owned(), Duration::from_secs(60));
            assert_eq!(found.unwrap(), ["192.0.2.1:443".parse().unwrap()]);
        }
        let unknown = Names::by(|_| Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(in_vain(&unknown, Duration::from_secs(60)), Missing::Unknown));
        assert_eq!(Arc::strong_count(&unknown.in_the_air), 1);
    }
}
