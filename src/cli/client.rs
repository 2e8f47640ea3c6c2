//! Asking the running daemon, found through the configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::config::Config;
use crate::error::Failure;
use crate::reader_token;
use crate::secret::Secret;
use crate::upstream::transport::call::{Call, Caller};
use crate::upstream::transport::{
    Body, HttpsTransport, Method, Patience, Reply, Request, Transport,
};

/// The running daemon's local interface.
pub(super) struct Daemon {
    base: String,
    token: Option<Secret>,
    transport: HttpsTransport,
}

impl Daemon {
    /// The daemon of this configuration, whether it runs or not.
    pub(super) fn of(config: &Config) -> Result<Daemon, Failure> {
        Daemon::with_patience(config, Patience::default())
    }

    /// The same, for whoever cannot wait.
    pub(super) fn with_patience(config: &Config, patience: Patience) -> Result<Daemon, Failure> {
        let transport = HttpsTransport::with_patience(None, patience)
            .map_err(|error| Failure::failed(error.to_string()))?;
        let token = config.local.token_file.as_deref().map(reader_token::load).transpose()?;
        let mut address = config.local.listen;
        // Who listens everywhere is found on this device.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        let (base, token) = (format!("http://{address}"), token.map(|(token, _)| token));
        Ok(Daemon { base, token, transport })
    }

    /// Reads; `None` when nobody answers.
    pub(super) fn get(&self, target: &str) -> Option<Reply> {
        self.ask(Method::Get, target)
    }

    /// Commands; `None` when nobody answers.
    pub(super) fn post(&self, target: &str) -> Option<Reply> {
        self.ask(Method::Post, target)
    }

    /// Takes something back; `None` when nobody answers.
    pub(super) fn delete(&self, target: &str) -> Option<Reply> {
        self.ask(Method::Delete, target)
    }

    /// Leaves something of this type there, under a key where there is one; `None` when nobody
    /// answers.
    pub(super) fn leave(
        &self,
        target: &str,
        media_type: Option<String>,
        content: Vec<u8>,
        key: Option<&str>,
    ) -> Option<Reply> {
        let url = Secret::new(format!("{}{target}", self.base));
        let headers = key.map(|key| ("Idempotency-Key", key.to_owned())).into_iter().collect();
        let call = Call { url, token: self.token.clone(), headers, media_type, content };
        self.transport.call(&call).ok().map(|answered| answered.reply)
    }

    /// The failure of whoever needs a daemon.
    pub(super) fn absent(&self) -> Failure {
        Failure::unavailable(format!(
            "no daemon answers at {}; start it, again if it hangs: systemctl restart crmirror, or \
             crmirror run",
            self.base
        ))
    }

    fn ask(&self, method: Method, target: &str) -> Option<Reply> {
        let url = format!("{}{target}", self.base);
        let token = self.token.clone();
        let request = Request { method, url, token, modified_since: None, body: Body::Empty };
        self.transport.send(&request).ok()
    }
}

/// What the daemon says went wrong, as a failure.
pub(super) fn refused(reply: &Reply) -> Failure {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or("it does not say why");
    Failure::failed(format!("the daemon answers {}: {message}", reply.status))
}
