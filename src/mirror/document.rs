//! What upstream says of itself: its modules, their fields, the organisation, the user (facts
//! §4.7). Kept as it was answered, since local programs ask for it as they would ask upstream.
//!
//! A document is an answer, not content: that upstream denied it, or had nothing, is kept too, and
//! is what a local program is told.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{FieldName, ModuleName};
use super::time::UpstreamTime;

/// How often each document is read: a module's fields change when an administrator sits down to
/// change them. A credit a day for each.
pub const EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Longest document that is kept. From v8 on a field tells what each profile may do with it: 500
/// fields of an organisation with 50 profiles take about 4 MiB.
pub const DOCUMENT_LIMIT: usize = 8 << 20;

/// Which document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DocumentName {
    /// The fields of a module: `settings/fields?module=`.
    Fields(ModuleName),
    /// All modules of the organisation: `settings/modules`.
    Modules,
    /// The organisation: `org`.
    Org,
    /// The user whose rights we have: `users?type=CurrentUser`.
    User,
}

impl DocumentName {
    /// The documents of a mirror of these modules.
    pub fn all(modules: &[ModuleName]) -> Vec<DocumentName> {
        let fields = modules.iter().cloned().map(DocumentName::Fields);
        fields.chain([DocumentName::Modules, DocumentName::Org, DocumentName::User]).collect()
    }

    /// The key under which upstream's reply has its list.
    pub fn list(&self) -> &'static str {
        match self {
            DocumentName::Fields(_) => "fields",
            DocumentName::Modules => "modules",
            DocumentName::Org => "org",
            DocumentName::User => "users",
        }
    }
}

/// For messages: what a person would call it.
impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentName::Fields(module) => write!(f, "the list of the fields of {module}"),
            DocumentName::Modules => f.write_str("the list of modules"),
            DocumentName::Org => f.write_str("the organisation"),
            DocumentName::User => f.write_str("the current user"),
        }
    }
}

/// What upstream answered, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// When it was read (upstream).
    pub read: UpstreamTime,
    /// The HTTP status: 200, 204, or that of a denial.
    pub status: u16,
    /// The body, as it came.
    pub body: String,
}

impl Document {
    /// Whether upstream denied it.
    pub fn is_denial(&self) -> bool {
        self.status >= 400
    }

    /// The names of those fields whose `data_type` this is (facts §4.7); `None` for a document that
    /// does not list fields.
    pub fn fields_of(&self, data_type: &str) -> Option<Vec<FieldName>> {
        #[derive(Deserialize)]
        struct Body {
            fields: Vec<Field>,
        }
        #[derive(Deserialize)]
        struct Field {
            api_name: FieldName,
            data_type: String,
        }
        let Body { fields } = serde_json::from_str(&self.body).ok()?;
        let such = fields.into_iter().filter(|field| field.data_type == data_type);
        Some(such.map(|field| field.api_name).collect())
    }
}

/// When a document that was read then is to be read again. One that was read in what is now the
/// future was read by a clock that was wrong.
pub fn is_due(read: Option<UpstreamTime>, now: UpstreamTime) -> bool {
    read.is_none_or(|read| read.after(EVERY) <= now || now.after(EVERY) <= read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_by_their_kind() {
        let of = |status, body: &str| {
            let read = UpstreamTime::EPOCH;
            Document { read, status, body: body.to_owned() }.fields_of("email")
        };
        let body = r#"{"fields":[{"api_name":"Email","data_type":"email","length":100},
            {"api_name":"Last_Name","data_type":"text"}]}"#;
        assert_eq!(of(200, body), Some(vec![FieldName::parse("Email").unwrap()]));
        assert_eq!(of(200, r#"{"fields":[]}"#), Some(Vec::new()));
        assert_eq!(of(204, ""), None);
        assert_eq!(of(401, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#), None);
    }

    #[test]
    fn a_document_is_due_once_a_day_and_when_the_clock_was_wrong() {
        let now = UpstreamTime::from_unix(1_800_000_000);
        let second = Duration::from_secs(1);
        assert!(is_due(None, now));
        assert!(!is_due(Some(now), now));
        assert!(!is_due(Some(now.before(EVERY - second)), now));
        assert!(is_due(Some(now.before(EVERY)), now));
        assert!(!is_due(Some(now.after(EVERY - second)), now), "a second of disagreement is none");
        assert!(is_due(Some(now.after(EVERY)), now));
    }
}
