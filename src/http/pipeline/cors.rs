//! Cross-origin requests (CORS): pages of allowed origins may call the API with a key, never with a cookie.
//!
//! No response allows credentials, so a browser never gives such a page what a session could read.

use poem::{
    Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::{config::Origins, http::mcp};

const ALLOWED_METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, Last-Event-ID, Mcp-Method, Mcp-Name, Mcp-Protocol-Version, X-Api-Key, X-Request-Id";
const EXPOSED_HEADERS: &str =
    "Holdfast-Position, Holdfast-Time, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id";
/// How long a browser may cache a preflight's response, in seconds.
const MAX_AGE_S: &str = "600";

/// The origin of the page that sent a request, and what the response says about it.
pub(super) struct CrossOrigin {
    /// Value of `Access-Control-Allow-Origin`; `None` if the request has no origin, or one that is not allowed.
    allowed: Option<HeaderValue>,
    /// Whether the response depends on the origin, so that a cache must keep them apart.
    varies: bool,
}

impl CrossOrigin {
    pub(super) fn of(request: &Request, origins: &Origins) -> Self {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Self { allowed: None, varies: false } };
        let path = request.uri().path();
        let is_api = path.starts_with("/api/") || path.starts_with("/auth/");
        let is_open = path == mcp::PATH || is_api && !path.starts_with("/api/v1/admin/");
        let allowed = match origins {
            // The agents' endpoint answers only pages that somebody chose to list.
            Origins::Any if path == mcp::PATH => None,
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => {
                listed.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        };
        Self { allowed: allowed.filter(|_| is_open), varies: is_open && *origins != Origins::Any }
    }

    /// The response to an allowed page that asks what it may send.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        (is_preflight && self.allowed.is_some()).then(|| {
            Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S)
                .finish()
        })
    }

    /// Adds the headers that let an allowed page read the response.
    pub(super) fn add_headers(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(allowed) = self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        }
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }
}
