//! What upstream says of itself: modules, fields, the organisation, the user (facts §4.7).

use serde_json::{Value, json};

use super::Upstream;
use super::model::Field;
use super::wire::{Answer, Asked};

impl Upstream {
    pub(super) fn modules(&self, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&[])?;
        let modules: Vec<Value> = self
            .model
            .modules()
            .filter(|module| module.entity.is_none())
            .map(|module| {
                json!({
                    "api_name": module.name,
                    "module_name": module.name,
                    "plural_label": module.name,
                    "api_supported": true,
                    "creatable": true,
                    "editable": true,
                    "deletable": true,
                    "generated_type": "default",
                    "id": module.id.to_string(),
                })
            })
            .collect();
        if modules.is_empty() {
            return Ok(Answer::empty(204));
        }
        Ok(Answer::json(200, &json!({"modules": modules})))
    }

    pub(super) fn fields(&self, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&["module", "type"])?;
        let Some(name) = asked.param("module") else {
            let details = json!({"param": "module"});
            let message = "One of the expected parameter is missing";
            return Err(Answer::refusal(400, "REQUIRED_PARAM_MISSING", details, message));
        };
        match asked.param("type") {
            None | Some("all") => {}
            Some("unused") => return Ok(Answer::empty(204)),
            Some(_) => return Err(Answer::invalid_param("type")),
        }
        let module = self.model.module(name)?;
        self.faults.permit(name, &[])?;
        let system = |name: &str, data_type: &str| Field {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            whole_only: false,
        };
        let mut fields = vec![system("id", "bigint"), system("Created_Time", "datetime")];
        if module.has_modified_time {
            fields.push(system("Modified_Time", "datetime"));
        }
        fields.extend(module.fields.iter().cloned());
        let shown: Vec<Value> = fields
            .iter()
            .enumerate()
            .map(|(at, field)| {
                json!({
                    "api_name": field.name,
                    "field_label": field.name.replace('_', " "),
                    "data_type": field.data_type,
                    "json_type": json_type(&field.data_type),
                    "id": (module.id + 1_000 + at as u64).to_string(),
                    "length": 255,
                })
            })
            .collect();
        Ok(Answer::json(200, &json!({"fields": shown})))
    }

    pub(super) fn org(&self, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&[])?;
        let org = json!({
            "id": "6756839000000020005",
            "zgid": "782345101",
            "company_name": "Simulated Ltd",
            "time_zone": "Asia/Kolkata",
            "currency": "EUR",
            "country": "India",
        });
        Ok(Answer::json(200, &json!({"org": [org]})))
    }

    pub(super) fn users(&self, asked: &Asked) -> Result<Answer, Answer> {
        asked.allow(&["type"])?;
        if asked.param("type") != Some("CurrentUser") {
            return Err(Answer::invalid_param("type"));
        }
        let user = json!({
            "id": "6756839000000421001",
            "full_name": "Ada Lovelace",
            "last_name": "Lovelace",
            "email": "ada@example.com",
            "status": "active",
            "time_zone": "Asia/Kolkata",
        });
        Ok(Answer::json(200, &json!({"users": [user]})))
    }
}

fn json_type(data_type: &str) -> &'static str {
    match data_type {
        "lookup" | "ownerlookup" => "jsonobject",
        "subform" | "multiselectpicklist" => "jsonarray",
        "currency" | "double" => "double",
        "integer" => "integer",
        "boolean" => "boolean",
        _ => "string",
    }
}
