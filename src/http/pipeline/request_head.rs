//! Bounds of a request's headers, its id, and the headers that every response has.

use poem::{
    Response,
    error::ResponseError,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use uuid::{Uuid, fmt::Hyphenated};

use crate::http::wire::error::{ApiError, Code};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken from the client.
const MAX_REQUEST_ID_BYTES: usize = 64;
/// Bytes of all headers together: names, values, and four bytes each for `: ` and the line end.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// Number of headers. Beyond 100 hyper refuses by itself, with a 431 without a body.
const MAX_HEADERS: usize = 80;

/// The response to a request whose headers are too many or too large to be served.
pub(super) fn refuse_too_large(headers: &HeaderMap) -> Option<Response> {
    let bytes = || headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let is_too_large = headers.len() > MAX_HEADERS || bytes() > MAX_HEADER_BYTES;
    is_too_large.then(|| {
        let message = format!("The headers are larger than {MAX_HEADER_BYTES} bytes, or more than {MAX_HEADERS}.");
        ApiError::new(Code::HeadersTooLarge, message).as_response()
    })
}

/// The client's own request id, if it is short and plain, so that its log and ours can be matched; else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let random = || {
        let mut text = [0; Hyphenated::LENGTH];
        // Hexadecimal digits and hyphens always form a valid header value.
        HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut text))
            .unwrap_or(HeaderValue::from_static("none"))
    };
    // A copy: a part of the head would keep the connection's buffer for as long as the request takes.
    let copy = |id: &HeaderValue| HeaderValue::from_bytes(id.as_bytes()).ok();
    headers.get(&REQUEST_ID).filter(is_plain).and_then(copy).unwrap_or_else(random)
}

/// Adds the headers that every response has: the request id, and security headers.
pub(super) fn add_common_headers(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID.clone(), id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Responses hold release tokens and keys, which no cache may store.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// Writes headers and the empty line behind them, as HTTP/1.1 has them.
pub(in crate::http) fn write_headers(headers: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in headers {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
    to.extend_from_slice(b"\r\n");
}
