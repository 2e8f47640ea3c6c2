//! The configuration: one TOML file, read once, every value parsed.
//!
//! Reading takes two steps. `section.rs` walks the raw file and knows lines and keys; `sections.rs`
//! turns it into a [`Config`], in which nothing is left to check. All problems are told at once,
//! each with what to write instead. Nothing is opened here but the file itself: whether a path
//! exists or an address answers is for those who use it to find out. Secrets are not in this file
//! (see [`crate::credentials`]).

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use self::section::{Findings, Section, Source};
use crate::mirror::origin::Origin;
use crate::mirror::record::{ChannelId, FieldName, ModuleName};
use crate::mirror::version::ApiVersion;

mod books;
mod function;
mod notify_url;
mod platform;
mod problem;
mod section;
mod sections;
mod values;

pub use self::books::{Books, WEBHOOK_NAME_LIMIT, Webhook};
pub use self::function::{FUNCTIONS_LIMIT, Function, Outbox};
pub use self::notify_url::{NOTIFY_URL_LIMIT, NotifyUrl};
pub use self::platform::{Platform, Verify};
pub use self::problem::{ConfigErrors, Problem};
pub use self::sections::{
    CHANNEL_EVENTS_LIMIT, CREDITS_FLOOR, CREDITS_LIMIT, FIELDS_LIMIT, INDEX_LIMIT,
    SHORTEST_LIFETIME, SOCKET_PATH_LIMIT,
};

/// Where the configuration is looked for without `--config`.
pub const DEFAULT_PATH: &str = "/etc/crmirror/crmirror.toml";

/// Largest configuration file: a hundred modules with all their fields stay far below, and
/// `--config /dev/zero` must not fill the memory.
pub const FILE_LIMIT: usize = 1 << 20;

/// The whole configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where upstream is and how it is spoken to.
    pub upstream: Upstream,
    /// The channel that is kept open; `None` means pull-only: CRM does not call back.
    pub channel: Option<Channel>,
    /// What is mirrored of Zoho Books, if anything.
    pub books: Option<Books>,
    /// What the platform tells of our extension, if it is to.
    pub platform: Option<Platform>,
    /// Where callbacks arrive. Where none are announced, nobody listens there.
    pub callbacks: Callbacks,
    /// Where local programs read.
    pub local: Local,
    /// The directory of the store.
    pub store: PathBuf,
    /// How often, and at what cost, the mirror is compared with upstream.
    pub catch_up: CatchUp,
    /// What is mirrored of CRM: none twice, and at least one where nothing else is.
    pub modules: Vec<Module>,
    /// The functions that local programs may call; none twice.
    pub functions: Vec<Function>,
    /// The limits of the outbox through which they do.
    pub outbox: Outbox,
    /// What works, but hardly as it was meant.
    pub warnings: Vec<Problem>,
}

/// `[upstream]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Where tokens are asked for.
    pub accounts: Origin,
    /// Where records are asked for, when the file says so: then no token reply changes it.
    pub api: Option<Origin>,
    /// The API address of the data centre: used until a token reply names one (facts §3.4).
    pub api_default: Option<Origin>,
    /// The version that every call is made with.
    pub version: ApiVersion,
    /// The credentials file.
    pub credentials: PathBuf,
    /// Certificates trusted beside the built-in ones.
    pub ca_file: Option<PathBuf>,
}

/// `[channel]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// The address that upstream calls back.
    pub notify_url: NotifyUrl,
    /// The id of the channel; without one it is chosen once and kept.
    pub id: Option<ChannelId>,
    /// The life asked for at each renewal, never above what the version of the API allows.
    pub lifetime: Duration,
    /// Whether changes of related records cause callbacks too.
    pub related_actions: bool,
}

/// `[callbacks]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callbacks {
    /// Where to listen, unless the service manager hands a socket over.
    pub listen: SocketAddr,
    /// `None` is for a tunnel or a proxy in front.
    pub tls: Option<Tls>,
    /// A proxy of the operator's stands in front: every caller has its address, and it says whose
    /// request it passes on.
    pub behind_proxy: bool,
}

/// How the callback listener proves who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// `[local]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// Where to listen: a loopback address, unless readers have to show a token.
    pub listen: SocketAddr,
    /// The file with the token that readers at `listen` have to show; without one nobody is asked
    /// who he is.
    pub token_file: Option<PathBuf>,
    /// A Unix socket beside it, guarded by its permissions alone.
    pub socket: Option<PathBuf>,
    /// The permissions of the socket's file.
    pub socket_mode: u32,
    /// The group that the socket's file belongs to, by name or number; without one the daemon's.
    pub socket_group: Option<String>,
    /// Pages that a browser may read from; none by default.
    pub allow_origins: Vec<Origin>,
}

/// `[catch_up]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CatchUp {
    /// From one catch-up to the next.
    pub every: Duration,
    /// From one sweep to the next; never shorter than `every`.
    pub sweep_every: Duration,
    /// The hard ceiling on API credits spent in a day.
    pub credits_per_day: u32,
}

/// `[[module]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Its API name.
    pub name: ModuleName,
    /// What the channel reports of it: at least one, none twice.
    pub operations: Vec<Operation>,
    /// The fields that are mirrored, at least one; `None` means all.
    pub fields: Option<Vec<FieldName>>,
    /// The fields by whose values records can be found quickly; of the mirrored ones.
    pub index: Vec<FieldName>,
    /// Whether every changed record is fetched by its id, with subforms and multi-selects.
    pub whole_records: bool,
    /// How often every record is read again whole; `None` leaves it to sweeps. Formula and roll-up
    /// fields change without a stamp (facts §2.4).
    pub refresh_every: Option<Duration>,
}

/// What a channel reports of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A record is new.
    Create,
    /// A record was changed.
    Edit,
    /// A record was deleted.
    Delete,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Operation; 3] = [Operation::Create, Operation::Edit, Operation::Delete];

    /// The verb, as it is written in the file and in a channel's events (facts §1.2).
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Edit => "edit",
            Operation::Delete => "delete",
        }
    }
}

impl Config {
    /// All that is mirrored: the modules of CRM, then the entities of Books under their names in
    /// paths.
    pub fn mirrored(&self) -> impl Iterator<Item = ModuleName> {
        let entities = self.books.iter().flat_map(|books| &books.entities);
        let of_books = entities.map(|entity| entity.module());
        self.modules.iter().map(|module| module.name.clone()).chain(of_books)
    }

    /// The modules that the change feed tells of.
    pub fn told(&self) -> Vec<ModuleName> {
        self.mirrored().chain(self.platform.iter().map(|_| ModuleName::platform())).collect()
    }

    /// Every address that upstream calls, and whose it is: `channel`, the webhook's name, or
    /// `platform`.
    pub fn notify_urls(&self) -> Vec<(&str, &NotifyUrl)> {
        let channel = self.channel.iter().map(|channel| ("channel", &channel.notify_url));
        let webhooks = self.books.iter().flat_map(|books| &books.webhooks);
        let webhooks = webhooks.map(|webhook| (webhook.name.as_str(), &webhook.notify_url));
        let platform = self.platform.iter().map(|platform| ("platform", &platform.notify_url));
        channel.chain(webhooks).chain(platform).collect()
    }

    /// Reads the file, with this process's `$CREDENTIALS_DIRECTORY` for the default of
    /// `upstream.credentials`.
    pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
        let text = read(file).map_err(|what| {
            let problem = Problem { file: file.into(), line: None, key: String::new(), what };
            ConfigErrors::new(vec![problem])
        })?;
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|name| !name.is_empty());
        Config::parse(file, &text, directory.as_deref().map(Path::new))
    }

    /// Reads the text of a file; `file` is its name in messages, and relative paths lie in its
    /// directory. `credentials_directory` is where a service manager keeps the credentials.
    pub fn parse(
        file: &Path,
        text: &[u8],
        credentials_directory: Option<&Path>,
    ) -> Result<Config, ConfigErrors> {
        let source = Source { file, bytes: text };
        let whole = |at: usize, what: String| {
            ConfigErrors::new(vec![source.problem(Some(source.line(at)), String::new(), what)])
        };
        let text = std::str::from_utf8(text).map_err(|error| {
            whole(error.valid_up_to(), "not UTF-8 text; save the file as UTF-8".to_owned())
        })?;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            whole(at, format!("not TOML: {}", error.message()))
        })?;
        let mut findings = Findings::default();
        let document = Section::whole(source, table.get_ref());
        let config = sections::config(document, credentials_directory, &mut findings);
        let Findings { mut errors, mut warnings } = findings;
        for problems in [&mut errors, &mut warnings] {
            problems.sort_by_key(|problem| problem.line);
        }
        match config {
            Some(config) if errors.is_empty() => Ok(Config { warnings, ..config }),
            Some(_) | None => Err(ConfigErrors::new(errors)),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let limit = FILE_LIMIT as u64 + 1;
    File::open(file).and_then(|open| open.take(limit).read_to_end(&mut text)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => {
                "no such file; write one, or name another with --config PATH".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "permission denied; run as the daemon's user, or let this user read it".to_owned()
            }
            io::ErrorKind::IsADirectory => {
                "a directory, not a file; name the file in it with --config PATH".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        }
    })?;
    if text.len() > FILE_LIMIT {
        return Err(format!("larger than {FILE_LIMIT} bytes; is this the right file?"));
    }
    Ok(text)
}
