//! Who we are to upstream: our channel's id and tokens, and the access token.
//!
//! These cannot be fetched again, so they are kept beside the store and not in it: losing the
//! store loses no identity. A token is kept before it is sent, since a callback that carries it may
//! be here before the reply, or after a power cut in between. Our webhooks at Books are in `books`.

mod books;

pub mod context;
pub mod removal;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::SecureRandom;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::mirror::origin::{Origin, Scheme};
use crate::mirror::record::ChannelId;
use crate::mirror::time::UpstreamTime;
use crate::secret::Secret;
use crate::store::file;

pub use self::books::{BooksIdentity, WebhookIdentity};

/// Bytes of randomness in a channel token; written in hexadecimal it stays below the 50 characters
/// that upstream allows (facts §1.2).
const TOKEN_BYTES: usize = 24;
/// Tokens kept at most. A token lives as long as its channel; with renewals at half life two are
/// alive at once, and a few more after renewals that went unanswered.
const TOKENS_LIMIT: usize = 8;

/// The identity, and the file that keeps it.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Content {
    channel: Option<ChannelIdentity>,
    access: Option<Access>,
    #[serde(default)]
    books: BooksIdentity,
}

/// Our channel as upstream knows it.
#[derive(Clone, Debug, Deserialize)]
pub struct ChannelIdentity {
    /// Its id.
    pub id: ChannelId,
    /// Seconds of life that upstream granted last.
    #[serde(default)]
    pub granted_seconds: Option<u64>,
    /// The tokens that callbacks may echo, the newest last.
    #[serde(default)]
    pub tokens: Vec<ChannelToken>,
}

impl ChannelIdentity {
    /// The life that upstream granted last.
    pub fn granted(&self) -> Option<Duration> {
        self.granted_seconds.map(Duration::from_secs)
    }
}

/// A token that callbacks may echo.
#[derive(Clone, Debug, Deserialize)]
pub struct ChannelToken {
    /// The token.
    pub token: Secret,
    /// Until when (upstream time).
    pub until: UpstreamTime,
    /// Whether upstream has confirmed that it took it.
    pub granted: bool,
}

/// The access token.
#[derive(Clone, Debug, Deserialize)]
pub struct Access {
    /// The token.
    pub token: Secret,
    /// Where the API is to be called with it, when upstream said so.
    pub api_domain: Option<String>,
    /// When it expires (upstream time).
    pub expires: UpstreamTime,
    /// The fingerprint of the refresh token that it was granted for: after a new login it is
    /// somebody else's.
    #[serde(default)]
    pub login: String,
}

/// The fingerprint of a refresh token, by which it can be recognised but not guessed.
pub fn login_fingerprint(refresh_token: &Secret) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, refresh_token.reveal().as_bytes());
    hexadecimal(&digest.as_ref()[..16])
}

/// The identity cannot be read or kept.
#[derive(Debug)]
pub struct IdentityError {
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path} cannot be used: {}; is the disk full or another's?", self.cause)
    }
}

impl std::error::Error for IdentityError {}

impl IdentityError {
    /// Whether it is because the disk is full, which passes.
    pub fn is_for_want_of_room(&self) -> bool {
        file::is_for_want_of_room(&self.cause)
    }
}

impl Identity {
    /// Reads the identity kept in this directory. One that is missing, or that a crash left
    /// unreadable, is begun anew: a new channel is opened, the old one expires upstream.
    pub fn open(directory: &Path) -> Result<Identity, IdentityError> {
        let path = directory.join("identity.json");
        let content = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let place = format!("line {} column {}", error.line(), error.column());
                log::warn!("{} is unreadable at {place} and begun anew", path.display());
                Content::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(cause) => return Err(IdentityError { path, cause }),
        };
        Ok(Identity { path, content })
    }

    /// Our channel, if one was ever chosen.
    pub fn channel(&self) -> Option<&ChannelIdentity> {
        self.content.channel.as_ref()
    }

    /// The access token last granted for this login.
    pub fn access(&self, login: &str) -> Option<&Access> {
        self.content.access.as_ref().filter(|access| access.login == login)
    }

    /// The id of our channel: the configured one, else the one kept, else a new one at random.
    pub fn settle_channel(
        &mut self,
        wanted: Option<ChannelId>,
    ) -> Result<ChannelId, IdentityError> {
        let kept = self.content.channel.as_ref().map(|channel| channel.id);
        let id = match (wanted, kept) {
            (Some(wanted), _) => wanted,
            (None, Some(kept)) => kept,
            (None, None) => ChannelId::new(
                random::<8>()[..8]
                    .iter()
                    .fold(0, |number, byte| (number << 8 | u64::from(*byte)) & (i64::MAX as u64)),
            ),
        };
        if kept != Some(id) {
            let channel = ChannelIdentity { id, granted_seconds: None, tokens: Vec::new() };
            self.content.channel = Some(channel);
            self.save()?;
        }
        Ok(id)
    }

    /// A token for the next renewal, kept before it is returned; `until` is how long the channel
    /// is asked for. A token that upstream never confirmed is offered again, since it may have
    /// taken it. Tokens that expired before `now` are forgotten.
    pub fn next_token(
        &mut self,
        now: UpstreamTime,
        until: UpstreamTime,
    ) -> Result<Secret, IdentityError> {
        let Some(channel) = &mut self.content.channel else { unreachable_channel() };
        channel.tokens.retain(|token| token.until >= now || !token.granted);
        match channel.tokens.last_mut() {
            Some(last) if !last.granted => last.until = until,
            Some(_) | None => {
                let token = Secret::new(hexadecimal(&random::<TOKEN_BYTES>()));
                channel.tokens.push(ChannelToken { token, until, granted: false });
            }
        }
        let surplus = channel.tokens.len().saturating_sub(TOKENS_LIMIT);
        channel.tokens.drain(..surplus);
        let token = channel.tokens.last().map(|last| last.token.clone());
        self.save()?;
        Ok(token.expect("one was just pushed"))
    }

    /// Upstream took the newest token, until then.
    pub fn token_granted(
        &mut self,
        until: UpstreamTime,
        life: Duration,
    ) -> Result<(), IdentityError> {
        let Some(channel) = &mut self.content.channel else { unreachable_channel() };
        channel.granted_seconds = Some(life.as_secs());
        if let Some(last) = channel.tokens.last_mut() {
            last.until = until;
            last.granted = true;
        }
        self.save()
    }

    /// Keeps an access token over restarts: upstream gives only ten in ten minutes (facts §3.2).
    pub fn keep_access(&mut self, access: Access) -> Result<(), IdentityError> {
        self.content.access = Some(access);
        self.save()
    }

    fn save(&self) -> Result<(), IdentityError> {
        let text = self.content.to_json();
        file::replace(&self.path, text.reveal().as_bytes(), 0o600)
            .map_err(|cause| IdentityError { path: self.path.clone(), cause })
    }
}

impl Content {
    fn to_json(&self) -> Secret {
        let token = |kept: &ChannelToken| {
            let (token, until) = (kept.token.reveal(), kept.until);
            json!({ "token": token, "until": until, "granted": kept.granted })
        };
        let channel = self.channel.as_ref().map(|channel| {
            let tokens: Vec<Value> = channel.tokens.iter().map(token).collect();
            let (id, granted) = (channel.id, channel.granted_seconds);
            json!({ "id": id, "granted_seconds": granted, "tokens": tokens })
        });
        let access = self.access.as_ref().map(|access| {
            let (token, expires) = (access.token.reveal(), access.expires);
            let (domain, login) = (&access.api_domain, &access.login);
            json!({ "token": token, "api_domain": domain, "expires": expires, "login": login })
        });
        let books = self.books.to_json();
        let content = json!({ "channel": channel, "access": access, "books": books });
        Secret::new(content.to_string())
    }
}

/// Where the API is to be called: where the configuration says; else where upstream said, when
/// that is believable; else where the data centre has it.
pub fn api_origin(
    configured: Option<&Origin>,
    named: Option<&str>,
    usual: Option<&Origin>,
    accounts: &Origin,
) -> Option<Origin> {
    let named =
        || named.and_then(|text| Origin::parse(text).ok()).filter(|o| is_believable(o, accounts));
    configured.cloned().or_else(named).or_else(|| usual.cloned())
}

/// Whether a token reply may send us there with our token: to Zoho's API hosts over TLS, or to
/// this device when the accounts service is here too (facts §3.4).
fn is_believable(origin: &Origin, accounts: &Origin) -> bool {
    if origin.is_loopback() {
        return accounts.is_loopback();
    }
    let host = origin.host();
    let zone = ["www.", "sandbox.", "developer."].iter().find_map(|kind| host.strip_prefix(kind));
    let top = zone.and_then(|zone| zone.strip_prefix("zohoapis."));
    const TOPS: [&str; 11] =
        ["com", "eu", "in", "com.au", "jp", "ca", "sa", "com.cn", "uk", "ae", "sg"];
    origin.scheme() == Scheme::Https
        && origin.port() == 443
        && top.is_some_and(|top| TOPS.contains(&top))
}

fn unreachable_channel() -> ! {
    panic!("a channel's id is settled before its tokens are asked for")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.expect("the system's random generator answers");
    bytes
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_believable_api_domains_get_our_token() {
        let zoho = Origin::parse("https://accounts.zoho.eu").unwrap();
        let here = Origin::parse("http://127.0.0.1:9").unwrap();
        let check = |named: &str, accounts: &Origin| {
            api_origin(None, Some(named), None, accounts).is_some()
        };
        for good in [
            "https://www.zohoapis.eu",
            "https://sandbox.zohoapis.com.au",
            "https://www.zohoapis.com/",
        ] {
            assert!(check(good, &zoho), "{good}");
        }
        for bad in [
            "http://www.zohoapis.eu",
            "https://www.zohoapis.eu:8443",
            "https://www.zohoapis.evil",
            "https://zohoapis.eu",
            "https://evil.example",
            "https://www.zohoapis.com.evil.example",
            "http://127.0.0.1:9",
            "",
        ] {
            assert!(!check(bad, &zoho), "{bad}");
        }
        assert!(check("http://127.0.0.1:9", &here));
        let configured = Origin::parse("https://api.example").unwrap();
        let origin = api_origin(Some(&configured), Some("https://www.zohoapis.eu"), None, &zoho);
        assert_eq!(origin, Some(configured));
    }
}
