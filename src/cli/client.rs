//! Asking the running daemon, found through the configuration.

use serde_json::Value;

use crate::config::Config;
use crate::error::Failure;
use crate::upstream::transport::{Body, HttpsTransport, Method, Reply, Request, Transport};

/// The running daemon's local interface.
pub(super) struct Daemon {
    base: String,
    transport: HttpsTransport,
}

impl Daemon {
    /// The daemon of this configuration, whether it runs or not.
    pub(super) fn of(config: &Config) -> Result<Daemon, Failure> {
        let transport =
            HttpsTransport::new(None).map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Daemon { base: format!("http://{}", config.local.listen), transport })
    }

    /// Reads; `None` when nobody answers.
    pub(super) fn get(&self, target: &str) -> Option<Reply> {
        self.ask(Method::Get, target)
    }

    /// Commands; `None` when nobody answers.
    pub(super) fn post(&self, target: &str) -> Option<Reply> {
        self.ask(Method::Post, target)
    }

    /// The failure of whoever needs a daemon.
    pub(super) fn absent(&self) -> Failure {
        Failure::unavailable(format!(
            "no daemon answers at {}; start it: systemctl start crmirror, or crmirror run",
            self.base
        ))
    }

    fn ask(&self, method: Method, target: &str) -> Option<Reply> {
        let url = format!("{}{target}", self.base);
        let request = Request { method, url, token: None, modified_since: None, body: Body::Empty };
        self.transport.send(&request).ok()
    }
}

/// What the daemon says went wrong, as a failure.
pub(super) fn refused(reply: &Reply) -> Failure {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or("it does not say why");
    Failure::failed(format!("the daemon answers {}: {message}", reply.status))
}
