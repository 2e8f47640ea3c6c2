//! Each section of the file → its part of the [`Config`]: which keys there are, their defaults,
//! and what values must be to each other.
//!
//! A section is read whole before any of it is used, so that one wrong value hides no other. What
//! comes back is `None` when something in it is wrong, which then has been noted.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::function;
use super::notify_url::NotifyUrl;
use super::section::{Findings, Section};
use super::values;
use super::{Books, Callbacks, CatchUp, Channel, Config, Local, Module, Operation, Tls, Upstream};
use super::{books, notify_url::Paths, platform};
use crate::mirror::books::entity::Entity;
use crate::mirror::record::{FieldName, ModuleName};
use crate::mirror::span::{self, duration_text, shown};
use crate::mirror::version::ApiVersion;

/// Shortest life of a channel that can be asked for: renewed at half of it, a shorter one would
/// spend more on renewals than on records.
pub const SHORTEST_LIFETIME: Duration = Duration::from_secs(30);

/// Smallest ceiling on credits: a catch-up of one module every 15 minutes takes 96 a day.
pub const CREDITS_FLOOR: u32 = 100;

/// Largest ceiling on credits: editions are granted up to 5 million a day, and more for each user
/// in the largest (facts §4.8); beyond this a digit too many was typed.
pub const CREDITS_LIMIT: u32 = 100_000_000;

/// Most events that one channel may carry (facts §1.2): each operation of each module is one.
pub const CHANNEL_EVENTS_LIMIT: usize = 50;

/// Most fields of one module that can be named: from v3 on each 50 of them cost one more call
/// (facts §4.2), and a module with more is better mirrored whole.
pub const FIELDS_LIMIT: usize = 500;

/// Most fields of one module that can be indexed: each costs a card two more writes whenever it
/// changes, and a search needs but one of them.
pub const INDEX_LIMIT: usize = 8;

/// Longest path of a Unix socket, in bytes: what the kernel's address of one has room for.
pub const SOCKET_PATH_LIMIT: usize = 107;

const DEFAULT_CREDENTIALS: &str = "/etc/crmirror/credentials.json";
const DEFAULT_STORE: &str = "/var/lib/crmirror";
const DEFAULT_CALLBACKS_PORT: u16 = 8686;
const DEFAULT_LOCAL_PORT: u16 = 8687;
/// The daemon's user and its group may read by the socket.
const DEFAULT_SOCKET_MODE: u32 = 0o660;
/// To connect to a socket is to write to it.
const OTHERS_MAY_CONNECT: u32 = 0o002;
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_EVERY: Duration = Duration::from_secs(15 * 60);
const DEFAULT_SWEEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_CREDITS: u32 = 2500;
const CREDITS: RangeInclusive<u32> = CREDITS_FLOOR..=CREDITS_LIMIT;

/// Reads the whole file. The warnings of the answer are still to be put in.
pub(super) fn config(
    mut document: Section<'_>,
    credentials_directory: Option<&Path>,
    findings: &mut Findings,
) -> Option<Config> {
    let mut section = document.section("upstream");
    let upstream = upstream(&mut section, credentials_directory);
    section.finish(findings);

    let mut section = document.section("channel");
    let version = upstream.as_ref().map(|upstream| upstream.version);
    let with_channel = document.has("channel");
    let channel = if with_channel { channel(&mut section, version).map(Some) } else { Some(None) };
    section.finish(findings);

    let mut paths = Paths::default();
    if let Some(Some(channel)) = &channel {
        paths.take(&channel.notify_url);
    }
    let books = books::books(&mut document, &mut paths, findings);
    let accounts = upstream.as_ref().map(|upstream| &upstream.accounts);
    let platform = platform::platform(&mut document, accounts, &mut paths, findings);
    let nobody_calls = paths.is_empty();
    if nobody_calls && document.has("callbacks") {
        document.warn("callbacks", "ignored, since there is no [channel]: nobody listens there");
    }
    let mut callbacks_section = document.section("callbacks");
    let callbacks = callbacks(&mut callbacks_section, nobody_calls);
    let mut local_section = document.section("local");
    let local = local(&mut local_section);
    if let (Some(callbacks), Some(local), false) = (&callbacks, &local, nobody_calls) {
        // The defaults differ, so that one of the two is in the file and has a line.
        let written = callbacks_section.has("listen");
        let section = if written { &mut callbacks_section } else { &mut local_section };
        refuse_one_port_for_both(section, callbacks.listen, local.listen);
    }
    callbacks_section.finish(findings);
    local_section.finish(findings);

    let mut section = document.section("store");
    let store = section.text_or("path", DEFAULT_STORE.into(), values::absolute_path);
    section.finish(findings);

    let mut section = document.section("catch_up");
    let catch_up = catch_up(&mut section);
    section.finish(findings);

    let mirrored = books.as_ref().and_then(Option::as_ref);
    let modules = modules(&mut document, with_channel, mirrored, findings);
    let calls = function::read(&mut document, findings);
    document.finish(findings);
    let (functions, outbox) = calls?;
    Some(Config {
        upstream: upstream?,
        channel: channel?,
        books: books?,
        platform: platform?,
        callbacks: callbacks?,
        local: local?,
        store: store?,
        catch_up: catch_up?,
        modules: modules?,
        functions,
        outbox,
        warnings: Vec::new(),
    })
}

fn upstream(section: &mut Section<'_>, credentials_directory: Option<&Path>) -> Option<Upstream> {
    let directory = section.directory();
    let data_centre = section.text("data_centre", values::data_centre);
    let accounts = section.text("accounts", values::upstream_origin);
    let api = section.text("api", values::upstream_origin);
    let version = section.text_or("api_version", ApiVersion::V2, values::api_version);
    let credentials = section.text_or(
        "credentials",
        credentials_directory
            .map_or_else(|| DEFAULT_CREDENTIALS.into(), |path| path.join("credentials.json")),
        |text| values::path(text, directory),
    );
    let ca_file = section.text("ca_file", |text| values::path(text, directory));
    if !section.has("data_centre") && !section.has("accounts") {
        let one_of = values::any_data_centre();
        section.wrong("data_centre", format!("missing; {one_of}, or give accounts and api"));
    }
    // An address in the file wins over the one of the data centre.
    let (table_accounts, api_default) = data_centre.unzip();
    Some(Upstream {
        accounts: accounts.or(table_accounts)?,
        api,
        api_default,
        version: version?,
        credentials: credentials?,
        ca_file,
    })
}

fn channel(section: &mut Section<'_>, version: Option<ApiVersion>) -> Option<Channel> {
    let hint = "write the address that strangers reach this device at, or leave out [channel]";
    let notify_url = section.required_text("notify_url", hint, NotifyUrl::parse);
    let id = section.digits("id", values::channel_id);
    let asked = section.text_or("lifetime", DEFAULT_LIFETIME, lifetime);
    let related_actions = section.flag("related_actions").unwrap_or(false);
    let (asked, version) = (asked?, version?);
    // Asking for too long a life yields one hour (facts §1.3), so no more than allowed is asked.
    let longest = version.longest_channel_life();
    if asked > longest {
        let (asked, longest) = (duration_text(asked), duration_text(longest));
        section
            .warn("lifetime", format!("{asked} is more than {version} allows; {longest} is used"));
    }
    Some(Channel { notify_url: notify_url?, id, lifetime: asked.min(longest), related_actions })
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let span = span::duration(text)?;
    if span < SHORTEST_LIFETIME {
        let shortest = duration_text(SHORTEST_LIFETIME);
        return Err(format!(
            "{} is too short for a channel; write at least {shortest}",
            shown(text)
        ));
    }
    Ok(span)
}

fn callbacks(section: &mut Section<'_>, nobody_calls: bool) -> Option<Callbacks> {
    let directory = section.directory();
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_CALLBACKS_PORT));
    let listen = section.text_or("listen", default, values::listen_address);
    let cert = section.text("tls_cert", |text| values::path(text, directory));
    let key = section.text("tls_key", |text| values::path(text, directory));
    for (here, missing) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if section.has(here) && !section.has(missing) {
            section.wrong(missing, format!("missing; {here} needs it beside it: both or neither"));
        }
    }
    let listen = listen?;
    let behind_proxy = section.flag("behind_proxy").unwrap_or(false);
    let in_the_clear = !section.has("tls_cert") && !section.has("tls_key");
    if in_the_clear && !behind_proxy && !listen.ip().is_loopback() && !nobody_calls {
        section.wrong(
            "listen",
            format!(
                "{listen} is reached by other machines, without TLS; give tls_cert and tls_key, \
                 listen on 127.0.0.1 behind a tunnel or proxy of this device, or write \
                 behind_proxy = true if a proxy of yours ends TLS in front"
            ),
        );
    }
    let tls = cert.zip(key).map(|(cert, key)| Tls { cert, key });
    Some(Callbacks { listen, tls, behind_proxy })
}

fn local(section: &mut Section<'_>) -> Option<Local> {
    let directory = section.directory();
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_LOCAL_PORT));
    let listen = section.text_or("listen", default, values::listen_address);
    let token_file = section.text("token_file", |text| values::path(text, directory));
    let socket = section.text("socket", socket_path);
    let socket_mode = section.text_or("socket_mode", DEFAULT_SOCKET_MODE, values::file_mode);
    let socket_group = section.text("socket_group", values::group);
    let allow_origins = section.texts("allow_origins", values::page_origin).unwrap_or_default();
    let (listen, socket_mode) = (listen?, socket_mode?);
    if !listen.ip().is_loopback() {
        judge_open_address(section, listen);
    }
    if socket_mode & OTHERS_MAY_CONNECT != 0 {
        section.warn("socket_mode", "every user of this device can read the mirror");
    }
    Some(Local { listen, token_file, socket, socket_mode, socket_group, allow_origins })
}

/// Says what it means to be read by other machines.
fn judge_open_address(section: &mut Section<'_>, listen: SocketAddr) {
    if section.has("token_file") {
        section.warn(
            "listen",
            format!(
                "{listen} is reached by other machines, without TLS: whoever can listen in between \
                 sees the records and the token"
            ),
        );
    } else {
        section.wrong(
            "listen",
            format!(
                "'{listen}' is not a loopback address, and readers are not asked who they are; \
                 write for example 127.0.0.1:{DEFAULT_LOCAL_PORT}, or give token_file"
            ),
        );
    }
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = values::absolute_path(text)?;
    let length = path.as_os_str().as_bytes().len();
    if length > SOCKET_PATH_LIMIT {
        return Err(format!(
            "the path has {length} bytes, a socket's may have {SOCKET_PATH_LIMIT}; write a \
             shorter one"
        ));
    }
    Ok(path)
}

/// Port 0 lets the system choose, so that two of them never meet.
fn refuse_one_port_for_both(section: &mut Section<'_>, callbacks: SocketAddr, local: SocketAddr) {
    let same_address = callbacks.ip() == local.ip() || callbacks.ip().is_unspecified();
    if local.port() != 0 && local.port() == callbacks.port() && same_address {
        section.wrong(
            "listen",
            format!(
                "callbacks.listen = {callbacks} and local.listen = {local} cannot share a port; \
                 write another"
            ),
        );
    }
}

fn catch_up(section: &mut Section<'_>) -> Option<CatchUp> {
    let every = section.text_or("every", DEFAULT_EVERY, span::duration);
    let sweep_every = section.text_or("sweep_every", DEFAULT_SWEEP_EVERY, span::duration);
    let credits_per_day = section.number("credits_per_day", CREDITS).unwrap_or(DEFAULT_CREDITS);
    let (every, sweep_every) = (every?, sweep_every?);
    if sweep_every < every {
        let (sweep_every, every) = (duration_text(sweep_every), duration_text(every));
        section.wrong(
            "sweep_every",
            format!("{sweep_every} is shorter than every = {every}; write {every} or more"),
        );
    }
    Some(CatchUp { every, sweep_every, credits_per_day })
}

fn modules(
    document: &mut Section<'_>,
    with_channel: bool,
    books: Option<&Books>,
    findings: &mut Findings,
) -> Option<Vec<Module>> {
    if !document.has("module") && !document.has("books") {
        document.wrong("module", "missing; write [[module]] and below it name = \"Leads\"");
    }
    let mut sections = document.sections("module");
    let mut modules: Vec<Module> = Vec::with_capacity(sections.len());
    let mut events = 0;
    for section in &mut sections {
        let Some(module) = module(section) else { continue };
        if modules.iter().any(|other| other.name == module.name) {
            section.wrong("name", format!("'{}' is there twice; join the two", module.name));
        }
        let is_module = |entity: &Entity| entity.plural() == module.name.as_str();
        if books.is_some_and(|books| books.entities.iter().any(is_module)) {
            section.wrong("name", format!("'{}' is mirrored of Books already", module.name));
        }
        let room = events <= CHANNEL_EVENTS_LIMIT;
        // All three of a module's operations can be asked for as one event, `Leads.all`.
        events += if module.operations.len() == Operation::ALL.len() {
            1
        } else {
            module.operations.len()
        };
        if with_channel && room && events > CHANNEL_EVENTS_LIMIT {
            section.wrong(
                "operations",
                format!(
                    "a channel carries {CHANNEL_EVENTS_LIMIT} operations, those of all modules \
                     together, and this module exceeds them; write fewer"
                ),
            );
        }
        modules.push(module);
    }
    let complete = modules.len() == sections.len();
    sections.into_iter().for_each(|section| section.finish(findings));
    complete.then_some(modules)
}

/// A refresh reads every record whole; more often than this it would do nothing else.
const SHORTEST_REFRESH: Duration = Duration::from_secs(3_600);

fn module(section: &mut Section<'_>) -> Option<Module> {
    let hint = "write the API name of a module, such as name = \"Leads\"";
    let name = section.required_text("name", hint, module_name);
    let operations = section.texts("operations", values::operation);
    let fields = section.texts("fields", field_name);
    let index = index(section, fields.as_deref());
    let whole_records = section.flag("whole_records").unwrap_or(false);
    let refresh_every = section.text("refresh_every", span::duration);
    if refresh_every.is_some_and(|every| every < SHORTEST_REFRESH) {
        section.wrong("refresh_every", "every refresh reads all records; write 1h or more");
    }
    if operations.as_ref().is_some_and(Vec::is_empty) {
        section.wrong("operations", "empty; name at least one, or leave it out for all three");
    }
    match fields.as_ref().map_or(1, Vec::len) {
        0 => section.wrong("fields", "empty; name at least one, or leave it out for all"),
        1..=FIELDS_LIMIT => {}
        count => section.wrong(
            "fields",
            format!("{count} are too many; name up to {FIELDS_LIMIT}, or leave it out for all"),
        ),
    }
    Some(Module {
        name: name?,
        operations: operations.unwrap_or_else(|| Operation::ALL.to_vec()),
        fields,
        index,
        whole_records,
        refresh_every,
    })
}

fn index(section: &mut Section<'_>, fields: Option<&[FieldName]>) -> Vec<FieldName> {
    let index = section.texts("index", field_name).unwrap_or_default();
    if index.len() > INDEX_LIMIT {
        let count = index.len();
        section.wrong("index", format!("{count} are too many; name up to {INDEX_LIMIT}"));
    }
    for field in &index {
        if fields.is_some_and(|fields| !fields.contains(field)) {
            section.wrong("index", format!("'{field}' is not mirrored; name it in fields too"));
        }
    }
    index
}

fn module_name(text: &str) -> Result<ModuleName, String> {
    ModuleName::parse(text).map_err(|error| format!("{error}; write for example Leads"))
}

fn field_name(text: &str) -> Result<FieldName, String> {
    FieldName::parse(text).map_err(|error| format!("{error}; write for example Last_Name"))
}
