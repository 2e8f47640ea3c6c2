//! Whether each `notify_url` leads here: the channel's, the platform's, those of Books. It is
//! looked at as a stranger would, by GET: no callback, and answered 405 by us. Its path is a secret
//! and stands in no finding.
//!
//! This shows the way from the device's own network. Upstream comes from the internet: what is in
//! order here may still be closed there.

use serde_json::Value;

use super::finding::{Finding, State};
use super::way::{PATIENCE, look_at};
use crate::config::{Config, NotifyUrl};
use crate::upstream::transport::{HttpsTransport, Reply, Transport, TransportError, look_up};

/// Looks at the addresses, when a daemon runs that would answer there. What is said of two of them
/// is said once.
pub(super) fn look(config: &Config, runs: bool) -> Vec<Finding> {
    let skipped = |why: &str| vec![Finding::skipped("callbacks", why)];
    let urls = config.notify_urls();
    if urls.is_empty() {
        return skipped("the configuration has no address for them");
    }
    if !runs {
        return skipped("no daemon runs that would answer them");
    }
    let mut seen: Vec<(&str, Finding)> = Vec::new();
    for (name, url) in urls {
        let finding = look_at_one(config, url);
        if seen.iter().all(|(_, before)| *before != finding) {
            seen.push((name, finding));
        }
    }
    let named = |(name, finding): (&str, Finding)| match (name, finding.state) {
        ("channel", _) | (_, State::Ok) => finding,
        _ => Finding { says: format!("{name}: {}", finding.says), ..finding },
    };
    seen.into_iter().map(named).collect()
}

fn look_at_one(config: &Config, notify_url: &NotifyUrl) -> Finding {
    let origin = notify_url.origin();
    let (host, name) = (origin.host(), format!("{}:{}", origin.host(), origin.port()));
    if let Err(error) = look_up(&name, PATIENCE.resolve) {
        let to_do = "make the name lead to your tunnel, your proxy or your router";
        return Finding::warn("callbacks", format!("{host} is {error}"), to_do);
    }
    // As upstream does, it trusts what the public trusts, and no ca_file of ours.
    let transport = match HttpsTransport::with_patience(None, PATIENCE) {
        Ok(transport) => transport,
        Err(error) => return Finding::skipped("callbacks", error.to_string()),
    };
    let reply = transport.send(&look_at(notify_url.as_str()));
    conceal(judge(reply, notify_url, &config.callbacks.listen.to_string()), notify_url)
}

fn judge(reply: Result<Reply, TransportError>, url: &NotifyUrl, listen: &str) -> Finding {
    let origin = url.origin();
    let lead = format!("lead the tunnel, the proxy or the port forward to {listen}");
    let (says, to_do) = match reply {
        Ok(reply) => match (reply.status, code(&reply)) {
            (405, Some("INVALID_REQUEST_METHOD")) => {
                return Finding::ok("callbacks", format!("{origin} leads here"));
            }
            (404, Some("NOT_FOUND")) => (
                "leads to a crmirror that does not know the path".to_owned(),
                "pass the path on unchanged, and restart the daemon if notify_url is new".into(),
            ),
            (status @ (502..=504 | 521..=530), _) => {
                (format!("answers status {status}: it does not find us"), lead)
            }
            (status, _) => (format!("leads to another program, which answers {status}"), lead),
        },
        Err(TransportError::Untrusted(why)) => (
            format!("has a certificate that the public does not trust: {why}"),
            "upstream calls no such address: get one as README says".into(),
        ),
        Err(TransportError::WrongClock(why)) => {
            (format!("is not good for TLS: {why}"), "renew it, if the clock above is right".into())
        }
        Err(error) => (
            format!("does not answer: {error}"),
            format!("{lead}; if your router does not lead back inside, try from elsewhere"),
        ),
    };
    Finding::warn("callbacks", format!("{origin} {says}"), to_do)
}

/// The code of an error of ours.
fn code(reply: &Reply) -> Option<&'static str> {
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    ["INVALID_REQUEST_METHOD", "NOT_FOUND"].into_iter().find(|code| body["code"] == *code)
}

/// Whatever an error may repeat, the path is not shown.
fn conceal(finding: Finding, url: &NotifyUrl) -> Finding {
    // A path that is no more than a slash is no secret.
    if url.secret_part().len() < 2 {
        return finding;
    }
    let says = finding.says.replace(url.secret_part(), "/…");
    Finding { says: says.replace(url.path(), "/…"), ..finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> NotifyUrl {
        let text = "[upstream]\ndata_centre = \"us\"\n[channel]\n\
            notify_url = \"https://a.example/HIDDEN?x\"\n[[module]]\nname = \"Leads\"\n";
        let config = Config::parse("/c.toml".as_ref(), text.as_bytes(), None).unwrap();
        config.channel.unwrap().notify_url
    }

    #[test]
    fn whoever_answers_is_known_by_what_he_says() {
        let check = |reply: Result<Reply, TransportError>, state: State, part: &str| {
            let finding = conceal(judge(reply, &url(), "127.0.0.1:8686"), &url());
            assert_eq!(finding.state, state, "{finding:?}");
            let line = finding.line();
            assert!(line.contains(part) && line.contains("https://a.example"), "{part}: {line}");
            assert!(!line.contains("HIDDEN"), "{line}");
            assert_eq!(finding.to_do.is_empty(), state == State::Ok, "{line}");
        };
        let reply = |status: u16, body: &str| {
            Ok(Reply { status, date: None, retry_after: None, body: body.into() })
        };
        let ours = r#"{"code":"INVALID_REQUEST_METHOD","message":"callbacks are sent by POST"}"#;
        check(reply(405, ours), State::Ok, "leads here");
        check(reply(405, "<html>"), State::Warn, "another program, which answers 405");
        check(reply(404, r#"{"code":"NOT_FOUND"}"#), State::Warn, "does not know the path");
        check(reply(404, ""), State::Warn, "another program");
        check(reply(200, ours), State::Warn, "another program");
        check(reply(502, "<html>"), State::Warn, "lead the tunnel");
        check(reply(530, ""), State::Warn, "does not find us");
        let why = || "https://a.example/HIDDEN?x is refused".to_owned();
        check(Err(TransportError::Unreachable(why())), State::Warn, "router");
        check(Err(TransportError::TimedOut(why())), State::Warn, "127.0.0.1:8686");
        check(Err(TransportError::Untrusted(why())), State::Warn, "the public does not trust");
        check(Err(TransportError::WrongClock(why())), State::Warn, "renew it");
    }
}
