//! What a person can try, printed once: each line works when it is pasted into another terminal.

use std::path::Path;

use serde_json::json;

use super::FUNCTION;
use super::home::{CALLBACK_PATH, Home, PLATFORM_PATH};
use super::sim::{Hashed, Told};

/// The security context of the sandbox's extension.
pub(crate) const CONTEXT: &str = "sandbox-context-2398deio3qwnx3c9xwi3nc3";

/// The text, about these leads and this invoice, which stays as the first lead does for as long as
/// the sandbox runs.
pub(crate) fn text(home: &Home, origin: &str, leads: [u64; 2], invoice: u64) -> String {
    let [first, second] = leads;
    let (local, callbacks) = (home.local, home.callbacks);
    let configuration = quoted(&home.configuration().to_string_lossy());
    let agent = agent();
    let forged = forged(origin, first);
    let told = |event| {
        let Told { body, hash } = Told::new(event, CONTEXT, Hashed::Body);
        format!("curl -s http://{callbacks}{PLATFORM_PATH} -H 'HASH: {hash}' -d '{body}'")
    };
    let (authorised, removed) = (told("onZohoAuthorise"), told("onUninstall"));
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
  an invoice of Zoho Books, in Books' own shape
    curl -s http://{local}/books/v3/invoices/{invoice}
  a search, by criteria as Zoho has them
    curl -s '{leads}/search?criteria=(Last_Name:starts_with:a)&fields=Last_Name'
  what changed, then each change as it comes (Ctrl-C ends it)
    curl -s 'http://{local}/changes?limit=5'
    curl -sN -H 'Accept: text/event-stream' http://{local}/changes
  how this record came here
    curl -s http://{local}/explain/Leads/{first}
  the status page, in a browser
    http://{local}/
  how the agent stands, whether it is well, whether it has everything
    curl -s http://{local}/status
    curl -s http://{local}/healthz
    curl -s http://{local}/readyz
  have it catch up now
    curl -s -X POST http://{local}/sync
  a call to a function, which is made as soon as upstream can be reached; and what it answered
    curl -s http://{local}/outbox/{FUNCTION} -d guest=Zoe
    curl -s http://{local}/outbox
  a forged callback, which is refused with 403 and leads to no request
    curl -si http://{callbacks}{CALLBACK_PATH} -d '{forged}'
  the same through the commands
    {agent} --config {configuration} status
    {agent} --config {configuration} get Leads {first}
    {agent} --config {configuration} list Leads --fields Last_Name,Company --limit 5
    {agent} --config {configuration} export Leads --format csv
    {agent} --config {configuration} channel show
    {agent} --config {configuration} doctor
  webhooks of Zoho Books; what they were executed for, and what was lost on its way
    {agent} --config {configuration} books webhooks list
    {agent} --config {configuration} books histories list
  the platform tells that the extension is authorised; is removed, and the channel with it
    {authorised}
    {removed}
    {agent} --config {configuration} platform events
    {agent} --config {configuration} platform invoke GET https://desk.zoho.com/api/v1/tickets

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
