//! `GET /openapi.json`: the local interface for programs that write clients, and for those that try
//! them.
//!
//! The description is written by hand, so that it says what is promised and not what happens to be
//! the case; tests hold every operation of it against the daemon. Only the release and the mirrored
//! modules are filled in.

use crate::mirror::books::entity::Entity;
use crate::mirror::record::ModuleName;
use crate::server::text::{Packed, packed};

/// The whole of it, with places for what the program knows and for its parts.
const DOCUMENT: Packed = packed!("openapi/openapi.json");
/// The routes, in the order in which a reader meets them.
const PATHS: [Packed; 5] = [
    packed!("openapi/paths/records.json"),
    packed!("openapi/paths/books.json"),
    packed!("openapi/paths/metadata.json"),
    packed!("openapi/paths/outbox.json"),
    packed!("openapi/paths/daemon.json"),
];
/// The parts: each stands where its name does, in marks of its own.
const PARTS: [(&str, Packed); 4] = [
    ("parameters", packed!("openapi/parameters.json")),
    ("headers", packed!("openapi/headers.json")),
    ("responses", packed!("openapi/responses.json")),
    ("schemas", packed!("openapi/schemas.json")),
];

/// The description of an interface that shows these modules of CRM and these entities of Books. It
/// names all entities that there are, where none is mirrored: a list of none is no list.
/// Its change feed tells of all in `told`.
pub(super) fn document(modules: &[ModuleName], entities: &[Entity], told: &[ModuleName]) -> String {
    let mut document = DOCUMENT.text().replace("\"{{paths}}\"", &joined(&PATHS));
    for (name, part) in PARTS {
        document = document.replace(&format!("\"{{{{{name}}}}}\""), &part.text());
    }
    let quoted = |name: &str| format!("\"{name}\"");
    let names = |modules: &[ModuleName]| -> Vec<String> {
        modules.iter().map(|module| quoted(module.as_str())).collect()
    };
    let modules = names(modules);
    let plurals = |entities: &[Entity]| -> Vec<String> {
        entities.iter().map(|entity| quoted(entity.plural())).collect()
    };
    let mirrored = [modules.clone(), plurals(entities)].concat();
    let all: Vec<Entity> = Entity::all().collect();
    let entities = plurals(if entities.is_empty() { &all } else { entities });
    let document = document
        .replace("\"{{module}}\"", &modules.join(", "))
        .replace("\"{{entity}}\"", &entities.join(", "))
        .replace("\"{{mirrored}}\"", &mirrored.join(", "))
        .replace("\"{{told}}\"", &names(told).join(", "))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"));
    // Indented for those who read the source; no text in it goes over several lines.
    document.lines().map(str::trim_start).collect()
}

/// The members of these objects in one object.
fn joined(objects: &[Packed]) -> String {
    let inside = |object: &Packed| {
        let object = object.text();
        let members = object.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        members.expect("a part of the description is an object").trim().to_owned()
    };
    format!("{{{}}}", objects.iter().map(inside).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(modules: &[&str]) -> Value {
        let modules: Vec<_> = modules.iter().map(|name| ModuleName::parse(name).unwrap()).collect();
        let entities = [Entity::parse("invoice").unwrap()];
        serde_json::from_str(&document(&modules, &entities, &modules)).unwrap()
    }

    #[test]
    fn the_release_and_the_modules_are_filled_in() {
        let document = parsed(&["Leads", "Price_Books"]);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let module = &document["components"]["schemas"]["Module"];
        assert_eq!(module["enum"], json!(["Leads", "Price_Books"]));
        let mirrored = &document["components"]["schemas"]["Mirrored"];
        assert_eq!(mirrored["enum"], json!(["Leads", "Price_Books", "invoices"]));
        assert!(!document.to_string().contains("{{"), "a place was left empty");
    }

    #[test]
    fn what_is_referred_to_is_there_and_what_is_there_is_referred_to() {
        let document = parsed(&["Leads"]);
        let text = document.to_string();
        for (kind, parts) in document["components"].as_object().unwrap() {
            for name in parts.as_object().unwrap().keys() {
                let target = format!("\"#/components/{kind}/{name}\"");
                let is_scheme = kind == "securitySchemes";
                assert!(is_scheme || text.contains(&target), "nobody refers to {target}");
            }
        }
        for part in text.split("\"$ref\":\"").skip(1) {
            let target = part.split('"').next().unwrap();
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target} is not there");
        }
    }
}
