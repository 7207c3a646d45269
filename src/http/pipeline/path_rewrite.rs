//! Names in paths: `check/{resource}` and `Resource/{name}` take the whole rest of the path, slashes and all.

use poem::{
    Request,
    http::{Method, Uri},
};

/// The prefixes after which the rest is one name.
const NAMED: [&str; 2] = ["/api/v1/Reservation/check/", "/api/v1/Resource/"];

/// A resource of this name shares its path with an operation; only that operation is a POST.
const REGISTER: &str = "register";

/// Turns the slashes of a name that came raw into the percent-encoded form before routing, which matches segment by segment.
pub(in crate::http) fn keep_names_whole(request: &mut Request) {
    if let Some(uri) = whole(request.method(), request.uri()) {
        *request.uri_mut() = uri;
    }
}

/// Where tokens are exchanged, under the path that older clients know.
const EXCHANGE: [&str; 2] = ["/auth/token", "/api/v1/auth/token"];

fn whole(method: &Method, uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if path == EXCHANGE[0] {
        return Some(Uri::from_static(EXCHANGE[1]));
    }
    let (prefix, name) = NAMED.iter().find_map(|prefix| path.strip_prefix(prefix).map(|name| (*prefix, name)))?;
    let path = match name {
        REGISTER if method != Method::POST => format!("{prefix}%72egister"),
        _ if name.contains('/') => format!("{prefix}{}", name.replace('/', "%2F")),
        _ => return None,
    };
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
        let whole = |uri: &str| whole(&Method::GET, &uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(
            whole("/api/v1/Reservation/check/a/b%2Fc?x=/"),
            Some("/api/v1/Reservation/check/a%2Fb%2Fc?x=/".into())
        );
        assert_eq!(whole("/api/v1/Reservation/check/a"), None);
        assert_eq!(whole("/api/v1/Reservation/reserve/x"), None);
    }

    #[test]
    fn a_resource_may_be_called_as_the_operation_is() {
        let whole = |method| whole(&method, &"/api/v1/Resource/register".parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(whole(Method::GET), Some("/api/v1/Resource/%72egister".into()));
        assert_eq!(whole(Method::POST), None);
    }
}
