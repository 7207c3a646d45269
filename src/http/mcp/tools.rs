//! The tools: which operation of the API each stands for, and how it is described to an agent.

use std::sync::LazyLock;

use poem::http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    domain::nearest::nearest,
    http::{
        mcp::{
            message::Fault,
            schema::{Side, standalone},
        },
        openapi,
        wire::request::parse,
    },
};

/// Argument that holds the items of an operation whose body is a list: a tool's arguments are an object.
pub(super) const ITEMS: &str = "requests";
/// Member of a result that holds the items of an operation whose answer is a list.
pub(super) const RESULTS: &str = "results";

/// A tool.
pub(super) struct Tool {
    pub(super) name: &'static str,
    title: &'static str,
    /// For the agent's model: what it does, what its answers mean, and what to do then.
    description: &'static str,
    /// Name of the operation in the document.
    operation: &'static str,
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Query parameters that a call gets which does not say.
    pub(super) defaults: &'static [(&'static str, i64)],
    is_read_only: bool,
}

/// Seconds for which `reserve` is held where the call does not say: below the 30 s after which some proxies and
/// clients give a silent call up.
const DEFAULT_HOLD_S: i64 = 25;
/// Rows of a page where the call does not say: what a model can read.
const DEFAULT_ROWS: i64 = 100;

const TOOLS: [Tool; 6] = [
    Tool {
        name: "reserve",
        title: "Reserve things",
        description: "\
Reserve named things (files, directories, machines, anything that you agree on) before you change them. `requester` \
is your own name, unique among all who take part and the same in all your calls. Always pass `ttlSeconds`, and \
renew in time. Each item has its own result, by `status`: `ACQUIRED` or `ALREADY_HAD`: it is yours; keep \
`releaseToken` for `renew` and `release`. `ALREADY_HELD` or `NOT_AVAILABLE`: somebody else (`holder`) has it until \
`holderExpiresAt`; leave the thing alone. With `waitSeconds` you stand in line instead: the call is held for `hold` \
seconds, and if the thing is not yours by then the status is `WAITING`, with `ticket` and `place`. To go on \
waiting, repeat the very same call: it keeps your place. Ask again within `keepAliveSeconds` (30 unless you say; \
pass more if you think for longer between calls), or the place is lost. To wait no longer, do not ask again. \
`WOULD_DEADLOCK`: you hold what somebody ahead waits for; release that first.",
        operation: "reserve",
        method: Method::POST,
        path: "/api/v1/Reservation/reserve",
        defaults: &[("hold", DEFAULT_HOLD_S)],
        is_read_only: false,
    },
    Tool {
        name: "release",
        title: "Give things back",
        description: "\
Give reservations back as soon as you are done, so that others can go on. Each needs the `requester` and the \
`releaseToken` of its `reserve`. `RELINQUISHED` and `NOT_RESERVED` (nobody held it) are both success; \
`DOESNT_OWN_RESERVATION`: somebody else holds it by now.",
        operation: "unreserve",
        method: Method::POST,
        path: "/api/v1/Reservation/unreserve",
        defaults: &[],
        is_read_only: false,
    },
    Tool {
        name: "renew",
        title: "Keep things for longer",
        description: "\
Prolong reservations that you hold, `ttlSeconds` from now; call it at a third of the time to live. `NOT_RESERVED` \
or `DOESNT_OWN_RESERVATION`: you have lost it; stop changing the thing and reserve it anew. `waiting` says how many \
want it.",
        operation: "renew",
        method: Method::POST,
        path: "/api/v1/Reservation/renew",
        defaults: &[],
        is_read_only: false,
    },
    Tool {
        name: "check",
        title: "See who holds things",
        description: "\
Show for each named thing who holds it, until when, and how many wait, without changing anything. That it is free \
now does not keep it free: `reserve` it.",
        operation: "checkMany",
        method: Method::POST,
        path: "/api/v1/Reservation/check",
        defaults: &[],
        is_read_only: true,
    },
    Tool {
        name: "list",
        title: "List what is held",
        description: "\
List the active reservations: who holds what, until when. `prefix` narrows it to names that begin so, such as a \
directory. Follow `nextCursor` until it is null; a page may be short.",
        operation: "activeReservations",
        method: Method::GET,
        path: "/api/v1/Reservation/activeReservations",
        defaults: &[("limit", DEFAULT_ROWS)],
        is_read_only: true,
    },
    Tool {
        name: "waiting",
        title: "List who waits",
        description: "\
List who waits for what, with the place in line and when it is expected to be served. Follow `nextCursor` until it \
is null; a page may be short.",
        operation: "waiting",
        method: Method::GET,
        path: "/api/v1/Reservation/waiting",
        defaults: &[("limit", DEFAULT_ROWS)],
        is_read_only: true,
    },
];

/// A tool, with what the document says of its operation.
pub(super) struct Definition {
    pub(super) tool: &'static Tool,
    /// Arguments that are parameters of the query.
    pub(super) parameters: Vec<String>,
    /// Whether the operation's body is a list, and the argument [`ITEMS`] holds it.
    pub(super) takes_items: bool,
    /// Every argument.
    pub(super) arguments: Vec<String>,
    /// As clients see it.
    description: Value,
}

/// Every tool.
fn definitions() -> &'static [Definition] {
    static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        let document: Value = serde_json::from_str(openapi::document()).unwrap_or_default();
        TOOLS.iter().map(|tool| define(&document, tool)).collect()
    });
    &DEFINITIONS
}

/// The operation of the document with this name.
fn operation<'a>(document: &'a Value, name: &str) -> &'a Value {
    let items = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let mut operations = items.flat_map(|item| item.as_object().into_iter().flat_map(|methods| methods.values()));
    operations.find(|operation| operation["operationId"] == name).unwrap_or(&Value::Null)
}

fn json_schema_of(body: &Value) -> &Value {
    &body["content"]["application/json"]["schema"]
}

fn define(document: &Value, tool: &'static Tool) -> Definition {
    let operation = operation(document, tool.operation);
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let body = standalone(document, json_schema_of(&operation["requestBody"]), Side::Arguments);
    let takes_items = body["type"] == "array";
    if takes_items {
        properties.insert(ITEMS.into(), body);
        required.push(ITEMS.into());
    } else {
        properties.extend(body["properties"].as_object().cloned().unwrap_or_default());
        required.extend(body["required"].as_array().cloned().unwrap_or_default());
    }
    let mut parameters = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query") {
        let name = parameter["name"].as_str().unwrap_or_default();
        let mut schema = standalone(document, &parameter["schema"], Side::Arguments);
        schema["description"] = parameter["description"].clone();
        if let Some((_, value)) = tool.defaults.iter().find(|(default, _)| *default == name) {
            schema["default"] = (*value).into();
        }
        properties.insert(name.to_owned(), schema);
        parameters.push(name.to_owned());
    }
    let arguments = properties.keys().cloned().collect();
    let description = json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
        "outputSchema": result_schema(document, operation),
        "annotations": {
            "title": tool.title,
            "readOnlyHint": tool.is_read_only,
            "destructiveHint": false,
            "idempotentHint": true,
            "openWorldHint": false,
        },
    });
    Definition { tool, parameters, takes_items, arguments, description }
}

/// The schema of a result: an object, also where the operation answers with a list.
fn result_schema(document: &Value, operation: &Value) -> Value {
    let answer = standalone(document, json_schema_of(&operation["responses"]["200"]), Side::Result);
    if answer["type"] != "array" {
        return answer;
    }
    json!({
        "type": "object",
        "properties": {
            RESULTS: answer,
            "asOf": {"type": "integer", "description": "The tenant's latest position when this was true."},
        },
        "required": [RESULTS, "asOf"],
    })
}

/// The tools as `tools/list` shows them, on one page.
///
/// # Errors
/// For a cursor, since none is ever given.
pub(super) fn listed(params: Option<&RawValue>) -> Result<Vec<&'static Value>, Fault> {
    #[derive(Deserialize, Default)]
    struct List {
        cursor: Option<String>,
    }
    let list: List = match params {
        Some(params) => parse(params.get().as_bytes()).map_err(|error| Fault::wrong_params(&error))?,
        None => List::default(),
    };
    match list.cursor {
        None => Ok(definitions().iter().map(|definition| &definition.description).collect()),
        Some(_) => Err(Fault::invalid_params("cursor is none that this server gave; there is one page")),
    }
}

/// The tool of this name.
///
/// # Errors
/// Where there is none.
pub(super) fn find(name: &str) -> Result<&'static Definition, Fault> {
    definitions().iter().find(|definition| definition.tool.name == name).ok_or_else(|| {
        let names = TOOLS.map(|tool| tool.name);
        let shown: String = name.chars().take(64).collect();
        match nearest(name, &names) {
            Some(near) => Fault::invalid_params(format!("Unknown tool: {shown:?}; did you mean {near}?")),
            None => Fault::invalid_params(format!("Unknown tool: {shown:?}; there are {}", names.join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_stands_for_an_operation_of_the_document() {
        let document: Value = serde_json::from_str(openapi::document()).unwrap();
        for tool in &TOOLS {
            assert!(operation(&document, tool.operation)["operationId"].is_string(), "{}", tool.name);
            let definition = find(tool.name).ok().unwrap();
            for (name, _) in tool.defaults {
                assert!(definition.parameters.iter().any(|known| known == name), "{} has no {name}", tool.name);
            }
        }
    }

    #[test]
    fn schemas_stand_alone_and_describe_every_argument() {
        for definition in definitions() {
            let text = definition.description.to_string();
            assert!(!text.contains("$ref") && !text.contains("nullable"), "{text}");
            for (name, argument) in definition.description["inputSchema"]["properties"].as_object().unwrap() {
                let is_described = argument["description"].is_string() || argument["items"]["description"].is_string();
                assert!(is_described, "{} {name}: {argument}", definition.tool.name);
            }
            assert_eq!(definition.description["outputSchema"]["type"], "object", "{}", definition.tool.name);
        }
        let reserve = find("reserve").ok().unwrap();
        assert_eq!(reserve.arguments, [ITEMS, "hold"]);
        let item = &reserve.description["inputSchema"]["properties"][ITEMS]["items"];
        assert_eq!(item["required"], json!(["requester", "resource"]));
        assert!(item["properties"]["waitSeconds"]["type"] == "integer" && item["additionalProperties"] == false);
        assert_eq!(reserve.description["inputSchema"]["properties"]["hold"]["default"], DEFAULT_HOLD_S);
    }

    #[test]
    fn an_unknown_tool_is_named_with_the_nearest() {
        let fault = |name| find(name).err().map(|fault| json!(fault)["message"].clone());
        assert_eq!(fault("Reserve"), Some(json!("Unknown tool: \"Reserve\"; did you mean reserve?")));
        assert!(fault("x").is_some_and(|message| message.as_str().unwrap().ends_with("list, waiting")));
    }
}
