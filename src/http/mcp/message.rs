//! JSON-RPC messages: what a client posts, and what it is answered.

use std::fmt;

use poem::{
    Response,
    error::ResponseError,
    http::{StatusCode, header},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, json, value::RawValue};

use crate::http::wire::{error::ApiError, request::List};

/// Most messages of a batch, 20.
const MAX_BATCH: usize = 20;
/// Most bytes of a request's id, which the answer repeats.
const MAX_ID_BYTES: usize = 256;
/// The version of JSON-RPC.
const JSON_RPC: &str = "2.0";

/// What is wrong with the JSON: no JSON, or no message.
const PARSE_ERROR: i32 = -32_700;
/// It is no request, notification or response of JSON-RPC.
const INVALID_REQUEST: i32 = -32_600;
/// There is no such method.
const METHOD_NOT_FOUND: i32 = -32_601;
/// Something in the parameters is missing or wrong.
const INVALID_PARAMS: i32 = -32_602;
/// A bug.
const INTERNAL_ERROR: i32 = -32_603;
/// A header is missing, or says something else than the message.
const HEADER_MISMATCH: i32 = -32_020;
/// The version of the protocol is none that is supported.
const UNSUPPORTED_VERSION: i32 = -32_022;

/// The body of a request to the endpoint.
#[derive(Debug)]
pub(super) enum Posted {
    One(Message),
    /// Several messages, as the oldest version of the protocol has them.
    Batch(Vec<Message>),
}

impl<'de> Deserialize<'de> for Posted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Posted;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a message of JSON-RPC: an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Posted, A::Error> {
                Message::deserialize(MapAccessDeserializer::new(map)).map(Posted::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Posted, A::Error> {
                List::<Message, MAX_BATCH>::of_items(items).map(|messages| Posted::Batch(messages.0))
            }
        }
        from.deserialize_any(Either)
    }
}

/// One message. Members that are not known are the protocol's future ones, and ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    jsonrpc: Option<String>,
    /// Told apart: absent, and null, which no request may have.
    #[serde(default, deserialize_with = "present")]
    pub(super) id: Option<Value>,
    method: Option<String>,
    pub(super) params: Option<Box<RawValue>>,
}

/// An id that is there. What can be none is as good as null, and is not kept.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    let id = Value::deserialize(from)?;
    Ok(Some(if id.is_array() || id.is_object() { Value::Null } else { id }))
}

/// What kind of message it is.
pub(super) enum Kind {
    Request { id: Value, method: String },
    Notification,
}

impl Message {
    /// # Errors
    /// Of what is neither a request nor a notification. Nothing is ever asked of a client, so it has nothing to
    /// respond to.
    pub(super) fn kind(&self) -> Result<Kind, Fault> {
        if self.jsonrpc.as_deref() != Some(JSON_RPC) {
            return Err(Fault::invalid_request("jsonrpc must be \"2.0\""));
        }
        let Some(method) = self.method.clone() else {
            return Err(Fault::invalid_request(
                "method is required; this server asks nothing, so it takes no responses",
            ));
        };
        match &self.id {
            None => Ok(Kind::Notification),
            Some(id @ Value::Number(number)) if number.is_i64() => Ok(Kind::Request { id: id.clone(), method }),
            Some(Value::String(id)) if id.len() <= MAX_ID_BYTES => Ok(Kind::Request { id: id.as_str().into(), method }),
            Some(_) => {
                let message = format!("id must be a whole number, or a text of at most {MAX_ID_BYTES} bytes");
                Err(Fault::invalid_request(message))
            }
        }
    }
}

/// An error of JSON-RPC, and the status of HTTP that it comes with.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip)]
    status: StatusCode,
}

impl Fault {
    fn new(code: i32, message: impl Into<String>, status: StatusCode) -> Self {
        Self { code, message: message.into(), data: None, status }
    }

    /// The body is no JSON, or no message: with the details of the API's error.
    pub(super) fn parse_error(error: &ApiError) -> Self {
        let data = serde_json::from_str(&error.body(false)).ok();
        Self { data, ..Self::new(PARSE_ERROR, error.to_string(), StatusCode::BAD_REQUEST) }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(INVALID_REQUEST, message, StatusCode::BAD_REQUEST)
    }

    pub(super) fn method_not_found(message: impl Into<String>) -> Self {
        Self::new(METHOD_NOT_FOUND, message, StatusCode::NOT_FOUND)
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message, StatusCode::BAD_REQUEST)
    }

    /// Parameters that are no such object: with the details of the API's error.
    pub(super) fn wrong_params(error: &ApiError) -> Self {
        let data = serde_json::from_str(&error.body(false)).ok();
        Self { data, ..Self::invalid_params(error.to_string()) }
    }

    pub(super) fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(HEADER_MISMATCH, message, StatusCode::BAD_REQUEST)
    }

    pub(super) fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let message = format!("version {requested:?} is not supported; there are {}", supported.join(", "));
        let data = Some(json!({"requested": requested, "supported": supported}));
        Self { data, ..Self::new(UNSUPPORTED_VERSION, message, StatusCode::BAD_REQUEST) }
    }

    /// What the API refuses before there is a message to answer, or instead of one: its status, and its error as data.
    fn refused(error: &ApiError) -> Self {
        let status = error.status();
        let data = serde_json::from_str(&error.body(false)).ok();
        Self { data, ..Self::new(status.as_u16().into(), error.to_string(), status) }
    }

    pub(super) fn internal() -> Self {
        Self::new(INTERNAL_ERROR, "This is a bug in Holdfast.", StatusCode::OK)
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// The answer to one message: its status, and the text of its JSON.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    text: String,
}

#[derive(Serialize)]
struct Done<'a> {
    jsonrpc: &'static str,
    id: Value,
    result: &'a RawValue,
}

#[derive(Serialize)]
struct Failed<'a> {
    jsonrpc: &'static str,
    /// Null where the message's own could not be read.
    id: Option<Value>,
    error: &'a Fault,
}

impl Reply {
    pub(super) fn done(id: Value, result: &RawValue) -> Self {
        Self::of(StatusCode::OK, &Done { jsonrpc: JSON_RPC, id, result })
    }

    pub(super) fn failed(id: Option<Value>, fault: Fault) -> Self {
        Self::of(fault.status, &Failed { jsonrpc: JSON_RPC, id, error: &fault })
    }

    fn of(status: StatusCode, message: &impl Serialize) -> Self {
        // Our own types always serialise: text, numbers, lists, and maps with text for keys.
        Self { status, text: serde_json::to_string(message).unwrap_or_default() }
    }

    /// The answer to a whole request that is refused: with the status and headers of the API's error, in a form that
    /// clients show.
    pub(super) fn refusal(id: Option<Value>, error: &ApiError) -> Response {
        let mut response = error.as_response();
        response.set_body(Self::failed(id, Fault::refused(error)).text);
        response
    }

    pub(super) fn into_response(self) -> Response {
        respond(self.status, self.text)
    }

    /// The answer to a batch.
    pub(super) fn batch(replies: &[Self]) -> Response {
        let texts: Vec<_> = replies.iter().map(|reply| reply.text.as_str()).collect();
        respond(StatusCode::OK, format!("[{}]", texts.join(",")))
    }
}

fn respond(status: StatusCode, text: String) -> Response {
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/json").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<Kind, Fault> {
        serde_json::from_str::<Message>(text).unwrap().kind()
    }

    #[test]
    fn a_request_has_an_id_and_a_notification_has_none() {
        for id in ["1", "-7", "\"a\"", "\"\""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","later":{{}}}}"#);
            assert!(matches!(kind(&text), Ok(Kind::Request { .. })), "{text}");
        }
        assert!(matches!(kind(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Ok(Kind::Notification)));
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(257));
        for text in [
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            &long,
        ] {
            assert!(kind(text).is_err_and(|fault| fault.code == INVALID_REQUEST), "{text}");
        }
    }

    #[test]
    fn a_body_is_a_message_or_a_short_list_of_them() {
        let message = r#"{"jsonrpc":"2.0","method":"m","params":{"a":[1]}}"#;
        let Posted::One(one) = serde_json::from_str(message).unwrap() else { panic!("one message") };
        assert_eq!(one.params.unwrap().get(), r#"{"a":[1]}"#);
        let list = |count| format!("[{}]", vec![message; count].join(","));
        assert!(matches!(serde_json::from_str(&list(20)), Ok(Posted::Batch(messages)) if messages.len() == 20));
        assert!(serde_json::from_str::<Posted>(&list(21)).is_err());
        assert!(serde_json::from_str::<Posted>("7").is_err());
    }
}
