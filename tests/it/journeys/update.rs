//! `update`: a binary is copied over the old one. A good one is kept, and of each bad one the
//! journal says why the old one is back. `systemctl.sh` stands in for systemd.

mod blame;
mod room;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::old_leads;
use crate::agent::Place;

const REAL: &str = env!("CARGO_BIN_EXE_crmirror");
/// Long enough for a busy machine, and each bad binary is seen to be bad at its end.
const SETTLE: &str = "8s";
/// The promise about a bad binary.
const MINUTE: Duration = Duration::from_secs(60);

/// A device with a daemon that runs, mirrors and has its channel open.
struct Device {
    place: Place,
    id: u64,
}

impl Device {
    fn new(name: &str) -> Device {
        Device::with(Place::new(name))
    }

    fn with(place: Place) -> Device {
        let id = old_leads(&mut place.upstream(), 1)[0];
        place.write_config();
        for directory in ["bin", "keep", "path"] {
            fs::create_dir(place.path(directory)).unwrap();
        }
        fs::hard_link(REAL, place.path("bin/crmirror")).unwrap();
        fs::hard_link(REAL, place.path("keep/proven")).unwrap();
        script(&place.path("path/systemctl"), include_str!("systemctl.sh"));
        let mut device = Device { place, id };
        assert!(device.systemctl("restart"));
        device.place.ready();
        device
    }

    /// Has the stand-in do something. It is read by a shell: a file that was just written may still
    /// be open in a child of another test, and could not be run.
    fn systemctl(&self, does: &str) -> bool {
        let script = self.place.path("path/systemctl");
        let mut command = self.command("/bin/sh");
        command.arg(script).arg(does).status().is_ok_and(|status| status.success())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.place.path(program));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.place.path("path").display()));
        command.env("PLACE", self.place.path("")).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Begins an update, as the service does: by the binary that proved itself.
    fn begin(&self) -> Child {
        let mut command = self.command("keep/proven");
        command.arg("--config").arg(self.place.path("crmirror.toml")).arg("update");
        command.args(["--settle", SETTLE, "--prove", SETTLE]);
        command.arg("--binary").arg(self.binary()).arg("--keep").arg(self.place.path("keep"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// An update; its exit code and what it said.
    fn update(&self) -> (i32, String) {
        let output = self.begin().wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let log = fs::read_to_string(self.place.path("log")).unwrap_or_default();
        let said = String::from_utf8(said).unwrap();
        println!("{said}    the daemon:\n{log}");
        (output.status.code().unwrap_or(-1), said)
    }

    fn binary(&self) -> PathBuf {
        self.place.path("bin/crmirror")
    }

    /// Puts a script in the binary's place that is crmirror but for what it does to `bad`; then
    /// `$REAL` is the good one.
    fn spoil(&self, bad: &str, does: &str) {
        let text = format!("#!/bin/sh\nREAL={REAL}\ncase \"$*\" in {bad}) {does} ;; esac\n");
        script(&self.binary(), &format!("{text}exec $REAL \"$@\"\n"));
    }

    /// Puts another good binary in its place.
    fn renew(&self) {
        script(&self.place.path("fresh"), "");
        let mut bytes = fs::read(REAL).unwrap();
        bytes.push(0);
        write(&self.place.path("fresh"), &bytes);
        fs::rename(self.place.path("fresh"), self.binary()).unwrap();
    }

    /// The old binary is in its place again, and the daemon does what it did before.
    fn is_as_before(&mut self) {
        assert!(is_real(&self.binary()), "the binary before is back");
        self.works();
    }

    fn works(&mut self) {
        let id = self.id;
        self.place.until("all works", |place| {
            let status = crate::sim::http(place.local, "GET", "/status", &[], b"").ok()?.value();
            let works =
                status["channel"]["state"] == "open" && status["upstream"]["state"] == "online";
            works.then_some(())?;
            place.record("Leads", id).map(drop)
        });
    }

    /// How often systemd was asked to restart the daemon.
    fn restarts(&self) -> usize {
        restarts(&self.place)
    }

    fn until_restarted(&mut self, before: usize) {
        self.place.until("the trial has begun", |place| (restarts(place) > before).then_some(()));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.systemctl("stop");
    }
}

fn restarts(place: &Place) -> usize {
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    calls.lines().filter(|line| line.starts_with("restart")).count()
}

fn write(path: &Path, bytes: &[u8]) {
    let mut open = OpenOptions::new();
    let mut file = open.create(true).truncate(true).write(true).mode(0o755).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A script in a file of its own, whatever was there.
fn script(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    write(path, text.as_bytes());
}

fn is_real(path: &Path) -> bool {
    let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
    mode == 0o755 && fs::read(path).unwrap() == fs::read(REAL).unwrap()
}

#[test]
fn a_good_binary_is_kept_and_is_what_the_next_one_is_measured_by() {
    let mut device = Device::new("update-good");
    device.renew();
    let before = device.binary().metadata().unwrap().ino();
    let (code, said) = device.update();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it is tried; this has to work: reads, token, channel"), "{said}");
    assert!(said.contains("proved itself: it is kept"), "{said}");
    assert_eq!(device.binary().metadata().unwrap().ino(), before, "it is not touched");
    let keep = fs::read(device.place.path("keep/proven")).unwrap();
    assert!(keep == fs::read(device.binary()).unwrap());
    device.works();
    let restarts = device.restarts();
    let (code, said) = device.update();
    assert_eq!((code, device.restarts()), (0, restarts), "at boot nothing is to be done: {said}");
}

#[test]
fn a_device_that_only_pulls_is_updated_too() {
    let mut place = Place::new("update-pulls");
    place.without("channel").without("callbacks");
    let device = Device::with(place);
    device.renew();
    let (code, said) = device.update();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("this has to work: reads, token\n"), "{said}");
}

/// A bad binary: the old one is back within a minute, the journal says why, and it is not tried
/// again.
fn check(name: &str, spoil: impl Fn(&Device), why: &str) {
    let mut device = Device::new(name);
    spoil(&device);
    let bad = fs::read(device.binary()).unwrap();
    let began = Instant::now();
    let (code, said) = device.update();
    assert!(began.elapsed() < MINUTE, "{:?}", began.elapsed());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is refused") && said.contains(why), "{why}: {said}");
    device.is_as_before();

    let restarts = device.restarts();
    script(&device.binary(), "");
    write(&device.binary(), &bad);
    let (code, said) = device.update();
    // One restart, with the proven one: somebody may have restarted the daemon since the copy.
    assert_eq!((code, device.restarts()), (1, restarts + 1), "it is not tried again: {said}");
    if !bad.starts_with(b"\x7fELF") {
        assert!(said.contains("refused before, since"), "{said}");
    }
    device.is_as_before();
}

#[test]
fn one_that_does_not_run_is_put_back() {
    check("update-exits", |device| device.spoil("*", "exit 1"), "--version: exit status: 1");
    let alien = |device: &Device| device.spoil("*", "echo busybox; exit 0");
    check("update-alien", alien, "does not say that it is crmirror");
}

#[test]
fn one_that_never_answers_is_put_back() {
    let sleeps = |device: &Device| device.spoil("*", "sleep 600");
    check("update-sleeps", sleeps, "--version: it did not end within 10 s");
}

#[test]
fn one_that_does_not_like_the_configuration_is_put_back() {
    let check_fails = |device: &Device| device.spoil("*check", "echo 'line 3: no' >&2; exit 78");
    check("update-check", check_fails, "check: exit status: 78: line 3: no");
}

#[test]
fn one_that_crashes_at_once_is_put_back() {
    let crashes = |device: &Device| device.spoil("*run", "echo boom >&2; kill -ABRT $$");
    check("update-crashes", crashes, "it ended before it was ready");
}

#[test]
fn one_that_hangs_before_it_is_ready_is_put_back() {
    let hangs = |device: &Device| device.spoil("*run", "exec sleep 600");
    check("update-hangs", hangs, "it was not ready within 8 s");
}

#[test]
fn one_that_crashes_later_is_put_back() {
    let later =
        |device: &Device| device.spoil("*run", "$REAL \"$@\" & sleep 3; kill -9 $!; exit 1");
    check("update-later", later, "though it had been ready");
}

#[test]
fn one_that_cannot_read_the_store_is_put_back() {
    let newer = |device: &Device| {
        let store = device.place.path("newer");
        drop(crmirror::store::Store::open(&store).unwrap());
        crate::store_open::harm_value(&store, b"v", |value| value[0] = 3);
        other_config(device, |text| {
            text.replace(device.place.path("store").to_str().unwrap(), store.to_str().unwrap())
        });
    };
    check("update-store", newer, "has format 3, this crmirror reads up to 2");
}

#[test]
fn one_that_loses_what_worked_is_put_back() {
    let no_channel = |device: &Device| {
        other_config(device, |text| {
            let (before, rest) = text.split_once("[channel]\n").unwrap();
            format!("{before}{}", &rest[rest.find('[').unwrap()..])
        });
    };
    check("update-channel", no_channel, "s later: channel");
    let no_reads =
        |device: &Device| other_config(device, |text| text.replace("\"Leads\"", "\"Deals\""));
    check("update-reads", no_reads, "s later: reads");
}

#[test]
fn one_that_gets_no_token_is_put_back() {
    let denied = |device: &Device| {
        let store = device.place.path("elsewhere");
        let config = device.place.path("store");
        let wrong = crate::agent::credentials("wrong", Some("1000.wrong"));
        write(&device.place.path("wrong.json"), wrong.as_bytes());
        other_config(device, |text| {
            let text = text.replace("\"credentials.json\"", "\"wrong.json\"");
            text.replace(config.to_str().unwrap(), store.to_str().unwrap())
        });
    };
    check("update-token", denied, "s later: token, channel");
}

/// Spoils the binary so that its daemon runs with another configuration.
fn other_config(device: &Device, change: impl Fn(String) -> String) {
    let path = device.place.path("other.toml");
    let text = fs::read_to_string(device.place.path("crmirror.toml")).unwrap();
    write(&path, change(text).as_bytes());
    device.spoil("*run", &format!("exec $REAL --config {} run", path.display()));
}

#[test]
fn a_copy_in_progress_is_waited_for_and_one_that_stops_is_put_back() {
    let mut device = Device::new("update-copying");
    let bytes = [&fs::read(REAL).unwrap()[..], b"\0"].concat();
    let binary = device.binary();
    fs::remove_file(&binary).unwrap();
    let mut open = OpenOptions::new();
    let mut file = open.create_new(true).write(true).mode(0o755).open(&binary).unwrap();
    let update = device.begin();
    for piece in bytes.chunks(bytes.len() / 4 + 1) {
        thread::sleep(Duration::from_millis(1_500));
        file.write_all(piece).unwrap();
    }
    drop(file);
    let output = update.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("proved itself"), "{said}");

    fs::remove_file(&binary).unwrap();
    write(&binary, &bytes[..bytes.len() / 2]);
    let (code, said) = device.update();
    assert_eq!(code, 1);
    assert!(said.contains("the copy is refused: it is cut short: "), "{said}");
    assert!(fs::read(&binary).unwrap() == bytes, "the one that proved itself is back");
    device.works();
}

#[test]
fn what_is_copied_during_a_trial_is_tried_next() {
    let mut device = Device::new("update-meanwhile");
    device.spoil("*run", "exec sleep 600");
    let restarts = device.restarts();
    let update = device.begin();
    device.until_restarted(restarts);
    device.renew();
    let good = fs::read(device.binary()).unwrap();
    let output = update.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("meanwhile another binary was copied"), "{said}");
    assert_eq!(said.matches("it is kept").count(), 1, "whichever ran first: {said}");
    assert!(fs::read(device.place.path("keep/proven")).unwrap() == good);
    device.works();
}

#[test]
fn a_trial_that_is_broken_off_again_and_again_ends_with_the_old_binary() {
    let mut device = Device::new("update-broken-off");
    device.spoil("*nothing", "");
    for round in 1..=2 {
        let before = device.restarts();
        let mut update = device.begin();
        device.until_restarted(before);
        update.kill().unwrap();
        update.wait().unwrap();
        // systemd goes on with what it was asked for.
        device.place.until("the daemon is restarted", |place| {
            let calls = fs::read_to_string(place.path("calls")).unwrap();
            let done = calls.lines().filter(|line| *line == "done").count();
            (done == restarts(place)).then_some(())
        });
        let ran = device.command("bin/crmirror").arg("--version").output().unwrap();
        assert!(ran.status.success(), "round {round}: there is a binary that runs");
    }
    device.works();
    let (code, said) = device.update();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("2 trials of it were broken off"), "{said}");
    device.is_as_before();
}

#[test]
fn a_daemon_that_a_person_stopped_stays_stopped() {
    let device = Device::new("update-stopped");
    assert!(device.systemctl("stop"));
    device.spoil("*nothing", "");
    let restarts = device.restarts();
    let (code, said) = device.update();
    assert_eq!((code, device.restarts()), (0, restarts), "{said}");
    assert!(said.contains("left untried: the daemon is not running"), "{said}");
    // What was wrong before is not the new binary's fault.
    write(&device.place.path("crmirror.toml"), b"nothing = 1\n");
    let (code, said) = device.update();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("check fails, and did before"), "{said}");
    assert!(!is_real(&device.binary()));
}

#[test]
fn what_was_refused_can_be_forgotten() {
    let mut device = Device::new("update-forget");
    device.spoil("*check", "[ -e \"${0%/*}/../sick\" ] && exit 1");
    let text = fs::read(device.binary()).unwrap();
    write(&device.place.path("sick"), b"");
    assert_eq!(device.update().0, 1);
    fs::remove_file(device.place.path("sick")).unwrap();
    let mut forget = device.command("keep/proven");
    forget.args(["update", "--forget", "--keep"]).arg(device.place.path("keep"));
    let forgotten = forget.output().unwrap();
    assert_eq!(forgotten.stdout, b"1 refused binaries are forgotten\n");
    script(&device.binary(), "");
    write(&device.binary(), &text);
    let (code, said) = device.update();
    assert_eq!(code, 0, "{said}");
    device.works();
}
