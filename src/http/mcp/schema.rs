//! JSON Schemas of tools, from the OpenAPI document of the operations that they stand for.

use serde_json::{Map, Value, json};

/// Deepest nesting that is followed, so that a schema that refers to itself ends.
const MAX_DEPTH: usize = 12;
/// What says nothing to a client of a tool. Formats of numbers are OpenAPI's own.
const OMITTED: [&str; 6] = ["title", "deprecated", "nullable", "readOnly", "writeOnly", "example"];

/// Whose schema it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Arguments: absent is enough to say, so none is described as nullable; what is not described is refused.
    Arguments,
    /// A result: every key is there, null where it does not apply.
    Result,
}

/// A schema of the document as a JSON Schema that stands alone.
pub(super) fn standalone(document: &Value, schema: &Value, side: Side) -> Value {
    convert(document, schema, side, 0)
}

fn convert(document: &Value, schema: &Value, side: Side, depth: usize) -> Value {
    let Some(schema) = schema.as_object().filter(|_| depth <= MAX_DEPTH) else { return json!({}) };
    let next = |schema: &Value| convert(document, schema, side, depth + 1);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')) {
        return next(document.pointer(target).unwrap_or(&Value::Null));
    }
    // Beside a reference, as the other choice: what OpenAPI 3.0 has in place of the type null.
    if schema.get("enum") == Some(&json!([null])) {
        return json!({"type": "null"});
    }
    let is_nullable = schema.get("nullable") == Some(&Value::Bool(true));
    // A reference with something beside it is a list of one.
    let mut converted = match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => next(only).as_object().cloned().unwrap_or_default(),
        _ => Map::new(),
    };
    for (key, value) in schema {
        let value = match key.as_str() {
            "allOf" if !converted.is_empty() => continue,
            key if OMITTED.contains(&key) => continue,
            "format" if value != "date-time" && value != "uuid" => continue,
            "properties" => {
                let each = value.as_object().into_iter().flatten();
                Value::Object(each.map(|(name, property)| (name.clone(), next(property))).collect())
            }
            "items" | "additionalProperties" | "not" if value.is_object() => next(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(next).collect(),
            _ => value.clone(),
        };
        converted.insert(key.clone(), value);
    }
    match side {
        Side::Arguments if converted.contains_key("properties") => {
            converted.entry("additionalProperties").or_insert(false.into());
        }
        Side::Result if is_nullable => return nullable(converted),
        Side::Arguments | Side::Result => {}
    }
    Value::Object(converted)
}

/// The same, or null.
fn nullable(mut schema: Map<String, Value>) -> Value {
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(kind @ Value::String(_)) => *kind = json!([kind, "null"]),
        Some(_) => {}
        None => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "Word": {"type": "string", "title": "Word", "enum": ["A", "B"]},
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
        }}})
    }

    #[test]
    fn references_are_resolved_and_end() {
        let word = json!({"$ref": "#/components/schemas/Word"});
        assert_eq!(standalone(&document(), &word, Side::Arguments), json!({"type": "string", "enum": ["A", "B"]}));
        let node = json!({"$ref": "#/components/schemas/Node"});
        assert!(standalone(&document(), &node, Side::Result).to_string().len() < 1_000);
        assert_eq!(standalone(&document(), &json!({"$ref": "#/none"}), Side::Result), json!({}));
    }

    #[test]
    fn a_result_may_be_null_where_the_document_says_so_and_an_argument_is_absent_instead() {
        let schema = json!({"type": "object", "properties": {
            "at": {"type": "string", "format": "date-time", "nullable": true},
            "count": {"type": "integer", "format": "int64", "nullable": true, "minimum": 1},
            "word": {"allOf": [{"$ref": "#/components/schemas/Word"}], "nullable": true, "description": "W."},
            "other": {"oneOf": [
                {"$ref": "#/components/schemas/Word"},
                {"type": "object", "nullable": true, "enum": [null]},
            ]},
        }});
        assert_eq!(
            standalone(&document(), &schema, Side::Result)["properties"],
            json!({
                "at": {"type": ["string", "null"], "format": "date-time"},
                "count": {"type": ["integer", "null"], "minimum": 1},
                "word": {"type": ["string", "null"], "enum": ["A", "B", null], "description": "W."},
                "other": {"oneOf": [{"type": "string", "enum": ["A", "B"]}, {"type": "null"}]},
            })
        );
        let arguments = standalone(&document(), &schema, Side::Arguments);
        assert_eq!(arguments["properties"]["count"], json!({"type": "integer", "minimum": 1}));
        assert_eq!(arguments["additionalProperties"], false);
    }
}
