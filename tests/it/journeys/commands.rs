//! The commands that read, with a daemon and without, and `login`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{Place, rows};
use crate::sim::{CLIENT_ID, CLIENT_SECRET};

/// Commands that read.
fn read_commands(id: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["get", "Leads", id],
        vec!["get", "Leads", id, "--json"],
        vec!["list", "Leads"],
        vec!["list", "Leads", "--json"],
        vec!["list", "Leads", "--json", "--limit", "3"],
        vec!["list", "Leads", "--json", "--limit", "0"],
        vec!["list", "Leads", "--json", "--where", "(Amount:greater_than:60)"],
        vec!["list", "Leads", "--json", "--where", "((Amount:less_than:60)and(Phone:equals:7))"],
        vec![
            "list",
            "Leads",
            "--json",
            "--fields",
            "Phone,Amount",
            "--sort",
            "Amount",
            "--limit",
            "4",
        ],
        vec!["list", "Leads", "--fields", "Phone, Amount", "--sort", "Phone", "--limit", "12"],
        vec!["list", "Leads", "--where", "(Last_Name:starts_with:Lead 044)", "--sort", "Last_Name"],
    ]
}

#[test]
fn get_and_list_show_the_same_with_a_daemon_and_without() {
    let mut place = Place::new("read-commands");
    let ids = old_leads(&mut place.upstream(), 450);
    for (id, number) in ids.iter().zip(0..10) {
        let values =
            [("Amount", format!("{}.50", 100 - number * 7)), ("Phone", format!("\"{number}\""))];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, raw)| (*name, raw.as_str())).collect();
        place.upstream().edit("Leads", *id, &values);
    }
    place.begin();
    let id = ids[3].to_string();
    let commands = read_commands(&id);
    let run = |place: &Place| -> Vec<String> {
        let all = commands.iter().map(|command| {
            let ended = place.run(command);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command:?}: {ended:?}");
            ended.out
        });
        all.collect()
    };
    let with_daemon = run(&place);
    let absent = place.run(&["get", "Leads", "1"]);
    assert_eq!((absent.code, absent.out.as_str()), (1, ""));
    assert!(absent.err.contains("Leads/1 is not in the mirror"), "{absent:?}");
    place.stop();
    assert_eq!(run(&place), with_daemon);
    assert_eq!(place.run(&["get", "Leads", "1"]), absent);

    let truth = place.truth("Leads", false);
    assert_eq!(rows(&with_daemon[3]).len(), 450);
    assert!(
        rows(&with_daemon[3])
            .iter()
            .all(|row| { truth[&row["id"].trim_matches('"').parse::<u64>().unwrap()] == *row })
    );
    assert_eq!((rows(&with_daemon[4]).len(), with_daemon[5].as_str()), (3, "{\"data\":[]}\n"));
    let phones = |out: &str| -> Vec<String> {
        rows(out).into_iter().map(|row| row["Phone"].trim_matches('"').to_owned()).collect()
    };
    let mut large = phones(&with_daemon[6]);
    large.sort();
    assert_eq!(large, ["0", "1", "2", "3", "4", "5"], "100.50 down to 65.50");
    assert_eq!(phones(&with_daemon[7]), ["7"]);
    assert_eq!(phones(&with_daemon[8]), ["9", "8", "7", "6"], "smallest amounts first");
    let row = rows(&with_daemon[8]).remove(0);
    assert_eq!(row.keys().collect::<Vec<_>>(), ["Amount", "Phone", "id"]);
    assert_eq!(row["Amount"], "37.50", "digits stay");
    assert_eq!(with_daemon[9].lines().count(), 1 + 12, "{}", with_daemon[9]);
    assert_eq!(with_daemon[10].lines().count(), 1 + 10, "{}", with_daemon[10]);
    assert!(with_daemon[0].contains("Lead 0003") && with_daemon[0].contains("79.50"));
}

#[test]
fn check_and_status_say_how_things_are() {
    let mut place = Place::new("check");
    let before = place.run(&["check"]);
    assert_eq!((before.code, before.err.as_str()), (0, ""), "{before:?}");
    assert!(before.out.contains("good") && before.out.contains("no store yet"), "{before:?}");
    assert!(!place.path("store").exists(), "a check makes no store");
    assert_eq!(place.upstream().call_count().0, 0, "a check calls nobody");
    place.begin();
    let during = place.run(&["check"]);
    assert_eq!(during.code, 0);
    assert!(during.out.contains("in use"), "{during:?}");
    let status = place.run(&["status"]);
    assert_eq!((status.code, status.err.as_str()), (0, ""));
    for part in ["online", "open until", "0 waiting", "of 2500", "Leads"] {
        assert!(status.out.contains(part), "{part}: {}", status.out);
    }
    let document: Value = serde_json::from_str(&place.run(&["status", "--json"]).out).unwrap();
    assert_eq!(document["channel"], place.status()["channel"]);
    place.stop();
    let after = place.run(&["check", "--json"]);
    let after: Value = serde_json::from_str(&after.out).unwrap();
    assert_eq!(after, json!({"ok": true, "warnings": [], "store": "good"}));
    let path = place.path("credentials.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = place.run(&["check"]);
    assert_eq!(open.code, 0);
    assert!(open.err.contains("chmod o="), "{open:?}");
}

#[test]
fn login_keeps_the_token_and_everything_else() {
    let place = Place::new("login");
    let path = place.path("credentials.json");
    let mine = json!({
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "note": "the kiosk's",
        "number": 1, "nested": {"kept": [true, null]},
    });
    place.write_credentials(&mine.to_string());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    let code = "1000.code.one";
    let failed = place.run(&["login", "--code", code]);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""), "{failed:?}");
    assert!(failed.err.contains("invalid_code"), "{failed:?}");
    assert_eq!(failed.err.trim_end().lines().count(), 1, "{failed:?}");
    assert!(!failed.err.contains(code), "{failed:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), mine.to_string(), "untouched");

    let soon = place.upstream().now().after(Duration::from_secs(600));
    place.upstream().accounts.add_code(code, soon);
    let done = place.run(&["login", "--code", code]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let token = kept.as_object_mut().unwrap().remove("refresh_token").unwrap();
    let token = token.as_str().unwrap().to_owned();
    assert!(!done.out.contains(&token) && done.out.contains("credentials.json"), "{done:?}");
    assert_eq!(kept, mine);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "credentials.json" | "crmirror.toml"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    assert_eq!(place.run(&["login", "--code", code]).code, 1, "a code is good once");
    assert!(std::fs::read_to_string(&path).unwrap().contains(&token), "the old token stays");
    place.upstream().faults.offline(true);
    let offline = place.run(&["login", "--code", code]);
    assert_eq!(offline.code, 69, "{offline:?}");
}

#[test]
fn what_login_brought_starts_the_daemon() {
    let mut place = Place::new("login-run");
    place.write_credentials(&crate::agent::credentials(CLIENT_SECRET, None));
    let ended = place.run(&["run"]);
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.err.contains("crmirror login --code"), "{ended:?}");
    let soon = place.upstream().now().after(Duration::from_secs(600));
    place.upstream().accounts.add_code("1000.c", soon);
    assert_eq!(place.run(&["login", "--code=1000.c"]).code, 0);
    place.begin();
}
