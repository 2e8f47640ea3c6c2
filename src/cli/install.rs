//! `crmirror install` and `crmirror uninstall`: the binary, the units, an example configuration.
//!
//! A list of steps is made first; a dry run prints it, else each step is done and printed. Nothing
//! that a person wrote is ever replaced, and what lies there already as it should is left alone, so
//! that installing again is harmless. The daemon is not started: its configuration is not complete.

mod step;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use self::step::Step;
use super::args::{BINARY, Install, KEEP};
use super::update::keep::MODE;
use super::{channel, print};
use crate::config::{Config, Upstream};
use crate::error::Failure;

/// Where units belong that no package brought.
const UNITS: &str = "/etc/systemd/system";
/// Where systemd looks for groups to make.
const GROUPS: &str = "/etc/sysusers.d";
/// The units, and the group that one of them names.
const FILES: [(&str, &str, &str); 6] = [
    (UNITS, "crmirror.service", include_str!("../../systemd/crmirror.service")),
    (UNITS, "crmirror.socket", include_str!("../../systemd/crmirror.socket")),
    (UNITS, "crmirror-local.socket", include_str!("../../systemd/crmirror-local.socket")),
    (UNITS, "crmirror-update.path", include_str!("../../systemd/crmirror-update.path")),
    (UNITS, "crmirror-update.service", include_str!("../../systemd/crmirror-update.service")),
    (GROUPS, "crmirror.conf", include_str!("../../systemd/crmirror.sysusers")),
];
/// The configuration to start from.
const EXAMPLE: &str = include_str!("../../systemd/crmirror.toml");

/// What is run when all is placed.
const BEGIN: [&[&str]; 2] =
    [&["systemd-sysusers", "crmirror.conf"], &["systemctl", "daemon-reload"]];
/// What is run after that for each unit that was not there: what a person has disabled since stays
/// so. The sockets come with the daemon.
const ENABLE: [&[&str]; 3] = [
    &["systemctl", "enable", "crmirror.service"],
    &["systemctl", "enable", "crmirror-update.service"],
    &["systemctl", "enable", "--now", "crmirror-update.path"],
];
/// What is run before anything is removed, for each unit that is there: the watch over the binary
/// ends first, or it would put the binary back.
const END: [&[&str]; 5] = [
    &["systemctl", "disable", "--now", "crmirror-update.path"],
    &["systemctl", "disable", "--now", "crmirror-update.service"],
    &["systemctl", "disable", "--now", "crmirror.socket"],
    &["systemctl", "disable", "--now", "crmirror-local.socket"],
    &["systemctl", "disable", "--now", "crmirror.service"],
];
const ENDED: &[&str] = &["systemctl", "daemon-reload"];

/// What the daemon makes in the directory of its store.
const STATE: [&str; 15] = [
    "mirror.sled",
    "mirror.sled.new",
    "mirror.sled.old",
    "mirror.sled.broken",
    "snapshots",
    "identity.json",
    "platform.json",
    "uninstalled",
    "ballast",
    "condemned",
    "oversized",
    "numbers",
    "replacing",
    "replaced",
    "lock",
];

/// Where things lie: on this device, or in a directory that stands for `/`.
struct Place<'a> {
    root: Option<&'a Path>,
}

impl Place<'_> {
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match self.root {
            Some(root) if !path.starts_with(root) => {
                root.join(path.strip_prefix("/").unwrap_or(path))
            }
            Some(_) | None => path.to_owned(),
        }
    }

    /// The configuration, with what is removed where it lies.
    fn moved(&self, config: Config) -> Config {
        let credentials = self.at(&config.upstream.credentials);
        let store = self.at(&config.store);
        Config { upstream: Upstream { credentials, ..config.upstream }, store, ..config }
    }

    fn has_unit(&self, name: &str) -> bool {
        self.at(UNITS).join(name).exists()
    }

    fn run(&self, commands: &[&'static [&'static str]]) -> Vec<Step> {
        match self.root {
            Some(_) => Vec::new(),
            None => commands.iter().map(|command| Step::Run(command)).collect(),
        }
    }
}

/// Places everything.
pub(super) fn install(config: &Path, options: &Install, json: bool) -> Result<(), Failure> {
    let place = Place { root: options.root.as_deref() };
    let enable = enabling(|unit| place.has_unit(unit));
    let program = std::env::current_exe().and_then(fs::read).map_err(|error| {
        Failure::failed(format!("this program cannot be read: {error}; start it by its path"))
    })?;
    let binary = place.at(BINARY);
    let replaces = fs::read(&binary).is_ok_and(|there| there != program);
    let mut steps = vec![
        Step::Directory(place.at("/usr/local/bin")),
        Step::Directory(place.at(KEEP)),
        // Of a device that has one, it is for an update to replace.
        Step::PlaceIfMissing {
            path: place.at(KEEP).join("proven"),
            bytes: program.clone(),
            mode: MODE,
        },
        Step::Place { path: binary, bytes: program, mode: MODE },
    ];
    steps.extend([UNITS, GROUPS].map(|directory| Step::Directory(place.at(directory))));
    for (directory, name, text) in FILES {
        let (path, bytes) = (place.at(directory).join(name), text.as_bytes().to_vec());
        steps.push(Step::Place { path, bytes, mode: 0o644 });
    }
    let config = place.at(config);
    steps.push(Step::Directory(directory_of(&config)));
    // The daemon's user, who has no name before it runs, has to read it.
    let bytes = EXAMPLE.as_bytes().to_vec();
    steps.push(Step::PlaceIfMissing { path: config.clone(), bytes, mode: 0o644 });
    steps.extend(place.run(&BEGIN));
    steps.extend(place.run(&enable));
    let next = next(&place, &config, replaces);
    let mut told = Told::new(options, json);
    told.perform(&steps)?;
    told.end(&next)
}

/// What a person does after an installation.
fn next(place: &Place<'_>, config: &Path, replaces: bool) -> String {
    let there = Config::load(config).map(|config| place.moved(config).upstream.credentials);
    match (there.is_ok_and(|credentials| credentials.exists()), replaces) {
        (true, true) => {
            "next: journalctl -f -u crmirror-update tells whether the new binary is kept\n"
                .to_owned()
        }
        (true, false) => String::new(),
        (false, _) => format!(
            "next: edit {}, write credentials.json beside it (mode 0600), then\n  \
             crmirror login --code CODE && crmirror check\n  \
             systemctl start crmirror.socket crmirror-local.socket crmirror\n",
            config.display()
        ),
    }
}

/// What enables the units that are not there yet. Who has placed the daemon's by hand has none of
/// the others.
fn enabling(is_there: impl Fn(&str) -> bool) -> Vec<&'static [&'static str]> {
    let is_new = |command: &&[&str]| command.last().is_some_and(|unit| !is_there(unit));
    ENABLE.into_iter().filter(is_new).collect()
}

/// Closes the channel, and removes what was placed.
pub(super) fn uninstall(config: &Path, options: &Install, json: bool) -> Result<(), Failure> {
    let place = Place { root: options.root.as_deref() };
    let file = place.at(config);
    let mut told = Told::new(options, json);
    let config = Config::load(&file).map(|config| place.moved(config));
    match &config {
        Ok(config) => told.close(config)?,
        // Without a configuration there never was a channel.
        Err(_) if !file.exists() => {}
        Err(errors) => told.open(&errors.to_string()),
    }
    let there = |command: &&&[&str]| command.last().is_some_and(|unit| place.has_unit(unit));
    let ends: Vec<_> = END.iter().filter(there).copied().collect();
    let mut steps = place.run(&ends);
    for (directory, name, _) in FILES {
        steps.push(Step::Remove(place.at(directory).join(name)));
    }
    steps.push(Step::Remove(place.at(BINARY)));
    steps.push(Step::Remove(place.at(KEEP)));
    if options.purge {
        if let Ok(config) = &config {
            steps.extend(STATE.map(|name| Step::Remove(config.store.join(name))));
            steps.push(Step::RemoveIfEmpty(config.store.clone()));
            steps.push(Step::Remove(config.upstream.credentials.clone()));
            let token = config.local.token_file.iter();
            steps.extend(token.map(|path| Step::Remove(place.at(path))));
        }
        steps.push(Step::Remove(file.clone()));
        steps.push(Step::RemoveIfEmpty(directory_of(&file)));
    }
    steps.extend(place.run(&[ENDED]));
    told.perform(&steps)?;
    let left =
        "left: the configuration, the credentials and the mirror; --purge removes them too\n";
    told.end(if options.purge { "" } else { left })
}

fn directory_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}

/// What was done and printed so far.
struct Told {
    json: bool,
    dry_run: bool,
    done: Vec<String>,
    failed: Vec<String>,
    /// Why the channel is still open, if it is.
    open: Option<String>,
}

impl Told {
    fn new(options: &Install, json: bool) -> Told {
        let dry_run = options.dry_run;
        Told { json, dry_run, done: Vec::new(), failed: Vec::new(), open: None }
    }

    /// Does each step, or tells it; one that fails does not keep the others from being done.
    fn perform(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            let Some(says) = step.says() else { continue };
            match if self.dry_run { Ok(()) } else { step.perform() } {
                Ok(()) => self.tell(says)?,
                Err(why) => {
                    eprintln!("crmirror: {why}");
                    self.failed.push(why);
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, says: String) -> Result<(), Failure> {
        if !self.json {
            print(&format!("{says}\n"))?;
        }
        self.done.push(says);
        Ok(())
    }

    /// Closes the channel upstream, as long as there are credentials to do it with.
    fn close(&mut self, config: &Config) -> Result<(), Failure> {
        if config.channel.is_none() {
            return Ok(());
        }
        let says = "close the channel upstream".to_owned();
        if self.dry_run {
            return self.tell(says);
        }
        match channel::close(config) {
            Ok(()) => self.tell(says),
            Err(failure) => {
                self.open(&failure.to_string());
                Ok(())
            }
        }
    }

    /// The channel is still open; it expires, so this is no reason to stop.
    fn open(&mut self, why: &str) {
        eprintln!("crmirror: the channel is not closed, and expires by itself: {why}");
        self.open = Some(why.to_owned());
    }

    fn end(&self, next: &str) -> Result<(), Failure> {
        let Told { json, dry_run, done, failed, open } = self;
        if *json {
            let all = json!({
                "dry_run": dry_run, "steps": done, "failed": failed, "channel_left_open": open,
            });
            print(&format!("{all}\n"))?;
        } else {
            print(next)?;
        }
        match failed.len() {
            0 => Ok(()),
            count => Err(Failure::failed(format!(
                "{count} of the steps could not be done, see above; run it as root, once more"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_PATH;

    #[test]
    fn the_example_is_a_configuration() {
        let read = |text: &str| Config::parse(Path::new(DEFAULT_PATH), text.as_bytes(), None);
        assert_eq!(read(EXAMPLE).unwrap().warnings, []);
        // What is commented out is right too.
        let whole: String = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                Some(_) | None => format!("{line}\n"),
            })
            .collect();
        let config = read(&whole).unwrap();
        assert!(config.channel.is_some() && config.warnings.is_empty(), "{config:?}");
    }

    #[test]
    fn what_lies_in_a_root_already_stays_there() {
        let place = Place { root: Some(Path::new("/image")) };
        assert_eq!(place.at("/etc/a"), Path::new("/image/etc/a"));
        assert_eq!(place.at("/image/etc/a"), Path::new("/image/etc/a"));
        assert_eq!(Place { root: None }.at("/etc/a"), Path::new("/etc/a"));
        assert!(place.run(&ENABLE).is_empty(), "nothing is started for an image");
    }

    #[test]
    fn what_is_new_is_enabled_and_nothing_else() {
        assert_eq!(enabling(|_| false), ENABLE);
        assert!(enabling(|_| true).is_empty(), "a person may have disabled it");
        let by_hand = enabling(|unit| !unit.contains("update"));
        assert_eq!(by_hand, ENABLE[1..], "the units of README's sixth step were there");
    }

    #[test]
    fn every_unit_is_enabled_or_comes_with_one_that_is() {
        let (enabled, ended) = (ENABLE.concat(), END.concat());
        for (_, name, text) in FILES.iter().filter(|(directory, ..)| *directory == UNITS) {
            let service = FILES[0].2;
            let comes_along = service
                .lines()
                .any(|line| line.strip_prefix("Also=").is_some_and(|units| units.contains(name)));
            assert!(enabled.contains(name) || comes_along, "{name}");
            assert!(text.contains("[Install]") && ended.contains(name), "{name}");
        }
    }
}
