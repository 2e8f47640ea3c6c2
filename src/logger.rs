//! Logs on stderr. Only our own lines can be made more talkative.

use std::io::Write;

use log::LevelFilter;

/// Starts logging. `wanted` is the value of `RUST_LOG`: a level (`debug`), or `crmirror=LEVEL`;
/// without it `info`. The libraries beneath stay at `warn` whatever is asked: what they would tell
/// at `trace` are the very bytes that go over the wire, tokens included.
pub fn start(wanted: Option<&str>) {
    let level = wanted.and_then(level).unwrap_or(LevelFilter::Info);
    env_logger::Builder::new()
        .filter_level(LevelFilter::Warn.min(level))
        .filter_module("crmirror", level)
        // sled warns of what its opening procedure has mended; the store tells that itself.
        .filter_module("sled", LevelFilter::Error.min(level))
        // tiny_http complains when its hall is closed on purpose; the hall tells what matters.
        .filter_module("tiny_http", LevelFilter::Off)
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "{level}: {}", record.args())
        })
        .init();
}

fn level(wanted: &str) -> Option<LevelFilter> {
    let ours = |part: &str| match part.trim().split_once('=') {
        Some(("crmirror", level)) => level.parse().ok(),
        Some(_) => None,
        None => part.trim().parse().ok(),
    };
    wanted.split(',').filter_map(ours).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_level_is_read() {
        assert_eq!(level("debug"), Some(LevelFilter::Debug));
        assert_eq!(level("info,crmirror=trace"), Some(LevelFilter::Trace));
        assert_eq!(level("ureq=trace"), None);
        assert_eq!(level("loud"), None);
    }
}
