//! The simulator keeps upstream's rules: what it gets wrong, every other test believes.
//!
//! - `records`: lists and their walls, stamps, deletions, queries, digits.
//! - `channels`: their life, what is wrong with them, the callbacks they bring.
//! - `roads`: tokens, faults, and the two ways to the simulator.

mod channels;
mod records;
mod roads;

use std::sync::Arc;
use std::time::Duration;

use crmirror::mirror::time::UpstreamTime;
use serde_json::{Value, json};

use crate::sim::{Answer, Asked, Moment, Upstream, VirtualClock};

const START: Moment = Moment::from_unix(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);

struct World {
    upstream: Upstream,
    clock: Arc<VirtualClock>,
    token: String,
}

fn world() -> World {
    let clock = VirtualClock::starting(START);
    let mut upstream = Upstream::new(clock.clone());
    upstream.knobs.token_life = 400 * DAY;
    upstream.model.add("Leads").with_fields(&["Last_Name"]).with_whole_only("Visits");
    let token = upstream.issue_token();
    World { upstream, clock, token }
}

impl World {
    fn ask(&mut self, asked: Asked) -> Answer {
        self.upstream.answer(&asked.token(&self.token)).expect("no fault is scripted")
    }

    fn get(&mut self, target: &str) -> Answer {
        self.ask(Asked::new("GET", target))
    }

    fn get_since(&mut self, target: &str, since: Moment) -> Answer {
        let since = UpstreamTime::from_unix(since.unix()).to_string();
        self.ask(Asked::new("GET", target).header("If-Modified-Since", &since))
    }

    fn watch(&mut self, method: &str, item: Value) -> Answer {
        let body = json!({"watch": [item]}).to_string();
        self.ask(Asked::new(method, "/crm/v2/actions/watch").body(&body))
    }

    fn coql(&mut self, version: &str, query: &str) -> Answer {
        let body = json!({"select_query": query}).to_string();
        self.ask(Asked::new("POST", &format!("/crm/{version}/coql")).body(&body))
    }

    fn code(&mut self, target: &str) -> String {
        let answer = self.get(target);
        format!("{} {}", answer.status, answer.value()["code"].as_str().unwrap_or("-"))
    }
}

fn ids(answer: &Answer) -> Vec<u64> {
    let value = answer.value();
    let rows = value["data"].as_array().into_iter().flatten();
    let id = |row: &Value| row["id"].as_str()?.parse().ok();
    rows.map(|row| id(row).expect("a record has an id")).collect()
}

/// A channel that asks to live until `life` after the start.
fn channel(life: Duration) -> Value {
    json!({
        "channel_id": "1000000068001",
        "events": ["Leads.all"],
        "notify_url": "https://kiosk.example/callback/4f1c?n=1",
        "channel_expiry": UpstreamTime::from_unix(START.after(life).unix()).to_string(),
        "token": "t-1",
        "notify_on_related_action": false,
    })
}
