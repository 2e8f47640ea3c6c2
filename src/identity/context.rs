//! The security context that the platform gave us last, and the organisation that it is for.
//!
//! It has a file of its own, since it has a writer of its own: the listener keeps it before it
//! acknowledges the callback that brought it, while the heart writes the identity.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::IdentityError;
use crate::mirror::platform::OrgId;
use crate::secret::Secret;
use crate::store::file;

/// Where it is kept, in the state directory.
const NAME: &str = "platform.json";

/// The file.
#[derive(Clone, Debug)]
pub struct ContextFile(PathBuf);

/// What the platform gave us.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Context {
    /// The organisation.
    pub org: OrgId,
    /// Whether this is known to be the organisation that may call us: a `HASH` has proved it, or a
    /// person has named it.
    pub settled: bool,
    /// With what the platform's APIs are called in its name.
    pub security_context: Secret,
}

impl ContextFile {
    /// The file in this directory.
    pub fn of(directory: &Path) -> ContextFile {
        ContextFile(directory.join(NAME))
    }

    /// What was kept last; nothing when there is none, or it cannot be understood.
    pub fn load(&self) -> Result<Option<Context>, IdentityError> {
        match std::fs::read(&self.0) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                if read.is_err() {
                    log::warn!("{} is unreadable and begun anew", self.0.display());
                }
                Ok(read.ok())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Keeps it, durably, in place of what was kept before.
    pub fn keep(&self, context: &Context) -> Result<(), IdentityError> {
        let Context { org, settled, security_context } = context;
        let context = security_context.reveal();
        let text = json!({ "org": org, "settled": settled, "security_context": context });
        let text = Secret::new(text.to_string());
        file::replace(&self.0, text.reveal().as_bytes(), 0o600).map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> IdentityError {
        IdentityError { path: self.0.clone(), cause }
    }
}
