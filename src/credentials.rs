//! The credentials file: `{"client_id": "…", "client_secret": "…", "refresh_token": "…"}`.
//!
//! A person writes the first two, and `platform_secret` where the platform calls us; `crmirror
//! login` adds the third. Nothing that is read here
//! appears in an error: not a value, not the piece of text that a JSON parser stumbles over. This
//! file does not write to the disk; [`with_refresh_token`] gives the new text to whoever replaces
//! the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::secret::{self, FileFault, Secret};

/// Largest credentials file: three short texts, and whatever else the operator keeps beside them.
pub const FILE_LIMIT: usize = 64 << 10;

/// Who we are upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The client, from the API console.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What access tokens are asked for with; `None` before the first `crmirror login`.
    pub refresh_token: Option<Secret>,
    /// The secret of plugin-manifest.json, which the platform's callbacks are proved with.
    pub platform_secret: Option<Secret>,
    /// What functions with `auth = "apikey"` are called with; good until an administrator makes
    /// another (facts §7).
    pub zapikey: Option<Secret>,
}

impl Credentials {
    /// Reads the file. Beside the credentials come warnings for the operator.
    pub fn load(file: &Path) -> Result<(Credentials, Vec<String>), CredentialsError> {
        let (text, warning) = read(file).map_err(|fault| fault.in_file(file))?;
        let credentials = Credentials::parse(&text).map_err(|fault| fault.in_file(file))?;
        Ok((credentials, warning.into_iter().collect()))
    }

    /// The refresh token, or the error that says how to come by one.
    pub fn require_refresh_token(&self, file: &Path) -> Result<&Secret, CredentialsError> {
        self.refresh_token.as_ref().ok_or_else(|| Fault::NotLoggedIn.in_file(file))
    }

    /// The secret of plugin-manifest.json, or the error that says where to write it.
    pub fn require_platform_secret(&self, file: &Path) -> Result<&Secret, CredentialsError> {
        self.platform_secret.as_ref().ok_or_else(|| Fault::NoPlatformSecret.in_file(file))
    }

    /// The key of functions, or the error that says how to come by one.
    pub fn require_zapikey(&self, file: &Path) -> Result<&Secret, CredentialsError> {
        self.zapikey.as_ref().ok_or_else(|| Fault::NoKey.in_file(file))
    }

    fn parse(text: &str) -> Result<Credentials, Fault> {
        let keys = parse_object(text)?;
        Ok(Credentials {
            client_id: required(&keys, "client_id")?.reveal().to_owned(),
            client_secret: required(&keys, "client_secret")?,
            refresh_token: text_of(&keys, "refresh_token")?,
            platform_secret: text_of(&keys, "platform_secret")?,
            zapikey: text_of(&keys, "zapikey")?,
        })
    }
}

/// The text of the credentials file with this refresh token in place of an older one. Everything
/// else in it stays as it is written, keys that are not ours included.
///
/// The text is for the caller to put in place of the file, atomically and readable by its owner
/// alone.
pub fn with_refresh_token(file: &Path, refresh_token: &Secret) -> Result<Secret, CredentialsError> {
    let (text, _) = read(file).map_err(|fault| fault.in_file(file))?;
    updated_json(&text, refresh_token).map_err(|fault| fault.in_file(file))
}

fn updated_json(old: &str, refresh_token: &Secret) -> Result<Secret, Fault> {
    let token = serde_json::value::to_raw_value(refresh_token.reveal())
        .expect("a text can be written as JSON");
    let mut keys = parse_object(old)?;
    keys.insert("refresh_token".to_owned(), &token);
    let mut text = serde_json::to_string_pretty(&keys).expect("JSON texts make a JSON object");
    text.push('\n');
    Ok(Secret::new(text))
}

type Keys<'a> = BTreeMap<String, &'a RawValue>;

fn parse_object(text: &str) -> Result<Keys<'_>, Fault> {
    serde_json::from_str(text)
        .map_err(|error| Fault::NotAnObject { line: error.line(), column: error.column() })
}

fn required(keys: &Keys<'_>, key: &'static str) -> Result<Secret, Fault> {
    text_of(keys, key)?.ok_or(Fault::Missing(key))
}

/// `null` and `""` are what a template has where nothing was filled in.
fn text_of(keys: &Keys<'_>, key: &'static str) -> Result<Option<Secret>, Fault> {
    let Some(value) = keys.get(key) else { return Ok(None) };
    let text: Option<Secret> =
        serde_json::from_str(value.get()).map_err(|_| Fault::NotAText(key))?;
    Ok(text.filter(|text| !text.reveal().is_empty()))
}

fn read(file: &Path) -> Result<(Zeroizing<String>, Option<String>), Fault> {
    secret::read_file(file, FILE_LIMIT).map_err(Fault::Unread)
}

/// Why there are no credentials: the file, what is wrong with it, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialsError {
    file: PathBuf,
    fault: Fault,
}

/// What is wrong with the file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    Unread(FileFault),
    NotAnObject { line: usize, column: usize },
    Missing(&'static str),
    NotAText(&'static str),
    NotLoggedIn,
    NoPlatformSecret,
    NoKey,
}

impl Fault {
    fn in_file(self, file: &Path) -> CredentialsError {
        CredentialsError { file: file.to_owned(), fault: self }
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.fault {
            Fault::Unread(FileFault::Missing) => f.write_str(
                "no such file; write {\"client_id\": \"…\", \"client_secret\": \"…\"} into it, \
                 then run: crmirror login --code CODE",
            ),
            Fault::Unread(FileFault::Forbidden) => f.write_str(
                "permission denied; run as the daemon's user, or make the file belong to it",
            ),
            Fault::Unread(FileFault::Unreadable(why)) => write!(f, "cannot be read: {why}"),
            Fault::Unread(FileFault::TooLarge) => {
                write!(f, "larger than {FILE_LIMIT} bytes; is this the right file?")
            }
            Fault::Unread(FileFault::NotText) => {
                f.write_str("not UTF-8 text; is this the right file?")
            }
            Fault::NotAnObject { line, column } => write!(
                f,
                "not a JSON object, at line {line}, column {column}; write {{\"client_id\": \"…\", \
                 \"client_secret\": \"…\"}}"
            ),
            Fault::Missing(key) => write!(
                f,
                "{key} is missing or empty; copy it from your client in the API console, \
                 https://api-console.zoho.com"
            ),
            Fault::NotAText(key) => write!(f, "{key} is not a text; write it in quotes"),
            Fault::NotLoggedIn => {
                f.write_str("no refresh_token yet; run: crmirror login --code CODE")
            }
            Fault::NoPlatformSecret => f.write_str(
                "no platform_secret, which [platform] needs; copy 'secret' of plugin-manifest.json",
            ),
            Fault::NoKey => f.write_str(
                "zapikey is missing or empty, and a [[function]] has auth = \"apikey\"; copy it \
                 from the function's address in Zoho CRM, or write auth = \"oauth\"",
            ),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Failure {
        Failure::configuration(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Credentials::parse(text).unwrap_err().in_file(Path::new("c.json"));
        assert_eq!(error.to_string(), expected, "{text}");
        assert!(!format!("{error:?}").contains("S3CRET"), "{error:?}");
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_there() {
        let api_console = "is missing or empty; copy it from your client in the API console, \
                           https://api-console.zoho.com";
        check("{}", &format!("c.json: client_id {api_console}"));
        check(r#"{"client_id":"1000.A"}"#, &format!("c.json: client_secret {api_console}"));
        check(
            r#"{"client_id":"","client_secret":"S3CRET"}"#,
            &format!("c.json: client_id {api_console}"),
        );
        let in_quotes = "is not a text; write it in quotes";
        check(
            r#"{"client_id":7,"client_secret":"S3CRET"}"#,
            &format!("c.json: client_id {in_quotes}"),
        );
        check(
            r#"{"client_id":"A","client_secret":{"S3CRET":1}}"#,
            &format!("c.json: client_secret {in_quotes}"),
        );
        check(
            r#"{"client_id":"A","client_secret":"B","refresh_token":["S3CRET"]}"#,
            &format!("c.json: refresh_token {in_quotes}"),
        );
    }

    #[test]
    fn a_slip_of_json_is_found_by_line_and_column() {
        let at = |line: usize, column: usize| {
            format!(
                "c.json: not a JSON object, at line {line}, column {column}; write \
                 {{\"client_id\": \"…\", \"client_secret\": \"…\"}}"
            )
        };
        check("{\n  \"client_id\": \"S3CRET\"\n  \"client_secret\": \"S3CRET\"\n}", &at(3, 3));
        check("", &at(1, 0));
        check("\"S3CRET\"", &at(1, 8));
        check("[\"S3CRET\"]", &at(1, 0));
        check("{} S3CRET", &at(1, 4));
    }

    #[test]
    fn the_refresh_token_comes_with_login() {
        for text in [
            r#"{"client_id":"A","client_secret":"B"}"#,
            r#"{"client_id":"A","client_secret":"B","refresh_token":null}"#,
            r#"{"client_id":"A","client_secret":"B","refresh_token":""}"#,
        ] {
            let credentials = Credentials::parse(text).unwrap();
            let error = credentials.require_refresh_token(Path::new("c.json")).unwrap_err();
            assert_eq!(
                error.to_string(),
                "c.json: no refresh_token yet; run: crmirror login --code CODE"
            );
            let new = updated_json(text, &Secret::new("C\"\n".to_owned())).unwrap();
            let credentials = Credentials::parse(new.reveal()).unwrap();
            assert_eq!(credentials.refresh_token.unwrap().reveal(), "C\"\n");
        }
    }

    #[test]
    fn an_update_keeps_what_is_not_ours() {
        let old = r#"{"refresh_token":"old","note":{"n":1.50,"big":12345678901234567890123},
            "client_secret":"B","client_id":"A"}"#;
        let new = updated_json(old, &Secret::new("new".to_owned())).unwrap();
        let expected = r#"{
  "client_id": "A",
  "client_secret": "B",
  "note": {"n":1.50,"big":12345678901234567890123},
  "refresh_token": "new"
}
"#;
        assert_eq!(new.reveal(), expected);
    }
}
