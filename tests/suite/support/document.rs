//! The OpenAPI document as a judge of answers: what the tests' client receives must be what the document says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex},
};

use jsonschema::Validator;
use reqwest::{Method, Url, header::HeaderMap};
use serde_json::{Map, Value, json};

/// The committed document; another test holds it equal to the served one.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("openapi/openapi.json is committed")).unwrap()
});

/// Its schemas as JSON Schema, where OpenAPI 3.0 differs. A key of an answer that is not described is an error.
static SCHEMAS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = json!({"schemas": DOCUMENT["components"]["schemas"]});
    translate(&mut components);
    components
});

fn translate(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("example");
            if members.remove("nullable") == Some(json!(true))
                && let Some(kind) = members.get_mut("type")
            {
                *kind = json!([kind, "null"]);
            }
            if members.get("properties").is_some_and(|properties| properties.get("type").is_none_or(Value::is_object)) {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(translate);
        }
        Value::Array(items) => items.iter_mut().for_each(translate),
        _ => {}
    }
}

/// An operation by its path and method.
#[derive(Debug, Clone)]
pub struct Operation {
    pub method: Method,
    pub path: String,
    pub value: Value,
}

impl Operation {
    pub fn id(&self) -> &str {
        self.value["operationId"].as_str().unwrap()
    }

    /// The answer with a status: its own, or that of every other one.
    fn response(&self, status: u16) -> Option<(String, Value)> {
        let responses = &self.value["responses"];
        let status = status.to_string();
        let name = [status.as_str(), "default"].into_iter().find(|name| responses.get(*name).is_some())?;
        let response = &responses[name];
        let shared = response.get("$ref").and_then(|reference| reference.as_str()?.strip_prefix('#'));
        let response = shared.map_or(response, |pointer| DOCUMENT.pointer(pointer).unwrap());
        Some((name.to_owned(), response.clone()))
    }
}

/// Every operation of the document, in its order.
pub fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, value)| Operation {
            method: method.to_uppercase().parse().unwrap(),
            path: path.clone(),
            value: value.clone(),
        })
    });
    each.collect()
}

/// The operations of a request: those of its path, and of its method where that is known. A resource's name may have slashes; a segment that is
/// written out comes before one that is not.
fn operations_of(method: Option<&Method>, path: &str) -> Vec<&'static Operation> {
    static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(operations);
    let given: Vec<_> = path.split('/').collect();
    let is_name = |segment: &str| segment.starts_with('{');
    let fits = |known: &str| {
        let known: Vec<_> = known.split('/').collect();
        let takes_rest = matches!(known.last(), Some(&("{resource}" | "{name}")));
        (known.len() == given.len() || takes_rest && given.len() > known.len())
            && known.iter().zip(&given).all(|(known, given)| is_name(known) && !given.is_empty() || known == given)
    };
    let is_meant =
        |operation: &&Operation| method.is_none_or(|method| operation.method == *method) && fits(&operation.path);
    let found: Vec<_> = OPERATIONS.iter().filter(is_meant).collect();
    let names = |operation: &Operation| operation.path.matches('{').count();
    let fewest = found.iter().map(|operation| names(operation)).min();
    found.into_iter().filter(|operation| Some(names(operation)) == fewest).collect()
}

/// Statuses that belong to no operation: the path has no such method, or the body never came.
const OUTSIDE: [u16; 2] = [405, 408];

/// Asserts that an answer is one that the document has. `method` is `None` where the test sent the request by itself: then it must be
/// one of any operation at that path.
pub fn check(method: Option<&Method>, url: &Url, status: u16, headers: &HeaderMap, body: &Value) {
    let path = if url.path() == "/auth/token" { "/api/v1/auth/token" } else { url.path() };
    if !path.starts_with("/api/") {
        return;
    }
    let operations = operations_of(method, path);
    if operations.is_empty() || OUTSIDE.contains(&status) {
        if status >= 400 {
            assert_is("ErrorBody", body, &format!("{status} of {path}"));
        }
        return;
    }
    let judged = operations.iter().map(|operation| check_by(operation, status, headers, body));
    let (right, wrong): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(!right.is_empty(), "not as the document says: {wrong:#?}");
}

fn check_by(operation: &Operation, status: u16, headers: &HeaderMap, body: &Value) -> Result<(), String> {
    let at = format!("{} {} {status}", operation.method, operation.path);
    let (name, response) = operation.response(status).ok_or_else(|| format!("{at} is not described: {body}"))?;
    if name == "default" && status < 400 {
        return Err(format!("{at} is not described: {body}"));
    }
    for (header, _) in response["headers"].as_object().into_iter().flatten() {
        if !headers.contains_key(header) {
            return Err(format!("{at} has no header {header}"));
        }
    }
    match response["content"].get("application/json") {
        Some(content) => {
            let key = format!("{} {name}", operation.id());
            validate(&key, &content["schema"], body).map_err(|faults| format!("{at}: {faults}\n{body}"))?;
        }
        None if response["content"].get("text/event-stream").is_some() => {}
        None if *body == json!("") => {}
        None => return Err(format!("{at} has a body: {body}")),
    }
    SEEN.lock().unwrap().entry(operation.id().to_owned()).or_default().insert(name, status);
    Ok(())
}

/// What was received and found right: by operation, the name of each answer (a status or `default`).
static SEEN: LazyLock<Mutex<BTreeMap<String, BTreeMap<String, u16>>>> = LazyLock::new(Mutex::default);

/// Whether an answer was received in this process.
pub fn was_seen(operation: &Operation, name: &str) -> bool {
    SEEN.lock().unwrap().get(operation.id()).is_some_and(|seen| seen.contains_key(name))
}

/// Faults of a value, by a schema that `key` stands for.
fn validate(key: &str, schema: &Value, value: &Value) -> Result<(), String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> = LazyLock::new(Mutex::default);
    let validator = *VALIDATORS.lock().unwrap().entry(key.to_owned()).or_insert_with(|| {
        let mut root = schema.clone();
        translate(&mut root);
        let mut whole = Map::from_iter([("allOf".to_owned(), json!([root]))]);
        whole.insert("components".into(), SCHEMAS.clone());
        let whole = Value::Object(whole);
        let built = jsonschema::options().should_validate_formats(true).build(&whole);
        Box::leak(Box::new(built.unwrap_or_else(|error| panic!("{key}: {error}"))))
    });
    let faults: Vec<_> =
        validator.iter_errors(value).take(5).map(|fault| format!("{} {fault}", fault.instance_path())).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Asserts that a value is as a schema of the document says.
pub fn assert_is(schema: &str, value: &Value, what: &str) {
    let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
    if let Err(faults) = validate(schema, &reference, value) {
        panic!("{what} is no {schema}: {faults}\n{value}");
    }
}

/// Asserts that a value is as a schema says that stands anywhere in the document.
pub fn assert_matches(schema: &Value, value: &Value, what: &str) {
    if let Err(faults) = validate(&schema.to_string(), schema, value) {
        panic!("{what}: {faults}\n{value}");
    }
}

/// Asserts that an event of a stream is as the document says. `kind` is its type, `message` where it has none.
pub fn check_event(path: &str, kind: &str, data: &str) {
    let value = || serde_json::from_str(data).unwrap_or_else(|error| panic!("{kind} of {path}: {error}: {data}"));
    let is_ours = |kind: &str| {
        DOCUMENT["components"]["schemas"]["EventType"]["enum"].as_array().unwrap().iter().any(|known| known == kind)
    };
    let schema = match (path, kind) {
        ("/api/v1/events", "message") => "Connected",
        ("/api/v1/events", "RESET_CURSOR") => "ResetCursor",
        ("/api/v1/events", kind) if is_ours(kind) => "ReservationEvent",
        ("/api/v1/events", _) => "PlatformEvent",
        ("/api/events/stream", "job:state_change") => "JobStateChange",
        ("/api/events/stream", "worker:heartbeat") => "WorkerHeartbeat",
        ("/api/events/stream", "worker:state_change") => "WorkerStateChange",
        ("/api/events/stream", "queue:snapshot") => "QueueSnapshot",
        ("/api/events/stream", "gap") => "StreamGap",
        ("/api/events/stream", "heartbeat") => "StreamHeartbeat",
        ("/api/events/stream", other) => panic!("{other} is not described: {data}"),
        _ => return,
    };
    assert_is(schema, &value(), kind);
}
