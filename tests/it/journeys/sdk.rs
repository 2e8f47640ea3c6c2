//! Zoho's own SDKs as clients of the local interface, with upstream gone: `tests/sdk` has the
//! programs, and installs the SDKs where `CRMIRROR_SDKS` then says they are. `.ci/sdks` does both.
//!
//! Nothing is told to them but another address.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::old_leads;
use crate::agent::Place;
use crate::sim::{Loopback, RealClock, Upstream};

/// The variable that names where `tests/sdk/install` has put them.
const INSTALLED: &str = "CRMIRROR_SDKS";
/// Each SDK, and the file by which one sees that it is there.
const SDKS: [(&str, &str); 2] = [("python", "python/bin/python"), ("node", "node/node_modules")];
/// More than two pages of 200: one is asked for by its number, one by its token.
const COUNT: usize = 450;
const TOKEN: &str = "a-token-of-32-visible-characters";

/// The SDKs that are there; that one is not is told, since a test that did nothing has passed too.
fn installed() -> Vec<(&'static str, PathBuf)> {
    let Some(place) = std::env::var_os(INSTALLED).map(PathBuf::from) else {
        eprintln!("sdk: skipped: {INSTALLED} does not say where tests/sdk/install has put them");
        return Vec::new();
    };
    let mut there = Vec::new();
    for (language, file) in SDKS {
        match place.join(file).exists() {
            true => there.push((language, place.clone())),
            false => eprintln!("sdk: skipped: {language} is not installed"),
        }
    }
    there
}

/// What the SDK printed: for each step a line with its name and what it read; and on stderr.
fn read(
    place: &Place,
    sdk: &(&str, PathBuf),
    token: Option<&str>,
    steps: &[String],
) -> [String; 2] {
    let (language, installed) = sdk;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/run");
    let mut command = Command::new(program);
    command.arg(installed).arg(language).arg(format!("http://{}", place.local)).args(steps);
    let scratch = place.path(&format!("{language}-{}", token.is_some()));
    command.env("SCRATCH", scratch).env_remove("READER_TOKEN");
    token.map(|token| command.env("READER_TOKEN", token));
    let output = command.output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Takes upstream away for good: nobody listens at its address any more.
fn take_upstream_away(place: &mut Place) {
    let address = place.loopback.addr();
    let another = Arc::new(Mutex::new(Upstream::new(Arc::new(RealClock))));
    drop(std::mem::replace(&mut place.loopback, Loopback::start(another)));
    assert!(TcpStream::connect(address).is_err(), "upstream still listens");
}

#[test]
fn zohos_own_sdks_read_with_upstream_gone() {
    let sdks = installed();
    if sdks.is_empty() {
        return;
    }
    let mut place = Place::new("sdks");
    let mut ids = old_leads(&mut place.upstream(), COUNT);
    place.upstream().edit("Leads", ids[7], &[("Email", "\"ada@example.com\"")]);
    place.upstream().model.add("Deals").with_fields(&["Stage"]);
    place.begin();
    let gone = ids.remove(20);
    place.upstream().delete("Leads", gone);
    place.carry();
    place.until("it is deleted", |place| place.record("Leads", gone).is_none().then_some(()));
    place.stop();
    take_upstream_away(&mut place);
    place.start();

    let text = |id: u64| id.to_string();
    let newest: Vec<String> = ids.iter().rev().copied().map(text).collect();
    let found = json!([text(ids[7])]);
    let fields = ["id", "Created_Time", "Modified_Time", "Last_Name", "Phone", "Email"];
    let steps: Vec<(String, Value)> = vec![
        (format!("record={}", ids[7]), json!("Lead 0007")),
        (format!("record={gone}"), Value::Null),
        ("list".to_owned(), json!(newest)),
        ("criteria=(Last_Name:equals:Lead 0007)".to_owned(), found.clone()),
        ("email=ada@example.com".to_owned(), found),
        ("deleted".to_owned(), json!([text(gone)])),
        ("count".to_owned(), json!(COUNT - 1)),
        ("modules".to_owned(), json!(["Deals", "Leads"])),
        ("module=Leads".to_owned(), json!(["Leads"])),
        ("fields".to_owned(), json!(fields)),
        ("org".to_owned(), json!("Simulated Ltd")),
        ("user".to_owned(), json!("ada@example.com")),
    ];
    let names: Vec<String> = steps.iter().map(|(step, _)| step.clone()).collect();
    for sdk in &sdks {
        let [lines, errors] = read(&place, sdk, None, &names);
        assert_eq!(lines.lines().count(), steps.len(), "{}: {lines}\n{errors}", sdk.0);
        for ((step, expected), line) in steps.iter().zip(lines.lines()) {
            let (_, told) = line.split_once(' ').unwrap();
            let told: Value = serde_json::from_str(told)
                .unwrap_or_else(|error| panic!("{} {step}: {line}: {error}", sdk.0));
            // Of a record, one field is enough: that all are as upstream wrote them is shown
            // elsewhere.
            let name = told.get("Last_Name").cloned();
            assert_eq!(name.as_ref().unwrap_or(&told), expected, "{} {step}", sdk.0);
        }
        eprintln!("sdk: {}: {} steps passed", sdk.0, steps.len());
    }
}

#[test]
fn zohos_own_sdks_show_a_readers_token_as_their_refresh_token() {
    for sdk in installed() {
        let mut place = Place::new("sdk-token");
        let ids = old_leads(&mut place.upstream(), 1);
        place.guard(TOKEN).begin();
        let step = [format!("record={}", ids[0])];
        let [told, errors] = read(&place, &sdk, Some(TOKEN), &step);
        assert!(told.contains("\"Lead 0000\""), "{}: {told}{errors}", sdk.0);
        let [told, errors] = read(&place, &sdk, None, &step);
        assert!(!told.contains("Lead"), "{}: {told}", sdk.0);
        assert!(format!("{told}{errors}").contains("invalid_code"), "{}: {told}{errors}", sdk.0);
    }
}
