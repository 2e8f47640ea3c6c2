//! `crmirror doctor`: a healthy device is called healthy, and of each fault one line says what to
//! do, with a running daemon and without, and without disturbing it. `neighbours`: Books, the
//! extension, the outbox.

mod neighbours;

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::old_leads;
use crate::agent::{CALLBACK_PATH, Place, credentials};
use crate::sim::REFRESH_TOKEN;
use crate::small_disk::with_a_small_disk;
use crate::transport::{Server, by_tls, data};

/// What this machine tells of itself: it may be short of memory, or hot.
const OF_THE_MACHINE: [&str; 5] = ["writes", "card", "memory", "temperature", "power"];

/// Every check, in the order of its line.
const CHECKS: [&str; 16] = [
    "configuration",
    "credentials",
    "daemon",
    "store",
    "clock",
    "dns",
    "tls",
    "token",
    "api",
    "channel",
    "callbacks",
    "space",
    "writes",
    "card",
    "memory",
    "temperature",
];

/// A device whose callbacks find it.
fn place(name: &str) -> Place {
    let mut place = Place::new(name);
    let url = format!("\"http://{}{CALLBACK_PATH}\"", place.callbacks);
    place.set("channel.notify_url", &url);
    old_leads(&mut place.upstream(), 3);
    place
}

/// A device that upstream is not to be found at, but at this address.
fn with_accounts_at(name: &str, accounts: &str) -> Place {
    let mut place = place(name);
    place.set("upstream.accounts", &format!("\"{accounts}\""));
    place
}

/// What doctor finds, and its exit code. The lines and the JSON say the same.
fn examine(place: &Place) -> (i32, Vec<Value>) {
    let ended = place.run(&["doctor"]);
    let again = place.run(&["doctor", "--json"]);
    assert_eq!(ended.code, again.code, "{ended:?} {again:?}");
    let document: Value = serde_json::from_str(&again.out).unwrap();
    let findings = document["findings"].as_array().unwrap().clone();
    let column = |value: &Value| value.as_str().unwrap().to_owned();
    for (line, finding) in ended.out.lines().zip(&findings) {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(words, [column(&finding["state"]), column(&finding["check"])], "{line}");
        assert_eq!(line.find(words[1]), Some(9), "the columns stand: {line}");
    }
    assert_eq!(ended.out.lines().count(), findings.len(), "{ended:?}");
    let fails = findings.iter().any(|finding| finding["state"] == "fail");
    assert_eq!(document["ok"], !fails);
    assert_eq!(ended.code != 0, fails, "{ended:?}");
    assert!(!ended.out.contains(CALLBACK_PATH) && !again.out.contains(CALLBACK_PATH));
    (ended.code, findings)
}

/// Ends so, and the line of this check has this state and these parts.
fn check(place: &Place, code: i32, name: &str, state: &str, parts: &[&str]) {
    let (ended, findings) = examine(place);
    let found = findings.iter().find(|finding| finding["check"] == name).unwrap();
    let text = format!("{}; {}", found["says"].as_str().unwrap(), found["to_do"]);
    assert_eq!((ended, found["state"].as_str()), (code, Some(state)), "{name}: {findings:#?}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    let is_told = matches!(state, "ok" | "skipped") || found["to_do"].is_string();
    assert!(is_told, "nobody says what to do: {found}");
    // Nothing else fails than what is to be mended.
    let others = findings.iter().filter(|finding| {
        let of_the_machine = OF_THE_MACHINE.iter().any(|name| finding["check"] == *name);
        finding["state"] == "fail" && finding["check"] != name && !of_the_machine
    });
    let others: Vec<&Value> = others.collect();
    assert!(others.is_empty(), "{name}: {others:#?}");
}

/// All is well, as far as the device has to do with it.
fn check_healthy(place: &Place, skipped: &[&str]) {
    let (code, findings) = examine(place);
    assert_eq!(code, 0, "{findings:#?}");
    let names: Vec<&str> =
        findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(names[..CHECKS.len()], CHECKS);
    for finding in &findings {
        let (name, state) = (finding["check"].as_str().unwrap(), &finding["state"]);
        if OF_THE_MACHINE.contains(&name) {
            continue;
        }
        let expected = if skipped.contains(&name) { "skipped" } else { "ok" };
        // Whether the clock is kept right is the machine's affair as well.
        assert!(state == expected || (name == "clock" && state == "warn"), "{finding}");
    }
}

#[test]
fn a_healthy_device_is_called_healthy_and_not_disturbed() {
    let mut place = place("healthy");
    let unmade = ["daemon", "store", "dns", "tls", "channel", "callbacks"];
    check_healthy(&place, &unmade);
    assert!(!place.path("store").exists(), "a doctor makes no store");
    let before = place.token_calls();
    place.begin();
    check_healthy(&place, &["dns", "tls"]);
    assert_eq!(place.token_calls(), before + 1, "the daemon's only");

    // A token that has ended is the running daemon's to renew.
    place.upstream().accounts.expire_access();
    check(&place, 0, "token", "warn", &["none that is accepted", "by itself"]);
    assert_eq!(place.token_calls(), before + 1);
    place.stop();
    check_healthy(&place, &["daemon", "dns", "tls", "callbacks"]);
    assert_eq!(place.token_calls(), before + 2, "once, and then it is kept");
    check_healthy(&place, &["daemon", "dns", "tls", "callbacks"]);
    place.begin();
    assert_eq!(place.token_calls(), before + 2, "the daemon goes on with what was kept");
    let left = std::fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap().path());
    assert!(!left.into_iter().any(|path| path.ends_with(".doctor")));
}

#[test]
fn a_device_that_only_pulls_and_guards_its_readers_is_healthy() {
    let mut place = place("pulls");
    place.without("channel").without("callbacks").guard("a-token-that-readers-show");
    place.begin();
    check_healthy(&place, &["dns", "tls", "channel", "callbacks"]);
}

#[test]
fn credentials_that_are_wrong_or_missing() {
    let mut place = place("wrong-secret");
    place.write_credentials(&credentials("wrong", Some(REFRESH_TOKEN)));
    check(&place, 1, "token", "fail", &["client_secret is wrong", "data_centre"]);
    // The daemon says so too.
    place.start();
    place.until("it is denied", |place| {
        (place.status()["upstream"]["state"] == "denied").then_some(())
    });
    let asked = place.token_calls();
    check(&place, 1, "token", "fail", &["client_secret is wrong", "restart crmirror"]);
    assert_eq!(place.token_calls(), asked);
    place.stop();
    place.write_credentials("{\"client_id\": \"a\", \"client_secret\": \"b\"}");
    check(&place, 78, "credentials", "fail", &["no refresh_token", "crmirror login"]);
    place.write_credentials("{");
    check(&place, 78, "credentials", "fail", &["line 1"]);
    std::fs::remove_file(place.path("credentials.json")).unwrap();
    check(&place, 78, "credentials", "fail", &["no such file", "crmirror login"]);
}

#[test]
fn an_upstream_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let place = with_accounts_at("nobody", &format!("http://{address}"));
    check(&place, 1, "api", "fail", &[&address.to_string(), "firewall"]);
    let place = with_accounts_at("nameless", "https://nowhere.invalid");
    check(&place, 1, "dns", "fail", &["nowhere.invalid", "/etc/resolv.conf"]);
}

#[test]
fn certificates_that_are_foreign_expired_or_not_valid_yet() {
    let with = |pair: &str, ca_file: &str| {
        let server = by_tls(pair);
        let accounts = format!("https://localhost:{}", server.address.port());
        let mut place = with_accounts_at(pair, &accounts);
        let ca_file = data(&format!("{ca_file}-cert.pem"));
        place.set("upstream.ca_file", &format!("\"{}\"", ca_file.display()));
        place
    };
    check(&with("first", "second"), 1, "tls", "fail", &["not trusted", "upstream.ca_file"]);
    check(&with("expired", "expired"), 1, "tls", "fail", &["expired", "see the clock"]);
    let (code, findings) = examine(&with("future", "future"));
    let line = |name: &str| findings.iter().find(|finding| finding["check"] == name).unwrap();
    assert_eq!(
        (code, &line("clock")["state"], &line("tls")["state"]),
        (1, &"fail".into(), &"fail".into())
    );
    let (says, to_do) = (line("clock")["says"].to_string(), line("clock")["to_do"].to_string());
    assert!(says.contains("not valid yet") && to_do.contains("set the time"), "{says} {to_do}");
    let mut place = place("no-roots");
    place.set("upstream.ca_file", "\"nowhere.pem\"");
    check(&place, 78, "tls", "fail", &["nowhere.pem", "PEM"]);
}

#[test]
fn a_clock_that_is_days_off() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let reply = format!("HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
    let server = Server::answering(reply);
    let place = with_accounts_at("clock", &format!("http://{}", server.address));
    let (code, findings) = examine(&place);
    let clock = findings.iter().find(|finding| finding["check"] == "clock").unwrap();
    assert_eq!((code, &clock["state"]), (1, &"fail".into()), "{clock}");
    let (says, to_do) = (clock["says"].as_str().unwrap(), clock["to_do"].as_str().unwrap());
    assert!(says.contains("days ahead of upstream's"), "{says}");
    assert!(to_do.contains("date -s 1994-11-06T08:49:37+00:00"), "{to_do}");
}

#[test]
fn a_channel_that_upstream_has_not_or_not_so() {
    let mut place = place("lost-channel");
    place.begin();
    let id = place.upstream().live_channels().remove(0);
    place.set("channel.related_actions", "true");
    check(&place, 0, "channel", "warn", &["notify_on_related_action", "channel renew"]);
    place.set("channel.related_actions", "false");
    assert!(place.upstream().drop_channel(&id));
    check(&place, 1, "channel", "fail", &[&id, "no callbacks come", "crmirror channel renew"]);
    place.stop();
    check(&place, 0, "channel", "warn", &["any more", "crmirror run"]);
    place.upstream().accounts.withhold("ZohoCRM.notifications.ALL");
    place.start();
    place.until("the daemon is denied its channel", |place| {
        (place.status()["channel"]["state"] == "denied").then_some(())
    });
    check(&place, 1, "channel", "fail", &["OAUTH_SCOPE_MISMATCH", "ZohoCRM.notifications.ALL"]);
}

#[test]
fn a_module_that_is_denied() {
    let place = place("denied");
    place.upstream().faults.deny("Leads", None);
    check(&place, 1, "api", "fail", &["Leads", "NO_PERMISSION", "rights"]);
}

#[test]
fn callbacks_that_do_not_find_us() {
    let mut place = place("astray");
    place.begin();
    let elsewhere = format!("\"{}{CALLBACK_PATH}\"", place.loopback.origin());
    place.set("channel.notify_url", &elsewhere);
    let listen = place.callbacks.to_string();
    check(&place, 0, "callbacks", "warn", &["another program", &listen]);
    let other_path = format!("\"http://{listen}{CALLBACK_PATH}x\"");
    place.set("channel.notify_url", &other_path);
    check(&place, 0, "callbacks", "warn", &["does not know the path", "unchanged"]);
    place.set("channel.notify_url", &format!("\"https://nowhere.invalid{CALLBACK_PATH}\""));
    check(&place, 0, "callbacks", "warn", &["nowhere.invalid", "router"]);
}

#[test]
fn a_store_that_is_held_by_somebody_who_does_not_answer() {
    let mut place = place("held");
    place.begin();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.set("local.listen", &format!("\"{nobody}\""));
    check(&place, 1, "store", "fail", &["in use", "systemctl restart"]);
    // A stranger is not taken for the daemon.
    let stranger = place.loopback.addr();
    place.set("local.listen", &format!("\"{stranger}\""));
    let (code, findings) = examine(&place);
    let daemon = findings.iter().find(|finding| finding["check"] == "daemon").unwrap();
    assert_eq!((code, &daemon["state"]), (1, &"fail".into()), "{daemon}");
}

#[test]
fn a_store_of_another_user_is_left_to_him() {
    let mut place = place("anothers");
    place.begin();
    place.stop();
    place.upstream().accounts.expire_access();
    let asked = place.token_calls();
    let store = place.path("store/mirror.sled");
    if std::os::unix::fs::chown(&store, Some(12_345), None).is_err() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    check(&place, 0, "store", "skipped", &["sudo -u '#12345' crmirror doctor"]);
    check(&place, 0, "token", "skipped", &["could not be kept"]);
    assert_eq!(place.token_calls(), asked);
}

#[test]
fn a_store_that_is_damaged_is_left_to_the_daemon() {
    let mut place = place("damaged");
    place.begin();
    place.stop();
    let log = place.path("store/mirror.sled/db");
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, vec![7; whole.len()]).unwrap();
    check(&place, 0, "store", "warn", &["damaged", "the next start of the daemon"]);
    check(&place, 0, "store", "warn", &["damaged"]);
    place.begin();
    check_healthy(&place, &["dns", "tls"]);
}

#[test]
fn a_configuration_that_is_wrong() {
    let mut place = place("wrong-config");
    place.set("upstream.colour", "\"red\"").set("catch_up.every", "\"soon\"");
    let (code, findings) = examine(&place);
    assert_eq!(code, 78);
    let told: Vec<String> = findings
        .iter()
        .filter(|finding| finding["check"] == "configuration" && finding["state"] == "fail")
        .map(Value::to_string)
        .collect();
    assert_eq!(told.len(), 2, "{findings:#?}");
    assert!(told.iter().any(|line| line.contains("colour")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("every") && line.contains("15m")), "{told:?}");
    assert!(findings.iter().any(|finding| finding["check"] == "memory"), "the board is looked at");
    assert_eq!(place.upstream().call_count().0, 0);
}

#[test]
fn files_that_the_configuration_names() {
    let mut place = place("files");
    place.guard("a-token-that-readers-show");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("reader-token"), open).unwrap();
    check(&place, 0, "configuration", "warn", &["reader-token", "chmod o="]);
    let pair = [("tls_cert", "first-cert.pem"), ("tls_key", "second-key.pem")];
    for (key, file) in pair {
        place.set(&format!("callbacks.{key}"), &format!("\"{}\"", data(file).display()));
    }
    std::fs::remove_file(place.path("reader-token")).unwrap();
    let (code, findings) = examine(&place);
    let told = |check: &str, part: &str| {
        let mut lines = findings.iter().filter(|finding| finding["check"] == check);
        lines.any(|line| line["state"] == "fail" && line.to_string().contains(part))
    };
    assert_eq!(code, 78, "{findings:#?}");
    assert!(told("configuration", "first-cert.pem"), "{findings:#?}");
    assert!(told("daemon", "openssl rand"), "{findings:#?}");
}

#[test]
fn a_disk_that_is_full() {
    let name = "journeys::doctor::a_disk_that_is_full";
    with_a_small_disk(name, |disk| {
        let mut place = place("full");
        place.set("store.path", &format!("\"{}\"", disk.display()));
        place.begin();
        fill(disk, 40 << 20);
        check(&place, 0, "space", "warn", &["MiB free", "free some"]);
        fill(disk, 8 << 20);
        check(&place, 1, "space", "fail", &["turned away", "free some"]);
        let (_, findings) = examine(&place);
        let writes = findings.iter().find(|finding| finding["check"] == "writes").unwrap();
        assert_eq!(writes["state"], "skipped", "what is left is left alone: {writes}");
    });
}

/// Leaves so many bytes.
fn fill(disk: &Path, left: u64) {
    let room = rustix::fs::statvfs(disk).unwrap();
    let bytes = (room.f_bavail * room.f_frsize).saturating_sub(left);
    std::fs::write(disk.join(format!("filler-{left}")), vec![1; bytes as usize]).unwrap();
}

#[test]
fn a_file_where_the_store_belongs_is_told_as_that() {
    let place = place("doctor-file");
    place.write_config();
    std::fs::write(place.path("store"), b"").unwrap();
    check(&place, 1, "store", "fail", &["store is no directory", "change store.path"]);
}
