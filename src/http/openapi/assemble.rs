//! What the derived documents cannot say is added here, and nowhere else.
//!
//! poem-openapi derives operations and schemas from our types. It knows one prefix for all paths, sorts tags by their names, gives every
//! operation every error, cannot describe the events of a stream, and takes `Option` in a request (ours, so that one answer names every
//! missing field) and in an answer (a key that is null) for the same thing.

use std::collections::BTreeSet;

use poem_openapi::registry::MetaSchema;
use serde_json::{Map, Value, json};

use crate::http::openapi::{API, MONITOR, errors, examples, fields, is_read, streams};

/// Version of the specification: generators of every language read it. poem-openapi says 3.0.0, of which it is the last correction.
const SPECIFICATION: &str = "3.0.3";
/// Tags, in the order in which people need them: as [`Tag`](crate::http::app_state::Tag) declares them.
const TAGS: [&str; 10] = [
    "Reservations",
    "Waiting",
    "Resources",
    "Events",
    "Publishing",
    "Keys",
    "Sessions",
    "Tokens",
    "Queues",
    "Administration",
];

/// An operation, as far as rules look at it.
pub(super) struct Operation<'a> {
    /// Its `operationId`.
    pub(super) id: &'a str,
    /// Its whole path.
    pub(super) path: &'a str,
    /// Its method, in small letters.
    method: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    pub(super) fn has_body(&self) -> bool {
        self.value.get("requestBody").is_some()
    }

    pub(super) fn takes_input(&self) -> bool {
        self.has_body() || self.value["parameters"].as_array().is_some_and(|parameters| !parameters.is_empty())
    }

    pub(super) fn is_read(&self) -> bool {
        is_read(self.method, self.path)
    }

    pub(super) fn is_administration(&self) -> bool {
        self.path.starts_with("/api/v1/admin/")
    }
}

/// Puts the document together from the derived ones.
pub(super) fn assemble(api: Value, monitor: Value, described: impl IntoIterator<Item = (String, MetaSchema)>) -> Value {
    let mut paths = [(API, &api), (MONITOR, &monitor)].map(|(prefix, part)| whole_paths(prefix, part)).concat();
    paths.sort_by_key(|(_, item)| place_of_tag(item));
    let derived = [&api, &monitor].map(|part| part["components"]["schemas"].as_object().cloned());
    let mut schemas: Map<String, Value> = derived.into_iter().flatten().flatten().collect();
    schemas.extend(described.into_iter().map(|(name, schema)| (name, json!(schema))));

    for (path, item) in &mut paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete_operation(path, method, operation);
        }
    }
    let sent = reachable(paths.iter().flat_map(|(_, item)| bodies(item)), &schemas);
    for (name, schema) in &mut schemas {
        complete_schema(name, schema, sent.contains(name));
    }
    let mut security = [&api, &monitor].map(|part| part["components"]["securitySchemes"].clone());
    let [schemes, of_monitor] = &mut security;
    if let (Some(schemes), Some(of_monitor)) = (schemes.as_object_mut(), of_monitor.as_object_mut()) {
        schemes.append(of_monitor);
        schemes.insert("apiKeyInQuery".into(), streams::key_in_query());
    }
    let mut document = json!({
        "openapi": SPECIFICATION,
        "info": {
            "title": api["info"]["title"],
            "version": api["info"]["version"],
            "description": api["info"]["description"],
            "license": {"name": "MIT OR Apache-2.0", "url": "https://spdx.org/licenses/"},
        },
        "servers": [{"url": "/", "description": "The service that gave this document."}],
        "tags": tags(&api["tags"]),
        "paths": Value::Object(paths.into_iter().collect()),
        "components": {
            "securitySchemes": schemes,
            "headers": headers(),
            "responses": errors::responses(),
            "schemas": schemas,
        },
    });
    join_lines(&mut document);
    document
}

fn whole_paths(prefix: &str, part: &Value) -> Vec<(String, Value)> {
    let paths = part["paths"].as_object().into_iter().flatten();
    paths.map(|(path, item)| (format!("{prefix}{path}"), item.clone())).collect()
}

fn place_of_tag(item: &Value) -> usize {
    let tag = item.as_object().and_then(|methods| methods.values().next()?["tags"][0].as_str());
    tag.and_then(|tag| TAGS.iter().position(|known| *known == tag)).unwrap_or(TAGS.len())
}

fn tags(derived: &Value) -> Vec<Value> {
    let find = |name: &&str| derived.as_array()?.iter().find(|tag| tag["name"] == **name).cloned();
    TAGS.iter().filter_map(find).collect()
}

/// Joins the lines of paragraphs, which our comments break; tables, lists and headings stay.
fn join_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" || name == "summary" => *text = joined(text),
                    other => join_lines(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}

fn joined(text: &str) -> String {
    let stands_alone = |line: &str| line.is_empty() || line.starts_with(['|', '*', '#']);
    let mut lines: Vec<String> = Vec::new();
    for line in text.trim().lines().map(str::trim_end) {
        match lines.last_mut() {
            Some(last) if !stands_alone(line) && !stands_alone(last) => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Headers that many answers have.
fn headers() -> Value {
    let always =
        |description: &str, schema: Value| json!({"description": description, "required": true, "schema": schema});
    let number = |description: &str| always(description, json!({"type": "integer", "format": "int64"}));
    json!({
        "Holdfast-Time": number("Redis' clock in microseconds since the Unix epoch, as the call read it."),
        "Holdfast-Position": number("The tenant's latest position: where a stream may start without a hole."),
        "Retry-After": always("Seconds to wait before the call is repeated.", json!({"type": "integer", "minimum": 1})),
        "Set-Cookie": always("The session's cookie, or its removal.", json!({"type": "string"})),
    })
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    split_summary(operation);
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| parameter["name"] != streams::API_KEY);
        parameters.iter_mut().for_each(|parameter| complete_parameter(&id, parameter));
    }
    streams::complete(&id, operation);
    if let Some(security) = fields::security_of(&id) {
        operation["security"] = security;
    }
    examples::add_bodies(&id, operation);
    let read = operation.clone();
    let shape = Operation { id: &id, path, method, value: &read };
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    if let "signIn" | "signOut" = shape.id {
        responses.values_mut().for_each(|response| response["headers"]["Set-Cookie"] = json!({}));
    }
    for response in responses.values_mut() {
        let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) else { continue };
        for (name, header) in headers {
            *header = json!({"$ref": format!("#/components/headers/{name}")});
        }
    }
    errors::add_to(&shape, responses);
}

/// Leaves the first sentence of a summary, without its full stop, as readers list it; the others go before the description.
fn split_summary(operation: &mut Value) {
    let summary = joined(operation["summary"].as_str().unwrap_or_default());
    let (first, rest) = summary.split_once(". ").unwrap_or((&summary, ""));
    let rest = (!rest.is_empty()).then_some(rest);
    let description: Vec<_> = rest.into_iter().chain(operation["description"].as_str()).collect();
    if !description.is_empty() {
        operation["description"] = json!(description.join("\n\n"));
    }
    operation["summary"] = json!(first.trim_end_matches('.'));
}

fn complete_parameter(operation: &str, parameter: &mut Value) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let is_list = parameter["schema"]["type"] == "array";
    if let Some(parameter) = parameter.as_object_mut() {
        // What is said anyway: parameters are not deprecated, and lists are repeated.
        parameter.remove("deprecated");
        parameter.remove("explode");
    }
    if is_list {
        parameter["required"] = json!(false);
    }
    let schema = &mut parameter["schema"];
    fields::narrow(&format!("{operation}.{name}"), schema);
    as_signed(schema);
    if let Some(example) = examples::of_parameter(operation, &name) {
        parameter["example"] = example;
    }
    if let Some((required, description)) = fields::parameter(operation, &name) {
        parameter["required"] = json!(required);
        parameter["description"] = json!(description);
    }
}

/// The bodies of requests in a path's operations.
fn bodies(item: &Value) -> Vec<&Value> {
    item.as_object().into_iter().flat_map(Map::values).filter_map(|operation| operation.get("requestBody")).collect()
}

/// Names of the schemas that values refer to, directly or through others.
fn reachable<'a>(roots: impl Iterator<Item = &'a Value>, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = roots.flat_map(references).collect();
    while let Some(name) = open.pop() {
        if let Some(schema) = schemas.get(&name)
            && found.insert(name)
        {
            open.extend(references(schema));
        }
    }
    found
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(|reference| reference.as_str()?.rsplit('/').next().map(Into::into));
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Completes a schema. Of a request: which fields must be there. Of an answer: every key is there, null where it does not apply.
fn complete_schema(name: &str, schema: &mut Value, is_sent: bool) {
    for (field, added) in fields::undescribed(name) {
        schema["properties"][field] = added;
    }
    let mut required: BTreeSet<String> =
        schema["required"].as_array().into_iter().flatten().filter_map(|field| Some(field.as_str()?.into())).collect();
    required.extend(fields::required(name).iter().map(|field| (*field).to_owned()));
    let mut order = Vec::new();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, property) in properties.iter_mut() {
            let may_be_null = !is_sent && !required.contains(field) && !fields::is_absent(name, field);
            fields::narrow(&format!("{name}.{field}"), property);
            if !is_sent {
                fields::narrow_answer(field, property);
            }
            as_signed(property);
            tidy_reference(property, may_be_null);
            if required.contains(field) || may_be_null {
                order.push(field.clone());
            }
        }
    }
    if let Some(object) = schema.as_object_mut() {
        // A schema's title would be its name again.
        object.remove("title");
        object.remove("required");
    }
    if !order.is_empty() {
        schema["required"] = json!(order);
    }
    if is_sent && schema.get("properties").is_some() && !fields::ignores_unknown(name) {
        schema["additionalProperties"] = json!(false);
    }
    if let Some(example) = examples::of_schema(name, schema) {
        schema["example"] = example;
    }
}

/// Formats of unsigned numbers, which no generator knows, as bounds.
fn as_signed(schema: &mut Value) {
    if let Some(items) = schema.get_mut("items") {
        as_signed(items);
    }
    let (format, most) = match schema["format"].as_str() {
        Some("uint8") => ("int32", Some(i64::from(u8::MAX))),
        Some("uint32") => ("int64", Some(i64::from(u32::MAX))),
        Some("uint64") => ("int64", None),
        _ => return,
    };
    schema["format"] = json!(format);
    let Some(schema) = schema.as_object_mut() else { return };
    schema.entry("minimum").or_insert(json!(0));
    if let Some(most) = most {
        schema.entry("maximum").or_insert(json!(most));
    }
}

/// A reference with a description beside it, or null instead of it.
///
/// In OpenAPI 3.0 nothing may stand beside a reference, and `nullable` does not reach what is referred to.
fn tidy_reference(property: &mut Value, may_be_null: bool) {
    let reference = property.get("$ref").or_else(|| property["allOf"].get(0)?.get("$ref")).cloned();
    let Some(reference) = reference else {
        if may_be_null {
            property["nullable"] = json!(true);
        }
        return;
    };
    let description = property.get("description").cloned();
    *property = match (&description, may_be_null) {
        (_, true) => json!({"oneOf": [{"$ref": reference}, {"type": "object", "nullable": true, "enum": [null]}]}),
        (Some(_), false) => json!({"allOf": [{"$ref": reference}]}),
        (None, false) => json!({"$ref": reference}),
    };
    if let Some(description) = description {
        property["description"] = description;
    }
}
