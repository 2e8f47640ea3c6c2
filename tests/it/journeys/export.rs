//! Records for other programs: JSON Lines and CSV, with a daemon and without, to a pipe and to a
//! file.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::{Place, fields};

/// What makes a CSV hard.
const HARD: [(&str, &str); 6] = [
    ("Last_Name", r#""O\"Neil, \r\n Öz""#),
    ("Phone", r#""=1+1""#),
    ("Amount", "12345678901234567890.10"),
    ("Tags", r#"["a,b",null]"#),
    ("Empty", r#""""#),
    ("Owner", r#"{"name":"Anna, B.","id":"4711","email":"a@b.example"}"#),
];

fn place(name: &str, count: usize) -> (Place, Vec<u64>) {
    let mut place = Place::new(name);
    let ids = old_leads(&mut place.upstream(), count);
    place.upstream().edit("Leads", ids[1], &HARD);
    place.begin();
    (place, ids)
}

fn out(place: &Place, command: &[&str]) -> String {
    let ended = place.run(&[&["export", "Leads"], command].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command:?}: {ended:?}");
    ended.out
}

#[test]
fn an_export_is_the_same_with_a_daemon_and_without() {
    let (mut place, ids) = place("export", 450);
    let commands: [&[&str]; 6] = [
        &[],
        &["--fields", "Phone,Last_Name"],
        &["--where", "(Last_Name:starts_with:Lead 044)", "--format", "jsonl"],
        &["--format", "csv"],
        &["--format", "csv", "--fields", "Owner,Phone", "--where", "(Phone:equals:=1+1)"],
        &["--format", "csv", "--excel-safe", "--fields", "Phone", "--where", "(Phone:equals:=1+1)"],
    ];
    let all = |place: &Place| commands.map(|command| out(place, command));
    let with_daemon = all(&place);
    place.stop();
    assert_eq!(all(&place), with_daemon);

    let [whole, chosen, some, csv, picked, safe] = with_daemon;
    let records: BTreeMap<u64, _> = whole
        .lines()
        .map(|line| (serde_json::from_str::<Value>(line).unwrap(), fields(line)))
        .map(|(value, fields)| (value["id"].as_str().unwrap().parse().unwrap(), fields))
        .collect();
    assert_eq!(records, place.truth("Leads", false), "every digit");
    assert_eq!((chosen.lines().count(), some.lines().count()), (450, 10));
    let last = fields(chosen.lines().last().unwrap());
    assert_eq!(last.keys().collect::<Vec<_>>(), ["Last_Name", "id"]);
    assert_eq!(csv.matches("\r\n").count(), 1 + 450 + 1, "a header, and a text of two lines");
    let id = ids[1];
    assert_eq!(picked, format!("id,Owner,Owner.id,Phone\r\n{id},\"Anna, B.\",4711,=1+1\r\n"));
    assert_eq!(safe, format!("id,Phone\r\n{id},'=1+1\r\n"));
    read_by_python(&csv, id);
}

/// What a CSV reader that others wrote makes of it.
fn read_by_python(csv: &str, id: u64) {
    let script = "import csv, io, json, sys\n\
                  text = sys.stdin.buffer.read().decode('utf-8')\n\
                  rows = list(csv.DictReader(io.StringIO(text, newline=''), strict=True))\n\
                  found = [row for row in rows if row['id'] == sys.argv[1]]\n\
                  sys.stdout.write(json.dumps([len(rows), found]))";
    let program = Command::new("python3")
        .args(["-c", script, &id.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut program) = program else {
        println!("python3 is not there: our own reader has seen it alone");
        return;
    };
    std::io::Write::write_all(&mut program.stdin.take().unwrap(), csv.as_bytes()).unwrap();
    let told = program.wait_with_output().unwrap();
    assert!(told.status.success());
    let read: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(read[0], 450);
    let row = &read[1][0];
    assert_eq!(row["Last_Name"], "O\"Neil, \r\n Öz");
    assert_eq!(row["Amount"], "12345678901234567890.10");
    assert_eq!((&row["Tags"], &row["Empty"]), (&json!(r#"["a,b",null]"#), &json!("")));
    assert_eq!((&row["Owner"], &row["Owner.id"]), (&json!("Anna, B."), &json!("4711")));
}

#[test]
fn a_file_is_there_when_it_is_whole_and_not_replaced_unasked() {
    let (place, _) = place("export-file", 5);
    let file = place.path("leads.csv");
    let name = file.to_str().unwrap();
    let command = ["export", "Leads", "--format", "csv", "--output", name];
    assert_eq!(place.run(&command).out, "");
    let first = fs::read_to_string(&file).unwrap();
    assert_eq!(first, out(&place, &["--format", "csv"]));
    let again = place.run(&command);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("--force"), "{again:?}");
    fs::write(&file, "old").unwrap();
    let forced = place.run(&[&command[..], &["--force", "--json"]].concat());
    let told: Value = serde_json::from_str(&forced.out).unwrap();
    assert_eq!(told, json!({ "records": 5, "file": name }));
    assert_eq!(fs::read_to_string(&file).unwrap(), first);

    let missing = place.run(&["export", "Leads", "--output", "/nowhere/x"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    let device = place.run(&["export", "Leads", "--output", "/dev/null", "--force"]);
    assert!(device.code == 1 && device.err.contains("no plain file"), "{device:?}");
    let left = fs::read_dir(file.parent().unwrap()).unwrap();
    let parts = left
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(parts.count(), 0, "nothing half-made is left");
    assert_eq!(place.run(&["export", "Deals"]).code, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (place, _) = place("export-head", 3_000);
    let config = place.write_config();
    for format in ["jsonl", "csv"] {
        let mut export = Command::new(env!("CARGO_BIN_EXE_crmirror"))
            .arg("--config")
            .arg(&config)
            .args(["export", "Leads", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(export.stdout.take());
        let ended = export.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}");
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "", "{format}");
    }
}
