//! The platform: whether what it tells of our extension can be proved, and what it told last.

use serde_json::{Value, json};

use super::finding::Finding;
use crate::config::{Config, Platform, Verify};
use crate::credentials::Credentials;
use crate::identity::context::ContextFile;
use crate::identity::removal::RemovalFile;
use crate::mirror::platform::Removal;
use crate::store::Store;

/// What is to be said of it; nothing when it is not to tell us anything.
pub(super) fn look(
    config: &Config,
    store: Option<&Store>,
    status: Option<&Value>,
) -> Option<Finding> {
    let platform = config.platform.as_ref()?;
    let credentials = Credentials::load(&config.upstream.credentials).ok();
    let has_secret = credentials.is_some_and(|(kept, _)| kept.platform_secret.is_some());
    let context = ContextFile::of(&config.store).load().ok().flatten();
    let standing = status.map_or_else(|| read(config, store), |status| status["platform"].clone());
    Some(judge(platform, has_secret, context.is_some(), &standing))
}

/// As `/status` would tell it, where no daemon runs.
fn read(config: &Config, store: Option<&Store>) -> Value {
    let removal = RemovalFile::of(&config.store).read().ok().flatten();
    let newest = store.and_then(|store| store.newest_event().ok().flatten());
    let newest = newest.map(|(_, recorded)| recorded);
    json!({
        "state": Removal::state(removal),
        "last_event": newest.as_ref().map(|recorded| recorded.event),
        "last_event_time": newest.as_ref().map(|recorded| recorded.time),
    })
}

fn judge(platform: &Platform, has_secret: bool, has_context: bool, standing: &Value) -> Finding {
    if platform.needs_secret() && !has_secret {
        let to_do = "copy 'secret' of plugin-manifest.json to platform_secret of the credentials";
        return Finding::fail("platform", "there is no platform_secret", to_do);
    }
    let last = match (standing["last_event"].as_str(), standing["last_event_time"].as_str()) {
        (Some(event), Some(time)) => format!(", last {event} at {time}"),
        _ => String::new(),
    };
    if let Some(state @ ("uninstalled" | "wiping" | "wiped")) = standing["state"].as_str() {
        let says = format!("the extension is {state}, nothing is fetched{last}");
        let to_do = "install or authorise the extension again, if that is not as it should be";
        return Finding::warn("platform", says, to_do);
    }
    if platform.verify == Verify::Log {
        let to_do = "once the log says what HASH is made over, write verify = \"enforce\"";
        return Finding::warn("platform", "anybody who knows the address is believed", to_do);
    }
    if !has_context {
        let to_do = "see that callbackListener of plugin-manifest.json names platform.notify_url";
        return Finding::warn("platform", "it has told nothing yet", to_do);
    }
    Finding::ok("platform", format!("it tells us of the extension{last}"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use std::path::Path;

    fn platform(keys: &str) -> Platform {
        let text = format!(
            "upstream.data_centre = \"us\"\nmodule = [{{ name = \"Leads\" }}]\n[platform]\n\
             notify_url = \"https://kiosk.example/platform/7d01\"\n{keys}"
        );
        let config = Config::parse(Path::new("/c.toml"), text.as_bytes(), None);
        config.unwrap_or_else(|errors| panic!("{errors}")).platform.unwrap()
    }

    #[test]
    fn what_is_missing_is_said() {
        let check = |keys: &str, secret, context, status: Value, state, part: &str| {
            let found = judge(&platform(keys), secret, context, &status);
            let line = found.line();
            assert!(found.state == state && line.contains(part), "{line}");
        };
        let told = |state: &str| {
            let time = "2026-11-21T09:56:04+00:00";
            json!({ "state": state, "last_event": "onUpdate", "last_event_time": time })
        };
        check("", false, true, told("installed"), State::Fail, "no platform_secret");
        check("", true, true, told("uninstalled"), State::Warn, "is uninstalled");
        check("", true, true, told("wiped"), State::Warn, "is wiped");
        check("", true, false, json!({}), State::Warn, "callbackListener");
        check("", true, true, told("installed"), State::Ok, "last onUpdate at 2026");
        check("", true, true, json!({}), State::Ok, "it tells us");
        check("verify = \"log\"", false, true, told("installed"), State::Warn, "is believed");
    }
}
