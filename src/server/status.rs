//! How things stand: `/status`, `/healthz`, `/readyz`.

use serde_json::{Value, json};

use crate::mirror::count::Count;
use crate::mirror::credits::Purpose;
use crate::mirror::gather::Gather;
use crate::mirror::record::ModuleName;
use crate::mirror::time::Tick;
use crate::store::Store;

use super::board::{Board, BooksReport, PlatformReport, Report, WebhooksReport};
use super::outbox;
use super::reply::Reply;

/// The contract's `/status`.
pub(super) fn status(store: &Store, board: &Board, started: Tick, now: Tick) -> Reply {
    Reply::json(200, document(store, board, started, now).to_string())
}

/// 200 while the daemon makes progress and the store takes writes.
pub(super) fn health(store: &Store, board: &Board) -> Reply {
    if store.has_failed() {
        return Reply::error(503, "UNHEALTHY", "the store takes no writes");
    }
    if store.room().low {
        return Reply::error(503, "UNHEALTHY", "the disk is full: callbacks are turned away");
    }
    if let Some(stopped) = board.stopped() {
        return Reply::error(503, "UNHEALTHY", &stopped);
    }
    Reply::json(200, r#"{"status":"ok"}"#)
}

/// 200 once every module has been bootstrapped.
pub(super) fn readiness(board: &Board) -> Reply {
    let report = board.report();
    let unready = |module: &&crate::mirror::record::ModuleName| {
        report.modules[*module].complete_through.is_none()
    };
    let missing: Vec<&str> =
        report.modules.keys().filter(unready).map(|module| module.as_str()).collect();
    if missing.is_empty() {
        return Reply::json(200, r#"{"status":"ready"}"#);
    }
    let message = format!("not bootstrapped yet: {}", missing.join(", "));
    Reply::error(503, "NOT_READY", &message)
}

/// How far the indexes of a module have come, by field.
fn indexes(store: &Store, module: &ModuleName) -> Value {
    store
        .indexes(module)
        .into_iter()
        .map(|(index, phase)| (index.to_string(), json!(phase)))
        .gather::<serde_json::Map<_, _>>()
        .into()
}

fn document(store: &Store, board: &Board, started: Tick, now: Tick) -> Value {
    let report = board.report();
    let room = store.room();
    let (accepted, refused, duplicate) = board.callbacks.read();
    let oldest = report.oldest_waiting.map_or(0, |arrived| now.since(arrived).as_secs());
    let modules: serde_json::Map<String, Value> = report
        .modules
        .iter()
        .map(|(name, ledger)| {
            let scan = ledger
                .scan
                .as_ref()
                .map(|scan| json!({ "kind": scan.kind, "since": scan.since, "rows": scan.seen }));
            let since_read = |last| Some(report.upstream_time?.since(last).as_secs());
            let oldest_read = ledger.last_refresh.and_then(since_read);
            let count = ledger.count.map(
                |Count { time, upstream, mirror, .. }| {
                    json!({ "time": time, "upstream": upstream, "mirror": mirror })
                },
            );
            let module = json!({
                "records": ledger.records,
                "complete_through": ledger.complete_through,
                "last_catch_up": ledger.last_catch_up,
                "last_sweep": ledger.last_sweep,
                "last_refresh": ledger.last_refresh,
                "oldest_read_seconds": oldest_read,
                "missed_callbacks": ledger.missed,
                "count": count,
                "scan": scan,
                "indexes": indexes(store, name),
            });
            (name.to_string(), module)
        })
        .gather();
    let mut document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": now.since(started).as_secs(),
        "upstream": {
            "state": report.upstream,
            "last_error": report.last_error,
            "time": report.upstream_time,
        },
        "channel": {
            "state": report.channel.state,
            "id": report.channel.id,
            "expires": report.channel.expires,
            "renew_at": report.channel.renew_at,
            "renewals": report.channel.renewals,
        },
        "inbox": {
            "waiting": store.waiting(),
            "oldest_seconds": oldest,
            "quarantined": store.quarantined_count(),
        },
        "callbacks": { "accepted": accepted, "refused": refused, "duplicate": duplicate },
        "store": { "free_bytes": room.free, "low": room.low, "unreadable": store.unreadable() },
        "credits": {
            "spent_today": report.credits_spent,
            "ceiling": report.credits_ceiling,
            "waiting_for_credits": report.starved.map(Purpose::word),
        },
        "modules": modules,
        "sequence": store.last_sequence(),
        "generation": store.generation(),
    });
    add_neighbours(&mut document, &report, board);
    if let Some(calls) = outbox::standing(store, board, report.upstream_now(now)) {
        document["outbox"] = calls;
    }
    document
}

/// Adds what stands beside CRM, as far as it is configured.
fn add_neighbours(document: &mut Value, report: &Report, board: &Board) {
    if let Some(books) = &report.books {
        document["books"] = of_books(books);
    }
    if let Some(webhooks) = &report.webhooks {
        add_webhooks(&mut document["books"], webhooks);
        document["books"]["last_callback"] = json!(board.callbacks.heard_of_books());
    }
    if let Some(platform) = &report.platform {
        document["platform"] = of_platform(platform);
    }
}

fn of_books(books: &BooksReport) -> Value {
    json!({
        "modules": books.modules,
        "calls_today": books.calls,
        "ceiling": books.ceiling,
        "waiting_for_calls": books.starved,
        "last_error": books.last_error,
    })
}

fn of_platform(platform: &PlatformReport) -> Value {
    let newest = platform.newest.as_ref();
    json!({
        "state": platform.state,
        "org": newest.map(|(_, recorded)| &recorded.org),
        "last_event": newest.map(|(_, recorded)| recorded.event),
        "last_event_time": newest.map(|(_, recorded)| recorded.time),
        "events": newest.map_or(0, |(number, _)| *number),
    })
}

/// Adds our webhooks at Books, and what became of callbacks that it could not deliver.
fn add_webhooks(books: &mut Value, report: &WebhooksReport) {
    let each = report.each.iter();
    let each = each.map(|(name, (state, id))| (name.clone(), json!({ "state": state, "id": id })));
    let webhooks: serde_json::Map<String, Value> = each.gather();
    let [resent, healed, failed] = report.histories;
    let (since, last_seen) = (report.since, report.latest);
    books["webhooks"] = webhooks.into();
    books["histories"] = json!({
        "since": since, "last_seen": last_seen,
        "resent": resent, "healed": healed, "failed": failed,
    });
}
