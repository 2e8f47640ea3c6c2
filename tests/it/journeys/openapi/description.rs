//! The description, taken apart: operations, the questions that it says may be asked, and whether
//! an answer is one that it says may be given.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema;
use crate::sim::Heard;

/// The parameters of which a search takes one, and a count one at most.
const CONDITIONS: [&str; 4] = ["criteria", "email", "phone", "word"];

/// All of it.
pub(super) struct Description(Value);

/// A question that an operation may be asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// One method of one path.
pub(super) struct Operation<'a> {
    all: &'a Value,
    path: &'a str,
    method: &'a str,
    parameters: Vec<&'a Value>,
    said: &'a Value,
}

impl Description {
    pub(super) fn of(document: Value) -> Description {
        assert_eq!(document["openapi"], "3.1.0");
        Description(document)
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.0["paths"].as_object().unwrap();
        let operations: Vec<Operation<'_>> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().iter().filter(|it| it.0 != "parameters");
                methods.map(|(method, said)| Operation::new(&self.0, path, item, method, said))
            })
            .collect();
        operations.into_iter()
    }

    pub(super) fn operation(&self, name: &str) -> Operation<'_> {
        self.operations().find(|operation| operation.name() == name).unwrap()
    }

    /// Whether a value is what this schema of the components says.
    pub(super) fn fits(&self, schema: &str, value: &Value) -> Result<(), String> {
        schema::fits(&self.0, &self.0["components"]["schemas"][schema], value)
    }
}

impl<'a> Operation<'a> {
    fn new(
        all: &'a Value,
        path: &'a str,
        item: &'a Value,
        method: &'a str,
        said: &'a Value,
    ) -> Operation<'a> {
        let listed = |of: &'a Value| of["parameters"].as_array().into_iter().flatten();
        let parameters = listed(item).chain(listed(said)).map(|it| schema::resolved(all, it));
        let parameters: Vec<&Value> = parameters.collect();
        for parameter in &parameters {
            if let Some(example) = parameter.get("example") {
                let fits = schema::fits(all, &parameter["schema"], example);
                assert_eq!(fits, Ok(()), "{path}: the example of {}", parameter["name"]);
            }
        }
        Operation { all, path, method, parameters, said }
    }

    pub(super) fn name(&self) -> String {
        self.said["operationId"].as_str().unwrap().to_owned()
    }

    pub(super) fn path(&self) -> &str {
        self.path
    }

    pub(super) fn declares(&self, status: &str) -> bool {
        self.said["responses"].get(status).is_some()
    }

    /// Whether no token is asked for.
    pub(super) fn is_for_everybody(&self) -> bool {
        let security = self.said.get("security");
        security.is_some_and(|ways| *ways == serde_json::json!([{}]))
    }

    pub(super) fn media_types(&self, status: &str) -> BTreeSet<String> {
        let content = self.said["responses"][status]["content"].as_object().unwrap();
        content.keys().cloned().collect()
    }

    /// The question with nothing in it but what has to be.
    pub(super) fn plain(&self) -> Question {
        let mut path = self.path.to_owned();
        let is_required = |it: &&&Value| it["required"] == true;
        let mut query = Vec::new();
        for parameter in self.parameters.iter().filter(is_required) {
            let (name, value) = (parameter["name"].as_str().unwrap(), &self.values(parameter)[0]);
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), value),
                "query" => query.push((name, value.clone())),
                other => panic!("a parameter that is required in the {other}"),
            }
        }
        let mut question = Question {
            method: self.method.to_uppercase(),
            target: path,
            headers: Vec::new(),
            body: String::new(),
        };
        for (name, value) in query {
            question = question.with(name, &value);
        }
        if let Some(content) = self.said["requestBody"]["content"].as_object() {
            let form = "application/x-www-form-urlencoded";
            let schema = schema::resolved(self.all, &content[form]["schema"]);
            let fields = schema["example"].as_object().unwrap();
            let fields = fields.iter().map(|(name, value)| (name, value.as_str().unwrap()));
            let mut body = form_urlencoded::Serializer::new(String::new());
            question.body = body.extend_pairs(fields).finish();
            question.headers.push(("Content-Type".to_owned(), form.to_owned()));
        }
        question
    }

    /// Questions that are answered: with what has to be, and with each value of each other
    /// parameter.
    pub(super) fn good_questions(&self) -> Vec<Question> {
        let base = self.base();
        let mut questions = vec![base.clone()];
        for (parameter, name) in self.optional() {
            let values = self.values(parameter).into_iter();
            let base = if CONDITIONS.contains(&name) { self.plain() } else { base.clone() };
            questions.extend(values.map(|value| base.given(parameter, &value)));
            // What nothing is found with.
            match name {
                "word" => questions.push(self.plain().given(parameter, "nobody")),
                "If-Modified-Since" => {
                    questions.push(base.given(parameter, "2100-01-01T00:00:00Z"));
                }
                _ => {}
            }
        }
        questions
    }

    /// Questions of which one parameter is not what it has to be.
    pub(super) fn bad_questions(&self) -> Vec<Question> {
        let base = self.base();
        let mut questions = Vec::new();
        for (parameter, name) in self.optional() {
            let schema = schema::resolved(self.all, &parameter["schema"]);
            let base = if CONDITIONS.contains(&name) { self.plain() } else { base.clone() };
            let constrained = [&schema["items"], schema].into_iter().any(|schema| {
                ["enum", "pattern", "format", "minimum"].iter().any(|it| schema.get(it).is_some())
            });
            if constrained {
                questions.extend(["!", "+1"].map(|value| base.given(parameter, value)));
            }
            let beyond = schema["maximum"].as_u64().filter(|most| *most < u64::from(u32::MAX));
            questions.extend(beyond.map(|most| base.given(parameter, &(most + 1).to_string())));
        }
        questions
    }

    /// The plain question, with a condition where there has to be one.
    fn base(&self) -> Question {
        match self.name() == "searchRecords" {
            true => self.plain().with("email", "zoe@example.com"),
            false => self.plain(),
        }
    }

    fn optional(&self) -> impl Iterator<Item = (&'a Value, &'a str)> {
        let optional = self.parameters.iter().filter(|it| it["required"] != true);
        optional.map(|it| (*it, it["name"].as_str().unwrap()))
    }

    /// Values of a parameter by which it is tried: all that there are, or the example.
    fn values(&self, parameter: &Value) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let schema = schema::resolved(self.all, &parameter["schema"]);
        match (schema["enum"].as_array(), parameter.get("example")) {
            (Some(values), _) => values.iter().map(text).collect(),
            (None, Some(example)) => vec![text(example)],
            (None, None) => Vec::new(),
        }
    }

    /// Whether this answer is one of those that are described, and if not, why.
    pub(super) fn judge(&self, heard: &Heard) -> Result<(), String> {
        let status = heard.status.to_string();
        let response = self.said["responses"].get(&status).ok_or("the status is not described")?;
        let response = schema::resolved(self.all, response);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = schema::resolved(self.all, header);
            match heard.header(name) {
                Some(text) => {
                    // A number stands in a header as its digits.
                    let number = text.parse::<u64>().ok().filter(|_| !text.starts_with('0'));
                    let is_number = header["schema"]["type"] == "integer";
                    let number = number.or((text == "0").then_some(0)).filter(|_| is_number);
                    let value = number.map_or(Value::from(text), Value::from);
                    schema::fits(self.all, &header["schema"], &value)
                        .map_err(|why| format!("{name}: {why}"))?;
                }
                None if header["required"] == true => return Err(format!("{name} is missing")),
                None => {}
            }
        }
        let Some(content) = response["content"].as_object() else {
            return if heard.body.is_empty() { Ok(()) } else { Err("it has a body".to_owned()) };
        };
        let kind = heard.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap();
        let schema = &content.get(kind).ok_or(format!("{kind} is not described"))?["schema"];
        let body = match kind {
            "application/json" => serde_json::from_slice(&heard.body).map_err(|e| e.to_string())?,
            _ => Value::from(heard.text()),
        };
        schema::fits(self.all, schema, &body)
    }
}

impl Question {
    /// The same with this parameter, in the query or as a header.
    fn given(&self, parameter: &Value, value: &str) -> Question {
        let name = parameter["name"].as_str().unwrap();
        if parameter["in"] == "query" {
            return self.with(name, value);
        }
        assert_eq!(parameter["in"], "header", "{name}");
        let mut question = self.clone();
        question.headers.push((name.to_owned(), value.to_owned()));
        question
    }

    /// The same with one more parameter.
    pub(super) fn with(&self, name: &str, value: &str) -> Question {
        let mark = if self.target.contains('?') { '&' } else { '?' };
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        Question { target: format!("{}{mark}{name}={value}", self.target), ..self.clone() }
    }
}

/// The path of a target.
pub(super) fn without_query(target: &str) -> &str {
    target.split('?').next().unwrap()
}
