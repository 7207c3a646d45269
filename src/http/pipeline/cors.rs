//! Pages of other origins: those that are listed may call the API with a key, never with a cookie.
//!
//! No answer allows credentials to go along by themselves, so a browser gives no such page what a session could see.

use poem::{
    Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::config::Origins;

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, X-Api-Key, X-Request-Id";
const EXPOSED: &str = "Holdfast-Position, Holdfast-Time, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id";
/// How long a browser may remember what a preflight said, in seconds.
const REMEMBERED_S: &str = "600";

/// The page of another origin that a request comes from, and whether it may.
pub(in crate::http) struct Origin {
    /// What an allowed page is told.
    allowed: Option<HeaderValue>,
    /// Whether the answer depends on the origin, so that nobody on the way takes it for another's.
    varies: bool,
}

impl Origin {
    pub(in crate::http) fn of(request: &Request, origins: &Origins) -> Self {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Self { allowed: None, varies: false } };
        let path = request.uri().path();
        let governed = (path.starts_with("/api/") || path.starts_with("/auth/")) && !path.starts_with("/api/v1/admin/");
        let allowed = match origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => {
                listed.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        };
        Self { allowed: allowed.filter(|_| governed), varies: governed && *origins != Origins::Any }
    }

    /// The answer to an allowed page that asks what it may send.
    pub(in crate::http) fn preflight(&self, request: &Request) -> Option<Response> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        (asks && self.allowed.is_some()).then(|| {
            Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_S)
                .finish()
        })
    }

    /// Adds to an answer what lets the page read it.
    pub(in crate::http) fn tell(self, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        if let Some(allowed) = self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        answer
    }
}
