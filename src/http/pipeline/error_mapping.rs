//! Errors of routing, of parameters and of bugs, mapped to the one error body of the API.

use poem::{
    Error, IntoResponse, PathPattern, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError, ResponseError},
    http::{Method, StatusCode},
};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError as ParsePathParamError};

use crate::http::{
    openapi,
    wire::error::{ApiError, Code},
};

const BUG: &str = "This is a bug in Holdfast; the log has its details under the request's id.";

/// The response of a route, or to its error. `path` is the request's path as it came.
pub(super) fn to_response(result: poem::Result<impl IntoResponse>, method: &Method, path: &str) -> Response {
    let error = match result {
        Ok(response) => return response.into_response(),
        Err(error) => error,
    };
    // The route's pattern, by which the request is counted, comes with the error.
    let pattern = error.data::<PathPattern>().cloned();
    let error = to_api_error(error, method, path);
    let is_queue_monitor = path.starts_with("/api/") && !path.starts_with("/api/v1/");
    // Clients of the queue monitor read the documentation's address under another name.
    let mut response = if is_queue_monitor { error.as_monitor_response() } else { error.as_response() };
    pattern.into_iter().for_each(|pattern| response.set_data(pattern));
    response
}

/// An error of a route as one of the API.
pub(super) fn to_api_error(error: Error, method: &Method, path: &str) -> ApiError {
    let error = match as_api_error(&error, method, path) {
        Some(error) => error,
        None => error.downcast().unwrap_or_else(|_| ApiError::new(Code::Internal, BUG)),
    };
    if error.code() == Code::OutcomeUnknown && openapi::is_read(method.as_str(), path) {
        // There is nothing of which it could be unknown whether it was done.
        return ApiError::unanswered_read();
    }
    error
}

/// Maps an error of poem; `None` if it is an [`ApiError`] already.
fn as_api_error(error: &Error, method: &Method, path: &str) -> Option<ApiError> {
    if error.is::<ApiError>() {
        return None;
    }
    Some(if let Some(fault) = error.downcast_ref::<ParseParamError>() {
        ApiError::field(fault.name, parameter_message(&fault.reason))
    } else if error.is::<ParsePathParamError>() || error.is::<ParsePathError>() {
        ApiError::field("path", "is not percent-encoded UTF-8")
    } else if error.is::<ContentTypeError>() {
        ApiError::new(Code::UnsupportedMediaType, "Send the body as application/json.")
    } else if error.is::<MethodNotAllowedError>() {
        ApiError::method(method, openapi::methods_of(path))
    } else if error.is::<NotFoundError>() || error.status() == StatusCode::NOT_FOUND {
        let message = match openapi::nearest_path(path) {
            Some(near) => format!("There is nothing at this path; did you mean {near}?"),
            None => "There is nothing at this path; /docs lists what there is.".to_owned(),
        };
        ApiError::new(Code::NotFound, message)
    } else if error.status().is_client_error() {
        ApiError::field("", error.to_string())
    } else {
        tracing::error!(%error, "a request failed with an unexpected error");
        ApiError::new(Code::Internal, BUG)
    })
}

/// The library's message about a parameter, without the names of its types.
fn parameter_message(reason: &str) -> &str {
    if reason.starts_with("failed to parse \"integer") {
        "must be a whole number"
    } else if reason.starts_with("Type ") && reason.ends_with("expects an input value.") {
        "is required"
    } else {
        reason
    }
}
