//! Successful answers: JSON, with Redis' clock and the tenant's position at which it was true.

use poem::{
    IntoResponse, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::{
    http::wire::headers::{self, HOLDFAST_POSITION, HOLDFAST_TIME},
    store::Stamped,
};

/// Initial capacity of a body, in bytes: enough for most, and cheaper than growing.
const BODY_CAPACITY: usize = 512;
/// Initial capacity of the header map: enough for every answer.
const HEADERS_CAPACITY: usize = 12;

/// A script's answer as JSON, with its clock and position as headers; `STATUS` is 200, 201 or 202.
pub(in crate::http) struct Answer<T, const STATUS: u16 = 200>(pub(in crate::http) Stamped<T>);

impl<T: Serialize + Send, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        let Stamped { now_us, position, answer } = self.0;
        let mut response = json(STATUS, &answer);
        response.headers_mut().insert(HOLDFAST_TIME.clone(), headers::number(now_us));
        response.headers_mut().insert(HOLDFAST_POSITION.clone(), headers::number(position));
        response
    }
}

impl<T: Type, const STATUS: u16> ApiResponse for Answer<T, STATUS> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![stamped::<T>(STATUS)] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
/// JSON without clock and position: of the administrator's routes, which no single script answers.
pub(in crate::http) struct Plain<T, const STATUS: u16 = 200>(pub(in crate::http) T);

impl<T: Serialize + Send, const STATUS: u16> IntoResponse for Plain<T, STATUS> {
    fn into_response(self) -> Response {
        json(STATUS, &self.0)
    }
}

impl<T: Type, const STATUS: u16> ApiResponse for Plain<T, STATUS> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![described::<T>(STATUS, "Done.")] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// 204: done, without a body.
pub(in crate::http) struct Nothing;

impl IntoResponse for Nothing {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl ApiResponse for Nothing {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Done.",
                status: Some(204),
                status_range: None,
                content: vec![],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}

fn json(status: u16, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(BODY_CAPACITY);
    // Our own types always serialise: text, numbers, lists, and maps with text for keys.
    let _ = serde_json::to_writer(&mut text, body);
    let mut response = Response::from(text);
    response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    response.headers_mut().reserve(HEADERS_CAPACITY);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn described<T: Type>(status: u16, description: &'static str) -> MetaResponse {
    let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
    MetaResponse { description, status: Some(status), status_range: None, content, headers: vec![] }
}

/// The description of an answer with clock and position. The document describes the headers once for all.
pub(in crate::http) fn stamped<T: Type>(status: u16) -> MetaResponse {
    let header = |name: &str| MetaHeader {
        name: name.into(),
        description: None,
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)),
    };
    let headers = vec![header("Holdfast-Time"), header("Holdfast-Position")];
    MetaResponse { headers, ..described::<T>(status, "Done.") }
}
