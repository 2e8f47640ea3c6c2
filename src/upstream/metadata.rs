//! Which fields a module has. From v3 on a list call must name its fields (facts §4.2, §4.7).

use serde::Deserialize;

use crate::mirror::record::{FieldName, ModuleName};
use crate::mirror::trouble::{Scope, Trouble};

use super::api::{Api, Query};
use super::transport::Request;
use super::verdict::Verdict;

/// Asks for the fields of a module.
pub fn fields(api: &Api, module: &ModuleName) -> Request {
    api.get(api.url("settings/fields", &Query::default().with("module", module)))
}

/// Reads the names of the fields.
pub fn parse_fields(verdict: Verdict<'_>) -> Result<Vec<FieldName>, Trouble> {
    #[derive(Deserialize)]
    struct Body {
        fields: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        api_name: FieldName,
    }
    let Verdict::Content(text) = verdict else {
        // Some modules answer nothing here (facts §4.7).
        let why = "upstream does not say which fields the module has: list them as 'fields'".into();
        return Err(Trouble::Denied { scope: Scope::Module, why });
    };
    let body: Body = serde_json::from_str(text).map_err(|error| Trouble::Failed {
        after: None,
        why: format!("the module's fields cannot be read: {error}"),
    })?;
    Ok(body.fields.into_iter().map(|field| field.api_name).collect())
}
