//! Rewriting of paths before routing: names that contain slashes, and the old path of the token exchange.

use poem::{
    Request,
    http::{Method, Uri},
};

/// Prefixes after which the whole rest of the path is one name, slashes included.
const NAME_PREFIXES: [&str; 2] = ["/api/v1/Reservation/check/", "/api/v1/Resource/"];
/// A resource of this name would share its path with the operation of that name, which is a POST.
const REGISTER: &str = "register";
/// Path of the token exchange that older clients know, and its path today.
const TOKEN_EXCHANGE: [&str; 2] = ["/auth/token", "/api/v1/auth/token"];

/// Rewrites a request's path to the form that the routes match, segment by segment.
pub(super) fn rewrite(request: &mut Request) {
    if let Some(uri) = rewritten(request.method(), request.uri()) {
        *request.uri_mut() = uri;
    }
}

/// The rewritten URI; `None`: it stays as it is. Raw slashes of a name are percent-encoded.
fn rewritten(method: &Method, uri: &Uri) -> Option<Uri> {
    let [old, present] = TOKEN_EXCHANGE;
    let path = uri.path();
    if path == old {
        return Some(Uri::from_static(present));
    }
    let (prefix, name) =
        NAME_PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix).map(|name| (*prefix, name)))?;
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
    fn only_the_slashes_of_a_name_are_encoded() {
        let rewrite = |uri: &str| rewritten(&Method::GET, &uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(
            rewrite("/api/v1/Reservation/check/a/b%2Fc?x=/"),
            Some("/api/v1/Reservation/check/a%2Fb%2Fc?x=/".into())
        );
        assert_eq!(rewrite("/api/v1/Reservation/check/a"), None);
        assert_eq!(rewrite("/api/v1/Reservation/reserve/x"), None);
    }

    #[test]
    fn a_resource_may_have_the_name_of_the_operation() {
        let rewrite =
            |method| rewritten(&method, &"/api/v1/Resource/register".parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(rewrite(Method::GET), Some("/api/v1/Resource/%72egister".into()));
        assert_eq!(rewrite(Method::POST), None);
    }
}
