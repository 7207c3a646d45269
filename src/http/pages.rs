//! Pages embedded in the binary: the dashboard and the interactive OpenAPI document.

use poem::{Request, Response, handler, http::header};

use crate::http::{assets::Site, openapi};

/// The dashboard. Only our own files, no inline script or style, and no text that becomes markup or code: a resource's name is text.
const DASHBOARD: Site = Site {
    folder: "dashboard",
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
};
/// The interactive reader of the OpenAPI document.
const REFERENCE: Site = Site {
    folder: "reference",
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/// The documentation. Its styles include those that the builder writes into elements.
const GUIDE: Site = Site {
    folder: "guide",
    policy: "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; \
        font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/// A page of the guide.
#[handler]
pub(super) fn guide(request: &Request) -> poem::Result<Response> {
    GUIDE.serve(request.raw_path_param("path").unwrap_or_default(), request)
}

/// The dashboard.
#[handler]
pub(super) fn index(request: &Request) -> poem::Result<Response> {
    DASHBOARD.serve("", request)
}

/// One of the dashboard's files.
#[handler]
pub(super) fn file(request: &Request) -> poem::Result<Response> {
    DASHBOARD.serve(request.raw_path_param("file").unwrap_or_default(), request)
}

/// The icon, at the paths that browsers and pages request.
#[handler]
pub(super) fn icon(request: &Request) -> poem::Result<Response> {
    DASHBOARD.serve("icon.svg", request)
}

/// The OpenAPI document.
#[handler]
pub(super) fn openapi_json() -> Response {
    Response::builder()
        .content_type("application/json")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(openapi::document())
}

/// The OpenAPI document as an interactive page, and the files of that page.
#[handler]
pub(super) fn docs(request: &Request) -> poem::Result<Response> {
    REFERENCE.serve(request.raw_path_param("path").unwrap_or_default(), request)
}
