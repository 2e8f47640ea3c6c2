//! The platform: whether what it tells of our extension can be proved, and what it told last.

use serde_json::Value;

use super::finding::Finding;
use crate::config::{Config, Platform, Verify};
use crate::credentials::Credentials;
use crate::identity::context::ContextFile;

/// What is to be said of it; nothing when it is not to tell us anything.
pub(super) fn look(config: &Config, status: Option<&Value>) -> Option<Finding> {
    let platform = config.platform.as_ref()?;
    let credentials = Credentials::load(&config.upstream.credentials).ok();
    let has_secret = credentials.is_some_and(|(kept, _)| kept.platform_secret.is_some());
    let context = ContextFile::of(&config.store).load().ok().flatten();
    Some(judge(platform, has_secret, context.is_some(), status))
}

fn judge(
    platform: &Platform,
    has_secret: bool,
    has_context: bool,
    status: Option<&Value>,
) -> Finding {
    if platform.needs_secret() && !has_secret {
        let to_do = "copy 'secret' of plugin-manifest.json to platform_secret of the credentials";
        return Finding::fail("platform", "there is no platform_secret", to_do);
    }
    let told = status.map(|status| &status["platform"]);
    if let Some(state @ ("uninstalled" | "wiped")) = told.and_then(|told| told["state"].as_str()) {
        let to_do = "install or authorise the extension again, if that is not as it should be";
        return Finding::warn("platform", format!("the extension is {state}"), to_do);
    }
    if platform.verify == Verify::Log {
        let to_do = "once the log says what HASH is made over, write verify = \"enforce\"";
        return Finding::warn("platform", "anybody who knows the address is believed", to_do);
    }
    if !has_context {
        let to_do = "see that callbackListener of plugin-manifest.json names platform.notify_url";
        return Finding::warn("platform", "it has told nothing yet", to_do);
    }
    let last =
        told.and_then(|told| told["last_event"].as_str()).map(|last| format!(", last {last}"));
    Finding::ok("platform", format!("it tells us of the extension{}", last.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use serde_json::json;
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
            let found = judge(&platform(keys), secret, context, Some(&status));
            let line = found.line();
            assert!(found.state == state && line.contains(part), "{line}");
        };
        let told =
            |state: &str| json!({ "platform": { "state": state, "last_event": "onUpdate" } });
        check("", false, true, told("installed"), State::Fail, "no platform_secret");
        check("", true, true, told("uninstalled"), State::Warn, "is uninstalled");
        check("", true, true, told("wiped"), State::Warn, "is wiped");
        check("", true, false, json!({}), State::Warn, "callbackListener");
        check("", true, true, told("installed"), State::Ok, "last onUpdate");
        check("", true, true, json!({}), State::Ok, "it tells us");
        check("verify = \"log\"", false, true, told("installed"), State::Warn, "is believed");
    }
}
