//! What is understood, and what is said of mistakes.

use super::*;

fn read(line: &str) -> Result<Args, Failure> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn options_stand_anywhere() {
    for line in ["--config /a --json get Leads 7", "get Leads 7 --json --config=/a"] {
        let args = read(line).unwrap();
        assert_eq!((args.config, args.json), (PathBuf::from("/a"), true));
        assert!(matches!(args.command, Command::Get { id, .. } if id == RecordId::new(7)));
    }
}

#[test]
fn mistakes_are_named_and_end_with_usage() {
    for (line, part) in [
        ("", "a command is missing"),
        ("fly", "no command 'fly'"),
        ("get Leads", "get needs a module and an id"),
        ("get Leads seven", "'seven'"),
        ("get ../x 7", "module"),
        ("list", "list needs one module"),
        ("list Leads --limit many", "--limit"),
        ("list Leads --where (x", "--where"),
        ("list Leads --fields A,,B", "field"),
        ("status --limit 3", "--limit does not go"),
        ("status --repair", "--repair does not go"),
        ("check --bundle x", "--bundle does not go"),
        ("doctor now", "'now'"),
        ("login", "--code"),
        ("export", "--all FILE"),
        ("export Leads --all x", "--all does not go"),
        ("export Leads --format xml", "--format is jsonl or csv"),
        ("export Leads --excel-safe", "--excel-safe goes with csv"),
        ("export Leads --force", "--force goes with --output"),
        ("export Leads --format csv --json", "--json does not go"),
        ("import", "import needs one file"),
        ("status --wait", "--wait does not go"),
        ("explain Leads", "explain needs a module and an id"),
        ("channel", "show, renew or close"),
        ("run now", "'now'"),
        ("send", "send needs a function"),
        ("send 7a", "'7a' is no function"),
        ("send a {} --file f", "one of JSON, --data and --file"),
        ("send a --data b", "NAME=VALUE"),
        ("send a --type t", "--type does not go"),
        ("outbox", "list, or by show"),
        ("outbox list --state lost", "--state is"),
        ("outbox show 7", "is not the id of a call"),
        ("status --idempotency-key k", "--idempotency-key does not go"),
        ("install --purge", "--purge does not go"),
        ("update --settle soon", "--settle"),
        ("update --settle 9s --prove 8s", "no less"),
        ("--loud run", "--loud"),
        ("--config", "--config"),
    ] {
        let failure = read(line).err().unwrap_or_else(|| panic!("{line}"));
        assert_eq!(failure.exit, crate::error::Exit::Usage, "{line}");
        assert!(failure.message.contains(part), "{line}: {}", failure.message);
    }
}
