//! `[platform]`: what is read of it, and what is told of a wrong one.

use std::path::Path;

use crmirror::config::{Config, Verify};
use crmirror::mirror::platform::OnUninstall;
use crmirror::mirror::record::ModuleName;

use crate::config::{FILE, LEAST, load};

const URL: &str = "[platform]\nnotify_url = \"https://kiosk-7.example.com/platform/7d01\"\n";

fn refuse(text: &str) -> String {
    match Config::parse(Path::new(FILE), text.as_bytes(), None) {
        Ok(config) => panic!("{text}: accepted as {config:#?}"),
        Err(errors) => errors.to_string().replace(FILE, ""),
    }
}

#[test]
fn an_address_is_enough() {
    let config = load(&format!("{LEAST}{URL}"));
    let platform = config.platform.as_ref().unwrap();
    assert_eq!(platform.notify_url.path(), "/platform/7d01");
    assert_eq!((platform.verify, platform.on_uninstall), (Verify::Enforce, OnUninstall::Close));
    assert!(platform.needs_secret() && platform.org_id.is_none());
    assert_eq!(config.told().last(), Some(&ModuleName::platform()));
    let without = load(LEAST);
    assert_eq!(without.platform, None);
    assert!(!without.told().contains(&ModuleName::platform()));
}

#[test]
fn desk_lies_beside_the_accounts_service() {
    for (upstream, desk) in [
        ("data_centre = \"us\"", Some("https://desk.zoho.com")),
        ("data_centre = \"au\"", Some("https://desk.zoho.com.au")),
        ("data_centre = \"ca\"", Some("https://desk.zohocloud.ca")),
        ("accounts = \"https://accounts.zoho.eu\"", Some("https://desk.zoho.eu")),
        ("accounts = \"http://127.0.0.1:7\"", None),
    ] {
        let text = format!("[upstream]\n{upstream}\n[[module]]\nname = \"Leads\"\n{URL}");
        let found = load(&text).platform.unwrap().desk.map(|origin| origin.to_string());
        assert_eq!(found.as_deref(), desk, "{upstream}");
        let given = load(&format!("{text}desk = \"http://127.0.0.1:8\"\n")).platform.unwrap().desk;
        assert_eq!(given.unwrap().to_string(), "http://127.0.0.1:8");
    }
}

#[test]
fn what_is_written_is_read() {
    let with = |lines: &str| load(&format!("{LEAST}{URL}{lines}\n")).platform.unwrap();
    assert_eq!(with("on_uninstall = \"wipe\"").on_uninstall, OnUninstall::Wipe);
    let careless = with("verify = \"log\"\non_uninstall = \"ignore\"");
    assert_eq!((careless.verify, careless.on_uninstall), (Verify::Log, OnUninstall::Ignore));
    assert!(!careless.needs_secret());
    for org in ["387238", "\"387238\""] {
        assert_eq!(with(&format!("org_id = {org}")).org_id.unwrap().as_str(), "387238");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let with = |lines: &str| refuse(&format!("{LEAST}{URL}{lines}\n"));
    for (lines, told) in [
        ("verify = \"never\"", ":6: platform.verify: 'never' is not known; write enforce or log"),
        ("on_uninstall = \"burn\"", "'burn' is not known; write close, wipe or ignore"),
        ("org_id = \"ours\"", "'ours' is not an organisation's id; write its digits"),
        ("desk = \"http://desk.zoho.com\"", "http:// is accepted on loopback addresses only"),
        (
            "verify = \"log\"\non_uninstall = \"wipe\"",
            "anybody who knows the address could have all erased; write verify = \"enforce\"",
        ),
        ("[channel]\nnotify_url = \"https://a.example/platform/7d01\"", "another kind of callback"),
        (
            "secret = \"x\"",
            "allowed in platform are notify_url, verify, on_uninstall, org_id, desk",
        ),
    ] {
        let said = with(lines);
        assert!(said.contains(told), "{lines}: {said}");
        assert!(!said.contains("7d01"), "the path is a secret: {said}");
    }
    let said = refuse(&format!("{LEAST}[platform]\n"));
    assert!(said.contains("platform.notify_url: missing; write the address"), "{said}");
}
