//! What is kept of our webhooks at Books: ids and secrets, and which of their callbacks were asked
//! for again.
//!
//! Upstream never shows a secret again, so it is kept before it is sent. One that upstream has not
//! confirmed is sent again, since it may have taken it; older ones are accepted for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Identity, IdentityError, random};
use crate::mirror::books::histories::Memory;
use crate::mirror::books::webhooks::Before;
use crate::mirror::gather::Gather;
use crate::mirror::record::RecordId;
use crate::mirror::time::UpstreamTime;
use crate::secret::Secret;

/// Characters of a secret: upstream takes 12 to 50, letters and digits (facts §5.1); these have 238
/// bits.
const SECRET_LENGTH: usize = 40;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// How long a secret is accepted that another took the place of: upstream tries for hours.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Secrets kept of a webhook: the newest, and those before it until they end.
const SECRETS_LIMIT: usize = 4;

/// Our webhooks.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BooksIdentity {
    /// The organization that they belong to.
    #[serde(default)]
    organization: String,
    #[serde(default)]
    webhooks: BTreeMap<String, WebhookIdentity>,
    #[serde(default)]
    histories: Memory,
}

/// A webhook of ours as upstream knows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WebhookIdentity {
    /// Its id, once upstream has told it.
    pub id: Option<RecordId>,
    /// What may sign its callbacks, the newest last.
    #[serde(default)]
    pub secrets: Vec<WebhookSecret>,
}

/// A secret that may sign callbacks.
#[derive(Clone, Debug, Deserialize)]
pub struct WebhookSecret {
    /// The secret.
    pub secret: Secret,
    /// Whether upstream has confirmed that it took it.
    pub granted: bool,
    /// Until when (upstream) it is accepted; the newest without an end.
    #[serde(default)]
    pub until: Option<UpstreamTime>,
}

impl BooksIdentity {
    /// The organization that they belong to.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Our webhooks by their names, those included that are declared no longer.
    pub fn webhooks(&self) -> &BTreeMap<String, WebhookIdentity> {
        &self.webhooks
    }

    /// What is known of the webhook of this name.
    pub fn before(&self, name: &str) -> Before {
        let Some(webhook) = self.webhooks.get(name) else { return Before::default() };
        let newest = webhook.secrets.last();
        let is_secret_known = newest.is_some_and(|newest| newest.granted);
        Before { id: webhook.id, is_secret_known }
    }

    /// The same at an organization: nothing is known of it where the webhooks are another's.
    pub fn before_at(&self, organization: &str, name: &str) -> Before {
        match self.organization == organization {
            true => self.before(name),
            false => Before::default(),
        }
    }

    /// Which callbacks were asked for again.
    pub fn histories(&self) -> &Memory {
        &self.histories
    }

    pub(super) fn to_json(&self) -> Value {
        let secret = |kept: &WebhookSecret| {
            let secret = kept.secret.reveal();
            json!({ "secret": secret, "granted": kept.granted, "until": kept.until })
        };
        let webhook = |(name, webhook): (&String, &WebhookIdentity)| {
            let secrets: Vec<Value> = webhook.secrets.iter().map(secret).collect();
            (name.clone(), json!({ "id": webhook.id, "secrets": secrets }))
        };
        let webhooks: serde_json::Map<String, Value> = self.webhooks.iter().map(webhook).gather();
        let (organization, histories) = (&self.organization, &self.histories);
        json!({ "organization": organization, "webhooks": webhooks, "histories": histories })
    }
}

impl Identity {
    /// Our webhooks at Books.
    pub fn books(&self) -> &BooksIdentity {
        &self.content.books
    }

    /// Begins anew for another organization: what was kept is of no use there.
    pub fn settle_books(&mut self, organization: &str) -> Result<(), IdentityError> {
        if self.content.books.organization == organization {
            return Ok(());
        }
        let organization = organization.to_owned();
        self.content.books = BooksIdentity { organization, ..BooksIdentity::default() };
        self.save()
    }

    /// The secret to be sent for a webhook, kept before it is returned. It is a new one where there
    /// is none yet, and where `afresh` asks for one that upstream does not have.
    pub fn next_webhook_secret(
        &mut self,
        name: &str,
        afresh: bool,
    ) -> Result<Secret, IdentityError> {
        let webhook = self.content.books.webhooks.entry(name.to_owned()).or_default();
        match webhook.secrets.last() {
            Some(last) if !last.granted || !afresh => return Ok(last.secret.clone()),
            Some(_) | None => {}
        }
        let secret = alphanumerics();
        webhook.secrets.push(WebhookSecret { secret: secret.clone(), granted: false, until: None });
        let surplus = webhook.secrets.len().saturating_sub(SECRETS_LIMIT);
        webhook.secrets.drain(..surplus);
        self.save()?;
        Ok(secret)
    }

    /// Upstream has the webhook under this id. If it is `signed`, it took the newest secret: older
    /// ones end in a while.
    pub fn webhook_granted(
        &mut self,
        name: &str,
        id: RecordId,
        signed: bool,
        now: UpstreamTime,
    ) -> Result<(), IdentityError> {
        let webhook = self.content.books.webhooks.entry(name.to_owned()).or_default();
        webhook.id = Some(id);
        webhook.secrets.retain(|kept| kept.until.is_none_or(|until| now <= until));
        if let Some((newest, older)) = webhook.secrets.split_last_mut().filter(|_| signed) {
            newest.granted = true;
            for old in older {
                old.until.get_or_insert(now.after(OVERLAP));
            }
        }
        self.save()
    }

    /// The webhook of this name is gone upstream.
    pub fn forget_webhook(&mut self, name: &str) -> Result<(), IdentityError> {
        self.content.books.webhooks.remove(name);
        self.save()
    }

    /// Keeps which callbacks were asked for again.
    pub fn keep_histories(&mut self, histories: Memory) -> Result<(), IdentityError> {
        self.content.books.histories = histories;
        self.save()
    }
}

/// Letters and digits, each as likely as any other.
fn alphanumerics() -> Secret {
    // Bytes that would make the first letters likelier are left out.
    let fair = 256 - 256 % LETTERS.len();
    let mut text = String::with_capacity(SECRET_LENGTH);
    while text.len() < SECRET_LENGTH {
        let bytes: [u8; SECRET_LENGTH] = random();
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let wanted = SECRET_LENGTH - text.len();
        text.extend(fair.take(wanted).map(|byte| char::from(LETTERS[byte % LETTERS.len()])));
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("crmirror-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        fn open(&self) -> Identity {
            Identity::open(&self.0).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_secret_is_kept_before_it_is_sent_and_sent_until_it_is_confirmed() {
        let directory = Directory::new("secrets");
        let now = UpstreamTime::from_unix(1_000_000);
        let first = directory.open().next_webhook_secret("a", true).unwrap();
        assert_eq!(first.reveal().len(), SECRET_LENGTH);
        assert!(first.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        // A crash before the answer.
        let mut identity = directory.open();
        assert!(!identity.books().before("a").is_secret_known);
        assert_eq!(identity.next_webhook_secret("a", true).unwrap(), first);
        identity.webhook_granted("a", RecordId::new(7), true, now).unwrap();
        let mut identity = directory.open();
        let id = Some(RecordId::new(7));
        assert_eq!(identity.books().before("a"), Before { id, is_secret_known: true });
        assert_eq!(identity.next_webhook_secret("a", false).unwrap(), first);
        // It was removed upstream, and is created again.
        let second = identity.next_webhook_secret("a", true).unwrap();
        assert_ne!(first, second);
        identity.webhook_granted("a", RecordId::new(8), true, now).unwrap();
        let kept = |identity: &Identity| {
            let webhook = &identity.books().webhooks()["a"];
            webhook.secrets.iter().map(|kept| (kept.secret.clone(), kept.until)).collect::<Vec<_>>()
        };
        let end = now.after(OVERLAP);
        assert_eq!(kept(&directory.open()), [(first, Some(end)), (second.clone(), None)]);
        let later = end.after(OVERLAP);
        identity.webhook_granted("a", RecordId::new(8), true, later).unwrap();
        assert_eq!(kept(&directory.open()), [(second, None)]);
        identity.forget_webhook("a").unwrap();
        assert_eq!(directory.open().books().before("a"), Before::default());
    }

    #[test]
    fn another_organization_begins_anew_and_no_secret_is_shown() {
        let directory = Directory::new("organization");
        let mut identity = directory.open();
        identity.settle_books("7").unwrap();
        let secret = identity.next_webhook_secret("a", true).unwrap();
        assert!(!format!("{:?}", identity.books()).contains(secret.reveal()));
        let mut memory = Memory::default();
        memory.begin(UpstreamTime::from_unix(7));
        identity.keep_histories(memory.clone()).unwrap();
        identity.settle_books("7").unwrap();
        assert_eq!(directory.open().books().histories(), &memory);
        identity.settle_books("8").unwrap();
        let books = directory.open().content.books;
        assert!(books.webhooks.is_empty() && books.histories.since().is_none());
    }
}
