//! The architecture as a test: which file may name what, how long things may be, how they are
//! written. Whoever changes a rule changes it here, knowingly.
//!
//! `source` tells code, comments and texts apart · `words` the glossary · `crates` what is linked.

mod crates;
mod source;
mod words;

use std::fs;
use std::path::Path;

pub(crate) use self::source::{Source, sources};
use self::source::{paths, words as words_of};

/// One outside crate, one home: the files, or the rooms, where the path ends in `/`, that name it.
/// serde, serde_json and log are spoken in many rooms; that they are not in the others is the rule.
const HOMES: [(&str, &[&str]); 25] = [
    ("memchr", &["src/mirror/criteria/sieve.rs"]),
    ("crc32fast", &["src/store/values.rs", "src/store/snapshot.rs"]),
    ("env_logger", &["src/logger.rs"]),
    (
        "fastrand",
        &[
            "src/mirror/backoff.rs",
            "src/mirror/books/",
            "src/mirror/channel.rs",
            "src/mirror/outbox/",
            "src/mirror/planner/",
            "src/mirror/waiting.rs",
            "src/server/hall.rs",
            "src/server/zoho/halves.rs",
            "src/cli/export/csv.rs",
            "src/store/numbers.rs",
        ],
    ),
    ("flate2", &["src/build.rs", "src/server/text.rs", "src/store/seed.rs"]),
    (
        "form_urlencoded",
        &[
            "src/server/query.rs",
            "src/upstream/api.rs",
            "src/upstream/desk.rs",
            "src/upstream/token.rs",
        ],
    ),
    ("httparse", &["src/server/gate/request.rs"]),
    ("jiff", &["src/mirror/time.rs"]),
    ("lexopt", &["src/cli/args.rs"]),
    ("libc", &["src/store/", "src/memory.rs"]),
    ("listenfd", &["src/systemd.rs"]),
    (
        "log",
        &[
            "src/cli/update.rs",
            "src/courier.rs",
            "src/daemon.rs",
            "src/heart/",
            "src/identity.rs",
            "src/logger.rs",
            "src/server/",
            "src/store/",
            "src/systemd.rs",
        ],
    ),
    ("lz4_flex", &["src/store/pack.rs"]),
    (
        "ring",
        &[
            "src/cli/update/keep.rs",
            "src/identity.rs",
            "src/secret.rs",
            "src/mirror/platform/",
            "src/server/page/",
            "src/store/outbox.rs",
            "src/store/seed.rs",
        ],
    ),
    (
        "rustix",
        &[
            "src/cli/mod.rs",
            "src/cli/program.rs",
            "src/clock.rs",
            "src/priority.rs",
            "src/secret.rs",
            "src/server/gate/",
            "src/server/hall.rs",
            "src/server/lines.rs",
            "src/store/",
            "src/systemd.rs",
        ],
    ),
    ("rustls", &["src/server/gate/tls.rs", "src/upstream/transport.rs"]),
    (
        "serde",
        &[
            "src/cli/changes.rs",
            "src/cli/export/csv.rs",
            "src/cli/read.rs",
            "src/identity.rs",
            "src/mirror/",
            "src/secret.rs",
            "src/store/",
            "src/upstream/",
        ],
    ),
    (
        "serde_json",
        &[
            "src/cli/",
            "src/credentials.rs",
            "src/identity.rs",
            "src/mirror/",
            "src/server/",
            "src/store/values.rs",
            "src/upstream/",
        ],
    ),
    ("signal_hook", &["src/cli/changes.rs", "src/daemon.rs"]),
    ("sled", &["src/store/"]),
    ("subtle", &["src/secret.rs"]),
    ("tiny_http", &["src/server/hall.rs"]),
    ("toml", &["src/config/"]),
    ("ureq", &["src/upstream/transport.rs"]),
    ("zeroize", &["src/credentials.rs", "src/secret.rs", "src/server/gate/tls.rs"]),
];

/// What each room may use of the others: a room, or one file of it. Everybody may use what is his
/// own. `main` and `lib.rs` stand above.
const ROOMS: [(&str, &[&str]); 23] = [
    ("aside", &[]),
    ("build", &[]),
    ("mirror", &["secret"]),
    ("vitals", &["mirror"]),
    ("systemd", &[]),
    ("store", &["mirror", "vitals"]),
    ("upstream", &["aside", "mirror", "secret", "credentials"]),
    (
        "server",
        &[
            "aside",
            "store",
            "mirror",
            "secret",
            "clock",
            "vitals",
            "wear",
            "identity::context",
            "identity::IdentityError",
        ],
    ),
    (
        "heart",
        &[
            "upstream",
            "store",
            "server::board",
            "mirror",
            "config",
            "credentials",
            "identity",
            "secret",
            "clock",
            "vitals",
        ],
    ),
    (
        "courier",
        &[
            "upstream",
            "store",
            "server::board",
            "server::hatch",
            "mirror",
            "config",
            "secret",
            "clock",
            "vitals",
        ],
    ),
    ("config", &["mirror", "error"]),
    ("credentials", &["error", "secret"]),
    ("identity", &["store::file", "mirror", "secret"]),
    ("clock", &["mirror"]),
    ("secret", &[]),
    ("reader_token", &["error", "secret"]),
    ("error", &[]),
    ("logger", &[]),
    ("memory", &[]),
    ("priority", &[]),
    ("wear", &[]),
    (
        "daemon",
        &[
            "aside",
            "heart",
            "courier",
            "server",
            "store",
            "upstream",
            "mirror",
            "config",
            "credentials",
            "priority",
            "reader_token",
            "identity",
            "secret",
            "clock",
            "error",
            "logger",
            "memory",
            "systemd",
            "vitals",
        ],
    ),
    (
        "cli",
        &[
            "aside",
            "daemon",
            "heart",
            "server::board",
            "server::feed",
            "server::gate",
            "store",
            "upstream",
            "mirror",
            "config",
            "credentials",
            "reader_token",
            "identity",
            "secret",
            "clock",
            "error",
        ],
    ),
];

/// Words that read a clock, and the files that may say them.
const CLOCKS: [&str; 5] =
    ["Instant::now", "SystemTime", "clock_gettime", "Timestamp::now", "Zoned"];
const CLOCK_READERS: [&str; 2] = ["src/clock.rs", "src/server/gate/deadline.rs"];

/// Files in which `unsafe` stands: the shim, one word to the allocator, and the tests that stand in
/// the C library's way.
const UNSAFE: [&str; 4] =
    ["src/memory.rs", "src/store/sync.rs", "tests/it/fsync.rs", "tests/it/recorder.rs"];

/// What lies at the top of the repository, beside files whose names begin with a dot.
const TOP: [&str; 7] =
    ["Cargo.lock", "Cargo.toml", "README.md", "cross.toml", "src", "systemd", "tests"];

/// A file is a page.
const LINES_LIMIT: usize = 500;
const COLUMNS_LIMIT: usize = 100;

/// All files of the program and of its tests.
fn all() -> Vec<Source> {
    let mut all = sources("src");
    all.extend(sources("tests"));
    all
}

/// Fails with everything that is untidy, a line for each.
fn expect_none(untidy: &[String]) {
    assert!(untidy.is_empty(), "\n{}\n", untidy.join("\n"));
}

fn top(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn each_outside_crate_has_one_home() {
    let mut untidy = Vec::new();
    let sources = sources("src");
    for (name, homes) in HOMES {
        let mut inhabited = vec![false; homes.len()];
        for source in &sources {
            let home = homes.iter().position(|home| is_at_home(&source.path, home));
            for (at, _) in paths(&source.code, name) {
                match home {
                    Some(home) => inhabited[home] = true,
                    None => untidy.push(format!(
                        "{}: {name} is not named here, but in {}",
                        source.place(at),
                        homes.join(", ")
                    )),
                }
            }
        }
        let deserted = homes.iter().zip(inhabited).filter(|(_, inhabited)| !inhabited);
        untidy.extend(deserted.map(|(home, _)| format!("{home} does not name {name} any more")));
    }
    expect_none(&untidy);
}

/// Whether the file is this home, or lies in it. A file's own parts live with it.
fn is_at_home(path: &str, home: &str) -> bool {
    let inside = format!("{}/", home.trim_end_matches('/').trim_end_matches(".rs"));
    path == home || path.starts_with(&inside)
}

#[test]
fn each_dependency_has_its_reason_and_a_home() {
    let manifest = fs::read_to_string(top("Cargo.toml")).unwrap();
    let of = |kind: &str| {
        let (_, rest) = manifest.split_once(&format!("\n[{kind}]\n")).unwrap();
        rest.split("\n[").next().unwrap().lines()
    };
    let dependencies = of("dependencies").chain(of("build-dependencies"));
    let mut untidy = Vec::new();
    let mut names = Vec::new();
    for line in dependencies.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split_whitespace().next().unwrap();
        if line.split_once(" # ").is_none_or(|(_, reason)| reason.trim().is_empty()) {
            untidy.push(format!("Cargo.toml: {name} has no reason"));
        }
        names.push(name.replace('-', "_"));
    }
    if manifest.contains("\n[dev-dependencies]") {
        untidy.push("Cargo.toml: dev-dependencies are not watched over yet; do it here".into());
    }
    let homes: Vec<&str> = HOMES.iter().map(|(name, _)| *name).collect();
    let homeless = names.iter().filter(|name| !homes.contains(&name.as_str()));
    untidy.extend(homeless.map(|name| format!("Cargo.toml: {name} has no home in HOMES")));
    let gone = homes.iter().filter(|home| !names.iter().any(|name| name == *home));
    untidy.extend(gone.map(|name| format!("HOMES: {name} is no dependency any more")));
    expect_none(&untidy);
}

#[test]
fn each_room_uses_only_what_lies_below_it() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        let room = source.path["src/".len()..].split(['/', '.']).next().unwrap();
        if matches!(room, "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            untidy.push(format!("{}: the room {room} is not in ROOMS", source.path));
            continue;
        };
        for (at, used) in paths(&source.code, "crate") {
            let rest = &source.code[at + "crate::".len() + used.len()..];
            let part = rest.strip_prefix("::").map_or("", |rest| {
                rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                    .next()
                    .unwrap_or_default()
            });
            let file = format!("{used}::{part}");
            if used.is_empty() {
                untidy.push(format!("{}: name each room on its own", source.place(at)));
            } else if used != room && !allowed.contains(&used) && !allowed.contains(&&*file) {
                untidy.push(format!("{}: {room} may not use {file}", source.place(at)));
            }
        }
        // Out of a room one goes by the front door.
        let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
        for (at, _) in source.program().match_indices(&"super::".repeat(depth)) {
            if !source.code[..at].ends_with("::") {
                untidy.push(format!("{}: write crate:: instead", source.place(at)));
            }
        }
    }
    expect_none(&untidy);
}

#[test]
fn clocks_are_read_in_one_place() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        if CLOCK_READERS.contains(&source.path.as_str()) {
            continue;
        }
        for word in CLOCKS {
            for (at, _) in source.program().match_indices(word) {
                untidy.push(format!("{}: time comes in as an argument", source.place(at)));
            }
        }
    }
    expect_none(&untidy);
}

#[test]
fn nothing_unsafe_and_no_unwrap_outside_of_their_places() {
    let mut untidy = Vec::new();
    for source in all() {
        let stands = words_of(&source.code).find(|(_, word)| *word == "unsafe");
        if let Some((at, _)) = stands.filter(|_| !UNSAFE.contains(&source.path.as_str())) {
            untidy.push(format!("{}: unsafe", source.place(at)));
        }
        for (at, _) in source.program().match_indices(".unwrap()") {
            untidy.push(format!("{}: state the invariant with expect", source.place(at)));
        }
    }
    expect_none(&untidy);
}

#[test]
fn a_file_is_a_page() {
    let mut untidy = Vec::new();
    for source in all() {
        let lines = source.text.lines().count();
        if lines > LINES_LIMIT {
            untidy.push(format!("{}: {lines} lines, {LINES_LIMIT} are a page", source.path));
        }
        let long = source.lines_longer_than(COLUMNS_LIMIT);
        untidy.extend(long.iter().map(|at| format!("{}: a long line", source.place(*at))));
        if !source.text.starts_with("//! ") {
            untidy.push(format!("{}: no header that says what it is", source.path));
        }
        if !source.text.ends_with('\n') || source.text.contains("\t") {
            untidy.push(format!("{}: tabs, or no end of line at its end", source.path));
        }
        let comes_after = source.tests_at().filter(|_| !source.is_test()).and_then(|at| {
            let end = at + source.code[at..].find("\n}\n")? + 3;
            source.code[end..].find(|letter: char| !letter.is_whitespace()).map(|at| end + at)
        });
        if let Some(at) = comes_after {
            untidy.push(format!("{}: tests come last", source.place(at)));
        }
    }
    expect_none(&untidy);
}

#[test]
fn each_file_belongs_to_a_program() {
    let all = all();
    let roots =
        ["src/build.rs", "src/main.rs", "src/lib.rs", "tests/it/main.rs", "tests/fuzz/promises.rs"];
    let mut untidy = Vec::new();
    for source in &all {
        let path = Path::new(&source.path);
        let (directory, file) = (path.parent().unwrap(), path.file_name().unwrap());
        let (stem, above) = match file.to_str().unwrap() {
            "mod.rs" => (directory.file_name().unwrap(), directory.parent().unwrap()),
            _ => (path.file_stem().unwrap(), directory),
        };
        let declared = format!("mod {};", stem.to_str().unwrap());
        let by_path = |other: &Source| {
            other.texts.iter().any(|text| file.to_str().is_some_and(|file| text.says == file))
        };
        let is_above = |other: &&Source| {
            let other = Path::new(&other.path);
            other.parent() == Some(above) || other.with_extension("") == above
        };
        let known = all.iter().filter(is_above).any(|other| {
            other.path != source.path && (other.code.contains(&declared) || by_path(other))
        });
        let is_example = ["tests/examples", "tests/fuzz/targets"]
            .iter()
            .any(|place| directory == Path::new(place));
        if !known && !is_example && !roots.contains(&source.path.as_str()) {
            untidy.push(format!("{}: nobody declares it, so nobody compiles it", source.path));
        }
    }
    expect_none(&untidy);
}

#[test]
fn the_top_holds_only_what_belongs_there() {
    let mut untidy = Vec::new();
    for entry in fs::read_dir(top("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Cargo's own, which .gitignore leaves out.
        let is_built = name == "target";
        if !name.starts_with('.') && !is_built && !TOP.contains(&name.as_str()) {
            untidy.push(format!("{name}: not at the top of the repository"));
        }
    }
    expect_none(&untidy);
}

/// Functions below 70 lines and `unwrap` in the program are clippy's to find: that it looks for
/// them is checked here.
#[test]
fn clippy_looks_for_what_is_not_looked_for_here() {
    let read = |path: &str| fs::read_to_string(top(path)).unwrap();
    let lints = ["unwrap_used = \"warn\"", "too_many_lines = \"warn\"", "unsafe_code = \"deny\""];
    let manifest = read("Cargo.toml");
    let mut untidy: Vec<String> = Vec::new();
    for lint in lints.iter().filter(|lint| !manifest.contains(**lint)) {
        untidy.push(format!("Cargo.toml: {lint} is missing"));
    }
    if !read(".clippy.toml").contains("too-many-lines-threshold = 70") {
        untidy.push(".clippy.toml: functions have at most 70 lines".to_owned());
    }
    expect_none(&untidy);
}
