//! JSON bodies of requests: extractors with limits of size, time and memory, and errors with the path of each field.

mod list;
mod parse;
mod read;

use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;

use crate::{
    domain::{json_text::repaired, reservation::MAX_BATCH},
    http::wire::error::{ApiError, Code},
};

pub(in crate::http) use list::{List, ListVisitor, MAX_EXACT, whole_number};
pub(in crate::http) use parse::{parse, unknown_message as unknown_field_message};
pub(in crate::http) use read::drain;

/// Largest body, in bytes.
pub(in crate::http) const MAX_BODY_BYTES: usize = 1 << 20;
/// Largest body of the routes that take many events at once, in bytes.
pub(in crate::http) const MAX_LARGE_BODY_BYTES: usize = 16 << 20;
/// Largest body of the routes that prove a credential by their body, in bytes.
pub(in crate::http) const MAX_UNPROVED_BODY_BYTES: usize = 16 << 10;
/// Bodies above this, 64 KiB, are parsed beside the runtime: a large one takes tens of milliseconds, in which others
/// would wait.
const PARSED_INLINE_BYTES: usize = 64 << 10;

/// Extractor of the body as `T`. A handler's arguments have the credential before it, so no body is read of a caller that is refused.
pub(in crate::http) struct Body<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(in crate::http) T, ParsedOn);

/// The thread that works on a body, by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParsedOn {
    /// The runtime's.
    Runtime,
    /// One for what would block the runtime.
    Blocking,
}

impl ParsedOn {
    fn of(bytes: &[u8]) -> Self {
        if bytes.len() <= PARSED_INLINE_BYTES { Self::Runtime } else { Self::Blocking }
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self == Self::Runtime {
            return work();
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(ApiError::new(Code::Internal, "The body could not be parsed.")))
    }
}

impl<T: Send + 'static, const LIMIT: usize> Body<T, LIMIT> {
    /// Makes something else of what was parsed, where that was done.
    ///
    /// # Errors
    /// What `work` says.
    pub(in crate::http) async fn then<U: Send + 'static>(
        self,
        work: impl FnOnce(T) -> Result<U, ApiError> + Send + 'static,
    ) -> Result<U, ApiError> {
        let Self(parsed, thread) = self;
        thread.run(move || work(parsed)).await
    }
}

/// Extractor of the larger bodies of the routes that take many events at once.
pub(in crate::http) type Large<T> = Body<T, MAX_LARGE_BODY_BYTES>;

impl<'a, T: DeserializeOwned + Type + Send + 'static, const LIMIT: usize> ApiExtractor<'a> for Body<T, LIMIT> {
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
        let (parsed, thread) = json_with_thread(request, body.take()?, LIMIT).await?;
        Ok(Self(parsed, thread))
    }
}

/// Extractor of a list of items, 1,000 at most.
pub(in crate::http) type Items<T> = Body<List<T, MAX_BATCH>>;

/// Extractor of the body of a route that anybody may call.
pub(in crate::http) type Unproved<T> = Body<T, MAX_UNPROVED_BODY_BYTES>;

/// Extractor of an optional body, of a route that anybody may call.
pub(in crate::http) struct MaybeBody<T>(pub(in crate::http) Option<T>);

impl<'a, T: DeserializeOwned + Type + Send + 'static> ApiExtractor<'a> for MaybeBody<T> {
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
        let bytes = read::read(request, body.take()?, MAX_UNPROVED_BODY_BYTES).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(None));
        }
        if !is_json(request) {
            return Err(unsupported().into());
        }
        Ok(Self(Some(parse(&bytes)?)))
    }
}

/// Reads and parses a body of at most `limit` bytes.
///
/// # Errors
/// 415 for another kind, 413 for a larger one, 400 for one that is not a `T`, and what reading it says.
pub(in crate::http) async fn json_body<T: DeserializeOwned + Send + 'static>(
    request: &Request,
    body: poem::Body,
    limit: usize,
) -> Result<T, ApiError> {
    json_with_thread(request, body, limit).await.map(|(parsed, _)| parsed)
}

async fn json_with_thread<T: DeserializeOwned + Send + 'static>(
    request: &Request,
    body: poem::Body,
    limit: usize,
) -> Result<(T, ParsedOn), ApiError> {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if !is_json(request) {
        drain(body).await;
        return Err(unsupported());
    }
    if length.is_some_and(|length| length > limit) {
        drain(body).await;
        return Err(read::too_large(limit));
    }
    let is_pushed = limit == MAX_LARGE_BODY_BYTES;
    let bytes = read::read(request, body, limit).await?;
    let thread = ParsedOn::of(&bytes);
    let parsed = thread.run(move || if is_pushed { parse_pushed(&bytes) } else { parse(&bytes) }).await?;
    Ok((parsed, thread))
}

/// Parses JSON that programs push that we did not write, which may be as Python writes it.
///
/// # Errors
/// As [`parse`].
pub(in crate::http) fn parse_pushed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    parse(&repaired(bytes))
}

fn unsupported() -> ApiError {
    ApiError::new(Code::UnsupportedMediaType, "Send the body as application/json, and say so in Content-Type.")
}

fn is_json(request: &Request) -> bool {
    let Some(kind) = request.content_type() else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
