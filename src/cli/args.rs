//! The command line, parsed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};

use crate::config::DEFAULT_PATH;
use crate::error::Failure;
use crate::mirror::criteria::Criteria;
use crate::mirror::record::{FieldName, ModuleName, RecordId};
use crate::mirror::span::duration;
use crate::secret::Secret;

/// What the person wants.
#[derive(Debug)]
pub struct Args {
    /// The configuration file.
    pub config: PathBuf,
    /// Print results as JSON.
    pub json: bool,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Run the daemon.
    Run,
    /// Look at the configuration and the store.
    Check,
    /// Look at everything that the daemon depends on.
    Doctor {
        /// Where to write a support bundle.
        bundle: Option<PathBuf>,
    },
    /// Exchange a grant code for a refresh token.
    Login {
        /// The code, from the API console.
        code: Secret,
    },
    /// Show how the daemon stands.
    Status,
    /// Show one record of the mirror.
    Get {
        /// Its module.
        module: ModuleName,
        /// Its id.
        id: RecordId,
    },
    /// Show records of the mirror.
    List(List),
    /// Ask the daemon to catch up now.
    Sync {
        /// The module; all without one.
        module: Option<ModuleName>,
        /// Compare all ids.
        sweep: bool,
    },
    /// Look at the channel, renew it or close it.
    Channel(ChannelCommand),
    /// Look at the whole store.
    Fsck {
        /// Make it anew when it is damaged.
        repair: bool,
    },
    /// Make sure that a new binary is as good as the one before.
    Update(Update),
    /// Place the binary, the units and an example configuration.
    Install(Install),
    /// Close the channel, and remove what was placed.
    Uninstall(Install),
    /// Show how to use the program.
    Help,
    /// Show the version.
    Version,
}

/// Which records to show, and how.
#[derive(Debug)]
pub struct List {
    /// The module.
    pub module: ModuleName,
    /// Only those that match.
    pub criteria: Option<Criteria>,
    /// Only these fields.
    pub fields: Option<Vec<FieldName>>,
    /// Sorted by this field.
    pub sort: Option<FieldName>,
    /// At most so many.
    pub limit: usize,
}

/// How a new binary is looked at.
#[derive(Debug)]
pub struct Update {
    /// Where it was copied to.
    pub binary: PathBuf,
    /// The directory with the binary before and with notes.
    pub keep: PathBuf,
    /// From the restart until all works that worked before.
    pub settle: Duration,
    /// From the restart until the binary is proved; never shorter than `settle`.
    pub prove: Duration,
    /// Forget which binaries were refused, and do nothing else.
    pub forget: bool,
}

/// What is placed, or removed.
#[derive(Debug)]
pub struct Install {
    /// The directory that stands for `/`; then nothing is started or stopped.
    pub root: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Remove what the daemon and a person wrote, too.
    pub purge: bool,
}

/// Where the binary lies.
pub const BINARY: &str = "/usr/local/bin/crmirror";
/// Where an update keeps the binary before.
pub const KEEP: &str = "/usr/local/lib/crmirror";
/// Time for a new binary until all works that worked before. With the restart of the old one it
/// stays below a minute.
const SETTLE: Duration = Duration::from_secs(45);
/// Time for a new binary to prove itself.
const PROVE: Duration = Duration::from_secs(60);

/// What to do with the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelCommand {
    /// Show it as upstream sees it.
    Show,
    /// Renew it now.
    Renew,
    /// Close it.
    Close,
}

/// How to use the program.
pub const HELP: &str = "\
crmirror mirrors Zoho CRM records onto this device and keeps them readable offline.

Usage: crmirror [--config PATH] [--json] COMMAND

Commands:
  run                       the daemon
  check                     look at the configuration, and at the store when it is not in use
  doctor [--bundle FILE]    look at all that the daemon depends on, and say what to do; write a
                            support bundle, in which there are no secrets and no records
  login --code CODE         exchange a Self Client grant code for a refresh token
  status                    how the running daemon stands
  get MODULE ID             one record of the mirror
  list MODULE               records of the mirror
      [--where CRITERIA]    only those that match, e.g. '(Email:equals:a@b.example)'
      [--fields A,B] [--sort FIELD] [--limit N]
  sync [MODULE] [--sweep]   ask the running daemon to catch up now
  channel show|renew|close  the channel as upstream sees it; renew it now; close it
  fsck [--repair]           look at the whole store while the daemon is not running; make it
                            anew from what can be read
  install                   place the binary, the units and an example configuration
      [--dry-run] [--root DIR]
  uninstall [--purge]       close the channel, and remove what install placed; with --purge state,
      [--dry-run]           configuration and credentials too
      [--root DIR]
  update                    try the binary that was copied over the old one, and put the old one
      [--settle 45s]        back when what worked before does not within this time, or not to the
      [--prove 60s]         end of this; crmirror-update.service runs it
      [--binary PATH] [--keep DIR] [--forget]

Options:
  --config PATH   the configuration (default: /etc/crmirror/crmirror.toml)
  --json          print results as JSON
  --dry-run       say what would be done, and do nothing
  --root DIR      place and remove in DIR instead of /, and start and stop nothing
  --forget        forget which binaries were refused, so that they are tried again
  --help, --version

Exit codes: 0 done, 1 failed, 2 usage, 69 unavailable, 78 configuration.
Logs go to stderr; RUST_LOG=debug shows more of them.
";

/// Words of the command line that are not options, and what the options said.
#[derive(Default)]
struct Words {
    config: Option<PathBuf>,
    json: bool,
    words: Vec<String>,
    code: Option<String>,
    criteria: Option<String>,
    fields: Option<String>,
    sort: Option<String>,
    limit: Option<String>,
    sweep: bool,
    repair: bool,
    bundle: Option<PathBuf>,
    root: Option<PathBuf>,
    dry_run: bool,
    purge: bool,
    binary: Option<PathBuf>,
    keep: Option<PathBuf>,
    settle: Option<String>,
    prove: Option<String>,
    forget: bool,
    help: bool,
    version: bool,
}

/// Parses the arguments, without the program's own name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Failure> {
    let mut words = read(args).map_err(|error| usage(&error.to_string()))?;
    let command = words.command()?;
    words.leave_nothing(&command)?;
    let config = words.config.unwrap_or_else(|| DEFAULT_PATH.into());
    Ok(Args { config, json: words.json, command })
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Words, lexopt::Error> {
    let mut words = Words::default();
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => words.config = Some(parser.value()?.into()),
            Long("json") => words.json = true,
            Long("code") => words.code = Some(parser.value()?.string_lossless()?),
            Long("where") => words.criteria = Some(parser.value()?.string_lossless()?),
            Long("fields") => words.fields = Some(parser.value()?.string_lossless()?),
            Long("sort") => words.sort = Some(parser.value()?.string_lossless()?),
            Long("limit") => words.limit = Some(parser.value()?.string_lossless()?),
            Long("sweep") => words.sweep = true,
            Long("repair") => words.repair = true,
            Long("bundle") => words.bundle = Some(parser.value()?.into()),
            Long("root") => words.root = Some(parser.value()?.into()),
            Long("dry-run") => words.dry_run = true,
            Long("purge") => words.purge = true,
            Long("binary") => words.binary = Some(parser.value()?.into()),
            Long("keep") => words.keep = Some(parser.value()?.into()),
            Long("settle") => words.settle = Some(parser.value()?.string_lossless()?),
            Long("prove") => words.prove = Some(parser.value()?.string_lossless()?),
            Long("forget") => words.forget = true,
            Long("help") | Short('h') => words.help = true,
            Long("version") | Short('V') => words.version = true,
            Value(word) => words.words.push(word.string_lossless()?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(words)
}

/// Text of an argument, told apart from bytes that are not UTF-8.
trait Lossless {
    fn string_lossless(self) -> Result<String, lexopt::Error>;
}

impl Lossless for OsString {
    fn string_lossless(self) -> Result<String, lexopt::Error> {
        self.into_string().map_err(lexopt::Error::NonUnicodeValue)
    }
}

impl Words {
    fn command(&mut self) -> Result<Command, Failure> {
        if self.help {
            return Ok(Command::Help);
        }
        if self.version {
            return Ok(Command::Version);
        }
        let words = std::mem::take(&mut self.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => Err(usage("a command is missing")),
            ["run"] => Ok(Command::Run),
            ["check"] => Ok(Command::Check),
            ["doctor"] => Ok(Command::Doctor { bundle: self.bundle.take() }),
            ["status"] => Ok(Command::Status),
            ["login"] => match self.code.take() {
                Some(code) => Ok(Command::Login { code: Secret::new(code) }),
                None => Err(usage("login needs --code CODE, from the API console")),
            },
            ["get", module, id] => {
                let id = id.parse().map_err(|error| usage(&format!("'{id}': {error}")))?;
                Ok(Command::Get { module: module_name(module)?, id })
            }
            ["get", ..] => Err(usage("get needs a module and an id")),
            ["list", module] => self.list(module),
            ["list", ..] => Err(usage("list needs one module")),
            ["sync"] => Ok(Command::Sync { module: None, sweep: self.take_sweep() }),
            ["sync", module] => {
                Ok(Command::Sync { module: Some(module_name(module)?), sweep: self.take_sweep() })
            }
            ["fsck"] => Ok(Command::Fsck { repair: std::mem::take(&mut self.repair) }),
            ["update"] => self.update(),
            ["install"] => Ok(Command::Install(self.install())),
            ["uninstall"] => {
                let purge = std::mem::take(&mut self.purge);
                Ok(Command::Uninstall(Install { purge, ..self.install() }))
            }
            ["channel", "show"] => Ok(Command::Channel(ChannelCommand::Show)),
            ["channel", "renew"] => Ok(Command::Channel(ChannelCommand::Renew)),
            ["channel", "close"] => Ok(Command::Channel(ChannelCommand::Close)),
            ["channel", ..] => Err(usage("channel is followed by show, renew or close")),
            [
                "run" | "check" | "doctor" | "status" | "login" | "fsck" | "update" | "install"
                | "uninstall",
                extra,
                ..,
            ]
            | ["sync", _, extra, ..] => Err(usage(&format!("'{extra}' is one word too many"))),
            ["changes" | "export", ..] => {
                Err(usage(&format!("'{}' is not there yet in this release", words[0])))
            }
            [other, ..] => Err(usage(&format!("there is no command '{other}'"))),
        }
    }

    fn list(&mut self, module: &str) -> Result<Command, Failure> {
        let criteria = self.criteria.take().map(|text| Criteria::parse(&text)).transpose();
        let criteria = criteria.map_err(|error| usage(&format!("--where: {error}")))?;
        let fields = self.fields.take().map(|text| text.split(',').map(field_name).collect());
        let sort = self.sort.take().map(|text| field_name(&text)).transpose()?;
        let limit = match self.limit.take() {
            None => usize::MAX,
            Some(text) => text.parse().map_err(|_| usage("--limit takes a whole number"))?,
        };
        let module = module_name(module)?;
        Ok(Command::List(List { module, criteria, fields: fields.transpose()?, sort, limit }))
    }

    fn update(&mut self) -> Result<Command, Failure> {
        let span = |option: &str, text: Option<String>, usual| match text {
            Some(text) => duration(&text).map_err(|error| usage(&format!("{option}: {error}"))),
            None => Ok(usual),
        };
        let settle = span("--settle", self.settle.take(), SETTLE)?;
        let prove = span("--prove", self.prove.take(), PROVE.max(settle))?;
        if prove < settle {
            return Err(usage("--prove takes no less than --settle"));
        }
        Ok(Command::Update(Update {
            binary: self.binary.take().unwrap_or_else(|| BINARY.into()),
            keep: self.keep.take().unwrap_or_else(|| KEEP.into()),
            settle,
            prove,
            forget: std::mem::take(&mut self.forget),
        }))
    }

    fn install(&mut self) -> Install {
        let dry_run = std::mem::take(&mut self.dry_run);
        Install { root: self.root.take(), dry_run, purge: false }
    }

    fn take_sweep(&mut self) -> bool {
        std::mem::take(&mut self.sweep)
    }

    /// An option that the command does not read is a mistake of the person's, who is to know.
    fn leave_nothing(&self, command: &Command) -> Result<(), Failure> {
        if matches!(command, Command::Help | Command::Version) {
            return Ok(());
        }
        let left = [
            ("--code", self.code.is_some()),
            ("--where", self.criteria.is_some()),
            ("--fields", self.fields.is_some()),
            ("--sort", self.sort.is_some()),
            ("--limit", self.limit.is_some()),
            ("--sweep", self.sweep),
            ("--repair", self.repair),
            ("--bundle", self.bundle.is_some()),
            ("--root", self.root.is_some()),
            ("--dry-run", self.dry_run),
            ("--purge", self.purge),
            ("--binary", self.binary.is_some()),
            ("--keep", self.keep.is_some()),
            ("--settle", self.settle.is_some()),
            ("--prove", self.prove.is_some()),
            ("--forget", self.forget),
        ];
        match left.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(usage(&format!("{option} does not go with this command"))),
            None => Ok(()),
        }
    }
}

fn module_name(text: &str) -> Result<ModuleName, Failure> {
    ModuleName::parse(text).map_err(|error| usage(&format!("module {error}")))
}

fn field_name(text: &str) -> Result<FieldName, Failure> {
    FieldName::parse(text.trim()).map_err(|error| usage(&format!("field {error}")))
}

fn usage(what: &str) -> Failure {
    Failure::usage(format!("{what}; see crmirror --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_stand_anywhere() {
        for line in ["--config /a --json get Leads 7", "get Leads 7 --json --config=/a"] {
            let args = read(line).unwrap();
            assert_eq!((args.config, args.json), (PathBuf::from("/a"), true));
            assert!(matches!(args.command, Command::Get { id, .. } if id == RecordId::new(7)));
        }
    }

    #[test]
    fn mistakes_are_named_and_end_with_usage() {
        for (line, part) in [
            ("", "a command is missing"),
            ("fly", "no command 'fly'"),
            ("get Leads", "get needs a module and an id"),
            ("get Leads seven", "'seven'"),
            ("get ../x 7", "module"),
            ("list", "list needs one module"),
            ("list Leads --limit many", "--limit"),
            ("list Leads --where (x", "--where"),
            ("list Leads --fields A,,B", "field"),
            ("status --limit 3", "--limit does not go"),
            ("status --repair", "--repair does not go"),
            ("check --bundle x", "--bundle does not go"),
            ("doctor now", "'now'"),
            ("login", "--code"),
            ("channel", "show, renew or close"),
            ("run now", "'now'"),
            ("install --purge", "--purge does not go"),
            ("update --settle soon", "--settle"),
            ("update --settle 9s --prove 8s", "no less"),
            ("--loud run", "--loud"),
            ("--config", "--config"),
        ] {
            let failure = read(line).err().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(failure.exit, crate::error::Exit::Usage, "{line}");
            assert!(failure.message.contains(part), "{line}: {}", failure.message);
        }
    }
}
