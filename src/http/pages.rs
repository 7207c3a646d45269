//! Pages embedded in the binary: the dashboard and the interactive OpenAPI document.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::{Request, Response, handler, http::header};
use sha2::{Digest, Sha256};

use crate::http::{assets::Site, openapi};

/// The dashboard. Only our own files, no inline script or style, and no text that becomes markup or code: a resource's name is text.
const DASHBOARD: Site = Site {
    folder: "dashboard",
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
};
/// Content security policy of the interactive document, without its scripts and styles: they stand in the page, and are allowed by
/// their hashes.
const DOCS_POLICY: &str = "default-src 'none'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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

/// The OpenAPI document as an interactive page.
#[handler]
pub(super) fn docs() -> Response {
    static PAGE: LazyLock<(String, String)> = LazyLock::new(|| {
        let page = openapi::page();
        let policy = format!("{DOCS_POLICY}{}", inline_sources(&page));
        (page, policy)
    });
    page("text/html; charset=utf-8", &PAGE.1, PAGE.0.as_str())
}

/// The directives that allow the scripts and styles that stand in a page, and no others.
fn inline_sources(page: &str) -> String {
    let (mut scripts, mut styles) = (String::new(), String::new());
    let mut rest = page;
    // In the order of the page, as a browser reads it: what looks like a tag within a script is none.
    while let Some((at, sources, end)) = [("<script", &mut scripts, "</script>"), ("<style", &mut styles, "</style>")]
        .into_iter()
        .filter_map(|(begin, sources, end)| Some((rest.find(begin)?, sources, end)))
        .min_by_key(|(at, ..)| *at)
    {
        let Some((_, content)) = rest[at..].split_once('>') else { break };
        let Some((content, behind)) = content.split_once(end) else { break };
        let hash = STANDARD.encode(Sha256::digest(content.replace("\r\n", "\n")));
        sources.push_str(&format!(" 'sha256-{hash}'"));
        rest = behind;
    }
    format!("; script-src{scripts}; style-src{styles}")
}

fn page(kind: &str, policy: &'static str, content: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(kind)
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::CACHE_CONTROL, "no-cache")
        .body(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_styles_of_a_page_are_allowed_by_their_hashes_alone() {
        let policy = inline_sources("<style>b{}</style><script a>\"<style>x</style>\"</script><p><script>1</script>");
        let hash = |content: &str| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(content)));
        let scripts = [hash("\"<style>x</style>\""), hash("1")].concat();
        assert_eq!(policy, format!("; script-src{scripts}; style-src{}", hash("b{}")));
    }
}
