//! Asking others: systemd, the running daemon. Each answers within a limit, or has not answered.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::decide::Works;
use crate::cli::client::Daemon;
use crate::cli::program::{Ran, run};
use crate::clock::Clock;
use crate::config::Config;
use crate::upstream::transport::Patience;

/// The daemon's unit.
pub(super) const SERVICE: &str = "crmirror.service";
/// What `systemctl` takes to tell a state.
const STATE_LIMIT: Duration = Duration::from_secs(10);
/// How long the daemon may take to answer a read. It is on this device.
const PATIENCE: Patience = Patience {
    call: Duration::from_secs(5),
    resolve: Duration::from_secs(1),
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(4),
};

/// Has systemd restart the daemon; done when the daemon says that it is ready.
pub(super) fn restart(limit: Duration, clock: &dyn Clock) -> Ran {
    run(Path::new("systemctl"), &["restart", SERVICE], limit, clock)
}

/// Has systemd stop the daemon, and waits until it has ended.
pub(super) fn stop(limit: Duration, clock: &dyn Clock) -> Ran {
    run(Path::new("systemctl"), &["stop", SERVICE], limit, clock)
}

/// How systemd says that the daemon stands.
pub(super) struct Unit {
    /// `active`, `inactive`, `failed`, `activating`.
    pub(super) state: String,
    /// How often it has started it again by itself; 0 where it does not say.
    pub(super) restarts: u64,
}

/// Asks systemd how the daemon stands.
pub(super) fn unit(clock: &dyn Clock) -> Result<Unit, String> {
    let told = ["show", "--property=ActiveState,NRestarts", SERVICE];
    match run(Path::new("systemctl"), &told, STATE_LIMIT, clock) {
        Ran::Done(says) => {
            let value = |name: &str| {
                let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
                says.lines().find_map(of).unwrap_or_default()
            };
            let restarts = value("NRestarts").parse().unwrap_or(0);
            Ok(Unit { state: value("ActiveState"), restarts })
        }
        other => Err(other.trouble().unwrap_or_default()),
    }
}

/// What a daemon of this configuration has to do.
pub(super) fn wanted(config: &Config) -> Works {
    Works { reads: true, token: true, channel: config.channel.is_some() }
}

/// What the running daemon does; nothing when none answers.
pub(super) fn works(config: &Config) -> Works {
    let Ok(daemon) = Daemon::with_patience(config, PATIENCE) else {
        return Works::default();
    };
    let status = daemon.get("/status").filter(|reply| reply.status == 200);
    let status: Option<Value> = status.and_then(|reply| serde_json::from_slice(&reply.body).ok());
    let Some(status) = status else { return Works::default() };
    let reads = config.modules.iter().all(|module| {
        let reply = daemon.get(&format!("/crm/v2/{}?per_page=1", module.name));
        reply.is_some_and(|reply| matches!(reply.status, 200 | 204))
    });
    let upstream = &status["upstream"];
    // Whoever may not spend credits does not ask upstream, and cannot show that he could.
    let unasked = upstream["state"] == "offline"
        && upstream["last_error"].is_null()
        && !status["credits"]["waiting_for_credits"].is_null();
    Works {
        reads,
        token: upstream["state"] == "online" || unasked,
        // Whoever took it out of the configuration does not lose it.
        channel: config.channel.is_some() && status["channel"]["state"] == "open",
    }
}

/// Has the daemon call upstream now: by itself it may not need to for a while, and nothing would
/// show that it can.
pub(super) fn wake(config: &Config) {
    let daemon = Daemon::with_patience(config, PATIENCE);
    // That it does not is seen when it is looked at.
    let _ = daemon.map(|daemon| daemon.post("/sync?sweep=false"));
}
