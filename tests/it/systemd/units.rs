//! The unit files: what the daemon relies on stands in them, and systemd's own tool has nothing to
//! say against them, where it is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::agent::Place;
use crate::scratch::Scratch;

const UNITS: [&str; 5] = [
    "crmirror.service",
    "crmirror.socket",
    "crmirror-local.socket",
    "crmirror-update.path",
    "crmirror-update.service",
];
/// What `systemd-analyze security` may find at most, in tenths.
const EXPOSURE_LIMIT: f64 = 1.5;

/// Section and key → its values, in their order.
type Unit = BTreeMap<(String, String), Vec<String>>;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn unit(name: &str) -> Unit {
    let text = fs::read_to_string(directory().join(name)).unwrap();
    let (mut unit, mut section) = (Unit::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
                let key = (section.clone(), key.to_owned());
                unit.entry(key).or_default().push(value.to_owned());
            }
        }
    }
    unit
}

fn values<'a>(unit: &'a Unit, section: &str, key: &str) -> Vec<&'a str> {
    let values = unit.get(&(section.to_owned(), key.to_owned()));
    values.into_iter().flatten().map(String::as_str).collect()
}

/// Fails where a key of a section does not have exactly these values.
fn check(unit: &Unit, section: &str, lines: &[(&str, &[&str])]) {
    for (key, expected) in lines {
        assert_eq!(values(unit, section, key), *expected, "{section}: {key}");
    }
}

#[test]
fn the_service_says_what_the_daemon_relies_on() {
    let unit = unit("crmirror.service");
    check(
        &unit,
        "Unit",
        &[
            ("StartLimitIntervalSec", &["0"]),
            // Neither a network nor the time is waited for.
            ("After", &[]),
            ("Wants", &[]),
            ("Requires", &[]),
        ],
    );
    check(
        &unit,
        "Service",
        &[
            ("Type", &["notify"]),
            ("NotifyAccess", &["main"]),
            ("ExecStartPre", &["-/usr/local/bin/crmirror check"]),
            ("ExecStart", &["/usr/local/bin/crmirror run"]),
            ("Restart", &["always"]),
            ("RestartPreventExitStatus", &["78"]),
            ("WatchdogSec", &["60"]),
            ("DynamicUser", &["yes"]),
            ("StateDirectory", &["crmirror"]),
            ("RuntimeDirectory", &["crmirror"]),
            ("LoadCredential", &["credentials.json:/etc/crmirror/credentials.json"]),
            ("MemoryMax", &["400M"]),
            ("TasksMax", &["512"]),
            ("RestrictAddressFamilies", &["AF_INET AF_INET6 AF_UNIX"]),
            (
                "SystemCallFilter",
                &[
                    "@system-service",
                    "~@privileged @resources @keyring @memlock @aio @setuid",
                    // Of those, what readers' threads are made to give way with.
                    "setpriority",
                ],
            ),
        ],
    );
    let commands = ["ExecStart", "ExecStartPre"].map(|key| values(&unit, "Service", key));
    let place = Place::new("units");
    for command in commands.concat() {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        let parsed = crmirror::cli::args::parse(arguments.iter().map(Into::into));
        assert!(parsed.is_ok(), "{command}");
    }
    // As it is before the first start: without a store, and with nobody else about.
    assert_eq!(place.run(&["check"]).code, 0);
}

#[test]
fn a_trial_whose_judge_was_killed_goes_on() {
    let lines = [("Type", &["exec"][..]), ("Restart", &["on-abnormal"]), ("RestartSec", &["5"])];
    check(&unit("crmirror-update.service"), "Service", &lines);
}

#[test]
fn check_finds_nothing_wrong_while_the_daemon_runs() {
    let mut place = Place::new("units-check");
    place.begin();
    let ended = place.run(&["check"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("in use"), "{}", ended.out);
}

#[test]
fn the_sockets_have_the_names_and_addresses_that_are_expected() {
    check(
        &unit("crmirror.socket"),
        "Socket",
        &[
            ("ListenStream", &["127.0.0.1:8686"]),
            ("FileDescriptorName", &["callbacks"]),
            ("Accept", &[]),
            ("Service", &[]),
        ],
    );
    let local = unit("crmirror-local.socket");
    check(
        &local,
        "Socket",
        &[
            ("ListenStream", &["127.0.0.1:8687", "/run/crmirror.sock"]),
            ("FileDescriptorName", &["local"]),
            ("Service", &["crmirror.service"]),
            ("SocketMode", &["0660"]),
        ],
    );
    let service = unit("crmirror.service");
    let also = values(&service, "Install", "Also").concat();
    assert_eq!(also, "crmirror.socket crmirror-local.socket");
    // The addresses are those that a configuration has which says nothing of them.
    let text = "[upstream]\ndata_centre = \"us\"\n[channel]\nnotify_url = \"https://a.example/b\"\n\
                [[module]]\nname = \"Leads\"\n";
    let path = Path::new("/c.toml");
    let config = crmirror::config::Config::parse(path, text.as_bytes(), None).unwrap();
    assert_eq!(config.callbacks.listen.to_string(), "127.0.0.1:8686");
    assert_eq!(config.local.listen.to_string(), "127.0.0.1:8687");
    assert_eq!(config.store, Path::new("/var/lib/crmirror"));
}

/// The units as they are on a device, but with the program that was built.
fn installed() -> Scratch {
    let scratch = Scratch::new("units");
    for name in UNITS {
        let text = fs::read_to_string(directory().join(name)).unwrap();
        let text = text.replace("/usr/local/bin/crmirror ", &format!("{} ", program()));
        let text = text.replace("/usr/local/lib/crmirror/proven ", &format!("{} ", program()));
        fs::write(scratch.path().join(name), text).unwrap();
    }
    scratch
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_crmirror")
}

/// Runs `systemd-analyze`; nothing where it is not there.
fn analyze(arguments: &[&str], units: &Scratch) -> Option<Output> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).args(UNITS.map(|name| units.path().join(name)).as_slice());
    match command.env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "").output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: systemd-analyze cannot be run here: {error}");
            None
        }
    }
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let units = installed();
    let Some(output) = analyze(&["verify", "--man=no"], &units) else { return };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_service_is_exposed_as_little_as_it_can_be() {
    let scratch = installed();
    let service = scratch.path().join(UNITS[0]);
    for name in &UNITS[1..] {
        fs::remove_file(scratch.path().join(name)).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).arg(service);
    let output = match command.env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: systemd-analyze cannot be run here: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("unrecognized option") {
        return println!("skipped: this systemd-analyze judges no files");
    }
    let (_, overall) = said.split_once("Overall exposure level for ").unwrap_or_else(|| {
        panic!("{said}{error}");
    });
    let (_, exposure) = overall.split_once(": ").unwrap();
    let exposure: f64 = exposure.split(' ').next().unwrap().parse().unwrap();
    println!("exposure {exposure}");
    assert!(exposure <= EXPOSURE_LIMIT, "{said}");
}
