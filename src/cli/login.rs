//! `crmirror login`: a grant code becomes a refresh token, kept in the credentials file.

use serde_json::json;

use crate::config::Config;
use crate::credentials::{Credentials, with_refresh_token};
use crate::error::Failure;
use crate::mirror::trouble::Trouble;
use crate::secret::Secret;
use crate::store::file;
use crate::upstream::token;
use crate::upstream::transport::{HttpsTransport, Transport};

use super::print;

/// Exchanges the code and keeps what it brings.
pub(super) fn run(config: &Config, code: &Secret, json: bool) -> Result<(), Failure> {
    let path = &config.upstream.credentials;
    let (credentials, _) = Credentials::load(path)?;
    let transport = HttpsTransport::new(config.upstream.ca_file.as_deref())
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let request = token::exchange(&config.upstream.accounts, &credentials, code);
    let reply = transport.send(&request).map_err(|error| {
        Failure::unavailable(format!("{} does not answer: {error}", config.upstream.accounts))
    })?;
    let grant = token::parse(&reply).map_err(failure)?;
    let refresh = grant.refresh.ok_or_else(|| {
        Failure::failed(
            "the code brought no refresh token; make one for a Self Client, and use it once only",
        )
    })?;
    let text = with_refresh_token(path, &refresh)?;
    file::replace(path, text.reveal().as_bytes(), 0o600).map_err(|error| {
        let path = path.display();
        Failure::failed(format!("{path} cannot be written: {error}; run login as its owner"))
    })?;
    if json {
        return print(&format!("{}\n", json!({ "credentials": path })));
    }
    print(&format!(
        "logged in; the refresh token is kept in {}; restart a running daemon\n",
        path.display()
    ))
}

/// Trouble with the accounts service as the end of a command.
pub(super) fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Denied { why, .. } | Trouble::TokenRefused { why } => Failure::failed(why),
        Trouble::Unreachable { why }
        | Trouble::NoRoom { why }
        | Trouble::Throttled { why, .. }
        | Trouble::Failed { why, .. } => Failure::unavailable(why),
    }
}
