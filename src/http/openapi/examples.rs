//! Examples of the document: of every schema, of bodies that are no single schema, and of every parameter that must be there. They stand in
//! `examples.json`; a test sends each of them.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

static EXAMPLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

/// The example of a schema by its name.
pub(super) fn of(schema: &str) -> Option<Value> {
    EXAMPLES["schemas"].get(schema).cloned()
}

/// The example of a schema. Of a set of words it is the first, of a choice that of its first form.
pub(super) fn of_schema(name: &str, schema: &Value) -> Option<Value> {
    let word = || schema["enum"].get(0).cloned();
    let first_form = || {
        let reference = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.get(0)?.get("$ref"));
        of(reference?.as_str()?.rsplit('/').next()?)
    };
    of(name).or_else(word).or_else(first_form)
}

/// The example of a parameter.
pub(super) fn of_parameter(operation: &str, name: &str) -> Option<Value> {
    EXAMPLES["parameters"].get(format!("{operation}.{name}")).cloned()
}

/// Adds the examples of an operation's body; the first is what a reader offers to send.
pub(super) fn add_bodies(operation: &str, value: &mut Value) {
    let Some(named) = EXAMPLES["bodies"].get(operation).and_then(Value::as_object) else { return };
    let examples: Map<String, Value> = named
        .iter()
        .map(|(name, example)| (name.clone(), json!({"summary": example[0], "value": example[1]})))
        .collect();
    if let Some(content) = value.pointer_mut("/requestBody/content/application~1json") {
        content["examples"] = Value::Object(examples);
    }
}
