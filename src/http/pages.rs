//! The dashboard's files and the interactive document, embedded in the binary.

use std::sync::LazyLock;

use poem::{Request, Response, error::NotFoundError, handler, http::header};

use crate::http::openapi;

/// Name, content type and content of each file.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_bytes!(concat!("../../dashboard/", $name)))),*] };
}

static FILES: &[(&str, &[u8])] = files!(
    "index.html" "style.css" "icon.svg"
    "app.js" "api.js" "follow.js" "sse.js" "board.js" "table.js" "log.js" "describe.js" "announcer.js" "clock.js" "commands.js" "painter.js" "words.js"
);

/// Nothing but our own files, and no script or style inside the page: what somebody names a resource cannot become code.
const DASHBOARD_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/// The interactive document is one page with its script and style inside; it shows no tenant's data by itself.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The dashboard.
#[handler]
pub(super) fn index() -> poem::Result<Response> {
    named("index.html")
}

/// One of the dashboard's files.
#[handler]
pub(super) fn file(request: &Request) -> poem::Result<Response> {
    named(request.raw_path_param("file").unwrap_or_default())
}

/// The little picture that browsers ask for by themselves.
#[handler]
pub(super) fn icon() -> poem::Result<Response> {
    named("icon.svg")
}

/// The OpenAPI document.
#[handler]
pub(super) fn openapi_json() -> Response {
    Response::builder()
        .content_type("application/json")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(openapi::document())
}

/// The OpenAPI document, to read and to try.
#[handler]
pub(super) fn docs() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(openapi::page);
    page("text/html; charset=utf-8", DOCS_POLICY, PAGE.as_str())
}

fn named(name: &str) -> poem::Result<Response> {
    let (name, content) = FILES.iter().find(|(known, _)| *known == name).ok_or(NotFoundError)?;
    let kind = match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    Ok(page(kind, DASHBOARD_POLICY, *content))
}

fn page(kind: &str, policy: &'static str, content: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(kind)
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::CACHE_CONTROL, "no-cache")
        .body(content)
}
