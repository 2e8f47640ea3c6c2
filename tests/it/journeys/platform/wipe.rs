//! A removal after which nothing is to be left.
//!
//! All files of the state directory are searched, byte by byte, for what upstream gave us and what
//! we told it: with a daemon that goes on by itself, with one that is killed at any moment, and
//! without a network. `ROUNDS=200` makes two hundred kills, `SEEDS=7..8` others.

use super::*;
use crate::scratch::{Seed, seeds};

/// What is to be found nowhere afterwards: texts of records, tokens, secrets, the context.
fn everything(place: &Place) -> Vec<String> {
    let identity = fs::read_to_string(place.path("store/identity.json")).unwrap();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    let mut texts: Vec<String> =
        [CONTEXT, REFRESH_TOKEN, CLIENT_SECRET, PLATFORM_SECRET].map(str::to_owned).to_vec();
    texts.push(identity["access"]["token"].as_str().unwrap().to_owned());
    texts.push(identity["channel"]["id"].as_str().unwrap().to_owned());
    let tokens = identity["channel"]["tokens"].as_array().unwrap();
    texts.extend(tokens.iter().map(|kept| kept["token"].as_str().unwrap().to_owned()));
    texts.extend(["Lead 00", "Moriarty", "Last_Name", "387238"].map(str::to_owned));
    texts
}

/// A place that is full of what is to be erased, a snapshot included.
fn full(name: &str) -> (Place, Vec<String>) {
    let mut place = place(name);
    place.set("platform.on_uninstall", "\"wipe\"");
    let ids = old_leads(&mut place.upstream(), 40);
    place.upstream().edit("Leads", ids[0], &[("Last_Name", "\"Moriarty\"")]);
    fill(&mut place);
    let texts = everything(&place);
    (place, texts)
}

/// Has the place mirror everything and hear of the extension.
fn fill(place: &mut Place) {
    place.begin();
    tell(place, "onZohoAuthorise");
    place.until("it is mirrored", |place| {
        (place.status()["modules"]["Leads"]["records"] == 40).then_some(())
    });
    assert_eq!(place.ask("POST", "/snapshot", &[]).status, 200);
}

fn until_wiped(place: &mut Place) {
    place.until("all is erased", |place| {
        let heard = http(place.local, "GET", "/status", &[], b"").ok()?;
        (heard.value()["platform"]["state"] == "wiped").then_some(())
    });
}

/// Nothing is left, and nothing is fetched.
fn is_empty(place: &mut Place, texts: &[String]) {
    assert_eq!(traces(&place.path("store"), texts), []);
    let calls = |place: &Place| place.calls(|_| true).len();
    let before = calls(place);
    let status = place.status();
    assert_eq!(status["modules"]["Leads"]["records"], 0, "{status}");
    assert_eq!(status["channel"]["state"], "none", "{status}");
    assert_eq!((&status["platform"]["events"], &status["sequence"]), (&json!(0), &json!(0)));
    assert_eq!(place.get("/crm/v2/Leads").status, 204);
    assert_eq!(place.get("/readyz").status, 503);
    assert_eq!(changes(place), Vec::<Value>::new());
    thread::sleep(Duration::from_millis(300));
    assert_eq!(calls(place), before, "nothing is asked for");
}

#[test]
fn nothing_is_left_and_it_begins_anew_when_the_extension_is_back() {
    let (mut place, texts) = full("wipe");
    assert!(!traces(&place.path("store"), &texts).is_empty(), "the search finds what is there");
    let generation = place.status()["generation"].clone();
    tell(&place, "onUninstall");
    until_wiped(&mut place);
    assert!(place.upstream().live_channels().is_empty(), "it was closed first");
    is_empty(&mut place, &texts);
    assert_ne!(place.status()["generation"], generation, "readers are told");
    let status = place.run(&["status"]);
    assert!(status.out.contains("all was erased"), "{status:?}");
    place.kill().start();
    until_wiped(&mut place);
    is_empty(&mut place, &texts);
    tell(&place, "onUpdate");
    until_recorded(&mut place, 1);
    assert_eq!(place.status()["platform"]["state"], "wiped");
    tell(&place, "onInstall");
    place.ready();
    assert_eq!(place.status()["modules"]["Leads"]["records"], 40);
    assert_eq!(place.upstream().live_channels().len(), 1);
    // And once more.
    tell(&place, "onUninstall");
    until_wiped(&mut place);
    assert_eq!(traces(&place.path("store"), &texts), []);
}

#[test]
fn without_a_network_the_erasing_does_not_wait_for_ever() {
    let (mut place, texts) = full("wipe-offline");
    place.upstream().faults.offline(true);
    tell(&place, "onUninstall");
    place.until_for(Duration::from_secs(90), "all is erased", |place| {
        let heard = http(place.local, "GET", "/status", &[], b"").ok()?;
        (heard.value()["platform"]["state"] == "wiped").then_some(())
    });
    place.until_printed("the channel is left to expire by itself");
    assert_eq!(traces(&place.path("store"), &texts), []);
    place.upstream().faults.calm();
    thread::sleep(Duration::from_millis(500));
    is_empty(&mut place, &texts);
}

#[test]
fn a_token_that_was_taken_back_does_not_keep_it_from_ending() {
    let (mut place, texts) = full("wipe-revoked");
    place.upstream().accounts.revoke_all();
    tell(&place, "onUninstall");
    until_wiped(&mut place);
    is_empty(&mut place, &texts);
}

#[test]
fn a_mirror_that_is_to_be_erased_is_not_read_by_commands() {
    let (mut place, texts) = full("wipe-commands");
    place.stop();
    fs::write(place.path("store/uninstalled"), "wiping").unwrap();
    for command in [&["list", "Leads"][..], &["platform", "events"], &["export", "Leads"]] {
        let ended = place.run(command);
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
        assert!(ended.err.contains("is to be erased; start crmirror run"), "{ended:?}");
    }
    // Not even a configuration that has forgotten the platform takes the decision back.
    place.without("platform").without("channel");
    place.start();
    place.until_printed("mirror and tokens are erased");
    place.stop();
    let tokens = texts.iter().filter(|text| !text.starts_with("Lead 00"));
    let tokens: Vec<String> = tokens.filter(|text| text.len() > 12).cloned().collect();
    assert_eq!(traces(&place.path("store"), &tokens), []);
}

#[test]
fn kills_at_any_moment_leave_nothing_either() {
    let rounds: u64 = std::env::var("ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    for seed in seeds(1) {
        let _seed = Seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut place, mut texts) = full("wipe-kills");
        let mut hit = BTreeSet::new();
        for _ in 0..rounds {
            tell(&place, "onUninstall");
            // Each call takes a moment, so that kills fall before, between and behind them.
            place.loopback.latency(Duration::from_millis(random.u64(0..50)));
            for _ in 0..6 {
                thread::sleep(Duration::from_millis(random.u64(0..60)));
                place.kill();
                hit.insert(standing(&place));
                place.launch();
            }
            place.loopback.latency(Duration::ZERO);
            until_wiped(&mut place);
            is_empty(&mut place, &texts);
            tell(&place, "onInstall");
            place.ready();
            fill_again(&mut place);
            texts = everything(&place);
        }
        println!("{rounds} rounds were killed at: {hit:?}");
        let halfway = hit.iter().any(|moment| moment.starts_with("'wiping'"));
        assert!(halfway, "none fell between the decision and its end: {hit:?}");
    }
}

#[test]
fn whatever_part_of_it_is_gone_already() {
    let (mut place, texts) = full("wipe-parts");
    place.stop();
    fs::write(place.path("store/uninstalled"), "wiping").unwrap();
    let whole = place.path("whole");
    copy(&place.path("store"), &whole);
    let mut names: Vec<String> = fs::read_dir(&whole)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "uninstalled")
        .collect();
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    for gone in 0..=names.len() {
        fs::remove_dir_all(place.path("store")).unwrap();
        copy(&whole, &place.path("store"));
        for name in &names[..gone] {
            let path = place.path("store").join(name);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        place.start();
        until_wiped(&mut place);
        is_empty(&mut place, &texts);
        place.stop();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn behind_a_removal_that_erases_everything_nothing_is_acknowledged() {
    let (mut place, texts) = full("wipe-behind");
    // The heart is in a call that takes its time, and takes nothing in.
    place.upstream().forget_calls();
    place.loopback.latency(Duration::from_secs(5));
    assert_eq!(place.ask("POST", "/sync", &[]).status, 202);
    place.until("a call is in the air", |place| (!place.calls(|_| true).is_empty()).then_some(()));
    tell(&place, "onUninstall");
    let again = Told::new("onInstall", CONTEXT, Hashed::Body);
    assert_eq!(send(&place, &again), 503, "it would be erased with all else");
    place.kill().launch();
    place.loopback.latency(Duration::ZERO);
    until_wiped(&mut place);
    is_empty(&mut place, &texts);
    assert_eq!(send(&place, &again), 200);
    place.ready();
}

/// How far it had come: what the decision says, and what was left.
fn standing(place: &Place) -> String {
    let store = place.path("store");
    let word = fs::read_to_string(store.join("uninstalled")).unwrap_or_default();
    let left = ["mirror.sled", "snapshots", "identity.json", "platform.json"];
    let left: Vec<&str> = left.into_iter().filter(|name| store.join(name).exists()).collect();
    format!("'{word}' with {}", left.join(" "))
}

fn fill_again(place: &mut Place) {
    tell(place, "onZohoAuthorise");
    place.ready();
    assert_eq!(place.ask("POST", "/snapshot", &[]).status, 200);
}
