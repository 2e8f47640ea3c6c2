//! Who is believed: a callback that the platform's secret proves, of the one organisation.

use super::*;

#[test]
fn what_is_not_the_platforms_is_refused_and_nothing_of_it_is_kept() {
    let mut place = place("platform-refused");
    place.begin();
    tell(&place, "onInstall");
    until_recorded(&mut place, 1);
    let kept = fs::read(place.path("store/platform.json")).unwrap();
    place.upstream().forget_calls();
    let good = Told::new("onZohoAuthorise", "another-context-4711", Hashed::Body);
    let mut forged = good.hash.clone();
    forged.replace_range(..1, if good.hash.starts_with('0') { "1" } else { "0" });
    let wrong_secret =
        Told::of(PLATFORM_ORG, "onUninstall", "another-context-4711", Hashed::Body, "guessed");
    let other_org =
        Told::of(7, "onUninstall", "another-context-4711", Hashed::Body, PLATFORM_SECRET);
    let unknown = Told::new("onSomething", "another-context-4711", Hashed::Body);
    let cut = &good.body[..good.body.len() - 1];
    let huge = good.body.replace("another", &"x".repeat(2 << 20));
    for (body, hash, expected) in [
        (good.body.as_str(), None, 403),
        (&good.body, Some(forged.as_str()), 403),
        (&good.body, Some(&*good.hash.to_uppercase()), 403),
        (&good.body.replace("Authorise", "authorise"), Some(&*good.hash), 400),
        (&wrong_secret.body, Some(&wrong_secret.hash), 403),
        (&other_org.body, Some(&other_org.hash), 403),
        (&unknown.body, Some(&unknown.hash), 400),
        (cut, Some(&good.hash), 400),
        ("", Some(&good.hash), 400),
        (&huge, Some(&good.hash), 413),
    ] {
        let heard = post(&place, body, hash);
        assert_eq!(heard.status, expected, "{body:.80} {}", heard.text());
        assert!(!heard.text().contains("4711"), "{}", heard.text());
    }
    assert_eq!(http(place.callbacks, "GET", PATH, &[], b"").unwrap().status, 405);
    // A kind's own callback at another kind's path is neither's.
    assert_ne!(place.post(&good.body), 200);
    thread::sleep(Duration::from_millis(300));
    let status = place.status();
    assert_eq!(status["platform"]["events"], 1, "{status}");
    assert_eq!(status["channel"]["state"], "open", "{status}");
    assert_eq!(fs::read(place.path("store/platform.json")).unwrap(), kept);
    assert!(place.calls(|call| call.path.contains("watch")).is_empty(), "nothing was asked for");
    let metrics = place.get("/metrics").text();
    for line in ["wrong_hash\"} 4\n", "other_org\"} 1\n"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    place.stop();
    assert_eq!(traces(&place.path("store"), &["another-context".to_owned()]), []);
}

#[test]
fn an_organisation_that_is_named_is_the_only_one() {
    let mut place = place("platform-org");
    place.set("platform.org_id", "7");
    place.start();
    let foreign = Told::new("onInstall", CONTEXT, Hashed::Body);
    assert_eq!(send(&place, &foreign), 403);
    let ours = Told::of(7, "onInstall", CONTEXT, Hashed::Fields, PLATFORM_SECRET);
    assert_eq!(send(&place, &ours), 200);
    until_recorded(&mut place, 1);
}

#[test]
fn the_first_organisation_is_remembered_over_a_restart() {
    let mut place = place("platform-first");
    place.start();
    tell(&place, "onInstall");
    place.kill().start();
    let other = Told::of(7, "onInstall", CONTEXT, Hashed::Body, PLATFORM_SECRET);
    assert_eq!(send(&place, &other), 403);
    tell(&place, "onUpdate");
    until_recorded(&mut place, 2);
}

#[test]
fn with_verify_log_everything_is_accepted_and_the_form_is_told() {
    let mut place = place("platform-log");
    place.set("platform.verify", "\"log\"");
    place.start();
    for (told, line) in [
        (Told::new("onInstall", CONTEXT, Hashed::Body), "is made over the body"),
        (Told::new("onUpdate", CONTEXT, Hashed::Fields), "is made over its fields, joined"),
        (
            Told::of(PLATFORM_ORG, "onUpdate", CONTEXT, Hashed::Body, "x"),
            "accepted although its HASH is made with another secret",
        ),
    ] {
        assert_eq!(send(&place, &told), 200);
        place.until_printed(line);
    }
    assert_eq!(post(&place, &Told::new("onUpdate", CONTEXT, Hashed::Body).body, None).status, 200);
    place.until_printed("accepted although it has no HASH");
    until_recorded(&mut place, 4);
    let other = Told::of(7, "onInstall", CONTEXT, Hashed::Body, PLATFORM_SECRET);
    assert_eq!(send(&place, &other), 403, "the organisation has been proved");
    // Without the secret nothing is proved, and so no organisation settled.
    place.stop();
    place.write_credentials(&credentials(CLIENT_SECRET, Some(REFRESH_TOKEN)));
    fs::remove_file(place.path("store/platform.json")).unwrap();
    place.start();
    assert_eq!(send(&place, &other), 200);
    tell(&place, "onUpdate");
}

#[test]
fn a_missing_secret_and_a_wipe_that_nobody_proves_are_told() {
    let mut place = place("platform-wrong");
    place.write_credentials(&credentials(CLIENT_SECRET, Some(REFRESH_TOKEN)));
    for command in ["check", "run"] {
        let ended = place.run(&[command]);
        assert_eq!(ended.code, 78, "{command}: {ended:?}");
        assert!(ended.err.contains("no platform_secret, which [platform] needs"), "{ended:?}");
    }
    place.write_credentials(&with_secret(PLATFORM_SECRET));
    assert_eq!(place.run(&["check"]).code, 0);
    place.set("platform.verify", "\"log\"").set("platform.on_uninstall", "\"wipe\"");
    let ended = place.run(&["check"]);
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.err.contains("platform.on_uninstall: anybody who knows"), "{ended:?}");
    place.without("platform");
    let ended = place.run(&["platform", "events"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("no [platform]"), "{ended:?}");
}
