//! Names in paths: `check/{resource}` and `Resource/{name}` take the whole rest of the path, slashes and all.

use std::sync::Arc;

use poem::{Endpoint, IntoResponse, Request, Response, http::Uri};

/// The prefixes after which the rest is one name.
const NAMED: [&str; 2] = ["/api/v1/Reservation/check/", "/api/v1/Resource/"];

/// Turns the slashes of a name that came raw into the percent-encoded form before routing, which matches segment by segment.
pub(super) async fn keep_names_whole<E: Endpoint>(next: Arc<E>, mut request: Request) -> poem::Result<Response> {
    if let Some(uri) = whole(request.uri()) {
        *request.uri_mut() = uri;
    }
    next.call(request).await.map(IntoResponse::into_response)
}

/// Where tokens are exchanged, under the path that older clients know.
const EXCHANGE: [&str; 2] = ["/auth/token", "/api/v1/auth/token"];

fn whole(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path == EXCHANGE[0] {
        return Some(Uri::from_static(EXCHANGE[1]));
    }
    let (prefix, name) = NAMED.iter().find_map(|prefix| path.strip_prefix(prefix).map(|name| (*prefix, name)))?;
    if !name.contains('/') {
        return None;
    }
    let path = format!("{prefix}{}", name.replace('/', "%2F"));
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_slashes_are_encoded() {
        let whole = |uri: &str| whole(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(whole("/api/v1/Reservation/check/a/b%2Fc?x=/"), Some("/api/v1/Reservation/check/a%2Fb%2Fc?x=/".into()));
        assert_eq!(whole("/api/v1/Reservation/check/a"), None);
        assert_eq!(whole("/api/v1/Reservation/reserve/x"), None);
    }
}
