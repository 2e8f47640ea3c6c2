//! The Debian package: made of the binary, installed, upgraded, removed and purged in a directory
//! that stands for `/`. Where there is no dpkg, there is nothing to see.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::scratch::Scratch;

/// Where the program has to be, with its units and a configuration to start from.
const INSTALLED: [&str; 9] = [
    "usr/local/bin/crmirror",
    "usr/local/lib/crmirror/proven",
    "etc/systemd/system/crmirror.service",
    "etc/systemd/system/crmirror.socket",
    "etc/systemd/system/crmirror-local.socket",
    "etc/systemd/system/crmirror-update.path",
    "etc/systemd/system/crmirror-update.service",
    "etc/sysusers.d/crmirror.conf",
    CONFIG,
];
const CONFIG: &str = "etc/crmirror/crmirror.toml";

/// Runs a program, which has to succeed; what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

fn dpkg(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("dpkg");
    command.arg("--root").arg(root).arg("--force-script-chrootless").args(arguments);
    run(&mut command)
}

#[test]
fn a_package_installs_removes_and_purges() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("skipped: dpkg is not here, or not for us");
        return;
    }
    let scratch = Scratch::new("package");
    let root = scratch.path().join("root");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();

    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/deb/build");
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    let mut command = Command::new(build);
    command.arg(env!("CARGO_BIN_EXE_crmirror")).arg(architecture.trim()).arg(scratch.path());
    let package = run(&mut command).trim().to_owned();
    assert!(package.contains(env!("CARGO_PKG_VERSION")), "{package}");

    dpkg(&root, &["-i", &package]);
    INSTALLED.iter().for_each(|file| assert!(root.join(file).is_file(), "{file}"));
    assert_eq!(
        fs::read(root.join(INSTALLED[0])).unwrap(),
        fs::read(env!("CARGO_BIN_EXE_crmirror")).unwrap()
    );

    // An upgrade leaves alone what a person wrote, and so does a removal.
    fs::write(root.join(CONFIG), "# mine\n").unwrap();
    dpkg(&root, &["-i", &package]);
    assert_eq!(fs::read_to_string(root.join(CONFIG)).unwrap(), "# mine\n");
    dpkg(&root, &["-r", "crmirror"]);
    for file in INSTALLED {
        assert_eq!(root.join(file).exists(), file == CONFIG, "{file}");
    }
    fs::create_dir_all(root.join("var/lib/crmirror/mirror.sled")).unwrap();
    dpkg(&root, &["-P", "crmirror"]);
    for gone in ["etc/crmirror", "var/lib/crmirror"] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
}

#[test]
fn a_package_of_what_comes_before_a_release_is_older_than_it() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("skipped: dpkg is not here");
        return;
    }
    let scratch = Scratch::new("package-before");
    let tree = scratch.path();
    fs::create_dir_all(tree.join("systemd/deb")).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/deb");
    for script in ["build", "control", "postinst", "prerm", "postrm"] {
        fs::copy(ours.join(script), tree.join("systemd/deb").join(script)).unwrap();
    }
    fs::write(tree.join("Cargo.toml"), "[package]\nversion = \"0.3.0-rc.1\"\n").unwrap();
    fs::write(tree.join("README.md"), "").unwrap();
    // Read by a shell: a file that was just written may still be open in a child of another test.
    let mut build = Command::new("sh");
    build.arg(tree.join("systemd/deb/build")).arg(ours.join("build")).arg("all").arg(tree);
    let package = run(&mut build);
    let version = run(Command::new("dpkg-deb").args(["-f", package.trim(), "Version"]));
    let before = ["--compare-versions", version.trim(), "lt", "0.3.0"];
    run(Command::new("dpkg").args(before));
}
