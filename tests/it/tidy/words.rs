//! The glossary as a test: words that have a better one here, and how messages are written.
//!
//! Only words that have no second, innocent meaning can be looked for: `push` and `get` are also
//! what Rust's own types say, `server` is a room, `event` is upstream's word in its channels.

use super::expect_none;
use super::source::{Source, sources, words};

/// Words for which the glossary has another, alone or as a part of a name.
const BANNED: [(&str, &str); 33] = [
    ("audit", "sweep"),
    ("auditing", "sweep"),
    ("backend", "upstream"),
    ("cloud", "upstream"),
    ("common", "a name that says what it does"),
    ("cursor", "watermark"),
    ("daemonize", "start"),
    ("entities", "records"),
    ("helper", "a name that says what it does"),
    ("helpers", "a name that says what it does"),
    ("hook", "callback"),
    ("hooks", "callbacks"),
    ("job", "action"),
    ("jobs", "actions"),
    ("manager", "a name that says what it does"),
    ("node", "device"),
    ("nodes", "devices"),
    ("poll", "catch-up"),
    ("polling", "catch-up"),
    ("polls", "catches up"),
    ("quota", "credits"),
    ("remote", "upstream"),
    ("replica", "mirror"),
    ("resync", "catch-up"),
    ("subscribe", "open a channel"),
    ("subscriber", "device"),
    ("subscription", "channel"),
    ("subscriptions", "channels"),
    ("task", "action"),
    ("util", "a name that says what it does"),
    ("utils", "a name that says what it does"),
    ("webhook", "callback"),
    ("webhooks", "callbacks"),
];

/// What Books calls its own things: they stand where Books is spoken of.
const OF_BOOKS: [&str; 3] = ["entities", "webhook", "webhooks"];

/// Words banned from what is logged, where only we speak: elsewhere they have other meanings.
const BANNED_FROM_LOGS: [(&str, &str); 13] = [
    ("backlog", "inbox"),
    ("buffer", "inbox"),
    ("cache", "mirror"),
    ("dropped", "refused"),
    ("event", "notification"),
    ("events", "notifications"),
    ("job", "action"),
    ("pushed", "notification"),
    ("remote", "upstream"),
    ("result", "observation"),
    ("saved", "durable"),
    ("server", "upstream"),
    ("worker", "heart"),
];

/// Where a banned word stands all the same: the file, the word, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 12] = [
    ("src/cli/table.rs", "cursor", "the terminal's"),
    ("src/cli/changes.rs", "hook", "the crate signal_hook"),
    ("src/config/mod.rs", "manager", "the device's service manager: systemd"),
    ("src/daemon.rs", "hook", "the crate signal_hook"),
    ("src/error.rs", "manager", "the device's service manager: systemd"),
    ("src/server/gate/deadline.rs", "poll", "the system call"),
    ("src/server/gate/floor.rs", "subscriber", "of an internet provider, who has a /64"),
    ("src/server/gate/listener.rs", "poll", "the system call"),
    ("src/server/lines.rs", "poll", "the system call"),
    ("src/store/bell.rs", "poll", "the system call"),
    ("src/store/open.rs", "quota", "the standard library's name of an error"),
    ("src/store/error.rs", "quota", "the standard library's name of an error"),
];

/// Phrases that promise what cannot be kept, or that have a better word.
const PHRASES: [(&str, &str); 5] = [
    ("exactly once", "at least once"),
    ("exactly-once", "at least once"),
    ("dead letter", "quarantine"),
    ("soft delete", "tombstone"),
    ("end of file marker", "its end"),
];

const LOGS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[test]
fn the_glossary_is_kept() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        let names = words(&source.code).flat_map(|(at, name)| {
            parts(name).into_iter().map(move |part| (at, part.to_lowercase()))
        });
        let spoken = words(&source.comments).map(|(at, word)| (at, word.to_lowercase()));
        let said = source.texts.iter().flat_map(|text| {
            words(&text.says).map(|(_, word)| (text.place.start, word.to_lowercase()))
        });
        for (at, word) in names.chain(spoken).chain(said) {
            untidy.extend(verdict(&source, at, &word, &BANNED));
        }
        let whole = source.text.to_lowercase();
        for (phrase, better) in PHRASES {
            let found = whole.find(phrase);
            untidy.extend(found.map(|_| format!("{}: '{phrase}'; say {better}", source.path)));
        }
    }
    expect_none(&untidy);
}

#[test]
fn what_is_logged_speaks_our_language() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        for message in logged(&source) {
            for (_, word) in words(message.says) {
                let word = word.to_lowercase();
                untidy.extend(verdict(&source, message.at, &word, &BANNED_FROM_LOGS));
            }
        }
    }
    expect_none(&untidy);
}

#[test]
fn messages_begin_small_and_end_without_a_full_stop() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        for message in logged(&source).chain(failures(&source)) {
            let mut letters = message.says.chars();
            let (first, second) = (letters.next(), letters.next());
            // A name in capitals (`TLS: …`) stays as it is.
            let large =
                first.is_some_and(char::is_uppercase) && !second.is_some_and(char::is_uppercase);
            let stopped = message.says.ends_with('.') && !message.says.ends_with("...");
            if large || stopped {
                let place = source.place(message.at);
                untidy.push(format!("{place}: write it small and without a full stop"));
            }
        }
    }
    expect_none(&untidy);
}

#[test]
fn functions_do_not_get() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        for (at, name) in words(&source.code).filter(|(_, name)| name.starts_with("get_")) {
            // Rust's own types have some.
            if source.code[..at].ends_with("fn ") {
                untidy.push(format!("{}: {name} is named by what it gives", source.place(at)));
            }
        }
    }
    expect_none(&untidy);
}

#[test]
fn exceptions_are_still_needed() {
    let sources = sources("src");
    let unneeded = EXCEPTIONS.iter().filter(|(path, word, _)| {
        let file = sources.iter().find(|source| source.path == *path);
        !file.is_some_and(|file| file.text.to_lowercase().contains(word))
    });
    let unneeded: Vec<String> =
        unneeded.map(|(path, word, _)| format!("{path} does not say {word} any more")).collect();
    expect_none(&unneeded);
}

fn verdict(source: &Source, at: usize, word: &str, banned: &[(&str, &str)]) -> Option<String> {
    let (_, better) = banned.iter().find(|(banned, _)| *banned == word)?;
    let excused =
        EXCEPTIONS.iter().any(|(path, excepted, _)| *path == source.path && *excepted == word);
    let of_books = OF_BOOKS.contains(&word) && words(&source.text).any(|(_, word)| word == "Books");
    (!excused && !of_books).then(|| format!("{}: '{word}'; say {better}", source.place(at)))
}

/// The words that a name is made of: `notify_url` and `NotifyUrl` of two, `URL_LIMIT` of two.
fn parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in name.split('_') {
        let mut start = 0;
        let mut before = 'A';
        for (at, letter) in part.char_indices() {
            if letter.is_uppercase() && !before.is_uppercase() {
                parts.push(&part[start..at]);
                start = at;
            }
            before = letter;
        }
        parts.push(&part[start..]);
    }
    parts
}

/// A message: where it stands and what it says.
struct Message<'a> {
    at: usize,
    says: &'a str,
}

/// What the file logs.
fn logged(source: &Source) -> impl Iterator<Item = Message<'_>> {
    LOGS.iter().flat_map(|level| said_after(source, format!("log::{level}!(")))
}

/// What the file ends commands with.
fn failures(source: &Source) -> impl Iterator<Item = Message<'_>> {
    ["failed", "usage", "unavailable", "configuration"]
        .into_iter()
        .flat_map(|exit| said_after(source, format!("Failure::{exit}(")))
}

/// The texts that stand first in a call that begins like this.
fn said_after(source: &Source, call: String) -> impl Iterator<Item = Message<'_>> {
    let starts: Vec<usize> =
        source.code.match_indices(&call).map(|(at, found)| at + found.len()).collect();
    starts.into_iter().filter_map(|start| {
        let text = source.texts.iter().find(|text| text.place.start > start)?;
        let between = source.code[start..text.place.start].trim_end_matches('"').trim();
        let is_first = matches!(between, "" | "format!(");
        is_first.then(|| Message { at: text.place.start, says: &text.says })
    })
}

#[test]
fn names_are_taken_apart() {
    assert_eq!(parts("notify_url"), ["notify", "url"]);
    assert_eq!(parts("NotifyUrl"), ["Notify", "Url"]);
    assert_eq!(parts("URL_LIMIT"), ["URL", "LIMIT"]);
}
