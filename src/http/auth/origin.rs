//! Origin of a browser's request: a page of this service, or of somebody else.

use poem::{
    Request,
    http::{Method, header},
};

use crate::http::{
    App,
    wire::error::{ApiError, Code},
};

const FETCH_SITE: &str = "Sec-Fetch-Site";
/// Headers that proxies add: a request with one of them came from another machine.
const PROXY_HEADERS: [&str; 6] =
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"];

/// The page that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Page {
    /// A page of this service.
    Own,
    /// A page of another origin.
    Foreign,
    /// No browser, or one that does not say.
    Unknown,
}

impl Page {
    /// The page by `Sec-Fetch-Site` and `Origin`.
    pub(in crate::http) fn of(request: &Request, app: &App) -> Self {
        let site = request.header(FETCH_SITE);
        if matches!(site, Some("cross-site" | "same-site")) {
            return Self::Foreign;
        }
        match request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null")) {
            Some(origin) if is_own(request, app, origin) => Self::Own,
            Some(_) => Self::Foreign,
            None if site == Some("same-origin") => Self::Own,
            None => Self::Unknown,
        }
    }
}

fn is_own(request: &Request, app: &App, origin: &str) -> bool {
    if app.config.public_origin.as_deref() == Some(origin) {
        return true;
    }
    // Without a configured public origin: the page and the request name the same host and port.
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    app.config.public_origin.is_none() && authority.is_some() && authority == host(request).as_deref()
}

fn host(request: &Request) -> Option<String> {
    request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.header(header::HOST).map(str::to_owned))
}

/// Checks a call with a session's cookie. Browsers send cookies along with requests of any page, so only a page of this
/// service may change anything.
///
/// # Errors
/// 403 for a change from another page, or from an unknown one.
pub(in crate::http) fn check_cookie_call(request: &Request, app: &App) -> Result<(), ApiError> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read || Page::of(request, app) == Page::Own {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Forbidden,
        "A session changes things only from a page of this service; elsewhere send an API key.",
    ))
}

/// Checks a call without a credential in open mode: only this machine may call, neither through a proxy, nor by a host
/// name that somebody else points here (DNS rebinding), nor from a page of another origin.
///
/// # Errors
/// 403 for any other call.
pub(in crate::http) fn check_open_call(request: &Request, app: &App) -> Result<(), ApiError> {
    let is_local = host(request).is_some_and(|host| is_loopback(&host));
    if is_local
        && Page::of(request, app) != Page::Foreign
        && !PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name))
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
