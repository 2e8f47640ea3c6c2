//! Who is to blame when a new binary does not do all: a bad one is not excused because nothing
//! worked when somebody looked, and a good one is not put back for what the one before it loses
//! too.

use std::fs;
use std::net::TcpListener;

use super::{Device, REAL, is_real, other_config, restarts, script, write};

/// A binary that is crmirror, and neither the one that is proven nor the one that is tried.
fn third(device: &Device) -> String {
    let path = device.place.path("third");
    write(&path, &[&fs::read(REAL).unwrap()[..], b"third"].concat());
    path.to_str().unwrap().to_owned()
}

/// Spoils the binary so that its daemon knows nothing of the module that is read.
fn spoil_reads(device: &Device) {
    other_config(device, |text| text.replace("\"Leads\"", "\"Deals\""));
}

/// It is refused for its reads, and the one before does all again.
fn reads_are_missed(device: &mut Device) {
    let (code, said) = device.update();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is refused: this does not work"), "{said}");
    assert!(said.contains("reads"), "{said}");
    device.is_as_before();
}

#[test]
fn one_that_was_started_before_its_trial_does_not_say_what_worked_before() {
    let mut device = Device::new("update-restarted");
    spoil_reads(&device);
    let text = fs::read_to_string(device.binary()).unwrap();
    let third = third(&device);
    script(
        &device.binary(),
        &text.replace("exec $REAL --config", &format!("exec {third} --config")),
    );
    assert!(device.systemctl("restart"), "by a person, after the copy");
    reads_are_missed(&mut device);
}

#[test]
fn one_whose_predecessor_was_down_has_to_do_all() {
    let mut device = Device::new("update-down");
    let pid = fs::read_to_string(device.place.path("pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    spoil_reads(&device);
    reads_are_missed(&mut device);
}

#[test]
fn an_unlucky_moment_is_no_excuse() {
    let mut device = Device::new("update-moment");
    device.place.upstream().faults.offline(true);
    assert!(device.systemctl("restart"));
    device.place.until("it has met that", |place| {
        (!place.status()["upstream"]["last_error"].is_null()).then_some(())
    });
    let wrong = crate::agent::credentials("wrong", Some("1000.wrong"));
    write(&device.place.path("wrong.json"), wrong.as_bytes());
    other_config(&device, |text| {
        let store = device.place.path("store");
        let text = text.replace("\"credentials.json\"", "\"wrong.json\"");
        text.replace(store.to_str().unwrap(), device.place.path("elsewhere").to_str().unwrap())
    });
    let update = device.begin();
    device.place.until("what works is asked", |place| {
        let calls = fs::read_to_string(place.path("calls")).unwrap();
        (calls.matches("show").count() > 0).then_some(())
    });
    device.place.upstream().faults.calm();
    let output = update.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is refused: this does not work"), "{said}");
    device.is_as_before();
}

#[test]
fn one_is_kept_that_loses_no_more_than_the_one_before() {
    let mut device = Device::new("update-outage");
    device.renew();
    let before = device.restarts();
    let update = device.begin();
    device.until_restarted(before);
    device.place.upstream().faults.offline(true);
    let output = update.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the binary before it does not do that either: token"), "{said}");
    assert!(said.contains("proved itself: it is kept"), "{said}");
    assert_eq!(restarts(&device.place), before + 3, "the new, the one before, the new");
    device.place.upstream().faults.calm();
    device.works();
    assert!(
        fs::read(device.binary()).unwrap() == fs::read(device.place.path("keep/proven")).unwrap()
    );
}

#[test]
fn one_is_not_refused_when_neither_starts() {
    let mut device = Device::new("update-neither");
    assert!(device.systemctl("stop"));
    fs::remove_file(device.place.path("stopped")).unwrap();
    let other = TcpListener::bind(device.place.local).unwrap();
    device.renew();
    let good = fs::read(device.binary()).unwrap();
    let (code, said) = device.update();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is put back, but not refused"), "{said}");
    assert!(is_real(&device.binary()));
    drop(other);
    script(&device.binary(), "");
    write(&device.binary(), &good);
    let (code, said) = device.update();
    assert_eq!(code, 0, "{said}");
    device.works();
}

#[test]
fn one_that_ended_and_was_started_again_between_two_looks_is_put_back() {
    let mut device = Device::new("update-again");
    // systemd counts how often it starts a daemon again that ended.
    let again = "(sleep 3; echo 1 >\"$PLACE/again\") & exec $REAL \"$@\"";
    device.spoil("*run", again);
    let (code, said) = device.update();
    fs::remove_file(device.place.path("again")).unwrap();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is refused: it ended within "), "{said}");
    device.is_as_before();
}
