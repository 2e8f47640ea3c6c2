//! The local interface: who may ask, and which question goes where.
//!
//! Read-only but for `/sync`, `/channel` and `/snapshot`, which only ask the daemon to do sooner
//! what it does anyway, or to close its channel. No question leads to a request upstream, but for a
//! read that wants a newer copy than there is.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};

use serde_json::json;

use crate::clock::Clock;
use crate::mirror::ledger::ScanKind;
use crate::mirror::origin::Origin;
use crate::mirror::planner::Input;
use crate::mirror::record::ModuleName;
use crate::mirror::time::{Tick, UpstreamTime};
use crate::secret::Secret;
use crate::store::Store;

use super::asked::{Asked, Peer};
use super::board::Board;
use super::explain;
use super::metadata::Metadata;
use super::metrics;
use super::oauth;
use super::openapi;
use super::page;
use super::query::{BadParameter, Parameters, Target};
use super::reply::Reply;
use super::status;
use super::zoho::{KindsKept, Reads, Scans, bad_parameter, is_version, not_mirrored, nothing_here};
use super::{feed, freshness, wait_for};

/// Headers of a request that an allowed page may send.
const ASKED_WITH: &str = "Authorization, If-Modified-Since, If-None-Match, Last-Event-ID";
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
    modules: Vec<ModuleName>,
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
            modules,
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

    /// The same, but whoever comes over the network has to show this token. The Unix socket is
    /// guarded by the permissions of its file.
    pub fn guarded_by(self, token: Secret) -> Local {
        Local { token: Some(token), ..self }
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
                let asked_at = self.clock.tick();
                let reply = self.read_when(path, parameters, asked);
                self.board.meters.read.add(self.clock.tick().since(asked_at));
                reply
            }
            (_, ["crm", _, ..]) => method_not_allowed("GET"),
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
                let text = self.description.get_or_init(|| openapi::document(&self.modules));
                Reply::json(200, text.as_str())
            }),
            ("GET" | "HEAD", ["changes"]) => {
                let changes = feed::changes(&self.store, &self.modules, parameters, asked);
                changes.unwrap_or_else(|bad| bad_parameter(&bad))
            }
            ("POST", ["sync"]) => self.command(asked, || self.sync(parameters)),
            ("POST", ["channel"]) => self.command(asked, || self.channel(parameters)),
            ("POST", ["snapshot"]) => self.command(asked, || self.snapshot(parameters)),
            (_, ["status" | "healthz" | "readyz" | "metrics" | "changes" | ""])
            | (_, ["explain", _, _] | ["openapi.json"]) => method_not_allowed("GET"),
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

    /// Reads once the mirror has come as far as `wait_for` says.
    fn read_when(&self, path: &[&str], mut parameters: Parameters, asked: &Asked) -> Reply {
        match wait_for::take(&mut parameters, &self.store, asked) {
            Ok(None) => self.read(path, parameters, asked),
            Ok(Some(not_yet)) => not_yet,
            Err(bad) => bad_parameter(&bad),
        }
    }

    fn explain(&self, module: &str, id: &str, parameters: Parameters) -> Reply {
        let module = ModuleName::parse(module).ok();
        let Some(module) = module.filter(|module| self.modules.contains(module)) else {
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
            return metadata.answer(path, parameters);
        }
        let module = path.first().and_then(|name| ModuleName::parse(name).ok());
        let Some(module) = module.filter(|module| self.modules.contains(module)) else {
            return not_mirrored();
        };
        let report = self.board.report();
        let (scans, clock) = (&self.scans, &*self.clock);
        let now = clock.tick();
        let (store, kinds, report) = (&self.store, &self.kinds, &*report);
        let reads = Reads { store, report, scans, kinds, clock, now };
        // It has upstream asked: that is as much as a command.
        let may_ask = self.may_command(asked);
        let ask = || {
            if may_ask {
                drop(self.bell.try_send(Input::NewerProofAsked(module.clone())));
            }
        };
        match freshness::take(&mut parameters, asked, &module, report, now, ask) {
            Ok(Some(_)) if !may_ask => not_commanded(),
            Ok(None) => reads.answer(&module, &path[1..], parameters, asked),
            Ok(Some(stale)) => reads.marked(stale, &module),
            Err(bad) => reads.marked(bad_parameter(&bad), &module),
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

    fn sync(&self, mut parameters: Parameters) -> Result<Reply, BadParameter> {
        let module = match parameters.take("module") {
            None => None,
            Some(name) => {
                let module = self.modules.iter().find(|module| module.as_str() == name);
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
        Ok(self.ring(input))
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
        .with("Access-Control-Allow-Methods", "GET, HEAD, POST")
        .with("Access-Control-Allow-Headers", ASKED_WITH)
        .with("Access-Control-Max-Age", PREFLIGHT_AGE)
}

fn not_now(why: &str) -> Reply {
    Reply::error(503, "NOT_NOW", why).with("Retry-After", "5")
}

fn not_commanded() -> Reply {
    Reply::error(403, "NO_PERMISSION", "this page may not command the daemon")
}

fn method_not_allowed(allowed: &'static str) -> Reply {
    let message = match allowed {
        "POST" => "this is asked for by POST",
        _ => "the mirror is read-only: write to upstream",
    };
    Reply::error(405, "INVALID_REQUEST_METHOD", message).with("Allow", allowed)
}
