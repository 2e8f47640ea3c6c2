//! `install` and `uninstall`, in a directory that stands for `/`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::old_leads;
use crate::agent::{Ended, Place};

/// Every file below, with its permissions and when it was written.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, u64)> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(root).into_iter().flatten() {
        let path = entry.unwrap().path();
        let there = path.symlink_metadata().unwrap();
        if there.is_dir() {
            tree.extend(self::tree(&path));
        } else {
            let name = path.to_owned();
            tree.insert(name, (there.mode() & 0o7777, there.mtime_nsec(), there.ino()));
        }
    }
    tree
}

struct Device {
    place: Place,
    root: PathBuf,
}

impl Device {
    fn new(name: &str) -> Device {
        let place = Place::new(name);
        let root = place.path("root");
        fs::create_dir(&root).unwrap();
        Device { place, root }
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        let root = self.root.to_str().unwrap();
        let config = Path::new("/etc/crmirror/crmirror.toml");
        self.place.run_with(config, &[&[command, "--root", root][..], more].concat())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

#[test]
fn a_dry_run_tells_everything_and_touches_nothing() {
    let device = Device::new("dry-install");
    let told = device.run("install", &["--dry-run"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(tree(&device.root).is_empty() && fs::read_dir(&device.root).unwrap().next().is_none());
    for part in [
        "/usr/local/bin/crmirror (0755)",
        "/usr/local/lib/crmirror/proven (0755)",
        "/etc/systemd/system/crmirror.service (0644)",
        "/etc/systemd/system/crmirror-update.path (0644)",
        "/etc/crmirror/crmirror.toml (0644)",
    ] {
        assert!(told.out.contains(&format!("{}{part}", device.root.display())), "{part}: {told:?}");
    }
    assert_eq!(device.run("install", &[]).out, told.out, "what is told is what is done");
    let installed = tree(&device.root);
    let told = device.run("uninstall", &["--dry-run", "--purge"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(tree(&device.root), installed);
    // Without a root it would go to this machine: systemd is told too.
    let live = device.place.run(&["install", "--dry-run"]);
    assert_eq!(live.code, 0);
    assert!(live.out.contains("run systemctl daemon-reload\n"), "{live:?}");
    assert!(live.out.contains("run systemctl enable --now crmirror-update.path\n"), "{live:?}");
}

#[test]
fn installing_again_changes_nothing_and_repairs_what_is_not_as_it_should_be() {
    let device = Device::new("install-again");
    assert_eq!(device.run("install", &[]).code, 0);
    let program = fs::read(env!("CARGO_BIN_EXE_crmirror")).unwrap();
    for binary in ["/usr/local/bin/crmirror", "/usr/local/lib/crmirror/proven"] {
        assert!(fs::read(device.path(binary)).unwrap() == program, "{binary}");
    }
    let config = device.path("/etc/crmirror/crmirror.toml");
    let credentials = device.path("/etc/crmirror/credentials.json");
    fs::write(&config, "# mine\n").unwrap();
    fs::write(&credentials, "{}").unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
    let installed = tree(&device.root);
    let again: Value = serde_json::from_str(&device.run("install", &["--json"]).out).unwrap();
    assert_eq!(again["steps"], Value::Array(Vec::new()));
    assert_eq!(tree(&device.root), installed);

    let unit = device.path("/etc/systemd/system/crmirror-update.path");
    let whole = fs::read(&unit).unwrap();
    fs::write(&unit, "[Unit]\n").unwrap();
    let proven = device.path("/usr/local/lib/crmirror/proven");
    fs::write(&proven, "the one before").unwrap();
    let third = device.run("install", &[]);
    assert!(third.out.starts_with(&format!("replace {} (0644)\n", unit.display())), "{third:?}");
    assert_eq!(fs::read(&unit).unwrap(), whole);
    assert_eq!(fs::read(&proven).unwrap(), b"the one before", "that is for an update to replace");
}

#[test]
fn who_is_set_up_is_not_told_to_set_up() {
    let device = Device::new("install-next");
    let told = |part: &str| {
        let out = device.run("install", &[]).out;
        assert!(out.contains(part), "{part}: {out}");
        out
    };
    told("next: edit ");
    told("next: edit ");
    let credentials = device.path("/etc/crmirror/credentials.json");
    fs::write(credentials, "{}").unwrap();
    assert!(!told("").contains("next:"), "there is nothing to do");
    fs::write(device.path("/usr/local/bin/crmirror"), "the one before").unwrap();
    let out = told("next: journalctl -f -u crmirror-update tells whether the new binary is kept\n");
    assert!(!out.contains("login"), "{out}");
}

#[test]
fn what_is_made_for_all_can_be_read_by_all_whatever_the_umask() {
    let device = Device::new("install-umask");
    let program = env!("CARGO_BIN_EXE_crmirror");
    let script = format!("umask 077 && exec {program} install --root \"$0\"");
    let mut command = Command::new("sh");
    let status = command.arg("-c").arg(script).arg(&device.root).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    // The daemon's user has to come to its configuration, and everybody to the program.
    for path in ["/etc/crmirror", "/etc/systemd/system", "/etc/sysusers.d", "/usr/local/bin"] {
        for directory in device.path(path).ancestors().take_while(|there| *there != device.root) {
            let mode = directory.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o755, "{}", directory.display());
        }
    }
}

/// A device whose daemon has run with an open channel, and whose files lie below the root.
fn lived_on(name: &str) -> Device {
    let mut device = Device::new(name);
    assert_eq!(device.run("install", &[]).code, 0);
    let ids = old_leads(&mut device.place.upstream(), 3);
    // As systemd keeps the state of a user that it makes.
    let (store, real) =
        (device.path("/var/lib/crmirror"), device.path("/var/lib/private/crmirror"));
    fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink("private/crmirror", &store).unwrap();
    device.place.set("store.path", &format!("\"{}\"", store.display()));
    let credentials = device.path("/etc/crmirror/credentials.json");
    fs::copy(device.place.path("credentials.json"), &credentials).unwrap();
    device.place.set("upstream.credentials", &format!("\"{}\"", credentials.display()));
    device.place.begin();
    assert!(device.place.record("Leads", ids[0]).is_some());
    fs::copy(device.place.write_config(), device.path("/etc/crmirror/crmirror.toml")).unwrap();
    device
}

fn closed(device: &Device) -> usize {
    device.place.calls(|call| call.method == "DELETE" && call.path.contains("watch")).len()
}

#[test]
fn uninstall_closes_the_channel_and_leaves_what_is_not_ours() {
    let mut device = lived_on("uninstall");
    assert_eq!(device.place.upstream().live_channels().len(), 1);
    let gone = device.run("uninstall", &[]);
    assert_eq!((gone.code, closed(&device)), (0, 1), "the running daemon closes it: {gone:?}");
    assert!(gone.out.starts_with("close the channel upstream\n"), "{gone:?}");
    assert_eq!(device.place.upstream().live_channels().len(), 0);
    for left in [
        "/etc/crmirror/crmirror.toml",
        "/etc/crmirror/credentials.json",
        "/var/lib/crmirror/mirror.sled",
    ] {
        assert!(device.path(left).exists(), "{left}");
    }
    for removed in
        ["/usr/local/bin/crmirror", "/usr/local/lib/crmirror", "/etc/sysusers.d/crmirror.conf"]
    {
        assert!(!device.path(removed).exists(), "{removed}");
    }
    let units = fs::read_dir(device.path("/etc/systemd/system")).unwrap();
    assert_eq!(units.count(), 0);
    device.place.stop();
}

#[test]
fn purge_removes_what_was_written_and_tells_each_of_it() {
    let mut device = lived_on("purge");
    device.place.stop();
    fs::write(device.path("/var/lib/crmirror/photo.jpg"), "not ours").unwrap();
    let gone = device.run("uninstall", &["--purge"]);
    assert_eq!((gone.code, closed(&device)), (0, 1), "without a daemon: {gone:?}");
    let left: Vec<PathBuf> = tree(&device.root).into_keys().collect();
    let not_ours = ["/var/lib/crmirror", "/var/lib/private/crmirror/photo.jpg"];
    assert_eq!(left, not_ours.map(|path| device.path(path)));
    for part in ["mirror.sled\n", "identity.json\n", "crmirror.toml\n", "credentials.json\n"] {
        assert!(gone.out.contains(part), "{part}: {gone:?}");
    }
    let again = device.run("uninstall", &["--purge"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "nothing is left to do");
}

#[test]
fn a_channel_that_cannot_be_closed_is_told_and_stops_nothing() {
    let mut device = lived_on("purge-offline");
    device.place.stop();
    device.place.upstream().faults.offline(true);
    let gone = device.run("uninstall", &["--purge"]);
    assert_eq!(gone.code, 0, "{gone:?}");
    assert!(gone.err.contains("the channel is not closed, and expires by itself: "), "{gone:?}");
    assert!(tree(&device.root).is_empty(), "{:?}", tree(&device.root));
}
