//! Functions of upstream's that can be called as REST APIs (facts §7): each counts the ids that
//! come with its calls, and answers as the test has it answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::accounts::Accounts;
use super::clock::Moment;
use super::wire::{Answer, Asked};

/// The key that is accepted.
pub const ZAPIKEY: &str = "1003.simulated-zapi+key/4be1";
/// The scope of a call by POST (facts §7).
const SCOPE: &str = "ZohoCRM.functions.execute.CREATE";

/// The functions.
#[derive(Default)]
pub struct Functions(BTreeMap<String, Function>);

/// One of them.
#[derive(Default)]
pub struct Function {
    /// How it answers.
    pub manner: Conduct,
    /// Its runs so far.
    pub runs: Vec<Run>,
}

/// How a function answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// In the default envelope, with what it got: as a text that is JSON.
    #[default]
    Echo,
    /// In the default envelope, with this text.
    Says(String),
    /// With a status, a header and a body of its own.
    Own(u16, &'static str, &'static str, String),
    /// As one that broke.
    Broken,
    /// As one that shows its whole request, the key in the address included.
    Blabs,
}

/// One run of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The id in the parameters.
    pub id: String,
    /// The same in the headers.
    pub header: String,
    /// The media type of what came.
    pub media_type: String,
    /// What came.
    pub body: String,
}

impl Functions {
    /// Adds a function, or finds it.
    pub fn add(&mut self, name: &str) -> &mut Function {
        self.0.entry(name.to_owned()).or_default()
    }

    /// The runs of a function so far.
    pub fn runs(&self, name: &str) -> &[Run] {
        self.0.get(name).map_or(&[], |function| &function.runs)
    }

    pub(super) fn execute(
        &mut self,
        name: &str,
        asked: &Asked,
        accounts: &Accounts,
        now: Moment,
    ) -> Result<Answer, Answer> {
        match asked.param("auth_type") {
            Some("apikey") if asked.param("zapikey") == Some(ZAPIKEY) => {}
            Some("oauth") if asked.param("zapikey").is_none() => {
                accounts.authorise(asked, SCOPE, now)?;
            }
            _ => return Err(Answer::invalid_token()),
        }
        let function = self.0.get_mut(name).ok_or_else(|| {
            let message = "the function is not there";
            Answer::refusal(404, "INVALID_URL_PATTERN", json!({}), message)
        })?;
        if asked.method != "POST" {
            return Err(Answer::refusal(400, "INVALID_REQUEST_METHOD", json!({}), "POST only"));
        }
        let header = |name: &str| asked.headers.get(name).cloned().unwrap_or_default();
        let run = Run {
            id: asked.param("mirror_call_id").unwrap_or_default().to_owned(),
            header: header("mirror-call-id"),
            media_type: header("content-type"),
            body: String::from_utf8_lossy(&asked.body).into_owned(),
        };
        let answer = function.manner.answer(&run, asked);
        function.runs.push(run);
        Ok(answer)
    }
}

impl Conduct {
    fn answer(&self, run: &Run, asked: &Asked) -> Answer {
        match self {
            Conduct::Echo => {
                let got: Value = serde_json::from_str(&run.body).unwrap_or(json!(run.body));
                enveloped("success", &json!({"id": run.id, "got": got}).to_string())
            }
            Conduct::Says(text) => enveloped("success", text),
            Conduct::Own(status, name, value, body) => {
                Answer::typed(*status, "application/json;charset=utf-8", body.clone())
                    .with(name, value)
            }
            Conduct::Broken => enveloped("error", "line 7: value is null"),
            Conduct::Blabs => {
                let request: BTreeMap<_, _> = asked.query.iter().cloned().collect();
                let headers = &asked.headers;
                let shown = json!({"params": request, "headers": headers});
                Answer::json(200, &shown)
                    .with("X-Address", asked.param("zapikey").unwrap_or("none"))
            }
        }
    }
}

/// Upstream's default envelope.
fn enveloped(code: &str, output: &str) -> Answer {
    Answer::json(
        200,
        &json!({
            "code": code,
            "details": {"output": output, "output_type": "string", "id": "6756839000000613005"},
            "message": if code == "success" { "function executed successfully" } else { output },
        }),
    )
}
