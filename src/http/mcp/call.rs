//! Calls of tools: each becomes the call of the API that it stands for, and the answer of that becomes the result.

use std::{collections::BTreeMap, fmt};

use poem::{
    Body, Request, RequestParts, Response,
    http::{self, HeaderMap, HeaderValue, Method, Uri, header, uri::PathAndQuery},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    domain::field_errors::{FieldError, FieldErrors},
    http::{
        mcp::{
            Exchange, ends_request,
            message::Fault,
            tools::{self, Definition, ITEMS, RESULTS},
            version::Era,
        },
        pipeline,
        wire::{
            error::{ApiError, Code},
            headers::HOLDFAST_POSITION,
            request::{parse, unknown_field_message},
        },
    },
};

/// Headers of the request that do not belong to the call: they describe the request's own body and connection.
const NOT_PASSED_ON: [header::HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::ACCEPT,
];
/// Most bytes of an answer that are read, 16 MiB: a page of a list has far less.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Most arguments of a call, 32; no tool has as many.
const MAX_ARGUMENTS: usize = 32;
/// Most bytes of an argument that becomes a parameter of the query, as JSON: 8 KiB, so that a name of 1,024 bytes fits
/// however it is escaped.
const MAX_PARAMETER_BYTES: usize = 8 << 10;

/// The arguments of a call, by name.
#[derive(Debug, Default)]
struct Arguments(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Arguments;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arguments, A::Error> {
                let mut arguments = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    arguments.insert(name, value);
                    if arguments.len() > MAX_ARGUMENTS {
                        return Err(de::Error::custom(format!("has more than {MAX_ARGUMENTS} members")));
                    }
                }
                Ok(Arguments(arguments))
            }
        }
        from.deserialize_map(Few)
    }
}

/// Calls a tool. What the API refuses is a result, too, so that the model reads why.
///
/// # Errors
/// Inside: a fault of the protocol, such as an unknown tool. Outside: the credential is good no longer.
pub(super) async fn call_tool(
    exchange: &Exchange<'_>,
    era: &Era,
    params: Option<&RawValue>,
) -> Result<Result<Box<RawValue>, Fault>, ApiError> {
    let (definition, arguments) = match parse_call(params) {
        Ok(call) => call,
        Err(fault) => return Ok(Err(era.with_status(fault))),
    };
    let called = match Call::of(definition, arguments) {
        Ok(call) => call.send(exchange).await,
        Err(errors) => Err(ApiError::validation(errors)),
    };
    match called {
        Ok(answer) => Ok(era.tool_result(&answer, Some(&answer))),
        Err(error) if ends_request(&error) => Err(error),
        Err(error) => Ok(era.tool_result(&named(definition, error).body(false), None)),
    }
}

fn parse_call(params: Option<&RawValue>) -> Result<(&'static Definition, Arguments), Fault> {
    #[derive(Deserialize)]
    struct CallParams {
        name: String,
        arguments: Option<Arguments>,
    }
    let text = params.map_or("{}", RawValue::get);
    let call: CallParams = parse(text.as_bytes()).map_err(|error| Fault::wrong_params(&error))?;
    Ok((tools::find(&call.name)?, call.arguments.unwrap_or_default()))
}

/// An error whose paths are those of the arguments: items stand in [`ITEMS`].
fn named(definition: &Definition, error: ApiError) -> ApiError {
    if !definition.takes_items || error.code() != Code::ValidationError || error.details().is_empty() {
        return error;
    }
    let details = error.details().iter().map(|FieldError { path, message }| {
        let is_of_items = path.is_empty() || path.starts_with('[');
        let path = if is_of_items { format!("{ITEMS}{path}") } else { path.clone() };
        FieldError { path, message: message.clone() }
    });
    ApiError::validation(details.collect())
}

/// The call of the API.
struct Call {
    method: Method,
    path_and_query: String,
    body: Option<String>,
}

impl Call {
    /// # Errors
    /// Arguments that the tool does not have, or that are no text or number where the query takes them.
    fn of(definition: &Definition, Arguments(mut arguments): Arguments) -> Result<Self, Vec<FieldError>> {
        let (tool, mut errors) = (definition.tool, FieldErrors::default());
        arguments.retain(|_, value| value.get() != "null");
        let known: Vec<_> = definition.arguments.iter().map(String::as_str).collect();
        for name in arguments.keys().filter(|name| !known.contains(&name.as_str())) {
            errors.add(name.chars().take(64).collect::<String>(), unknown_field_message(name, &known));
        }
        let mut query = String::new();
        for name in &definition.parameters {
            let default = tool.defaults.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_string());
            let value = match arguments.remove(name) {
                Some(value) => errors.check(|| name.clone(), query_text(&value)),
                None => default,
            };
            if let Some(value) = value {
                let before = if query.is_empty() { '?' } else { '&' };
                query.extend([before.to_string().as_str(), name, "=", &percent_encoded(&value)]);
            }
        }
        let body = if tool.method == Method::GET {
            None
        } else if definition.takes_items {
            let items = arguments.remove(ITEMS).ok_or_else(|| "is required: a list of items, also of one".to_owned());
            errors.check(|| ITEMS.into(), items).map(|items| items.get().to_owned())
        } else {
            serde_json::to_string(&arguments).ok()
        };
        let path_and_query = format!("{}{query}", tool.path);
        errors.finish(|| Some(Self { method: tool.method.clone(), path_and_query, body }))
    }

    /// The text of the answer, as an object.
    async fn send(self, exchange: &Exchange<'_>) -> Result<String, ApiError> {
        let request = self.request(exchange.request).ok_or_else(|| ApiError::new(Code::Internal, "No such call."))?;
        let answer = pipeline::serve_within(exchange.routes, exchange.request, request).await?;
        text_of(answer).await
    }

    /// The request of the call: from the same client, with the same credential and origin as the request that carries
    /// it.
    fn request(self, outer: &Request) -> Option<Request> {
        let mut uri = outer.uri().clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::try_from(self.path_and_query).ok()?);
        let mut request = http::Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.headers_mut() = passed_on(outer.headers(), self.body.is_some());
        let (parts, ()) = request.into_parts();
        let client = (parts, outer.local_addr().clone(), outer.remote_addr().clone(), outer.scheme().clone());
        Some(Request::from_parts(RequestParts::from(client), self.body.map_or_else(Body::empty, Body::from_string)))
    }
}

fn passed_on(headers: &HeaderMap, has_body: bool) -> HeaderMap {
    let mut headers = headers.clone();
    for name in NOT_PASSED_ON {
        headers.remove(name);
    }
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
}

/// The text of an answer; a list becomes an object, with the position at which it was true.
async fn text_of(answer: Response) -> Result<String, ApiError> {
    let position = answer.headers().get(&HOLDFAST_POSITION).and_then(|position| position.to_str().ok()?.parse().ok());
    let bytes = answer.into_body().into_bytes_limit(MAX_ANSWER_BYTES).await;
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let text = text.ok_or_else(|| ApiError::unavailable("The answer broke off; ask again."))?;
    if !text.starts_with('[') {
        return Ok(text);
    }
    Ok(format!("{{\"{RESULTS}\":{text},\"asOf\":{}}}", json!(position.unwrap_or(0_i64))))
}

impl Era {
    /// The result of a tool's call: its text, and the same as JSON where it is a success.
    fn tool_result(self, text: &str, structured: Option<&str>) -> Result<Box<RawValue>, Fault> {
        let result = json!({"content": [{"type": "text", "text": text}], "isError": structured.is_none()});
        let mut result = self.completed(result).to_string();
        // Spliced in as text, so that a long answer is not parsed only to be written again.
        if let Some(structured) = structured {
            result.pop();
            result.extend([",\"structuredContent\":", structured, "}"]);
        }
        RawValue::from_string(result).map_err(|_| Fault::internal())
    }
}

/// An argument as a parameter of the query.
fn query_text(value: &RawValue) -> Result<String, String> {
    let whole = |number: &serde_json::Number| {
        // Languages with one kind of number write 25 as 25.0.
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
            .map(|float| (float as i64).to_string())
    };
    if value.get().len() > MAX_PARAMETER_BYTES {
        return Err(format!("is longer than {MAX_PARAMETER_BYTES} bytes"));
    }
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Number(number)) => Ok(whole(&number).unwrap_or_else(|| number.to_string())),
        _ => Err("must be a text or a whole number".into()),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str, arguments: Value) -> Result<Call, Vec<(String, String)>> {
        let arguments = serde_json::from_value(arguments).unwrap();
        Call::of(tools::find(tool).ok().unwrap(), arguments)
            .map_err(|errors| errors.into_iter().map(|error| (error.path, error.message)).collect())
    }

    #[test]
    fn arguments_become_the_body_and_the_query() {
        let reserve = call("reserve", json!({"requests": [{"resource": "a"}], "hold": 5})).unwrap();
        assert_eq!(reserve.path_and_query, "/api/v1/Reservation/reserve?hold=5");
        assert_eq!(reserve.body.as_deref(), Some(r#"[{"resource":"a"}]"#));
        let held = call("reserve", json!({"requests": [], "hold": null})).unwrap();
        assert_eq!(held.path_and_query, "/api/v1/Reservation/reserve?hold=25");
        let check = call("check", json!({"resources": ["a", "b"]})).unwrap();
        assert_eq!(check.body.as_deref(), Some(r#"{"resources":["a","b"]}"#));
        let list = call("list", json!({"prefix": "src/a b&c=\u{e9}?#", "limit": 7.0})).unwrap();
        assert_eq!(
            (list.path_and_query.as_str(), list.body),
            ("/api/v1/Reservation/activeReservations?prefix=src%2Fa%20b%26c%3D%C3%A9%3F%23&limit=7", None)
        );
    }

    #[test]
    fn wrong_arguments_are_named_together() {
        let paths = |tool: &str, arguments: Value| {
            call(tool, arguments).err().unwrap().into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(paths("reserve", json!({"request": [], "hold": {}})), ["request", "hold", "requests"]);
        assert_eq!(paths("list", json!({"prefix": ["a"], "x": 1})), ["x", "prefix"]);
        let errors = call("list", json!({"prefx": "a"})).err().unwrap();
        assert_eq!(errors, [("prefx".to_owned(), "is no field here; did you mean prefix?".to_owned())]);
    }
}
