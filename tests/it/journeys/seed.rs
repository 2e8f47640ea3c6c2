//! One device's mirror for another: nothing is listed again that was listed once.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crmirror::mirror::ledger::Ledger;
use crmirror::mirror::record::{ChangeKind, Entry, ModuleName, Record, RecordId};
use crmirror::mirror::time::UpstreamTime;
use crmirror::store::{Commit, Shape, Store, Terms, Write, write_seed};
use serde_json::Value;

use super::old_leads;
use crate::agent::Place;
use crate::sim::Call;

/// Another device with the same upstream, where nothing runs yet. It only pulls: a channel is one
/// device's.
fn other(first: &Place, name: &str) -> Place {
    let mut other = Place::new(name);
    other.set("upstream.accounts", &format!("\"{}\"", first.loopback.origin()));
    other.without("channel");
    other
}

fn is_listing(call: &Call) -> bool {
    call.path == "/crm/v2/Leads" && call.param("sort_by") == Some("id")
}

fn complete_through(place: &Place) -> String {
    let status = place.status();
    status["modules"]["Leads"]["complete_through"].as_str().unwrap_or_default().to_owned()
}

fn good(place: &Place, command: &[&str]) -> String {
    let ended = place.run(command);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command:?}: {ended:?}");
    ended.out
}

#[test]
fn a_seed_spares_the_second_device_the_listing() {
    let mut first = Place::new("seed-first");
    let ids = old_leads(&mut first.upstream(), 500);
    first.begin();
    let mut second = other(&first, "seed-second");
    let file = first.path("mirror.seed");
    let name = file.to_str().unwrap();
    let proved = complete_through(&first);
    let told: Value =
        serde_json::from_str(&good(&first, &["export", "--all", name, "--json"])).unwrap();
    assert_eq!(told["seed"]["modules"]["Leads"]["records"], 500);
    assert_eq!(told["seed"]["modules"]["Leads"]["complete_through"], proved.as_str());
    let refused = first.run(&["export", "--all", name]);
    assert!(refused.code == 1 && refused.err.contains("--force"), "{refused:?}");

    // Meanwhile upstream goes on.
    first.upstream().edit("Leads", ids[0], &[("Phone", "\"new\"")]);
    first.upstream().delete("Leads", ids[1]);
    let new = first.upstream().create("Leads", &[("Last_Name", "\"New\"")]);
    first.upstream().take_callbacks();
    first.stop();

    let text = good(&second, &["import", name]);
    assert!(text.contains("500") && text.contains("start the daemon"), "{text}");
    let occupied = second.run(&["import", name]);
    assert!(occupied.code == 1 && occupied.err.contains("--replace"), "{occupied:?}");
    first.upstream().forget_calls();
    first.upstream().faults.offline(true);
    second.start();
    assert_eq!(second.get("/readyz").status, 200, "reads answer at once");
    assert_eq!(complete_through(&second), proved, "as of the first device");
    assert_eq!(second.records("Leads").len(), 500);
    let explained = second.get(&format!("/explain/Leads/{}", ids[5])).value();
    assert!(explained["change"]["road"]["seed"]["taken"].is_string(), "{explained}");

    first.upstream().faults.offline(false);
    assert_eq!(second.ask("POST", "/sync", &[]).status, 202);
    let truth = first.truth("Leads", false);
    second.until("it has caught up", |place| (place.records("Leads") == truth).then_some(()));
    assert!(second.record("Leads", new).is_some());
    assert_eq!(first.calls(is_listing).len(), 0, "no listing");
    let calls = first.calls(|call| call.path.starts_with("/crm/")).len();
    println!("{calls} calls instead of a bootstrap");
    assert!(calls <= 8, "{calls}: a catch-up and a fetch");
}

#[test]
fn a_snapshot_is_taken_for_whoever_may_command() {
    let mut place = Place::new("snapshot");
    let ids = old_leads(&mut place.upstream(), 3);
    place.set("local.allow_origins", "[\"http://kiosk.local\"]");
    place.begin();
    let page = |origin: &str| place.ask("POST", "/snapshot", &[("Origin", origin)]).status;
    assert_eq!((page("http://evil.example"), page("http://kiosk.local")), (403, 200));
    assert_eq!(place.get("/snapshot").status, 405);
    assert_eq!(place.ask("POST", "/snapshot?now=true", &[]).status, 400);
    let snapshots = || fs::read_dir(place.path("store/snapshots")).unwrap().count();
    let take = |place: &Place| {
        let taken = place.ask("POST", "/snapshot", &[]);
        assert!(taken.status == 200 && taken.value()["entries"].as_u64() >= Some(4));
    };
    (0..3).for_each(|_| take(&place));
    assert_eq!(snapshots(), 1, "nothing has changed");
    for (number, id) in ids.into_iter().enumerate() {
        let phone = format!("\"{number}\"");
        place.upstream().edit("Leads", id, &[("Phone", &phone)]);
        place.carry();
        place.until_reads("Leads", id, "Phone", &phone);
        take(&place);
    }
    let snapshots = fs::read_dir(place.path("store/snapshots")).unwrap().count();
    assert_eq!(snapshots, 2, "the newest two are kept");
}

#[test]
fn a_place_with_records_is_replaced_only_when_asked_and_not_while_in_use() {
    let mut first = Place::new("replace-first");
    old_leads(&mut first.upstream(), 20);
    first.begin();
    first.stop();
    let file = first.path("mirror.seed");
    let name = file.to_str().unwrap();
    good(&first, &["export", "--all", name]);

    let mut second = other(&first, "replace-second");
    old_leads(&mut first.upstream(), 3);
    second.begin();
    assert_eq!(second.records("Leads").len(), 23);
    let busy = second.run(&["import", name, "--replace"]);
    assert!(busy.code == 1 && busy.err.contains("in use by another process"), "{busy:?}");
    second.stop();
    let text = good(&second, &["import", name, "--replace"]);
    assert!(text.contains("store/replaced"), "{text}");
    assert!(second.path("store/replaced/mirror.sled/db").exists());
    assert_eq!(good(&second, &["export", "Leads"]).lines().count(), 20);
    second.start();
    let truth = first.truth("Leads", false);
    second.until("it has caught up", |place| {
        // What was created long ago is found by no catch-up, but by a sweep.
        place.ask("POST", "/sync?sweep=true", &[]);
        (place.records("Leads") == truth).then_some(())
    });
}

#[test]
fn what_does_not_fit_is_refused_or_proves_nothing() {
    let mut first = Place::new("fit-first");
    old_leads(&mut first.upstream(), 5);
    first.upstream().model.add("Deals");
    first.modules(&[("Deals", ""), ("Leads", "")]);
    first.begin();
    first.stop();
    let file = first.path("mirror.seed");
    let name = file.to_str().unwrap();
    good(&first, &["export", "--all", name]);

    let elsewhere = Place::new("fit-elsewhere").run(&["import", name]);
    assert!(elsewhere.code == 1 && elsewhere.err.contains("mirrored from"), "{elsewhere:?}");
    let mut foreign = other(&first, "fit-foreign");
    foreign.modules(&[("Contacts", "")]);
    let foreign = foreign.run(&["import", name]);
    assert!(foreign.code == 1 && foreign.err.contains("none of its modules"), "{foreign:?}");

    // Other fields: the records are there, but each module is listed anew.
    let mut narrow = other(&first, "fit-narrow");
    narrow.modules(&[("Leads", "fields = [\"Phone\"]")]);
    let told: Value = serde_json::from_str(&good(&narrow, &["import", name, "--json"])).unwrap();
    assert_eq!((&told["let_go"][0], &told["unproved"][0]), (&"Deals".into(), &"Leads".into()));
    assert_eq!(good(&narrow, &["export", "Leads"]).lines().count(), 5);
    first.upstream().forget_calls();
    narrow.start();
    narrow.until("it is listed", |place| (place.get("/readyz").status == 200).then_some(()));
    assert!(!first.calls(is_listing).is_empty());
}

#[test]
fn a_kill_while_importing_leaves_the_old_mirror_or_the_new_one() {
    let mut first = Place::new("kill-first");
    old_leads(&mut first.upstream(), 5);
    let mut second = other(&first, "kill-second");
    second.begin().stop();
    let (store, old) = (second.path("store"), second.path("old"));
    copy(&store, &old);
    old_leads(&mut first.upstream(), 1_495);
    first.begin();
    first.stop();
    let file = first.path("mirror.seed");
    good(&first, &["export", "--all", file.to_str().unwrap()]);

    let config = second.write_config();
    let (mut random, mut olds, mut news) = (fastrand::Rng::with_seed(5), 0, 0);
    for round in 0..16 {
        fs::remove_dir_all(&store).unwrap();
        copy(&old, &store);
        let mut import = Command::new(env!("CARGO_BIN_EXE_crmirror"))
            .arg("--config")
            .arg(&config)
            .args(["import", file.to_str().unwrap(), "--replace"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(random.u64(round * 8..60 + round * 16)));
        // It may have ended already.
        let _ = import.kill();
        import.wait().unwrap();
        match second.run(&["export", "Leads"]).out.lines().count() {
            5 => olds += 1,
            1_500 => news += 1,
            other => panic!("{other} records in round {round}"),
        }
        assert_eq!(second.run(&["fsck"]).code, 0, "{}", second.printed());
        assert!(!store.join("replacing").exists() && !store.join("mirror.sled.new").exists());
    }
    println!("{olds} times the old mirror, {news} times the new one");
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn what_upstream_has_forgotten_since_takes_a_listing() {
    let first = Place::new("old-first");
    let ids = old_leads(&mut first.upstream(), 4);
    let mut second = other(&first, "old-second");
    let now = UpstreamTime::from_unix(first.upstream().now().unix());
    let module = ModuleName::parse("Leads").unwrap();
    let write = |id: u64, json: &str| Write {
        id: RecordId::new(id),
        entry: Entry::Live(Record::parse(json).unwrap()),
        change: Some(ChangeKind::Upsert),
    };
    // A device that was last there 60 days ago, and has a record that is long gone.
    let mut writes: Vec<Write> =
        first.upstream().truth("Leads", false).iter().map(|(id, json)| write(*id, json)).collect();
    writes.push(write(7, r#"{"id":"7","Last_Name":"Gone"}"#));
    let days = |days: u64| now.before(Duration::from_secs(days * 86_400));
    let ledger = Ledger {
        records: 5,
        complete_through: Some(days(60)),
        last_catch_up: Some(days(60)),
        last_sweep: Some(days(60)),
        ..Ledger::default()
    };
    let (store, _) = Store::open(&first.path("made")).unwrap();
    store
        .commit(Commit { ledger, writes, ..Commit::new(module.clone(), UpstreamTime::EPOCH) })
        .unwrap();
    store.snapshot(days(60)).unwrap();
    drop(store);
    let shape = Shape { fields: None, whole_records: false, organization: None };
    let terms = Terms {
        accounts: first.loopback.origin().to_string(),
        api_version: "v2".to_owned(),
        modules: [(module, shape)].into(),
    };
    let file = first.path("old.seed");
    let mut out = fs::File::create(&file).unwrap();
    write_seed(&first.path("made"), terms, &mut out, &mut |_, _| {}).unwrap();
    good(&second, &["import", file.to_str().unwrap()]);
    second.start();
    let truth = first.truth("Leads", false);
    second.until("it is swept", |place| (place.records("Leads") == truth).then_some(()));
    assert!(!first.calls(is_listing).is_empty() && second.record("Leads", ids[0]).is_some());
}
