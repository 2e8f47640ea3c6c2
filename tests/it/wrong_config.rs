//! Wrong configurations: each is told with file, line, key and what to write instead.

use std::fs;
use std::path::Path;

use crmirror::config::Config;
use crmirror::error::{Exit, Failure};

use crate::config::{FILE, LEAST, load};
use crate::directory::Directory;

/// The messages of a wrong file, without the file's name.
fn refuse(title: &str, text: &[u8]) -> Vec<String> {
    let errors = match Config::parse(Path::new(FILE), text, None) {
        Ok(config) => panic!("{title}: accepted as {config:#?}"),
        Err(errors) => errors,
    };
    let failure = Failure::from(errors);
    assert_eq!(failure.exit.code(), 78, "{title}");
    let strip = |line: &str| line.strip_prefix(FILE).map(str::to_owned);
    failure.message.lines().map(|line| strip(line).expect("names the file")).collect()
}

/// Cases in which one value is wrong: what stands behind [`LEAST`], from line 4 on, and the
/// message.
const WRONG_VALUES: &[(&str, &str)] = &[
    // Keys and sections.
    (
        "[upstrem]",
        ":4: upstrem: unknown section; allowed are upstream, channel, books, platform, callbacks, \
         local, store, catch_up, module, function, outbox; did you mean 'upstream'?",
    ),
    (
        "[local]\nlissten = \"127.0.0.1:1\"",
        ":5: local.lissten: unknown key; allowed in local are listen, token_file, socket, \
         socket_mode, socket_group, allow_origins; did you mean 'listen'?",
    ),
    (
        "[store]\ndirectory = \"/var/lib/crmirror\"",
        ":5: store.directory: unknown key; allowed in store are path",
    ),
    ("store = \"/var/lib/crmirror\"", ":4: store: write it as a section: [store], once"),
    ("channel = true", ":4: channel: write it as a section: [channel], once"),
    ("[[store]]\npath = \"/x\"", ":4: store: write it as a section: [store], once"),
    ("[store]\npath = 7", ":5: store.path: write a text in quotes, not a number"),
    // Functions and the outbox.
    (
        "[[function]]\nauth = \"oauth\"",
        ":4: function.name: missing; write the API name of a function, such as name = \
         \"kiosk_checkin\"",
    ),
    (
        "[[function]]\nname = \"a/b\"",
        ":5: function.name: 'a/b' is no name: an API name has letters, digits and '_', a letter \
         first, and at most 100",
    ),
    (
        "[[function]]\nname = \"a\"\nauth = \"key\"",
        ":6: function.auth: 'key' is no way to prove who we are; write apikey or oauth",
    ),
    (
        "[[function]]\nname = \"a\"\n[[function]]\nname = \"a\"",
        ":7: function.name: 'a' is there twice; leave one out",
    ),
    (
        "[[function]]\nname = \"a\"\n[outbox]\ncalls_per_day = 0",
        ":7: outbox.calls_per_day: write a whole number from 1 to 10000000, not 0",
    ),
    (
        "[[function]]\nname = \"a\"\n[outbox]\nmax_age = \"long\"",
        ":7: outbox.max_age: 'long' is not a duration; write for example 30s, 15m, 24h or 7d",
    ),
    // The store and the local interface.
    (
        "[store]\npath = \"var/lib\"",
        ":5: store.path: 'var/lib' is not an absolute path; begin it with /",
    ),
    ("[store]\npath = \"\"", ":5: store.path: '' is not a path"),
    (
        "[local]\nlisten = \"localhost:8687\"",
        ":5: local.listen: 'localhost:8687' is not an IP address with a port; write for example \
         127.0.0.1:8686 or [::1]:8686",
    ),
    (
        "[local]\nlisten = \"0.0.0.0:8687\"",
        ":5: local.listen: '0.0.0.0:8687' is not a loopback address, and readers are not asked \
         who they are; write for example 127.0.0.1:8687, or give token_file",
    ),
    ("[local]\ntoken_file = \"\"", ":5: local.token_file: '' is not a path"),
    (
        "[local]\nsocket_mode = \"rw-rw----\"",
        ":5: local.socket_mode: 'rw-rw----' is not a file's permissions; write for example 0660",
    ),
    (
        "[local]\nsocket_mode = \"4770\"",
        ":5: local.socket_mode: '4770' is not a file's permissions; write for example 0660",
    ),
    ("[local]\nsocket_mode = 432", ":5: local.socket_mode: write a text in quotes, not a number"),
    ("[local]\nsocket_group = \"a b\"", ":5: local.socket_group: 'a b' is not the name of a group"),
    (
        "[local]\nsocket = \"mirror.sock\"",
        ":5: local.socket: 'mirror.sock' is not an absolute path; begin it with /",
    ),
    (
        "[local]\nallow_origins = \"http://kiosk.local\"",
        ":5: local.allow_origins: write a list of texts in quotes, not a text",
    ),
    (
        "[local]\nallow_origins = [\n\"http://kiosk.local\",\n\"*\",\n]",
        ":7: local.allow_origins: an address begins with https:// or http://; write for example \
         http://kiosk.local",
    ),
    (
        "[local]\nallow_origins = [\"http://k.local\", \"http://K.local:80/\"]",
        ":5: local.allow_origins: 'http://K.local:80/' is there twice; write it once",
    ),
    // Catch-up.
    (
        "[catch_up]\nevery = \"15 minutes\"",
        ":5: catch_up.every: '15 minutes' is not a duration; write for example 30s, 15m, 24h or 7d",
    ),
    ("[catch_up]\nevery = 900", ":5: catch_up.every: write a text in quotes, not a number"),
    ("[catch_up]\nevery = \"0s\"", ":5: catch_up.every: '0s' is no time at all; write more"),
    (
        "[catch_up]\nsweep_every = \"9999999999999999999999d\"",
        ":5: catch_up.sweep_every: '9999999999999999999999d' is too long; write at most 366d",
    ),
    (
        "[catch_up]\nevery = \"2h\"\nsweep_every = \"90m\"",
        ":6: catch_up.sweep_every: 90m is shorter than every = 2h; write 2h or more",
    ),
    (
        "[catch_up]\nevery = \"2d\"",
        ":4: catch_up.sweep_every: 1d is shorter than every = 2d; write 2d or more",
    ),
    (
        "[catch_up]\ncredits_per_day = \"2500\"",
        ":5: catch_up.credits_per_day: write a whole number from 100 to 100000000, not a text",
    ),
    (
        "[catch_up]\ncredits_per_day = 10",
        ":5: catch_up.credits_per_day: write a whole number from 100 to 100000000, not 10",
    ),
    (
        "[catch_up]\ncredits_per_day = -1",
        ":5: catch_up.credits_per_day: write a whole number from 100 to 100000000, not -1",
    ),
    // The channel.
    (
        "[channel]\nid = \"7\"",
        ":4: channel.notify_url: missing; write the address that strangers reach this device at, \
         or leave out [channel]",
    ),
];

/// The same for what stands behind a channel, from line 6 on.
const WRONG_WITH_CHANNEL: &[(&str, &str)] = &[
    (
        "id = \"channel-7\"",
        ":6: channel.id: 'channel-7' is not an id; write a whole number from 1 to \
         9223372036854775807",
    ),
    (
        "id = 0",
        ":6: channel.id: '0' is not an id; write a whole number from 1 to 9223372036854775807",
    ),
    (
        "id = 9223372036854775808",
        ":6: channel.id: '9223372036854775808' is not an id; write a whole number from 1 to \
         9223372036854775807",
    ),
    (
        "id = -5",
        ":6: channel.id: '-5' is not an id; write a whole number from 1 to 9223372036854775807",
    ),
    ("id = 7.0", ":6: channel.id: write a text in quotes, not a number with a fraction"),
    (
        "lifetime = \"29s\"",
        ":6: channel.lifetime: '29s' is too short for a channel; write at least 30s",
    ),
    ("related_actions = \"no\"", ":6: channel.related_actions: write true or false, not a text"),
    (
        "[callbacks]\nlisten = \"127.0.0.1:8687\"",
        ":7: callbacks.listen: callbacks.listen = 127.0.0.1:8687 and local.listen = \
         127.0.0.1:8687 cannot share a port; write another",
    ),
    (
        "[callbacks]\nlisten = \"0.0.0.0:9\"\nbehind_proxy = true\n[local]\n\
         listen = \"127.0.0.1:9\"",
        ":7: callbacks.listen: callbacks.listen = 0.0.0.0:9 and local.listen = 127.0.0.1:9 \
         cannot share a port; write another",
    ),
    (
        "[local]\nlisten = \"127.0.0.1:8686\"",
        ":7: local.listen: callbacks.listen = 127.0.0.1:8686 and local.listen = 127.0.0.1:8686 \
         cannot share a port; write another",
    ),
    (
        "[callbacks]\ntls_cert = \"/etc/c.pem\"",
        ":6: callbacks.tls_key: missing; tls_cert needs it beside it: both or neither",
    ),
    (
        "[callbacks]\ntls_key = \"/etc/k.pem\"",
        ":6: callbacks.tls_cert: missing; tls_key needs it beside it: both or neither",
    ),
    (
        "[callbacks]\nlisten = \"0.0.0.0:8686\"",
        ":7: callbacks.listen: 0.0.0.0:8686 is reached by other machines, without TLS; give \
         tls_cert and tls_key, listen on 127.0.0.1 behind a tunnel or proxy of this device, or \
         write behind_proxy = true if a proxy of yours ends TLS in front",
    ),
    (
        "[callbacks]\nlisten = \"[2001:db8::7]:8686\"\nbehind_proxy = false",
        ":7: callbacks.listen: [2001:db8::7]:8686 is reached by other machines, without TLS; give \
         tls_cert and tls_key, listen on 127.0.0.1 behind a tunnel or proxy of this device, or \
         write behind_proxy = true if a proxy of yours ends TLS in front",
    ),
    (
        "[callbacks]\nbehind_proxy = \"yes\"",
        ":7: callbacks.behind_proxy: write true or false, not a text",
    ),
    ("[callbacks]\nlisten = 8686", ":7: callbacks.listen: write a text in quotes, not a number"),
];

#[test]
fn a_wrong_value_is_named_with_what_to_write() {
    for (text, expected) in WRONG_VALUES {
        assert_eq!(refuse(text, format!("{LEAST}{text}").as_bytes()), [*expected], "{text}");
    }
    let channel = format!("{LEAST}[channel]\nnotify_url = \"https://k.example/c\"\n");
    for (text, expected) in WRONG_WITH_CHANNEL {
        assert_eq!(refuse(text, format!("{channel}{text}").as_bytes()), [*expected], "{text}");
    }
}

#[test]
fn a_wrong_upstream_is_named_with_what_to_write() {
    let centres = "write one of us, eu, in, au, jp, ca, sa, cn, uk, ae";
    let example = "write for example https://www.zohoapis.com";
    let missing = format!(": upstream.data_centre: missing; {centres}, or give accounts and api");
    let check = |upstream: &str, expected: &str| {
        let text = format!("[[module]]\nname = \"Leads\"\n{upstream}");
        assert_eq!(refuse(upstream, text.as_bytes()), [expected], "{upstream}");
    };
    let check_key = |key: &str, expected: &str| {
        check(&format!("[upstream]\ndata_centre = \"us\"\n{key}"), expected);
    };
    check("", &missing);
    check("[upstream]", &format!(":3{missing}"));
    check("[upstream]\napi = \"https://www.zohoapis.com\"", &format!(":3{missing}"));
    check(
        "[upstream]\ndata_centre = \"usa\"",
        &format!(":4: upstream.data_centre: 'usa' is not a data centre; {centres}"),
    );
    check(
        "[upstream]\ndata_center = \"us\"\naccounts = \"https://accounts.zoho.com\"",
        ":4: upstream.data_center: unknown key; allowed in upstream are data_centre, accounts, \
         api, api_version, credentials, ca_file; did you mean 'data_centre'?",
    );
    check(
        "[upstream]\naccounts = \"http://accounts.zoho.com\"",
        ":4: upstream.accounts: http:// is accepted on loopback addresses only; write https://",
    );
    check_key(
        "api = \"http://10.0.0.1:8080\"",
        ":5: upstream.api: http:// is accepted on loopback addresses only; write https://",
    );
    check_key(
        "api = \"www.zohoapis.com\"",
        &format!(":5: upstream.api: an address begins with https:// or http://; {example}"),
    );
    check_key(
        "api = \"https://www.zohoapis.com/crm/v2\"",
        &format!(
            ":5: upstream.api: the address goes on behind host and port: a path, a query or a \
             fragment has no place here; {example}"
        ),
    );
    check_key(
        "accounts = \"https://me:pw@accounts.zoho.com\"",
        &format!(":5: upstream.accounts: a user name has no place in an address; {example}"),
    );
    check_key(
        "api_version = \"v9\"",
        ":5: upstream.api_version: 'v9' is not a version of the API; write one of v2, v2.1, v3, \
         v4, v5, v6, v7, v8",
    );
    check_key("api_version = 2", ":5: upstream.api_version: write a text in quotes, not a number");
    check(
        "[[upstream]]\ndata_centre = \"us\"",
        ":3: upstream: write it as a section: [upstream], once",
    );
    check_key("credentials = \"\"", ":5: upstream.credentials: '' is not a path");
    check_key(
        "client_secret = \"S3CRET\"",
        ":5: upstream.client_secret: unknown key; allowed in upstream are data_centre, accounts, \
         api, api_version, credentials, ca_file",
    );
}

#[test]
fn a_wrong_address_for_callbacks_is_named_but_not_repeated() {
    let example = "write for example https://kiosk-7.example.com/callback/4f1c9a";
    let check = |url: &str, expected: &str| {
        let text = format!("{LEAST}[channel]\nnotify_url = \"{url}\"");
        let expected = format!(":5: channel.notify_url: {expected}");
        assert_eq!(refuse(url, text.as_bytes()), [expected], "{url}");
    };
    check("kiosk.example/c", &format!("an address begins with https:// or http://; {example}"));
    check(
        "http://kiosk.example/c",
        "http:// is accepted on loopback addresses only; write https://",
    );
    check("https://kiosk.example", &format!("a path is missing; {example}"));
    check(
        "https://me:pw@kiosk.example/c",
        &format!("a user name has no place in an address; {example}"),
    );
    check(
        "https://kiosk.example/c#d",
        "a fragment is never sent; leave out the # and what follows it",
    );
    check(
        &format!("https://kiosk.example/{}", "c".repeat(234)),
        "the address has 256 bytes, upstream takes 255; shorten its path",
    );
}

#[test]
fn wrong_modules_are_named_with_what_to_write() {
    let check = |modules: &str, expected: &[&str]| {
        let text = format!("upstream.data_centre = \"us\"\n{modules}");
        assert_eq!(refuse(modules, text.as_bytes()), expected, "{modules}");
    };
    check("", &[": module: missing; write [[module]] and below it name = \"Leads\""]);
    check(
        "[module]\nname = \"Leads\"",
        &[":2: module: write it with two brackets, [[module]], once for each"],
    );
    check("module = []", &[":2: module: write it with two brackets, [[module]], once for each"]);
    check(
        "[[module]]\nname = \"Leads\"\n[[module]]\nfields = [\"Email\"]",
        &[":4: module.name: missing; write the API name of a module, such as name = \"Leads\""],
    );
    check(
        "[[module]]\nname = \"Price Books\"",
        &[":3: module.name: 'Price Books' is not an API name: letters, digits and underscores; \
             write for example Leads"],
    );
    check(
        "[[module]]\nname = \"Leads\"\n[[module]]\nname = \"Leads\"",
        &[":5: module.name: 'Leads' is there twice; join the two"],
    );
    check(
        "[[module]]\nname = \"Leads\"\noperations = [\"create\", \"update\"]",
        &[":4: module.operations: 'update' is not an operation; write any of create, edit, \
             delete"],
    );
    check(
        "[[module]]\nname = \"Leads\"\noperations = [\"edit\", \"edit\"]",
        &[":4: module.operations: 'edit' is there twice; write it once"],
    );
    check(
        "[[module]]\nname = \"Leads\"\noperations = []",
        &[":4: module.operations: empty; name at least one, or leave it out for all three"],
    );
    check(
        "[[module]]\nname = \"Leads\"\nfields = []",
        &[":4: module.fields: empty; name at least one, or leave it out for all"],
    );
    check(
        "[[module]]\nname = \"Leads\"\nfields = [\n\"Email\",\n\"Last Name\",\n7]",
        &[
            ":6: module.fields: 'Last Name' is not an API name: letters, digits and underscores; \
             write for example Last_Name",
            ":7: module.fields: write a text in quotes, not a number",
        ],
    );
    check(
        "[[module]]\nname = \"Leads\"\nwhole_records = 1",
        &[":4: module.whole_records: write true or false, not a number"],
    );
    let fields: Vec<String> = (0..=500).map(|number| format!("\"F{number}\"")).collect();
    check(
        &format!("[[module]]\nname = \"Leads\"\nfields = [{}]", fields.join(",")),
        &[":4: module.fields: 501 are too many; name up to 500, or leave it out for all"],
    );
}

#[test]
fn a_wrong_index_is_named_with_what_to_write() {
    let check = |module: &str, expected: &[&str]| {
        let text = format!("upstream.data_centre = \"us\"\n{module}");
        assert_eq!(refuse(module, text.as_bytes()), expected, "{module}");
    };
    check(
        "[[module]]\nname = \"Leads\"\nfields = [\"Email\"]\nindex = [\"Email\", \"Phone\"]",
        &[":5: module.index: 'Phone' is not mirrored; name it in fields too"],
    );
    check(
        "[[module]]\nname = \"Leads\"\nindex = [\"Email\", \"E-Mail\", \"Email\"]",
        &[
            ":4: module.index: 'E-Mail' is not an API name: letters, digits and underscores; \
             write for example Last_Name",
            ":4: module.index: 'Email' is there twice; write it once",
        ],
    );
    let fields: Vec<String> = (0..=8).map(|number| format!("\"F{number}\"")).collect();
    check(
        &format!("[[module]]\nname = \"Leads\"\nindex = [{}]", fields.join(",")),
        &[":4: module.index: 9 are too many; name up to 8"],
    );
}

#[test]
fn a_channel_carries_fifty_operations_of_all_modules() {
    let modules = |count: usize| -> String {
        let module = |number| {
            format!("[[module]]\nname = \"M{number}\"\noperations = [\"create\", \"edit\"]\n")
        };
        (0..count).map(module).collect()
    };
    let upstream = "upstream.data_centre = \"us\"\n";
    let channel = "channel.notify_url = \"https://k.example/c\"\n";
    let too_many = format!("{upstream}{channel}{}", modules(26));
    assert_eq!(
        refuse("26 modules", too_many.as_bytes()),
        [":80: module.operations: a channel carries 50 operations, those of all modules \
          together, and this module exceeds them; write fewer"]
    );
    load(&format!("{upstream}{channel}{}", modules(25)));
    let whole = modules(50).replace("operations = [\"create\", \"edit\"]", "");
    load(&format!("{upstream}{channel}{whole}"));
    load(&format!("{upstream}{}", modules(60)));
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    let text = "[channel]\nnotify_url = \"x\"\nlifetime = \"soon\"\n[local]\nlisten = 1\nport = 2\n\
                [catch_up]\nevery = \"often\"\n[[module]]\nname = \"a b\"\n[[module]]\n\
                operations = [\"read\"]\n[upstream]\napi_version = \"v1\"\n";
    let lines: Vec<String> = refuse("many", text.as_bytes())
        .into_iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            ":2 channel.notify_url",
            ":3 channel.lifetime",
            ":5 local.listen",
            ":6 local.port",
            ":8 catch_up.every",
            ":10 module.name",
            ":11 module.name",
            ":12 module.operations",
            ":13 upstream.data_centre",
            ":14 upstream.api_version",
        ]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let check = |text: &[u8], expected: &str| assert_eq!(refuse(expected, text), [expected]);
    check(
        b"[upstream]\ndata_centre = us\n",
        ":2: not TOML: string values must be quoted, expected literal string",
    );
    check(b"[store]\n\n[store]\n", ":3: not TOML: duplicate key");
    check(b"[store]\npath = \"/a\"\npath = \"/b\"\n", ":3: not TOML: duplicate key");
    check(b"[store\n", ":1: not TOML: unclosed table, expected `]`");
    check(b"[store]\npath = \"/\xff\"\n", ":2: not UTF-8 text; save the file as UTF-8");
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let directory = Directory::new("config");
    let check = |path: &Path, expected: &str| {
        let failure = Failure::from(Config::load(path).unwrap_err());
        assert_eq!(failure.exit, Exit::Configuration);
        assert_eq!(failure.message, format!("{}: {expected}", path.display()));
    };
    let file = directory.0.join("crmirror.toml");
    check(&file, "no such file; write one, or name another with --config PATH");
    check(&directory.0, "a directory, not a file; name the file in it with --config PATH");
    fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    check(&file, "larger than 1048576 bytes; is this the right file?");
    fs::write(&file, LEAST).unwrap();
    assert_eq!(Config::load(&file).unwrap().modules[0].name.as_str(), "Leads");
}
