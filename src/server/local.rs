//! The local interface: who may ask, and which question goes where.
//!
//! What is asked in CRM's own shape goes to `zoho`, what in that of Books to `books`.
//! Read-only but for `/sync`, `/channel` and `/snapshot`, which only ask the daemon to do sooner
//! what it does anyway, or to close its channel, and for `/outbox`, which takes calls to functions
//! in. No other question leads to a request upstream, but for a read that wants a newer copy than
//! there is.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};

use serde_json::json;

use crate::clock::Clock;
use crate::mirror::ledger::ScanKind;
use crate::mirror::origin::Origin;
use crate::mirror::outbox::FunctionName;
use crate::mirror::planner::Input;
use crate::mirror::record::ModuleName;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::secret::Secret;
use crate::store::Store;

use super::asked::{Asked, Peer};
use super::board::Board;
use super::books::{self, BooksMirrored};
use super::explain;
use super::metadata::Metadata;
use super::metrics;
use super::oauth;
use super::openapi;
use super::outbox::{self, Outbox};
use super::page;
use super::query::{BadParameter, Parameters, Target};
use super::reply::Reply;
use super::status;
use super::zoho::{
    KindsKept, READS, Reads, Scans, bad_parameter, is_version, method_not_allowed, not_mirrored,
    nothing_here,
};
use super::{feed, freshness, wait_for};

/// Headers of a request that an allowed page may send.
const ASKED_WITH: &str = "Authorization, Content-Type, Idempotency-Key, If-Modified-Since, \
                          If-None-Match, Last-Event-ID";
/// Headers of a reply that an allowed page may read.
const EXPOSED: &str =
    "Age, ETag, Mirror-Complete-Through, Mirror-Generation, Mirror-Search, Mirror-Sequence";
/// Seconds for which a browser may remember what a page may do; an hour after a change of the
/// configuration, a page that was allowed still asks, and is refused then.
const PREFLIGHT_AGE: &str = "3600";

/// What a snapshot would show: the newest change, and what is proved of each module.
type State = (u64, Vec<Option<UpstreamTime>>);

/// Answers local programs.
pub struct Local {
    /// The modules of CRM.
    modules: Vec<ModuleName>,
    books: BooksMirrored,
    /// All that is mirrored.
    mirrored: Vec<ModuleName>,
    /// What the change feed tells of: the modules, and perhaps the platform's own.
    told: Vec<ModuleName>,
    functions: Vec<FunctionName>,
    hosts: Vec<String>,
    origins: Vec<Origin>,
    token: Option<Secret>,
    store: Store,
    scans: Scans,
    kinds: KindsKept,
    board: Arc<Board>,
    bell: SyncSender<Input>,
    clock: Arc<dyn Clock>,
    started: Tick,
    /// Held while a snapshot is taken that somebody asked for.
    snapshots: Mutex<Option<(State, String)>>,
    /// This interface's description, once somebody has asked for it.
    description: OnceLock<String>,
}

impl Local {
    /// Answers from this store about these modules; browser pages of `origins` may read.
    pub fn new(
        modules: Vec<ModuleName>,
        origins: Vec<Origin>,
        store: Store,
        board: Arc<Board>,
        bell: SyncSender<Input>,
        clock: Arc<dyn Clock>,
    ) -> Local {
        let hosts = origins.iter().map(Origin::host).collect();
        let (token, started) = (None, clock.tick());
        let (scans, kinds) = (Scans::default(), KindsKept::default());
        let snapshots = Mutex::default();
        Local {
            mirrored: modules.clone(),
            told: modules.clone(),
            modules,
            books: BooksMirrored::default(),
            functions: Vec::new(),
            hosts,
            origins,
            token,
            store,
            scans,
            kinds,
            board,
            bell,
            clock,
            started,
            snapshots,
            description: OnceLock::new(),
        }
    }

    /// The same, of Books as well.
    pub fn with_books(mut self, books: BooksMirrored) -> Local {
        let entities = || books.entities.iter().map(|entity| entity.module());
        self.mirrored.extend(entities());
        self.told.extend(entities());
        Local { books, ..self }
    }

    /// The same, and these functions can be called through the outbox.
    pub fn calling(self, functions: Vec<FunctionName>) -> Local {
        Local { functions, ..self }
    }

    /// The same, but whoever comes over the network has to show this token. The Unix socket is
    /// guarded by the permissions of its file.
    pub fn guarded_by(self, token: Secret) -> Local {
        Local { token: Some(token), ..self }
    }

    /// The same, but the change feed tells of our extension too.
    pub fn telling_of_platform(mut self) -> Local {
        self.told.push(ModuleName::platform());
        self
    }

    /// Answers one request.
    pub fn respond(&self, asked: &Asked) -> Reply {
        let page = asked.header("origin").filter(|origin| self.may_read(origin));
        let reply = match self.admit(asked) {
            // A browser asks without the token whether it may ask with it.
            _ if page.is_some() && is_preflight(asked) => preflight(),
            Err(refused) => refused,
            Ok(()) => match Target::parse(&asked.target) {
                Ok(target) => self.route(asked, target),
                Err(bad) if asked.target.starts_with("/books/") => books::bad_parameter(&bad),
                Err(bad) => bad_parameter(&bad),
            },
        };
        let reply = if self.origins.is_empty() { reply } else { reply.with("Vary", "Origin") };
        match page {
            Some(origin) => reply
                .with("Access-Control-Allow-Origin", origin)
                .with("Access-Control-Expose-Headers", EXPOSED),
            None => reply,
        }
    }

    /// Whether whoever asks may ask at all; if not, the reply.
    fn admit(&self, asked: &Asked) -> Result<(), Reply> {
        match &self.token {
            _ if asked.peer == Peer::Unix => Ok(()),
            None if self.is_for_us(asked) => Ok(()),
            None => {
                let message = "this is not the host that was asked for";
                Err(Reply::error(421, "MISDIRECTED", message))
            }
            // No page can know the token, under whatever name it reaches us: the host is no matter.
            Some(token) if shows(asked, token) || is_for_everybody(asked) => Ok(()),
            Some(_) if oauth::is_asked_for_token(asked) => Ok(()),
            Some(_) => {
                let message = "show the token of local.token_file: Authorization: Bearer …";
                let refused = Reply::error(401, "INVALID_TOKEN", message);
                Err(refused.with("WWW-Authenticate", "Bearer realm=\"crmirror\""))
            }
        }
    }

    fn route(&self, asked: &Asked, target: Target) -> Reply {
        let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
        let parameters = target.parameters;
        match (asked.method.as_str(), segments.as_slice()) {
            (_, ["crm", version, ..]) if !is_version(version) => {
                Reply::error(404, "INVALID_URL_PATTERN", "upstream has the versions v2 to v8")
            }
            ("GET" | "HEAD", ["crm", _, path @ ..]) => {
                self.metered(|| self.read(path, parameters, asked))
            }
            (_, ["crm", _, ..]) => method_not_allowed(READS),
            ("GET" | "HEAD", ["books", "v3", path @ ..]) => {
                self.metered(|| self.read_books(path, parameters, asked))
            }
            (_, ["books", "v3", ..]) => books::method_not_allowed(),
            (_, ["books", ..]) => books::nothing_here(),
            ("GET" | "HEAD", ["status"]) => self.plain(parameters, || {
                status::status(&self.store, &self.board, self.started, self.clock.tick())
            }),
            ("GET" | "HEAD", ["healthz"]) => {
                self.plain(parameters, || status::health(&self.store, &self.board))
            }
            ("GET" | "HEAD", ["readyz"]) => {
                self.plain(parameters, || status::readiness(&self.board))
            }
            ("GET" | "HEAD", ["explain", module, id]) => self.explain(module, id, parameters),
            ("GET" | "HEAD", ["metrics"]) => self.plain(parameters, || {
                metrics::metrics(&self.store, &self.board, self.started, self.clock.tick())
            }),
            ("GET" | "HEAD", [""]) => self.plain(parameters, page::page),
            ("GET" | "HEAD", ["openapi.json"]) => self.plain(parameters, || {
                let text = self.description.get_or_init(|| {
                    openapi::document(&self.modules, &self.books.entities, &self.told)
                });
                Reply::json(200, text.as_str())
            }),
            ("GET" | "HEAD", ["changes"]) => {
                let changes = feed::changes(&self.store, &self.told, parameters, asked);
                changes.unwrap_or_else(|bad| bad_parameter(&bad))
            }
            (_, ["outbox", path @ ..]) => self.outbox(asked, path, parameters),
            ("POST", ["sync"]) => self.command(asked, || self.sync(parameters)),
            ("POST", ["channel"]) => self.command(asked, || self.channel(parameters)),
            ("POST", ["snapshot"]) => self.command(asked, || self.snapshot(parameters)),
            (_, ["status" | "healthz" | "readyz" | "metrics" | "changes" | ""])
            | (_, ["explain", _, _] | ["openapi.json"]) => method_not_allowed(READS),
            ("POST", ["oauth", "v2", "token"]) => {
                let granted = oauth::grant(asked, parameters, self.token.as_ref());
                granted.unwrap_or_else(|bad| bad_parameter(&bad))
            }
            (_, ["sync" | "channel" | "snapshot"] | ["oauth", "v2", "token"]) => {
                method_not_allowed("POST")
            }
            _ => nothing_here(),
        }
    }

    fn metered(&self, read: impl FnOnce() -> Reply) -> Reply {
        let asked_at = self.clock.tick();
        let reply = read();
        self.board.meters.read.add(self.clock.tick().since(asked_at));
        reply
    }

    fn explain(&self, module: &str, id: &str, parameters: Parameters) -> Reply {
        let module = ModuleName::parse(module).ok();
        let Some(module) = module.filter(|module| self.mirrored.contains(module)) else {
            return not_mirrored();
        };
        self.plain(parameters, || match id.parse() {
            Ok(id) => explain::explanation(&self.store, &module, id),
            Err(_) => bad_parameter(&BadParameter::new("id", "is not a record's id")),
        })
    }

    fn read(&self, path: &[&str], mut parameters: Parameters, asked: &Asked) -> Reply {
        if let ["settings" | "org" | "users", ..] = path {
            let metadata = Metadata { store: &self.store, modules: &self.modules };
            return match wait_for::take(&mut parameters, &self.store, asked) {
                Ok(None) => metadata.answer(path, parameters),
                Ok(Some(not_yet)) => not_yet,
                Err(bad) => bad_parameter(&bad),
            };
        }
        let module = path.first().and_then(|name| ModuleName::parse(name).ok());
        let Some(module) = module.filter(|module| self.modules.contains(module)) else {
            return not_mirrored();
        };
        self.read_fresh(&module, parameters, asked, bad_parameter, |reads, parameters| {
            reads.answer(&module, &path[1..], parameters, asked)
        })
    }

    fn read_books(&self, path: &[&str], mut parameters: Parameters, asked: &Asked) -> Reply {
        let entity = match self.books.entity(path, &mut parameters) {
            Ok(entity) => entity,
            Err(refused) => return refused,
        };
        let (module, refuse) = (entity.module(), books::bad_parameter);
        self.read_fresh(&module, parameters, asked, refuse, |reads, parameters| {
            books::answer(reads, entity, &path[1..], parameters, asked)
        })
    }

    /// Reads of a module whose copy has come as far as `wait_for` says, and is as new as
    /// `max_staleness` does.
    fn read_fresh(
        &self,
        module: &ModuleName,
        mut parameters: Parameters,
        asked: &Asked,
        refuse: fn(&BadParameter) -> Reply,
        read: impl FnOnce(&Reads<'_>, Parameters) -> Reply,
    ) -> Reply {
        let report = self.board.report();
        let (scans, clock) = (&self.scans, &*self.clock);
        let now = clock.tick();
        let (store, kinds, report) = (&self.store, &self.kinds, &*report);
        let reads = Reads { store, report, scans, kinds, clock, now };
        match wait_for::take(&mut parameters, &self.store, asked) {
            Ok(None) => {}
            Ok(Some(not_yet)) => return reads.marked(not_yet, module),
            Err(bad) => return reads.marked(refuse(&bad), module),
        }
        // It has upstream asked: that is as much as a command.
        let may_ask = self.may_command(asked);
        let ask = || {
            if may_ask {
                drop(self.bell.try_send(Input::NewerProofAsked(module.clone())));
            }
        };
        match freshness::take(&mut parameters, asked, module, report, now, ask) {
            Ok(Some(_)) if !may_ask => not_commanded(),
            Ok(None) => read(&reads, parameters),
            Ok(Some(stale)) => reads.marked(stale, module),
            Err(bad) => reads.marked(refuse(&bad), module),
        }
    }

    fn plain(&self, parameters: Parameters, reply: impl FnOnce() -> Reply) -> Reply {
        match parameters.finish() {
            Ok(()) => reply(),
            Err(bad) => bad_parameter(&bad),
        }
    }

    /// Only a web page that may read may command: a browser names the page's origin with every
    /// POST, also where it would not let the page see the reply.
    fn command(&self, asked: &Asked, reply: impl FnOnce() -> Result<Reply, BadParameter>) -> Reply {
        if !self.may_command(asked) {
            return not_commanded();
        }
        reply().unwrap_or_else(|bad| bad_parameter(&bad))
    }

    /// A page's picture or link is asked for without the page's origin; newer browsers then say at
    /// least that it is of another site.
    fn may_command(&self, asked: &Asked) -> bool {
        match (asked.header("origin"), asked.header("sec-fetch-site")) {
            (Some(origin), _) => self.may_read(origin),
            (None, Some("cross-site" | "same-site")) => false,
            (None, _) => true,
        }
    }

    fn outbox(&self, asked: &Asked, path: &[&str], parameters: Parameters) -> Reply {
        let Some(allowed) = outbox::methods(path) else { return nothing_here() };
        let method = if asked.method == "HEAD" { "GET" } else { &asked.method };
        if !allowed.split(", ").any(|allowed| allowed == method) {
            return method_not_allowed(allowed);
        }
        let (functions, store, board) = (&self.functions, &self.store, &*self.board);
        let outbox = Outbox { functions, store, board, now: self.clock.tick() };
        match method {
            "GET" => outbox.read(path, parameters).unwrap_or_else(|bad| bad_parameter(&bad)),
            _ => self.command(asked, || outbox.act(asked, path, parameters)),
        }
    }

    fn sync(&self, mut parameters: Parameters) -> Result<Reply, BadParameter> {
        let module = match parameters.take("module") {
            None => None,
            Some(name) => {
                let module = self.mirrored.iter().find(|module| module.as_str() == name);
                let why = "is none of the mirrored modules";
                Some(module.cloned().ok_or_else(|| BadParameter::new("module", why))?)
            }
        };
        let kind = match parameters.take("sweep").as_deref() {
            None | Some("false") => ScanKind::CatchUp,
            Some("true") => ScanKind::Sweep,
            Some(_) => return Err(BadParameter::new("sweep", "is true or false")),
        };
        parameters.finish()?;
        if self.is_removed() {
            return Ok(not_now("the extension is removed: nothing is fetched until it is back"));
        }
        Ok(self.ring(Input::SyncAsked { module, kind }))
    }

    fn channel(&self, mut parameters: Parameters) -> Result<Reply, BadParameter> {
        let input = match parameters.take("action").as_deref() {
            Some("renew") => Input::RenewalAsked,
            Some("close") => Input::CloseAsked,
            Some(_) | None => return Err(BadParameter::new("action", "is renew or close")),
        };
        parameters.finish()?;
        if self.board.report().channel.id.is_none() {
            let message = "there is no channel: the configuration has no [channel]";
            return Ok(Reply::error(409, "NO_CHANNEL", message));
        }
        if input == Input::RenewalAsked && self.is_removed() {
            let message = "the extension is removed: the channel stays closed until it is back";
            return Ok(Reply::error(409, "NO_CHANNEL", message));
        }
        Ok(self.ring(input))
    }

    /// Whether the platform told that our extension is gone.
    fn is_removed(&self) -> bool {
        let report = self.board.report();
        report.platform.as_ref().is_some_and(|platform| platform.is_removed())
    }

    /// Takes as long as the store is large, on one of the threads that answer: so one at a time,
    /// and none when nothing has changed since the last.
    fn snapshot(&self, parameters: Parameters) -> Result<Reply, BadParameter> {
        parameters.finish()?;
        let mut last = match self.snapshots.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Ok(not_now("a snapshot is being taken"));
            }
        };
        let (report, sequence) = (self.board.report(), self.store.last_sequence());
        let proved = report.modules.values().map(|ledger| ledger.complete_through);
        let state: State = (sequence, proved.collect());
        if let Some((_, body)) = last.as_ref().filter(|(of, _)| *of == state) {
            return Ok(Reply::json(200, body.clone()));
        }
        let now = report.upstream_time.unwrap_or_else(|| self.clock.wall());
        Ok(match self.store.snapshot(now) {
            Ok(taken) => {
                let body = json!({ "entries": taken.entries, "bytes": taken.bytes }).to_string();
                *last = Some((state, body.clone()));
                Reply::json(200, body)
            }
            Err(error) => not_now(&error.to_string()),
        })
    }

    fn ring(&self, input: Input) -> Reply {
        match self.bell.try_send(input) {
            Ok(()) => Reply::json(202, r#"{"status":"accepted"}"#),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                not_now("the daemon is busy")
            }
        }
    }

    /// Whether the request names this device as its host. A page elsewhere that has its name
    /// resolved to this device (DNS rebinding) names itself.
    fn is_for_us(&self, asked: &Asked) -> bool {
        if asked.peer == Peer::Unix {
            return true;
        }
        let Some(host) = asked.header("host") else { return true };
        let Ok(host) = Origin::parse(&format!("http://{host}")) else { return false };
        host.is_loopback() || self.hosts.contains(&host.host())
    }

    fn may_read(&self, origin: &str) -> bool {
        Origin::parse(origin).is_ok_and(|origin| self.origins.contains(&origin))
    }
}

/// Whether the request shows the token: by the scheme that HTTP has for it, or by upstream's own,
/// so that code written for upstream can show it as its access token.
fn shows(asked: &Asked, token: &Secret) -> bool {
    let Some((scheme, offered)) = asked.header("authorization").and_then(|v| v.split_once(' '))
    else {
        return false;
    };
    let known = ["Bearer", "Zoho-oauthtoken"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    known && token.is(offered.trim())
}

/// Whoever watches over the device asks for its health, which tells nothing of any record, and
/// needs no token for it. Nor does the status page, which is the same for everybody: it asks for
/// the token itself, since a browser that is given an address has none to show.
fn is_for_everybody(asked: &Asked) -> bool {
    matches!(asked.target.as_str(), "/healthz" | "/")
}

fn is_preflight(asked: &Asked) -> bool {
    asked.method == "OPTIONS" && asked.header("access-control-request-method").is_some()
}

/// What a browser is told before it lets an allowed page ask.
fn preflight() -> Reply {
    Reply::empty(204)
        .with("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
        .with("Access-Control-Allow-Headers", ASKED_WITH)
        .with("Access-Control-Max-Age", PREFLIGHT_AGE)
}

fn not_now(why: &str) -> Reply {
    Reply::error(503, "NOT_NOW", why).with("Retry-After", "5")
}

fn not_commanded() -> Reply {
    Reply::error(403, "NO_PERMISSION", "this page may not command the daemon")
}
