//! Pages embedded in the binary: the dashboard and the interactive OpenAPI document.

use std::sync::LazyLock;

use poem::{Request, Response, error::NotFoundError, handler, http::header};

use crate::http::openapi;

/// Names and contents of the dashboard's files.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_bytes!(concat!("../../dashboard/", $name)))),*] };
}

static FILES: &[(&str, &[u8])] = files!(
    "index.html" "style.css" "icon.svg"
    "app.js" "api.js" "follow.js" "sse.js" "board.js" "table.js" "log.js" "describe.js" "announcer.js" "clock.js" "commands.js" "painter.js" "words.js"
);

/// Content security policy of the dashboard: only our own files, no inline script or style, so that a resource's name cannot become code.
const DASHBOARD_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/// Content security policy of the interactive document: one page with inline script and style, which shows no tenant's data by itself.
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

/// The icon, at the path that browsers request by themselves.
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

/// The OpenAPI document as an interactive page.
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
