//! The command line, parsed.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

use crate::config::DEFAULT_PATH;
use crate::error::Failure;
use crate::mirror::criteria::Criteria;
use crate::mirror::record::{FieldName, ModuleName, RecordId};
use crate::secret::Secret;

pub use self::books::BooksCommand;
pub use self::export::{Export, Format};
pub use self::install::{BINARY, Install, KEEP, Update};
pub use self::outbox::{Content, OutboxCommand, Send};
pub use self::platform::PlatformCommand;

mod books;
mod export;
mod install;
mod outbox;
mod platform;
mod read;

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
    /// Show what changed in the mirror.
    Changes(Changes),
    /// Say how a record came to be here.
    Explain {
        /// Its module.
        module: ModuleName,
        /// Its id.
        id: RecordId,
    },
    /// Write records of the mirror, for other programs.
    Export(Export),
    /// Write the whole mirror, for another device.
    ExportAll {
        /// The file.
        file: PathBuf,
        /// Replace it.
        force: bool,
    },
    /// Begin with the mirror of another device.
    Import {
        /// What `export --all` wrote there.
        file: PathBuf,
        /// Set the mirror that is here aside.
        replace: bool,
    },
    /// Ask the daemon to catch up now.
    Sync {
        /// The module; all without one.
        module: Option<ModuleName>,
        /// Compare all ids.
        sweep: bool,
        /// Wait until it is done.
        wait: bool,
    },
    /// Look at the channel, renew it or close it.
    Channel(ChannelCommand),
    /// Look at webhooks of Books and at what became of them, or change them.
    Books(BooksCommand),
    /// Show what the platform told, or have Desk call an address.
    Platform(PlatformCommand),
    /// Leave a call to a function in the outbox.
    Send(Send),
    /// Look at calls, try one again, withdraw one.
    Outbox(OutboxCommand),
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

/// Which changes to show.
#[derive(Debug)]
pub struct Changes {
    /// Those after this sequence; without it, from the oldest that is kept.
    pub since: Option<u64>,
    /// Only those of this module.
    pub module: Option<ModuleName>,
    /// Go on with what changes next.
    pub follow: bool,
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
  changes                   what changed in the mirror, the oldest first
      [--since N]           only after this sequence
      [--module M]          only of this module
      [--follow]            and what changes next, until Ctrl-C
  explain MODULE ID         how a record came to be here: callback, fetch, change, with times
  export MODULE             all records, for other programs
      [--format jsonl|csv]  a record a line as upstream wrote it, or comma-separated values
      [--fields A,B] [--where CRITERIA] [--output FILE] [--excel-safe]
  export --all FILE         the whole mirror, for another device
  import FILE [--replace]   begin with the mirror of another device; set the one that is here aside
  sync [MODULE] [--sweep]   ask the running daemon to catch up now, or to compare all ids
      [--wait]              wait until it is done
  channel show|renew|close  the channel as upstream sees it; renew it now; close it
  books webhooks            webhooks of Zoho Books as upstream has them
      list [--entity E] [--sort webhook_name|created_time] [--limit N]
      show ID, create FILE, update ID FILE, delete ID, editpage
      prune                 delete those that the configuration declares or has declared
  books histories           what became of their executions
      list [--failed] [--sort event_time|event_id|notified_time] [--limit N]
      show ID, resend ID...
  platform events           what Zoho's platform told of the extension
  platform invoke METHOD URL
      [--data TEXT]         have Desk call an address with the extension's rights, and print the
      [--query K=V]         answer
      [--header K=V] [--connection NAME]
  send FUNCTION [JSON]      leave a call to a function in the outbox, and print its id
      [--data NAME=VALUE]…  a form instead of JSON
      [--file F] [--type T] a file, and its media type
      [--idempotency-key K] the same key with the same content is the same call
  outbox list               calls that wait, were sent or have failed
      [--state S] [--limit N]
  outbox show|retry|drop ID one call and what the function answered; try one that failed again;
                            withdraw one that waits
  fsck [--repair]           look at the whole store while the daemon is not running; make it
                            anew from what can be read
  install                   place the binary, the units and an example configuration
      [--dry-run] [--root DIR]
  uninstall [--purge]       close the channel, and remove what install placed; with --purge state,
      [--dry-run]           configuration and credentials too
      [--root DIR]
  update                    try the binary that was copied over the old one, and put the old one
      [--settle 45s]        back when that does more within this time, or the new one ends before
      [--prove 60s]         this has gone by; crmirror-update.service runs it
      [--binary PATH] [--keep DIR] [--forget]

Options:
  --config PATH   the configuration (default: /etc/crmirror/crmirror.toml)
  --json          print results as JSON
  --dry-run       say what would be done, and do nothing
  --force         replace the file that is there
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
    since: Option<String>,
    module: Option<String>,
    entity: Option<String>,
    failed: bool,
    follow: bool,
    sweep: bool,
    wait: bool,
    format: Option<String>,
    output: Option<PathBuf>,
    all: Option<PathBuf>,
    excel_safe: bool,
    force: bool,
    replace: bool,
    repair: bool,
    query: Vec<String>,
    header: Vec<String>,
    connection: Option<String>,
    bundle: Option<PathBuf>,
    root: Option<PathBuf>,
    dry_run: bool,
    purge: bool,
    binary: Option<PathBuf>,
    keep: Option<PathBuf>,
    settle: Option<String>,
    prove: Option<String>,
    forget: bool,
    call: outbox::CallWords,
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
            Long("since") => words.since = Some(parser.value()?.string_lossless()?),
            Long("module") => words.module = Some(parser.value()?.string_lossless()?),
            Long("entity") => words.entity = Some(parser.value()?.string_lossless()?),
            Long("failed") => words.failed = true,
            Long("follow") => words.follow = true,
            Long("sweep") => words.sweep = true,
            Long("wait") => words.wait = true,
            Long("format") => words.format = Some(parser.value()?.string_lossless()?),
            Long("output") => words.output = Some(parser.value()?.into()),
            Long("all") => words.all = Some(parser.value()?.into()),
            Long("excel-safe") => words.excel_safe = true,
            Long("force") => words.force = true,
            Long("replace") => words.replace = true,
            Long("repair") => words.repair = true,
            Long("query") => words.query.push(parser.value()?.string_lossless()?),
            Long("header") => words.header.push(parser.value()?.string_lossless()?),
            Long("connection") => words.connection = Some(parser.value()?.string_lossless()?),
            Long("bundle") => words.bundle = Some(parser.value()?.into()),
            Long("root") => words.root = Some(parser.value()?.into()),
            Long("dry-run") => words.dry_run = true,
            Long("purge") => words.purge = true,
            Long("binary") => words.binary = Some(parser.value()?.into()),
            Long("keep") => words.keep = Some(parser.value()?.into()),
            Long("settle") => words.settle = Some(parser.value()?.string_lossless()?),
            Long("prove") => words.prove = Some(parser.value()?.string_lossless()?),
            Long("forget") => words.forget = true,
            Long("data") => words.call.data.push(parser.value()?.string_lossless()?),
            Long("file") => words.call.file = Some(parser.value()?.into()),
            Long("type") => words.call.media_type = Some(parser.value()?.string_lossless()?),
            Long("idempotency-key") => words.call.key = Some(parser.value()?.string_lossless()?),
            Long("state") => words.call.state = Some(parser.value()?.string_lossless()?),
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
                Ok(Command::Get { module: module_name(module)?, id: record_id(id)? })
            }
            ["get", ..] => Err(usage("get needs a module and an id")),
            ["list", module] => self.list(module),
            ["list", ..] => Err(usage("list needs one module")),
            ["changes"] => self.changes(),
            ["explain", module, id] => {
                Ok(Command::Explain { module: module_name(module)?, id: record_id(id)? })
            }
            ["explain", ..] => Err(usage("explain needs a module and an id")),
            ["export"] => self.export_all(),
            ["export", module] => self.export(module),
            ["export", ..] => Err(usage("export needs one module")),
            ["import", file] => Ok(Command::Import {
                file: file.into(),
                replace: std::mem::take(&mut self.replace),
            }),
            ["import", ..] => Err(usage("import needs one file")),
            ["sync"] => Ok(self.sync(None)),
            ["sync", module] => Ok(self.sync(Some(module_name(module)?))),
            ["send", function] => self.send(function, None),
            ["send", function, json] => self.send(function, Some(json)),
            ["send", ..] => Err(usage("send needs a function, and perhaps JSON")),
            ["outbox", words @ ..] => Ok(Command::Outbox(self.outbox(words)?)),
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
            ["books", rest @ ..] => self.books(rest).map(Command::Books),
            ["platform", rest @ ..] => self.platform(rest),
            ["channel", ..] => Err(usage("channel is followed by show, renew or close")),
            [
                "run" | "check" | "doctor" | "status" | "login" | "changes" | "fsck" | "update"
                | "install" | "uninstall",
                extra,
                ..,
            ]
            | ["sync", _, extra, ..] => Err(usage(&format!("'{extra}' is one word too many"))),
            [other, ..] => Err(usage(&format!("there is no command '{other}'"))),
        }
    }

    fn take_criteria(&mut self) -> Result<Option<Criteria>, Failure> {
        let criteria = self.criteria.take().map(|text| Criteria::parse(&text)).transpose();
        criteria.map_err(|error| usage(&format!("--where: {error}")))
    }

    fn take_fields(&mut self) -> Result<Option<Vec<FieldName>>, Failure> {
        self.fields.take().map(|text| text.split(',').map(field_name).collect()).transpose()
    }

    fn sync(&mut self, module: Option<ModuleName>) -> Command {
        let sweep = std::mem::take(&mut self.sweep);
        Command::Sync { module, sweep, wait: std::mem::take(&mut self.wait) }
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
            ("--since", self.since.is_some()),
            ("--module", self.module.is_some()),
            ("--entity", self.entity.is_some()),
            ("--failed", self.failed),
            ("--follow", self.follow),
            ("--sweep", self.sweep),
            ("--wait", self.wait),
            ("--format", self.format.is_some()),
            ("--output", self.output.is_some()),
            ("--all", self.all.is_some()),
            ("--excel-safe", self.excel_safe),
            ("--force", self.force),
            ("--replace", self.replace),
            ("--repair", self.repair),
            ("--query", !self.query.is_empty()),
            ("--header", !self.header.is_empty()),
            ("--connection", self.connection.is_some()),
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
        match left.into_iter().chain(self.call.left()).find(|(_, given)| *given) {
            Some((option, _)) => Err(usage(&format!("{option} does not go with this command"))),
            None => Ok(()),
        }
    }
}

fn module_name(text: &str) -> Result<ModuleName, Failure> {
    ModuleName::parse(text).map_err(|error| usage(&format!("module {error}")))
}

fn record_id(text: &str) -> Result<RecordId, Failure> {
    text.parse().map_err(|error| usage(&format!("'{text}': {error}")))
}

fn field_name(text: &str) -> Result<FieldName, Failure> {
    FieldName::parse(text.trim()).map_err(|error| usage(&format!("field {error}")))
}

fn usage(what: &str) -> Failure {
    Failure::usage(format!("{what}; see crmirror --help"))
}

#[cfg(test)]
mod tests;
