//! README against the program: its examples are read, its commands parsed, its requests answered,
//! its tables held against what they list. What is not true of the program does not stay in README.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use crmirror::cli::args;
use crmirror::clock::DeviceClock;
use crmirror::config::Config;
use crmirror::error::Exit;
use crmirror::mirror::books::entity::Entity;
use crmirror::mirror::outbox::FunctionName;
use crmirror::mirror::record::ModuleName;
use crmirror::server::asked::{Asked, Peer};
use crmirror::server::board::Board;
use crmirror::server::books::BooksMirrored;
use crmirror::server::local::Local;
use crmirror::store::Store;

use crate::scratch::Scratch;
use crate::tidy::sources;

/// What stands for a configuration where an example shows only some of its sections.
const SECTIONS: [(&str, &str); 2] =
    [("[upstream]", "data_centre = \"us\"\n"), ("[[module]]", "name = \"Leads\"\n")];

/// Where the examples have the local interface.
const LOCAL: &str = "http://127.0.0.1:8687";

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The blocks of this language, without the indentation that they have in lists.
fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(opened) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let inside: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or_default()).collect();
        if opened == language {
            blocks.push(inside.join("\n") + "\n");
        }
    }
    assert!(!blocks.is_empty(), "README has no block of {language}");
    blocks
}

/// The rows of the table whose titles begin so, each row as its cells.
pub(crate) fn table(titles: &str) -> Vec<Vec<String>> {
    let readme = readme();
    let (_, rest) = readme.split_once(titles).unwrap_or_else(|| panic!("no table '{titles}'"));
    let rows = rest.lines().skip(2).map(str::trim).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let inside = &row[1..row.len() - 1];
        inside.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "the table '{titles}' is empty");
    rows
}

/// What stands in the code marks of a cell.
pub(crate) fn marked(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The lines of the shell examples, those joined that a backslash breaks.
fn shell_lines() -> Vec<String> {
    let text = blocks("sh").concat().replace("\\\n", "");
    text.lines().map(str::to_owned).collect()
}

/// The words of a line, as a shell would see them; only quotes are known here.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A request: its method, its target, its headers, its body.
type Request = (&'static str, String, Vec<(String, String)>, Vec<u8>);

/// The statuses of the replies that a local interface gives, whose mirror has the modules of the
/// examples and no record.
fn answers(requests: &[Request]) -> Vec<u16> {
    let scratch = Scratch::new("readme");
    let (store, _) = Store::open(scratch.path()).unwrap();
    let modules = ["Leads", "Deals"].map(|name| ModuleName::parse(name).unwrap());
    let (bell, _rung) = mpsc::sync_channel(100);
    let board = Arc::new(Board::default());
    let clock = Arc::new(DeviceClock);
    let local = Local::new(modules.to_vec(), Vec::new(), store, board, bell, clock);
    let entities = vec![Entity::parse("invoice").unwrap()];
    let local = local.with_books(BooksMirrored { organization: "10234695".into(), entities });
    let local = local.telling_of_platform();
    let local = local.calling(vec![FunctionName::parse("kiosk_checkin").unwrap()]);
    let ask = |(method, target, headers, body): &Request| {
        let asked = Asked {
            method: (*method).to_owned(),
            target: target.clone(),
            headers: headers.clone(),
            body: body.clone(),
            peer: Peer::Unix,
            secure: false,
        };
        local.respond(&asked).status()
    };
    requests.iter().map(ask).collect()
}

#[test]
fn its_configurations_are_right() {
    for block in blocks("toml") {
        let missing = SECTIONS.iter().filter(|(section, _)| !block.contains(section));
        let more: String = missing.map(|(section, keys)| format!("{section}\n{keys}")).collect();
        let text = format!("{block}\n{more}");
        let config = Config::parse(Path::new("/etc/crmirror/crmirror.toml"), text.as_bytes(), None);
        let config = config.unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        // A section that is shown alone may be warned of: that it has no use alone.
        assert!(!more.is_empty() || config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn its_json_is_json() {
    for block in blocks("json") {
        let parsed = serde_json::from_str::<serde_json::Value>(&block);
        assert!(parsed.is_ok(), "{block}{parsed:?}");
    }
}

#[test]
fn its_commands_are_understood() {
    let mut count = 0;
    for line in shell_lines() {
        let line = line.trim_start_matches("sudo ").trim_start_matches("-u crmirror ");
        let words = shell_words(line.trim_start_matches("./"));
        if words.first().is_some_and(|word| word == "crmirror") {
            let parsed = args::parse(words.into_iter().skip(1).map(Into::into));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} commands were found");
}

#[test]
fn its_commands_are_all_there_are() {
    let name = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let helped = args::HELP.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let helped = helped.lines().filter(|line| !line.starts_with("   ")).map(name);
    let told = table("| command | does |").into_iter().map(|row| {
        name(marked(&row[0])[0].strip_prefix("crmirror ").expect("every command begins so"))
    });
    assert_eq!(told.collect::<BTreeSet<_>>(), helped.collect::<BTreeSet<_>>());
}

#[test]
fn its_requests_are_answered() {
    let mut requests = Vec::new();
    let mut lines = Vec::new();
    for line in shell_lines() {
        let words = shell_words(&line);
        let Some(url) = words.iter().find_map(|word| word.strip_prefix(LOCAL)) else { continue };
        let option = |name: &str| {
            words.iter().position(|word| word == name).map(|at| words[at + 1].as_str())
        };
        let header = option("-H").map(|header| header.split_once(": ").unwrap());
        let header = header.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let method = if option("-X") == Some("POST") { "POST" } else { "GET" };
        let body = option("-d").unwrap_or_default().as_bytes().to_vec();
        requests.push((method, url.to_owned(), header.into_iter().collect(), body));
        lines.push(line);
    }
    assert!(lines.len() >= 5, "only {} requests were found", lines.len());
    for (line, status) in lines.iter().zip(answers(&requests)) {
        assert!((200..400).contains(&status), "{line}: {status}");
    }
}

#[test]
fn its_list_of_the_local_interface_is_true() {
    let rows = table("| request | reply |");
    let request = |row: &Vec<String>| {
        let (method, path) = marked(&row[0])[0].split_once(' ').unwrap();
        let path = path.replace("{Module}", "Leads").replace("{id}", "7");
        let method = if method == "POST" { "POST" } else { "GET" };
        (method, path, Vec::new(), Vec::new())
    };
    let requests: Vec<_> = rows.iter().map(request).collect();
    for (row, status) in rows.iter().zip(answers(&requests)) {
        assert!(!matches!(status, 404 | 405 | 501), "{}: {status}", row[0]);
    }
}

/// But for the address, which is given to them, the clients of the tests have these very lines.
#[test]
fn its_lines_for_sdks_are_those_of_the_clients() {
    let clients = [("python", "tests/sdk/python/reads.py"), ("js", "tests/sdk/node/reads.mjs")];
    for (language, client) in clients {
        let client =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(client)).unwrap();
        let named = |block: &String| block.contains("mirror =");
        let lines = blocks(language).into_iter().filter(named).collect::<Vec<_>>().concat();
        let lines: Vec<&str> = lines.lines().filter(|line| !line.contains(LOCAL)).collect();
        assert!(lines.len() >= 2, "{lines:?}");
        for line in lines {
            assert!(client.lines().any(|of_client| of_client.trim() == line), "{line}");
        }
    }
}

#[test]
fn its_list_of_keys_is_complete() {
    let told: BTreeSet<String> =
        table("| key | default |").iter().map(|row| marked(&row[0])[0].to_owned()).collect();
    let sections = allowed("nothing = 1\n", "allowed are ");
    let mut known = BTreeSet::new();
    for section in sections.into_iter().chain(["books.webhook".to_owned()]) {
        let header = if ["module", "function", "books.webhook"].contains(&section.as_str()) {
            format!("[[{section}]]")
        } else {
            format!("[{section}]")
        };
        let text = format!("{header}\nnothing = 1\n");
        let keys = allowed(&text, &format!("allowed in {section} are "));
        known.extend(keys.iter().map(|key| format!("{section}.{key}")));
    }
    known.remove("books.webhook");
    assert_eq!(told, known);
}

/// What the error about an unknown key says is allowed.
fn allowed(text: &str, before: &str) -> Vec<String> {
    let errors = Config::parse(Path::new("c.toml"), text.as_bytes(), None).unwrap_err().to_string();
    let (_, list) = errors.split_once(before).unwrap_or_else(|| panic!("{before}: {errors}"));
    let list = list.split(['\n', ';']).next().unwrap();
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn its_defaults_are_the_programs() {
    for row in table("| key | default |") {
        let (section, key) = marked(&row[0])[0].rsplit_once('.').unwrap();
        let written = |value: Option<&str>| {
            let line = value.map(|value| format!("{key} = {value}\n")).unwrap_or_default();
            let mut text = String::new();
            for (header, keys) in [
                ("[upstream]", "data_centre = \"us\"\n"),
                ("[channel]", "notify_url = \"https://a.example/b\"\n"),
                ("[books]", "organization_id = \"7\"\nentities = [\"item\"]\n"),
                (
                    "[[books.webhook]]",
                    "name = \"a\"\nentity = \"bill\"\nnotify_url = \"https://a.example/c\"\n",
                ),
                ("[platform]", "notify_url = \"https://a.example/d\"\n"),
                ("[callbacks]", ""),
                ("[local]", ""),
                ("[store]", ""),
                ("[catch_up]", ""),
                ("[outbox]", ""),
                ("[[function]]", "name = \"a\"\n"),
                ("[[module]]", "name = \"Leads\"\n"),
            ] {
                let ours = header.trim_matches(['[', ']']) == section;
                text += &format!("{header}\n{keys}{}", if ours { &line } else { "" });
            }
            Config::parse(Path::new("/c.toml"), text.as_bytes(), None)
                .unwrap_or_else(|errors| panic!("{section}.{key}: {errors}"))
        };
        if let [default] = marked(&row[1])[..] {
            assert_eq!(written(Some(default)), written(None), "{section}.{key} = {default}");
        }
    }
}

#[test]
fn its_exit_codes_are_the_programs() {
    let told: Vec<u8> =
        table("| exit code | means |").iter().map(|row| row[0].parse().unwrap()).collect();
    let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Unavailable, Exit::Configuration];
    assert_eq!(told, all.map(Exit::code));
}

#[test]
fn its_messages_can_be_met() {
    let said: Vec<String> =
        sources("src").into_iter().flat_map(|source| source.texts).map(|text| text.says).collect();
    for row in table("| message | what to do |") {
        for part in marked(&row[0])[0].split('…') {
            let part = part.trim_start_matches(';').trim_start_matches(": ").trim();
            let is_said = said.iter().any(|text| text.contains(part));
            assert!(is_said, "nobody says '{part}', of '{}'", row[0]);
        }
    }
}

#[test]
fn the_files_it_names_are_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in table("| file or room | is |") {
        for path in marked(&row[0]) {
            assert!(top.join(path).exists(), "{path} is not there");
        }
    }
}
