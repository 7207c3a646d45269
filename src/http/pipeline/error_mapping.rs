//! Failures that are not our own (of routing, of parameters, of what nobody foresaw), answered in our one form.

use poem::{
    Error, IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError, ResponseError},
    http::{Method, StatusCode},
};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError as ParsePathParamError};

use crate::http::{
    openapi,
    pipeline::access_log::Trace,
    wire::error::{ApiError, Code},
};

/// Answers every failure in the one form: also those of routing, of parameters, and of what nobody foresaw.
pub(in crate::http) fn answer(served: poem::Result<impl IntoResponse>, trace: &Trace) -> Response {
    let error = match served {
        Ok(answer) => return answer.into_response(),
        Err(error) => error,
    };
    let own = as_api_error(&error, &trace.method, &trace.path);
    let monitor = trace.path.starts_with("/api/") && !trace.path.starts_with("/api/v1/");
    match own.as_ref().or(error.downcast_ref()) {
        // Its clients read the address of the documentation under this name.
        Some(error) if monitor => error.as_monitor_response(),
        Some(error) => error.as_response(),
        None => error.into_response(),
    }
}

/// The failure in our own terms; `None` when it is one already.
fn as_api_error(error: &Error, method: &Method, path: &str) -> Option<ApiError> {
    if error.is::<ApiError>() {
        return None;
    }
    Some(if let Some(fault) = error.downcast_ref::<ParseParamError>() {
        ApiError::field(fault.name, fault.reason.clone())
    } else if let Some(fault) = error.downcast_ref::<ParsePathParamError>() {
        ApiError::field(fault.name, fault.reason.clone())
    } else if error.is::<ParsePathError>() {
        ApiError::field("path", "is not percent-encoded UTF-8")
    } else if error.is::<ContentTypeError>() {
        ApiError::new(Code::UnsupportedMediaType, "Send the body as application/json.")
    } else if error.is::<MethodNotAllowedError>() {
        ApiError::method(method, openapi::methods_of(path))
    } else if error.is::<NotFoundError>() || error.status() == StatusCode::NOT_FOUND {
        ApiError::new(Code::NotFound, "There is nothing at this path; /docs lists what there is.")
    } else if error.status().is_client_error() {
        ApiError::field("", error.to_string())
    } else {
        tracing::error!(%error, "a failure that nobody foresaw");
        ApiError::new(Code::Internal, "This is a bug in Holdfast; the log has its details under the request's id.")
    })
}
