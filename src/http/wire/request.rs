//! JSON bodies of requests: limits of size and time, and errors with the path of each field.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    domain::field_errors::FieldError,
    http::wire::error::{ApiError, Code},
};

/// Largest body, in bytes.
pub(in crate::http) const MAX_BODY_BYTES: usize = 1 << 20;
/// Largest body of the routes that take many events at once, in bytes.
pub(in crate::http) const MAX_LARGE_BODY_BYTES: usize = 16 << 20;
/// Timeout between two parts of a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a refused body that are still read, so that the answer reaches a client that writes all before it reads. Otherwise a
/// proxy in front would see a broken connection instead of the answer.
const MAX_DRAINED_BYTES: usize = 4 << 20;

/// Longest wait for the next part of a refused body.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Extractor of the body as `T`. A handler's arguments have the credential before it, so no body is read of a caller that is refused.
pub(in crate::http) struct Body<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(in crate::http) T);

/// Extractor of the larger bodies of the routes that take many events at once.
pub(in crate::http) type Large<T> = Body<T, MAX_LARGE_BODY_BYTES>;

impl<'a, T: DeserializeOwned + Type + Send, const LIMIT: usize> ApiExtractor<'a> for Body<T, LIMIT> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take()?;
        let length = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if !is_json(request) {
            drain(body).await;
            return Err(ApiError::new(
                Code::UnsupportedMediaType,
                "Send the body as application/json, and say so in Content-Type.",
            )
            .into());
        }
        if length.is_some_and(|length| length > LIMIT) {
            drain(body).await;
            return Err(too_large(LIMIT).into());
        }
        let bytes = read(body, LIMIT).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Extractor of an optional body.
pub(in crate::http) struct MaybeBody<T>(pub(in crate::http) Option<T>);

impl<'a, T: DeserializeOwned + Type + Send> ApiExtractor<'a> for MaybeBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: false })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = read(body.take()?, MAX_BODY_BYTES).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(None));
        }
        if !is_json(request) {
            return Err(ApiError::new(
                Code::UnsupportedMediaType,
                "Send the body as application/json, and say so in Content-Type.",
            )
            .into());
        }
        Ok(Self(Some(parse(&bytes)?)))
    }
}

fn is_json(request: &Request) -> bool {
    let Some(kind) = request.content_type() else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        Code::PayloadTooLarge,
        format!("The body is larger than the {limit} bytes that this route takes; send it in parts."),
    )
}

/// Reads and drops what a client still sends, up to [`MAX_DRAINED_BYTES`], as long as it sends something every second.
pub(in crate::http) async fn drain(body: poem::Body) {
    let mut chunks = body.into_bytes_stream();
    let mut read = 0;
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(DRAIN_TIMEOUT, chunks.next()).await {
        read += chunk.len();
        if read > MAX_DRAINED_BYTES {
            return;
        }
    }
}

/// Reads a body of at most `limit` bytes, with a length or chunked.
async fn read(body: poem::Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_bytes_stream();
    let mut bytes = Vec::new();
    loop {
        // What has arrived already needs no timer.
        let chunk = match chunks.next().now_or_never() {
            Some(chunk) => Ok(chunk),
            None => tokio::time::timeout(READ_TIMEOUT, chunks.next()).await,
        };
        match chunk {
            Err(_) => {
                return Err(ApiError::new(Code::RequestTimeout, "The body stalled for 30 s; send the request again."));
            }
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(error))) => return Err(ApiError::field("", format!("the body broke off: {error}"))),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() > limit => {
                drop(chunk);
                drain(poem::Body::from_bytes_stream(chunks)).await;
                return Err(too_large(limit));
            }
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
        }
    }
}

/// Parses JSON. Only when that fails it is parsed again, more slowly, to find the path of each error.
pub(in crate::http) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::field("", "the body is empty; it must be JSON"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_syntax() || error.is_eof() {
            return ApiError::field("", format!("the body is not JSON: {error}"));
        }
        let errors = errors_of::<T>(bytes);
        if errors.is_empty() { ApiError::field("", error.to_string()) } else { ApiError::validation(errors) }
    })
}

/// Errors of a body that is JSON but no `T`; of a list, the first error of each item.
fn errors_of<T: DeserializeOwned>(bytes: &[u8]) -> Vec<FieldError> {
    let error_of = |value: Value| {
        serde_path_to_error::deserialize::<_, T>(value)
            .err()
            .map(|error| (error.path().to_string(), error.inner().to_string()))
    };
    match serde_json::from_slice(bytes) {
        Ok(Value::Array(items)) => {
            let each = items.into_iter().enumerate().filter_map(|(at, item)| {
                let (path, message) = error_of(Value::Array(vec![item]))?;
                let path = path.strip_prefix("[0]").map_or(path.clone(), |rest| format!("[{at}]{rest}"));
                Some(FieldError { path, message })
            });
            each.collect()
        }
        Ok(value) => error_of(value)
            .into_iter()
            .map(|(path, message)| FieldError { path: if path == "." { String::new() } else { path }, message })
            .collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        #[allow(dead_code, reason = "only its parsing is tested")]
        ttl_seconds: Option<i64>,
    }

    fn errors(body: &str) -> Vec<FieldError> {
        match parse::<Vec<Item>>(body.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(_) => errors_of::<Vec<Item>>(body.as_bytes()),
        }
    }

    #[test]
    fn every_wrong_item_is_named() {
        let errors = errors(r#"[{"ttlSeconds":1},{"ttlSeconds":"x"},{},{"ttlSeconds":1.5}]"#);
        assert_eq!(
            errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(),
            ["[1].ttlSeconds", "[3].ttlSeconds"]
        );
    }

    #[test]
    fn null_is_absent_and_unknown_fields_are_ignored() {
        assert!(parse::<Vec<Item>>(br#"[{"ttlSeconds":null,"colour":"red"}]"#).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_as_such() {
        for body in ["", "  ", "[", "nonsense", "{]"] {
            assert!(parse::<Vec<Item>>(body.as_bytes()).is_err(), "{body}");
        }
    }
}
