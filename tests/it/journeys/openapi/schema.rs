//! JSON Schema, as far as the description uses it. A word that is not known here fails, so that
//! nothing is said there which is not looked at.

use crmirror::mirror::time::UpstreamTime;
use serde_json::Value;

/// What stands behind a reference; anything else is itself.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(target) = value.get("$ref") else { return value };
    assert_eq!(value.as_object().unwrap().len(), 1, "beside a reference stands more: {value}");
    let pointer = target.as_str().unwrap().strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there"))
}

/// Whether the value is what the schema says, and if not, where and why.
pub(super) fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolved(document, schema);
    for (word, said) in schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}")) {
        let holds = match word.as_str() {
            "description" | "example" | "additionalProperties" => true,
            "type" => match said.as_array() {
                Some(types) => types.iter().any(|it| is_of_type(value, it)),
                None => is_of_type(value, said),
            },
            "const" => value == said,
            "enum" => said.as_array().unwrap().contains(value),
            "anyOf" => {
                said.as_array().unwrap().iter().any(|way| fits(document, way, value).is_ok())
            }
            "required" => value.as_object().is_none_or(|fields| {
                said.as_array().unwrap().iter().all(|it| fields.contains_key(it.as_str().unwrap()))
            }),
            "properties" => {
                members(document, schema, value)?;
                true
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(document, said, item).map_err(|why| format!("[{place}]{why}"))?;
                }
                true
            }
            "minItems" => value.as_array().is_none_or(|it| it.len() as u64 >= number(said)),
            "maxItems" => value.as_array().is_none_or(|it| it.len() as u64 <= number(said)),
            "minLength" => {
                value.as_str().is_none_or(|it| it.chars().count() as u64 >= number(said))
            }
            "maxLength" => {
                value.as_str().is_none_or(|it| it.chars().count() as u64 <= number(said))
            }
            "minimum" => value.as_u64().is_some_and(|it| it >= number(said)) || !value.is_number(),
            "maximum" => value.as_u64().is_some_and(|it| it <= number(said)) || !value.is_number(),
            "format" => {
                assert_eq!(said, "date-time");
                value.as_str().is_none_or(|text| UpstreamTime::parse(text).is_some())
            }
            "pattern" => value.as_str().is_none_or(|text| matches(said.as_str().unwrap(), text)),
            unknown => panic!("what '{unknown}' means is not known here: {schema}"),
        };
        if !holds {
            return Err(format!(": {value} is not {word} {said}"));
        }
    }
    if schema.get("properties").is_none() && schema.get("additionalProperties").is_some() {
        members(document, schema, value)?;
    }
    Ok(())
}

fn members(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let others = &schema["additionalProperties"];
    for (name, member) in value.as_object().into_iter().flatten() {
        let said = match schema["properties"].get(name) {
            Some(said) => said,
            None if others == true || others.is_null() => continue,
            None if others == false => return Err(format!(".{name} is not described")),
            None => others,
        };
        fits(document, said, member).map_err(|why| format!(".{name}{why}"))?;
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type '{unknown}' is not known here"),
    }
}

fn number(said: &Value) -> u64 {
    said.as_u64().unwrap()
}

/// The patterns of the description, each as what it means.
fn matches(pattern: &str, text: &str) -> bool {
    let all = |text: &str, is_one: fn(char) -> bool| !text.is_empty() && text.chars().all(is_one);
    let is_number = |text: &str, digits: usize| {
        all(text, |c| c.is_ascii_digit())
            && text.len() <= digits
            && (text == "0" || !text.starts_with('0'))
    };
    match pattern {
        r"^(0|[1-9][0-9]{0,18})$" => is_number(text, 19),
        r"^(0|[1-9][0-9]{0,19})$" => is_number(text, 20),
        r"^(now|0|[1-9][0-9]{0,18})$" => text == "now" || is_number(text, 19),
        r"^(0s|0*[1-9][0-9]*[smhd])$" => {
            let number = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
            text == "0s" || (all(number, |c| c.is_ascii_digit()) && !all(number, |c| c == '0'))
        }
        r"^(0|[1-9][0-9]{0,19})-[0-9a-f]{16}$" => {
            text.split_once('-').is_some_and(|(number, rest)| {
                let small = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                is_number(number, 20) && rest.len() == 16 && rest.chars().all(small)
            })
        }
        r"^[A-Za-z][A-Za-z0-9_]*$" => {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && all(text, |c| c.is_ascii_alphanumeric() || c == '_')
        }
        r"^[A-Z][A-Z_]*$" => {
            !text.starts_with('_') && all(text, |c| c.is_ascii_uppercase() || c == '_')
        }
        r"^\$?[A-Za-z][A-Za-z0-9_]*$" => {
            let name = text.strip_prefix('$').unwrap_or(text);
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && all(name, |c| c.is_ascii_alphanumeric() || c == '_')
        }
        r"^\S*@\S*$" => text.contains('@') && !text.contains(char::is_whitespace),
        r#"^"[^"]+"$"# => {
            let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inside.is_some_and(|inside| all(inside, |c| c != '"'))
        }
        unknown => panic!("what {unknown} means is not known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: Value, good: &[Value], bad: &[Value]) {
        let document = json!({"time": {"type": "string", "format": "date-time"}});
        good.iter()
            .for_each(|value| assert_eq!(fits(&document, &schema, value), Ok(()), "{value}"));
        bad.iter().for_each(|value| assert!(fits(&document, &schema, value).is_err(), "{value}"));
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let a = json!({"type": "integer", "minimum": 1, "maximum": 3});
        let closed = json!({"type": "object", "required": ["a"], "properties": {"a": a},
            "additionalProperties": false});
        let bad = [
            json!({}),
            json!({"a": 4}),
            json!({"a": 0}),
            json!({"a": -1}),
            json!({"a": "1"}),
            json!({"a": 1, "b": 1}),
            json!([]),
        ];
        check(closed, &[json!({"a": 1}), json!({"a": 3})], &bad);
        let by_name = json!({"type": "object", "additionalProperties": {"enum": ["x", null]}});
        check(by_name, &[json!({}), json!({"q": "x", "r": null})], &[json!({"q": "y"})]);
        let list = json!({"type": "array", "minItems": 1, "maxItems": 2,
            "items": {"type": "string", "minLength": 2, "maxLength": 3}});
        check(
            list,
            &[json!(["ab", "abc"])],
            &[json!([]), json!(["ab", "ab", "ab"]), json!(["a"]), json!(["abcd"]), json!([1])],
        );
        let time = json!({"anyOf": [{"$ref": "#/time"}, {"const": "none"}]});
        check(
            time,
            &[json!("none"), json!("2026-01-31T10:00:00+05:30")],
            &[json!("now"), json!(7)],
        );
        let id = json!({"type": ["string", "null"], "pattern": "^(0|[1-9][0-9]{0,18})$"});
        check(id, &[json!("0"), json!("17"), json!(null)], &[json!(""), json!("07"), json!("1x")]);
    }

    #[test]
    #[should_panic(expected = "is not known here")]
    fn a_word_that_is_not_known_fails() {
        let _ = fits(&Value::Null, &json!({"multipleOf": 2}), &json!(4));
    }
}
