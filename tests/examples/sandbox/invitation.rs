//! What a person can try, printed once: each line works when it is pasted into another terminal.

use std::path::Path;

use serde_json::json;

use super::home::{CALLBACK_PATH, Home};

/// The text, about these leads, of which the first stays for as long as the sandbox runs.
pub(crate) fn text(home: &Home, origin: &str, first: u64, second: u64) -> String {
    let (local, callbacks) = (home.local, home.callbacks);
    let configuration = quoted(&home.configuration().to_string_lossy());
    let agent = agent();
    let forged = forged(origin, first);
    let leads = format!("http://{local}/crm/v2/Leads");
    format!(
        "
The mirror is ready. Try, in another terminal:

  one record, as Zoho's API would show it (-i: with the headers that say how fresh it is)
    curl -si {leads}/{first}
  a page, two fields of each record
    curl -s '{leads}?fields=Last_Name,Company&per_page=5'
  two records by their ids
    curl -s '{leads}?ids={first},{second}'
  how the agent stands, whether it is well, whether it has everything
    curl -s http://{local}/status
    curl -s http://{local}/healthz
    curl -s http://{local}/readyz
  have it catch up now
    curl -s -X POST http://{local}/sync
  a forged callback, which is refused with 403 and leads to no request
    curl -si http://{callbacks}{CALLBACK_PATH} -d '{forged}'
  the same through the commands
    {agent} --config {configuration} status
    {agent} --config {configuration} get Leads {first}
    {agent} --config {configuration} list Leads --fields Last_Name,Company --limit 5
    {agent} --config {configuration} channel show

  local interface    http://{local}
  callback listener  http://{callbacks}{CALLBACK_PATH}
  simulated upstream {origin}
  configuration      {configuration}

Ctrl-C ends it. Until then, records change upstream now and then:
"
    )
}

/// A callback that has everything right but the channel and its token.
fn forged(origin: &str, id: u64) -> String {
    json!({
        "module": "Leads",
        "operation": "update",
        "ids": [id.to_string()],
        "resource_uri": format!("{origin}/crm/v2/Leads"),
        "channel_id": "1000000068001",
        "token": "guessed",
    })
    .to_string()
}

/// The command line's program: built already, or by cargo when it is first used.
fn agent() -> String {
    let built = std::env::current_exe().ok().and_then(|path| {
        // target/release/examples/sandbox → target/release/crmirror
        let path = path.parent()?.parent()?.join("crmirror");
        path.is_file().then_some(path)
    });
    let Some(path) = built else {
        return "cargo run --quiet --release --".to_owned();
    };
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    quoted(&short.unwrap_or(Path::new(&path)).to_string_lossy())
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
