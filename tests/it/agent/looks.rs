//! What a place's doors show, and what upstream saw of it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{CALLBACK_PATH, PATIENCE, Place};
use crate::sim::{Asked, Call, Heard, http};

/// Pause between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// A record's fields as texts, so that every digit counts and the order of keys does not.
pub(crate) type Fields = BTreeMap<String, String>;

impl Place {
    /// All that daemons and commands have printed here so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Waits until a daemon has printed this: its last lines may still be on their way to us.
    pub(crate) fn until_printed(&mut self, text: &str) {
        let what = format!("this is printed: {text}");
        self.until(&what, |place| place.printed().contains(text).then_some(()));
    }

    /// Asks the local interface.
    pub(crate) fn get(&self, target: &str) -> Heard {
        self.ask("GET", target, &[])
    }

    /// Asks the local interface.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Heard {
        self.send(method, target, headers, b"")
    }

    /// Asks the local interface, with a body.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Heard {
        let shown = self.reader_token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = headers.to_vec();
        headers.extend(shown.as_deref().map(|shown| ("Authorization", shown)));
        let heard = http(self.local, method, target, &headers, body);
        self.note(heard.unwrap_or_else(|error| panic!("{method} {target}: {error}")))
    }

    /// All that the daemon's doors have answered here so far.
    pub(crate) fn answered(&self) -> String {
        self.answered.lock().unwrap().clone()
    }

    fn note(&self, heard: Heard) -> Heard {
        let told = format!("{} {:?}\n{}\n", heard.status, heard.headers, heard.text());
        self.answered.lock().unwrap().push_str(&told);
        heard
    }

    /// The status document.
    pub(crate) fn status(&self) -> Value {
        self.get("/status").value()
    }

    /// A record of the mirror; `None` when it is not there.
    pub(crate) fn record(&self, module: &str, id: u64) -> Option<Fields> {
        let heard = self.get(&format!("/crm/v2/{module}/{id}"));
        match heard.status {
            200 => rows(&heard.text()).pop(),
            204 => None,
            status => panic!("{module}/{id}: {status} {}", heard.text()),
        }
    }

    /// All records of a module in the mirror, by page tokens.
    pub(crate) fn records(&self, module: &str) -> BTreeMap<u64, Fields> {
        let (mut records, mut token) = (BTreeMap::new(), String::new());
        loop {
            let heard = self.get(&format!("/crm/v2/{module}?per_page=200{token}"));
            if heard.status == 204 {
                return records;
            }
            assert_eq!(heard.status, 200, "{}", heard.text());
            for row in rows(&heard.text()) {
                let id = row["id"].trim_matches('"').parse().unwrap();
                assert!(records.insert(id, row).is_none(), "{id} is listed twice");
            }
            match heard.value()["info"]["next_page_token"].as_str() {
                Some(next) => token = format!("&page_token={next}"),
                None => return records,
            }
        }
    }

    /// What the mirror must hold in the end.
    pub(crate) fn truth(&self, module: &str, whole: bool) -> BTreeMap<u64, Fields> {
        let truth = self.upstream().truth(module, whole);
        truth.into_iter().map(|(id, json)| (id, fields(&json))).collect()
    }

    /// Waits until a field of a record has this text.
    pub(crate) fn until_reads(&mut self, module: &str, id: u64, field: &str, text: &str) {
        self.until(&format!("{module}/{id} has {field} = {text}"), |place| {
            let record = place.record(module, id)?;
            record.get(field).is_some_and(|raw| raw == text).then_some(())
        });
    }

    /// Waits until nothing waits in the inbox.
    pub(crate) fn until_settled(&mut self) {
        self.until("nothing waits", |place| {
            (place.status()["inbox"]["waiting"] == 0).then_some(())
        });
    }

    /// Waits until `look` sees something; what it saw.
    pub(crate) fn until<T>(&mut self, what: &str, look: impl FnMut(&mut Place) -> Option<T>) -> T {
        self.until_for(PATIENCE, what, look)
    }

    /// The same for what takes its time.
    pub(crate) fn until_for<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&mut Place) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(began.elapsed() < patience, "waited in vain until {what}");
            thread::sleep(LOOK);
        }
    }

    /// Posts a callback; the status of the answer.
    pub(crate) fn post(&self, body: &str) -> u16 {
        let heard = http(self.callbacks, "POST", CALLBACK_PATH, &[], body.as_bytes());
        self.note(heard.unwrap_or_else(|error| panic!("POST {body}: {error}"))).status
    }

    /// Carries all callbacks that wait upstream; each must be acknowledged.
    pub(crate) fn carry(&self) {
        let callbacks = self.upstream().take_callbacks();
        for callback in callbacks {
            assert_eq!(self.post(&callback.body), 200, "{}", callback.body);
        }
    }

    /// Our channel as upstream sees it: its first row.
    pub(crate) fn channel(&self) -> Value {
        let mut upstream = self.upstream();
        let mut token = self.own_token.lock().unwrap();
        loop {
            let asked = Asked::new("GET", "/crm/v2/actions/watch").token(&token);
            let answer = upstream.answer(&asked).expect("upstream is there");
            match answer.status {
                401 => *token = upstream.issue_token(),
                _ => return answer.value()["watch"][0].clone(),
            }
        }
    }

    /// A callback as upstream would make it, for any id, announced or not.
    pub(crate) fn callback(&self, operation: &str, ids: &[u64]) -> Value {
        let channel = self.channel();
        json!({
            "server_time": 1_750_102_639_787_u64, "query_params": {}, "affected_fields": [],
            "module": "Leads", "resource_uri": format!("{}/crm/v2/Leads", self.loopback.origin()),
            "ids": ids.iter().map(u64::to_string).collect::<Vec<_>>(), "operation": operation,
            "channel_id": channel["channel_id"], "token": channel["token"],
        })
    }

    /// The calls upstream that `wanted` picks.
    pub(crate) fn calls(&self, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.upstream().calls().into_iter().filter(wanted).collect()
    }

    /// How often an access token was asked for.
    pub(crate) fn token_calls(&self) -> usize {
        self.calls(|call| call.path == "/oauth/v2/token").len()
    }
}

/// The fields of a JSON object.
pub(crate) fn fields(json: &str) -> Fields {
    let raw: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
    raw.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

/// The rows of a list.
pub(crate) fn rows(json: &str) -> Vec<Fields> {
    #[derive(serde::Deserialize)]
    struct List {
        data: Vec<Box<RawValue>>,
    }
    let list: List = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    list.data.iter().map(|row| fields(row.get())).collect()
}
