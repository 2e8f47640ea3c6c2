//! The configuration: what is read from a right file, and what a person is warned of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crmirror::config::{Config, Operation};
use crmirror::mirror::outbox::Auth;
use crmirror::mirror::record::ChannelId;
use crmirror::mirror::version::ApiVersion;

pub(crate) const FILE: &str = "/etc/crmirror/crmirror.toml";

/// What a file must have, for cases that are about something else. Two lines and an empty one.
pub(crate) const LEAST: &str = "upstream.data_centre = \"us\"\nmodule = [{ name = \"Leads\" }]\n\n";

/// The example of the documentation, with every key.
const FULL: &str = r#"
[upstream]
data_centre = "us"                 # us eu in au jp ca sa cn uk ae; or both of the next two
accounts = "https://accounts.zoho.com"
api = "https://www.zohoapis.com"   # without it, the api_domain of the token reply
api_version = "v2"                 # v2 to v8: one version for every call
credentials = "/etc/crmirror/credentials.json"
ca_file = "/etc/crmirror/extra-ca.pem"
[channel]
notify_url = "https://kiosk-7.example.com/callback/4f1c9a"
id = "1000000068001"
lifetime = "24h"
related_actions = false
[callbacks]
listen = "127.0.0.1:8686"
tls_cert = "…"
tls_key = "…"
behind_proxy = false
[local]
listen = "127.0.0.1:8687"
token_file = "local-token"
socket = "/run/crmirror/mirror.sock"
socket_mode = "0660"
socket_group = "kiosk"
allow_origins = ["http://kiosk.local"]
[store]
path = "/var/lib/crmirror"
[catch_up]
every = "15m"
sweep_every = "24h"
credits_per_day = 2500
[[module]]
name = "Leads"
operations = ["create", "edit", "delete"]
fields = ["Last_Name", "Email"]
index = ["Email"]
whole_records = false
[[function]]
name = "kiosk_checkin"
auth = "oauth"
[outbox]
calls_per_day = 2500
max_age = "7d"
kept = "7d"
"#;

pub(crate) fn load(text: &str) -> Config {
    Config::parse(Path::new(FILE), text.as_bytes(), None)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|warning| warning.to_string().replace(FILE, "")).collect()
}

#[test]
fn the_full_example_is_read() {
    let config = load(FULL);
    assert_eq!(config.upstream.accounts.to_string(), "https://accounts.zoho.com");
    assert_eq!(config.upstream.api.unwrap().to_string(), "https://www.zohoapis.com");
    assert_eq!(config.upstream.api_default.unwrap().to_string(), "https://www.zohoapis.com");
    assert_eq!(config.upstream.version, ApiVersion::V2);
    assert_eq!(config.upstream.credentials, Path::new("/etc/crmirror/credentials.json"));
    assert_eq!(config.upstream.ca_file, Some(PathBuf::from("/etc/crmirror/extra-ca.pem")));
    let channel = config.channel.unwrap();
    assert_eq!(channel.notify_url.as_str(), "https://kiosk-7.example.com/callback/4f1c9a");
    assert_eq!(channel.notify_url.path(), "/callback/4f1c9a");
    assert_eq!(channel.id, Some(ChannelId::new(1_000_000_068_001)));
    assert_eq!(channel.lifetime, Duration::from_secs(86_400));
    assert!(!channel.related_actions);
    assert_eq!(config.callbacks.listen.to_string(), "127.0.0.1:8686");
    let tls = config.callbacks.tls.unwrap();
    assert_eq!(tls.cert, Path::new("/etc/crmirror/…"), "beside the configuration");
    assert_eq!(tls.key, Path::new("/etc/crmirror/…"));
    assert!(!config.callbacks.behind_proxy);
    assert_eq!(config.local.listen.to_string(), "127.0.0.1:8687");
    assert_eq!(config.local.token_file, Some(PathBuf::from("/etc/crmirror/local-token")));
    assert_eq!(config.local.socket_mode, 0o660);
    assert_eq!(config.local.socket_group.as_deref(), Some("kiosk"));
    assert_eq!(config.local.socket, Some(PathBuf::from("/run/crmirror/mirror.sock")));
    assert_eq!(config.local.allow_origins.len(), 1);
    assert_eq!(config.local.allow_origins[0].to_string(), "http://kiosk.local");
    assert_eq!(config.store, Path::new("/var/lib/crmirror"));
    assert_eq!(config.catch_up.every, Duration::from_secs(900));
    assert_eq!(config.catch_up.sweep_every, Duration::from_secs(86_400));
    assert_eq!(config.catch_up.credits_per_day, 2500);
    assert_eq!(config.modules.len(), 1);
    let module = &config.modules[0];
    assert_eq!(module.name.as_str(), "Leads");
    assert_eq!(module.operations, Operation::ALL);
    let fields: Vec<&str> = module.fields.iter().flatten().map(|field| field.as_str()).collect();
    assert_eq!(fields, ["Last_Name", "Email"]);
    assert_eq!(module.index.iter().map(|field| field.as_str()).collect::<Vec<_>>(), ["Email"]);
    assert!(!module.whole_records);
    assert_eq!(config.functions.len(), 1);
    assert_eq!(config.functions[0].name.as_str(), "kiosk_checkin");
    assert_eq!(config.functions[0].auth, Auth::OAuth);
    assert_eq!(config.outbox.calls_per_day, 2500);
    assert_eq!(config.warnings, []);
}

#[test]
fn what_is_left_out_is_what_the_full_example_says() {
    let least = load(LEAST);
    let full = load(FULL);
    assert_eq!(least.channel, None, "pull-only");
    assert_eq!((least.functions, least.outbox), (Vec::new(), full.outbox));
    assert_eq!(least.upstream.accounts, full.upstream.accounts);
    assert_eq!(least.upstream.api, None);
    assert_eq!(least.upstream.api_default, full.upstream.api_default);
    assert_eq!(least.upstream.version, full.upstream.version);
    assert_eq!(least.upstream.credentials, full.upstream.credentials);
    assert_eq!(least.upstream.ca_file, None);
    assert_eq!(least.callbacks.listen, full.callbacks.listen);
    assert_eq!(least.callbacks.tls, None);
    assert_eq!(least.local.listen, full.local.listen);
    assert_eq!(least.callbacks.behind_proxy, full.callbacks.behind_proxy);
    assert_eq!((least.local.token_file, least.local.socket), (None, None));
    assert_eq!((least.local.socket_mode, least.local.socket_group), (0o660, None));
    assert_eq!(least.local.allow_origins, []);
    assert_eq!(least.store, full.store);
    assert_eq!(least.catch_up, full.catch_up);
    assert_eq!(least.modules[0].operations, full.modules[0].operations);
    assert_eq!(least.modules[0].fields, None);
    assert_eq!(least.modules[0].index, []);
    assert!(!least.modules[0].whole_records);
    assert_eq!(least.warnings, []);

    let opened = load(&format!("{LEAST}channel.notify_url = \"https://k.example/c\""));
    let (opened, full) = (opened.channel.unwrap(), full.channel.unwrap());
    assert_eq!(opened.id, None);
    assert_eq!(opened.lifetime, full.lifetime);
    assert_eq!(opened.related_actions, full.related_actions);
}

#[test]
fn every_data_centre_has_its_addresses() {
    for (name, accounts, api) in [
        ("us", "accounts.zoho.com", "www.zohoapis.com"),
        ("eu", "accounts.zoho.eu", "www.zohoapis.eu"),
        ("in", "accounts.zoho.in", "www.zohoapis.in"),
        ("au", "accounts.zoho.com.au", "www.zohoapis.com.au"),
        ("jp", "accounts.zoho.jp", "www.zohoapis.jp"),
        ("ca", "accounts.zohocloud.ca", "www.zohoapis.ca"),
        ("sa", "accounts.zoho.sa", "www.zohoapis.sa"),
        ("cn", "accounts.zoho.com.cn", "www.zohoapis.com.cn"),
        ("uk", "accounts.zoho.uk", "www.zohoapis.uk"),
        ("ae", "accounts.zoho.ae", "www.zohoapis.ae"),
    ] {
        let upstream = load(&LEAST.replace("us", name)).upstream;
        assert_eq!(upstream.accounts.to_string(), format!("https://{accounts}"));
        assert_eq!(upstream.api_default.unwrap().to_string(), format!("https://{api}"));
        assert_eq!(upstream.api, None, "the token reply decides");
    }
}

#[test]
fn addresses_win_over_the_data_centre() {
    let module = "[[module]]\nname = \"Leads\"";
    let check = |upstream: &str, accounts: &str, api: Option<&str>, default: Option<&str>| {
        let found = load(&format!("[upstream]\n{upstream}\n{module}")).upstream;
        let shown = |origin: Option<_>| origin.map(|origin: &_| format!("{origin}"));
        assert_eq!(found.accounts.to_string(), accounts, "{upstream}");
        assert_eq!(shown(found.api.as_ref()).as_deref(), api, "{upstream}");
        assert_eq!(shown(found.api_default.as_ref()).as_deref(), default, "{upstream}");
    };
    let accounts = r#"accounts = "http://127.0.0.1:4711""#;
    let api = r#"api = "http://[::1]:4712/""#;
    let (at, api_at) = ("http://127.0.0.1:4711", Some("http://[::1]:4712"));
    let eu = Some("https://www.zohoapis.eu");
    check(accounts, at, None, None);
    check(&format!("{accounts}\n{api}"), at, api_at, None);
    check(&format!("data_centre = \"eu\"\n{accounts}"), at, None, eu);
    check(&format!("data_centre = \"eu\"\n{api}"), "https://accounts.zoho.eu", api_at, eu);
}

#[test]
fn credentials_are_where_the_service_manager_puts_them() {
    let check = |text: &str, directory: Option<&str>, expected: &str| {
        let config = Config::parse(Path::new(FILE), text.as_bytes(), directory.map(Path::new));
        assert_eq!(config.unwrap().upstream.credentials, Path::new(expected));
    };
    check(LEAST, None, "/etc/crmirror/credentials.json");
    check(LEAST, Some("/run/credentials/x"), "/run/credentials/x/credentials.json");
    let named = format!("upstream.credentials = \"mine.json\"\n{LEAST}");
    check(&named, Some("/run/credentials/x"), "/etc/crmirror/mine.json");
}

#[test]
fn other_ways_to_write_the_same_are_read() {
    let text = "\u{feff}[upstream]\r\ndata_centre = 'us'\r\n[channel]\r\n\
                notify_url = 'http://localhost:1/c'\r\nid = 9223372036854775807\r\n\
                [callbacks]\r\nlisten = '127.0.0.1:0'\r\n[local]\r\nlisten = '127.0.0.1:0'\r\n\
                [catch_up]\r\nevery = '1440m'\r\nsweep_every = '1d'\r\n\
                [[module]]\r\nname = 'Leads'\r\n[[module]]\r\nname = 'Deals'\r\n\
                operations = ['delete']\r\nwhole_records = true\r\n";
    let config = load(text);
    assert_eq!(config.channel.unwrap().id, Some(ChannelId::new(i64::MAX.unsigned_abs())));
    assert_eq!(config.catch_up.every, config.catch_up.sweep_every);
    assert_eq!(config.modules[1].operations, [Operation::Delete]);
    assert!(config.modules[1].whole_records);
    assert_eq!(config.warnings, []);
}

#[test]
fn what_hardly_is_meant_so_is_warned_of() {
    let config = load(&format!("{LEAST}[callbacks]\nlisten = \"0.0.0.0:8686\""));
    assert_eq!(
        warnings(&config),
        [":4: callbacks: ignored, since there is no [channel]: nobody listens there"]
    );

    let channel = "[channel]\nnotify_url = \"https://k.example/c\"\n";
    let config = load(&format!("{LEAST}{channel}lifetime = \"7d\""));
    assert_eq!(warnings(&config), [":6: channel.lifetime: 7d is more than v2 allows; 1d is used"]);
    assert_eq!(config.channel.unwrap().lifetime, Duration::from_secs(86_400));

    let newer = format!("upstream.api_version = \"v4\"\n{LEAST}{channel}lifetime = \"8d\"");
    let config = load(&newer);
    assert_eq!(warnings(&config), [":7: channel.lifetime: 8d is more than v4 allows; 7d is used"]);
    assert_eq!(warnings(&load(&newer.replace("8d", "7d"))), [""; 0]);

    let open = format!("{LEAST}{channel}[callbacks]\nlisten = \"0.0.0.0:8686\"\n");
    let by_tls = load(&format!("{open}tls_cert = \"c\"\ntls_key = \"k\""));
    assert_eq!(warnings(&by_tls), [""; 0]);
    let by_proxy = load(&format!("{open}behind_proxy = true"));
    assert_eq!(warnings(&by_proxy), [""; 0]);
    assert!(by_proxy.callbacks.behind_proxy);

    let open = format!("{LEAST}[local]\nlisten = \"[::]:8687\"\ntoken_file = \"t\"");
    assert_eq!(
        warnings(&load(&open)),
        [":5: local.listen: [::]:8687 is reached by other machines, without TLS: whoever can \
          listen in between sees the records and the token"]
    );
    for mode in ["0666", "662", "0777"] {
        let open = format!("{LEAST}[local]\nsocket_mode = \"{mode}\"");
        let expected = ":5: local.socket_mode: every user of this device can read the mirror";
        assert_eq!(warnings(&load(&open)), [expected], "{mode}");
    }
    let closed = load(&format!("{LEAST}[local]\nsocket_mode = \"600\"\nsocket_group = \"7\""));
    assert_eq!((closed.local.socket_mode, warnings(&closed)), (0o600, Vec::new()));
}
