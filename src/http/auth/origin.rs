//! Which page a browser calls from.

use poem::{
    Request,
    http::{Method, header},
};

use crate::http::{
    App,
    wire::error::{ApiError, Code},
};

const FETCH_SITE: &str = "Sec-Fetch-Site";
/// What proxies add: whoever has one comes from elsewhere.
const FORWARDING: [&str; 6] =
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"];

/// What a request says of the page that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Page {
    /// One of ours.
    Ours,
    /// Somebody else's.
    Foreign,
    /// It says nothing: no browser, or an old one.
    Unknown,
}

pub(in crate::http) fn page(request: &Request, app: &App) -> Page {
    let site = request.header(FETCH_SITE);
    if matches!(site, Some("cross-site" | "same-site")) {
        return Page::Foreign;
    }
    match request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null")) {
        Some(origin) if is_ours(request, app, origin) => Page::Ours,
        Some(_) => Page::Foreign,
        None if site == Some("same-origin") => Page::Ours,
        None => Page::Unknown,
    }
}

fn is_ours(request: &Request, app: &App, origin: &str) -> bool {
    if app.config.public_origin.as_deref() == Some(origin) {
        return true;
    }
    // Without a word about our public address: the page and the request name the same host and port.
    let theirs = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    app.config.public_origin.is_none() && theirs.is_some() && theirs == host(request).as_deref()
}

fn host(request: &Request) -> Option<String> {
    request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.header(header::HOST).map(str::to_owned))
}

/// A cookie goes along with whatever a browser sends, so what changes something must come from a page of ours.
pub(in crate::http) fn check_cookie_call(request: &Request, app: &App) -> Result<(), ApiError> {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if looks || page(request, app) == Page::Ours {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Forbidden,
        "A session changes things only from a page of this service; elsewhere send an API key.",
    ))
}

/// Where no credential is asked for, only this machine itself may come: no page of another origin, no name that leads here from
/// elsewhere, no proxy.
pub(in crate::http) fn check_open_call(request: &Request, app: &App) -> Result<(), ApiError> {
    let local = host(request).is_some_and(|host| is_loopback(&host));
    if local
        && page(request, app) != Page::Foreign
        && !FORWARDING.iter().any(|name| request.headers().contains_key(*name))
    {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Forbidden,
        "This service runs without credentials, so it serves only programs and pages of its own machine.",
    ))
}

/// `localhost`, an address of 127.0.0.0/8, or `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_host_is_this_machine_and_nothing_that_looks_like_it() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", "[2001:db8::1]", "", "[", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
