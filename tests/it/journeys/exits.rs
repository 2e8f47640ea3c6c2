//! How commands end when something is wrong: the exit code, and one clear line.

use std::net::TcpListener;

use crate::agent::{Ended, Place};

/// Ended with this code, and one line of ours that has these parts.
fn check(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert_eq!(ended.out, "", "{ended:?}");
    let lines: Vec<&str> = ended.err.lines().filter(|line| !line.starts_with("info: ")).collect();
    assert_eq!(lines.len(), 1, "{ended:?}");
    assert!(lines[0].starts_with("crmirror: "), "{ended:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part}: {ended:?}");
    }
}

#[test]
fn a_wrong_configuration_names_the_key_and_what_to_write() {
    for (key, value, parts) in [
        ("upstream.colour", "\"red\"", ["colour", "crmirror.toml:"]),
        ("upstream.api_version", "\"v1\"", ["api_version", "v2, v2.1"]),
        ("upstream.accounts", "\"http://accounts.example\"", ["accounts", "https://"]),
        ("channel.notify_url", "\"kiosk\"", ["notify_url", "https://kiosk"]),
        ("channel.lifetime", "\"1s\"", ["lifetime", "30s"]),
        ("channel.id", "\"0\"", ["id", "whole number"]),
        ("local.listen", "\"0.0.0.0:8687\"", ["local.listen", "token_file"]),
        ("callbacks.listen", "\"0.0.0.0:8686\"", ["callbacks.listen", "behind_proxy = true"]),
        ("callbacks.tls_cert", "\"x.pem\"", ["tls_key", "both or neither"]),
        ("catch_up.every", "\"soon\"", ["every", "15m"]),
        ("store.path", "\"store\"", ["store.path", "absolute"]),
    ] {
        let mut place = Place::new("wrong");
        place.set(key, value);
        check(&place.run(&["run"]), 78, &parts);
        assert_eq!(place.run(&["status"]).code, 78, "{key}");
        let checked = place.run(&["check", "--json"]);
        assert_eq!(checked.code, 78, "{key}");
        let json: serde_json::Value = serde_json::from_str(&checked.out).unwrap();
        assert_eq!(json["ok"], false);
        assert!(json["problems"][0].as_str().unwrap().contains(parts[0]), "{json}");
        assert!(!place.path("store").exists(), "{key}: nothing is made before all is right");
    }
    let place = Place::new("no-config");
    let nowhere = place.path("nowhere.toml");
    check(&place.run_with(&nowhere, &["run"]), 78, &["nowhere.toml"]);
    std::fs::write(&nowhere, "[upstream\n").unwrap();
    check(&place.run_with(&nowhere, &["check"]), 78, &["nowhere.toml:1"]);
    std::fs::write(&nowhere, "").unwrap();
    assert_eq!(place.run_with(&nowhere, &["check"]).code, 78);
}

#[test]
fn what_cannot_be_had_is_told_in_one_line() {
    let mut place = Place::new("cannot");
    // The directory of the store lies under a regular file: unwritable even for root.
    let file = place.path("file");
    std::fs::write(&file, "x").unwrap();
    let store = file.join("store");
    place.set("store.path", &format!("\"{}\"", store.display()));
    check(&place.run(&["run"]), 1, &[store.to_str().unwrap()]);
    let store = place.path("store");
    place.set("store.path", &format!("\"{}\"", store.display()));

    let credentials = place.path("credentials.json");
    let text = std::fs::read_to_string(&credentials).unwrap();
    std::fs::remove_file(&credentials).unwrap();
    for command in [&["run"][..], &["check"], &["login", "--code", "x"], &["channel", "show"]] {
        let ended = place.run(command);
        // A channel that was never opened is told first.
        if command[0] != "channel" {
            check(&ended, 78, &["credentials.json", "no such file"]);
        }
    }
    for (wrong, part) in [
        ("{", "line 1"),
        ("{}", "client_id"),
        ("{\"client_id\": \"a\", \"client_secret\": \"b\"}", "crmirror login"),
        ("{\"client_id\": \"a\", \"client_secret\": 7}", "client_secret"),
    ] {
        place.write_credentials(wrong);
        check(&place.run(&["run"]), 78, &["credentials.json", part]);
        check(&place.run(&["check"]), 78, &["credentials.json", part]);
    }
    place.write_credentials(&text);

    for (address, key) in [(place.local, "local.listen"), (place.callbacks, "callbacks.listen")] {
        let busy = TcpListener::bind(address).unwrap();
        let ended = place.run(&["run"]);
        check(&ended, 1, &[&address.to_string(), key]);
        drop(busy);
    }
    place.begin();
}

#[test]
fn a_store_in_use_is_left_alone() {
    let mut place = Place::new("in-use");
    place.begin();
    let other = Place::new("in-use-too");
    let config = std::fs::read_to_string(other.write_config()).unwrap();
    let mine = other.path("store").display().to_string();
    let theirs = place.path("store").display().to_string();
    assert!(config.contains(&mine));
    let path = other.path("second.toml");
    std::fs::write(&path, config.replace(&mine, &theirs)).unwrap();
    check(&other.run_with(&path, &["run"]), 1, &[&theirs, "use"]);
    assert_eq!(other.run_with(&path, &["check"]).code, 0);
    check(&other.run_with(&path, &["get", "Leads", "1"]), 1, &[&theirs, "use"]);
    assert_eq!(other.upstream().call_count().0, 0);
    assert_eq!(place.get("/healthz").status, 200);
}

#[test]
fn without_a_daemon_what_needs_one_is_unavailable() {
    let place = Place::new("no-daemon");
    let address = place.local.to_string();
    check(&place.run(&["status"]), 69, &[&address, "crmirror run"]);
    check(&place.run(&["status", "--json"]), 69, &[&address]);
    check(&place.run(&["sync"]), 69, &[&address]);
    check(&place.run(&["sync", "Leads", "--sweep"]), 69, &[&address]);
}

#[test]
fn a_stranger_at_our_address_is_not_taken_for_the_daemon() {
    let mut place = Place::new("stranger");
    // The simulator listens there: it answers, but it is no crmirror.
    let address = place.loopback.addr();
    place.set("local.listen", &format!("\"{address}\""));
    for command in [&["status"][..], &["sync"], &["get", "Leads", "1"], &["list", "Leads"]] {
        let ended = place.run(command);
        assert!(matches!(ended.code, 1 | 69), "{command:?}: {ended:?}");
        assert_eq!(
            (ended.out.as_str(), ended.err.lines().count()),
            ("", 1),
            "{command:?}: {ended:?}"
        );
    }
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    let place = Place::new("usage");
    for words in [
        &["fly"][..],
        &[],
        &["run", "now"],
        &["get", "Leads"],
        &["get", "Leads", "seven"],
        &["get", "Deals", "7"],
        &["list", "Deals"],
        &["list", "Leads", "--where", "(x"],
        &["list", "Leads", "--limit", "-1"],
        &["login"],
        &["channel"],
        &["--loud"],
        &["changes", "--since", "then"],
        &["export"],
        &["doctor", "now"],
        &["doctor", "--bundle"],
    ] {
        check(&place.run(words), 2, &[]);
    }
    let version = place.run(&["--version"]);
    assert_eq!(
        (version.code, version.out),
        (0, format!("crmirror {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = place.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert!(help.out.contains("crmirror [--config PATH]"), "{}", help.out);
    assert_eq!(place.run(&["status", "--help"]).out, help.out);
}
