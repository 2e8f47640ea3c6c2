//! The command line, parsed.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

use crate::config::DEFAULT_PATH;
use crate::error::Failure;
use crate::mirror::criteria::Criteria;
use crate::mirror::record::{FieldName, ModuleName, RecordId};
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

Options:
  --config PATH   the configuration (default: /etc/crmirror/crmirror.toml)
  --json          print results as JSON
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
            ["channel", "show"] => Ok(Command::Channel(ChannelCommand::Show)),
            ["channel", "renew"] => Ok(Command::Channel(ChannelCommand::Renew)),
            ["channel", "close"] => Ok(Command::Channel(ChannelCommand::Close)),
            ["channel", ..] => Err(usage("channel is followed by show, renew or close")),
            ["run" | "check" | "doctor" | "status" | "login" | "fsck", extra, ..]
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
            ("--loud run", "--loud"),
            ("--config", "--config"),
        ] {
            let failure = read(line).err().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(failure.exit, crate::error::Exit::Usage, "{line}");
            assert!(failure.message.contains(part), "{line}: {}", failure.message);
        }
    }
}
