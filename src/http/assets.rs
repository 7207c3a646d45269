//! The sites embedded in the binary: the dashboard, the guide, the reader of the OpenAPI document. `web/` builds them.

use poem::{
    Request, Response,
    error::NotFoundError,
    http::{StatusCode, header},
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The files under `web/dist`. A debug build reads them at run time, a release build has them in the binary.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// One of the sites.
pub(super) struct Site {
    /// Its folder below `web/dist`.
    pub(super) folder: &'static str,
    /// Its Content-Security-Policy.
    pub(super) policy: &'static str,
}

/// What a client is told instead of a site that the binary was built without.
const NOT_BUILT: &str = "<!doctype html><html lang=en><title>Not built</title><h1>This page is not in the binary</h1>\
    <p>It was compiled before its pages were built. <code>make run</code> and <code>make build</code> build them; by hand: \
    <code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code>, then <code>cargo build</code> again.\
    <p>The API serves all the same: <a href=/openapi.json>/openapi.json</a>.";
const NOT_BUILT_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Names that the builders derive from a file's content, so that a browser may keep the file for ever.
const HASHED: &str = "assets/";

impl Site {
    /// Answers `path` below the site: the file of that name, of that name with `.html`, or the folder's `index.html`.
    ///
    /// # Errors
    /// [`NotFoundError`]: there is no such file, and the site has no page that says so.
    pub(super) fn serve(&self, path: &str, request: &Request) -> poem::Result<Response> {
        let path = path.trim_end_matches('/');
        let candidates = if path.is_empty() {
            vec!["index.html".to_owned()]
        } else {
            vec![path.to_owned(), format!("{path}.html"), format!("{path}/index.html")]
        };
        if let Some((name, file)) = candidates.iter().find_map(|name| Some((name, self.file(name)?))) {
            return Ok(self.answer(StatusCode::OK, name, file, request));
        }
        if self.file("index.html").is_none() {
            return Ok(page(StatusCode::NOT_FOUND, NOT_BUILT_POLICY, NOT_BUILT));
        }
        let missing = self.file("404.html").ok_or(NotFoundError)?;
        Ok(self.answer(StatusCode::NOT_FOUND, "404.html", missing, request))
    }

    fn file(&self, name: &str) -> Option<EmbeddedFile> {
        // In a debug build the name becomes a path of the file system, where `..` would lead out of the folder.
        let harmless = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        harmless.then(|| Files::get(&format!("{}/{name}", self.folder)))?
    }

    fn answer(&self, status: StatusCode, name: &str, file: EmbeddedFile, request: &Request) -> Response {
        let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
        let kept = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_SECURITY_POLICY, self.policy)
            .header(header::CACHE_CONTROL, kept)
            .header(header::VARY, "Accept-Encoding")
            .header(header::ETAG, &etag);
        if request.header(header::IF_NONE_MATCH).is_some_and(|known| known.contains(&etag)) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let response = response.content_type(content_type(name));
        match self.file(&format!("{name}.gz")).filter(|_| accepts_gzip(request)) {
            Some(compressed) => response.header(header::CONTENT_ENCODING, "gzip").body(compressed.data.into_owned()),
            None => response.body(file.data.into_owned()),
        }
    }
}

/// A page that stands in the code.
fn page(status: StatusCode, policy: &str, content: &'static str) -> Response {
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::CACHE_CONTROL, "no-cache")
        .body(content)
}

fn accepts_gzip(request: &Request) -> bool {
    let accepted = request.header(header::ACCEPT_ENCODING).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q == 0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(accepted: &str) -> bool {
        accepts_gzip(&Request::builder().header(header::ACCEPT_ENCODING, accepted).finish())
    }

    #[test]
    fn gzip_is_sent_to_those_who_accept_it() {
        assert!(encoding("gzip"));
        assert!(encoding("br;q=1.0, GZIP;q=0.8, *;q=0.1"));
        assert!(!encoding("br"));
        assert!(!encoding("gzip;q=0, identity"));
    }

    #[test]
    fn a_path_leads_out_of_no_site() {
        let site = Site { folder: "guide", policy: "" };
        for path in ["../dashboard/index.html", "a/../../../Cargo.toml", "//etc/passwd", "."] {
            assert!(site.file(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_site_that_was_not_built_says_how_to_build_it() {
        let site = Site { folder: "no such site", policy: "" };
        let answer = site.serve("", &Request::default()).unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
}
