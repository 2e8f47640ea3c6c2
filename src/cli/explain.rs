//! `crmirror explain`: how a record came to be here, for a person who doubts it.

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::inbox::Reason;
use crate::mirror::record::{ChangeKind, ModuleName, RecordId};
use crate::mirror::road::{Reading, Road};
use crate::mirror::time::UpstreamTime;
use crate::store::{Explanation, State};

use super::print;
use super::source::Source;
use super::table::printable;

/// Says how a record came to be here.
pub(super) fn run(
    config: &Config,
    module: &ModuleName,
    id: RecordId,
    json: bool,
) -> Result<(), Failure> {
    let explanation = Source::of_module(config, module)?.explain(module, id)?;
    if json {
        let text = serde_json::to_string(&explanation);
        return print(&format!("{}\n", text.expect("our own types have no keys but strings")));
    }
    print(&told(&explanation))
}

/// The explanation, a statement a line.
fn told(explained: &Explanation) -> String {
    let Explanation { module, id, .. } = explained;
    let mut lines = vec![format!("{module}/{id} {}", state(explained))];
    let mut say = |what: &str, told: String| lines.push(format!("{what:<9} {}", printable(&told)));
    if let Some(modified) = explained.modified {
        say("modified", format!("{modified}, says upstream"));
    }
    match (&explained.change, explained.sequence) {
        (Some(change), _) => {
            let kind = match change.kind {
                ChangeKind::Upsert => "new or edited",
                ChangeKind::Delete => "deleted",
            };
            say("change", format!("{}: {kind}", change.sequence));
            say("read", format!("{}{}", change.read, how(change.road)));
            for line in change.road.iter().filter_map(cause) {
                say("because", line);
            }
        }
        (None, Some(sequence)) if sequence >= explained.oldest_change => {
            say("change", "none: no reader was told of it".into());
        }
        (None, Some(sequence)) => {
            let kept = explained.oldest_change;
            let why = format!("{sequence}: older than those that are kept, from {kept} on");
            say("change", why);
        }
        (None, None) => {}
    }
    for road in &explained.waiting {
        say("waits", format!("to be fetched: {}", cause(road).unwrap_or_default()));
    }
    if let Some(set_aside) = &explained.set_aside {
        say("set aside", format!("since {}: {}", set_aside.since, set_aside.why));
    }
    let proof = explained.ledger;
    say(
        "module",
        match proof.complete_through {
            Some(time) => format!("proved complete through {time}"),
            None => "not proved complete: its bootstrap has not ended".into(),
        },
    );
    let ended = |time: Option<UpstreamTime>| time.map_or("never".into(), |time| time.to_string());
    say("", format!("last catch-up {}", ended(proof.last_catch_up)));
    say("", format!("last sweep {}", ended(proof.last_sweep)));
    lines.join("\n") + "\n"
}

fn state(explained: &Explanation) -> String {
    match (explained.state, explained.gone) {
        (State::Live, _) => "is in the mirror".into(),
        (State::Deleted, Some(gone)) => format!("is deleted: it was found to be gone at {gone}"),
        (State::Deleted, None) => "is deleted".into(),
        (State::NeverSeen, _) => "was never seen here, or its deletion is forgotten".into(),
        (State::Unreadable, _) => "cannot be read from the store: it is fetched again".into(),
    }
}

fn how(road: Option<Road>) -> String {
    match road {
        Some(Road::Page(reading)) => format!(", on a page of {}", name(reading)),
        Some(Road::Fetch { .. }) => ", fetched by its id".into(),
        Some(Road::Seed { taken }) => format!(" by another device, imported as of {taken}"),
        None => ", by a release that did not keep how".into(),
    }
}

/// For whose sake it was or is to be fetched.
fn cause(road: &Road) -> Option<String> {
    let Road::Fetch { reason, heard, reading } = road else { return None };
    let when = match heard {
        Some(time) => format!("at {time}"),
        None => "before upstream's time was known".into(),
    };
    Some(match (reason, reading) {
        (Reason::Touched, _) => format!("a callback {when} said: created or edited"),
        (Reason::Deleted, _) => format!("a callback {when} said: deleted"),
        (Reason::Scanned, Some(reading)) => format!("{} left it in doubt {when}", name(*reading)),
        (Reason::Scanned, None) => format!("a scan left it in doubt {when}"),
    })
}

fn name(reading: Reading) -> &'static str {
    match reading {
        Reading::Bootstrap => "the bootstrap",
        Reading::CatchUp => "a catch-up",
        Reading::Sweep => "a sweep",
        Reading::Refresh => "a refresh",
    }
}
