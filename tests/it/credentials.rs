//! The credentials file: read, updated, and never shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crmirror::credentials::{self, Credentials};
use crmirror::error::{Exit, Failure};
use crmirror::secret::Secret;

use crate::directory::Directory;

#[test]
fn credentials_are_read_and_never_shown() {
    let directory = Directory::new("credentials");
    let file = directory.0.join("credentials.json");
    let shown = file.display();
    let failure = Failure::from(Credentials::load(&file).unwrap_err());
    assert_eq!(failure.exit, Exit::Configuration);
    let expected = "no such file; write {\"client_id\": \"…\", \"client_secret\": \"…\"} into it, \
                    then run: crmirror login --code CODE";
    assert_eq!(failure.message, format!("{shown}: {expected}"));

    let text = r#"{"client_id":"1000.A","client_secret":"S3CRET","refresh_token":"T0KEN","x":1}"#;
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let (credentials, warnings) = Credentials::load(&file).unwrap();
    assert_eq!(warnings, [""; 0], "a group of one's own may read it");
    assert_eq!(credentials.client_id, "1000.A");
    assert_eq!(credentials.client_secret.reveal(), "S3CRET");
    assert_eq!(credentials.require_refresh_token(&file).unwrap().reveal(), "T0KEN");
    let debug = format!("{credentials:?} {credentials:#?}");
    assert!(!debug.contains("S3CRET") && !debug.contains("T0KEN"), "{debug}");

    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (_, warnings) = Credentials::load(&file).unwrap();
    let expected = "other users can read it (mode 0644); run: chmod o=";
    assert_eq!(warnings, [format!("{shown}: {expected} {shown}")]);

    let new = credentials::with_refresh_token(&file, &Secret::new("NEW".to_owned())).unwrap();
    fs::write(&file, new.reveal()).unwrap();
    let (credentials, _) = Credentials::load(&file).unwrap();
    assert_eq!(credentials.refresh_token.unwrap().reveal(), "NEW");
    assert!(fs::read_to_string(&file).unwrap().contains("\"x\": 1"), "what is not ours is kept");
}
