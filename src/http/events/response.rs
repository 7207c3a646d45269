//! Responses of event streams, shared by the tenant's stream and the queue monitor's.

use poem::{
    Body, IntoResponse, Request, Response,
    http::{Version, header},
};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};

use crate::http::{
    server::{
        handoff::StreamHandoff,
        open_stream::{OpenStream, retry_block},
    },
    wire::error::ApiError,
};

/// Header by which a client resumes; a browser's `EventSource` sends it when it reconnects.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// The response to a request for a stream.
pub(in crate::http) struct EventStreamResponse(Response);

impl EventStreamResponse {
    /// The response with an open stream.
    pub(in crate::http) fn open(request: &Request, stream: OpenStream) -> Self {
        Self(StreamHandoff::attach(stream, |body| response(request, body)))
    }

    /// A stream that sends a reconnection time and ends.
    pub(in crate::http) fn reconnect(request: &Request) -> Self {
        Self(response(request, Body::from(retry_block())))
    }
}

/// Turns an error into [`EventStreamResponse::reconnect`] where reconnecting may help and the client is a reconnecting
/// one: after any status but 200, a browser's `EventSource` never reconnects.
///
/// # Errors
/// Any other error.
pub(in crate::http) fn or_reconnect(
    request: &Request,
    result: Result<EventStreamResponse, ApiError>,
) -> Result<EventStreamResponse, ApiError> {
    let is_reconnecting = request.headers().contains_key(LAST_EVENT_ID);
    match result {
        Err(error) if is_reconnecting && matches!(error.status().as_u16(), 429 | 503 | 504) => {
            Ok(EventStreamResponse::reconnect(request))
        }
        result => result,
    }
}

fn response(request: &Request, body: Body) -> Response {
    let response = Response::builder()
        .content_type("text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache, no-transform")
        // nginx would buffer the stream.
        .header("X-Accel-Buffering", "no");
    let response = match request.version() {
        Version::HTTP_11 => response.header(header::CONNECTION, "keep-alive"),
        // HTTP/2 forbids the header.
        _ => response,
    };
    response.body(body)
}

impl IntoResponse for EventStreamResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for EventStreamResponse {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
        let content = vec![MetaMediaType { content_type: "text/event-stream", schema }];
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The stream.",
                status: Some(200),
                status_range: None,
                content,
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
