//! Origin of a browser's request: a page of this service, or of somebody else.

use poem::{
    Request,
    http::{Method, header},
};

use crate::{
    config::{Origins, origin_of},
    http::{
        App,
        wire::error::{ApiError, Code},
    },
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
    /// The page by `Sec-Fetch-Site`, which no page can set, or else by `Origin`.
    pub(in crate::http) fn of(request: &Request, app: &App) -> Self {
        match request.header(FETCH_SITE) {
            Some("same-origin") => return Self::Own,
            Some("cross-site" | "same-site") => return Self::Foreign,
            _ => {}
        }
        match request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null")) {
            Some(origin) if is_own(request, app, origin) => Self::Own,
            Some(_) => Self::Foreign,
            None => Self::Unknown,
        }
    }
}

/// Whether an origin is the public one, or, where none is configured, that of the host that was asked.
fn is_own(request: &Request, app: &App, origin: &str) -> bool {
    let Some(origin) = origin_of(origin) else { return false };
    match &app.config.public_origin {
        Some(public) => *public == origin,
        None => host(request).is_some_and(|host| is_of_host(&origin, &host, app.config.tls().is_some())),
    }
}

/// Whether an origin is that of a `Host`, with or without the default port. The scheme is the origin's, since TLS may
/// end in front; where it ends here, only https is ours.
fn is_of_host(origin: &str, host: &str, has_tls: bool) -> bool {
    let Some((scheme, _)) = origin.split_once("://") else { return false };
    (scheme == "https" || !has_tls) && origin_of(&format!("{scheme}://{host}")).as_deref() == Some(origin)
}

/// 403 for a request from a page that is not this service's; it says what was compared, and with what.
pub(in crate::http) fn foreign(request: &Request, app: &App, message: &str) -> ApiError {
    let named = |name: &str, value: Option<&str>| format!("{name} {}", value.unwrap_or("is absent"));
    let expected = match &app.config.public_origin {
        Some(public) => format!("HOLDFAST_PUBLIC_URL {public}"),
        None => format!("{}; HOLDFAST_PUBLIC_URL is not set", named("Host", host(request).as_deref())),
    };
    let origin = named("Origin", request.header(header::ORIGIN));
    ApiError::new(Code::Forbidden, format!("{message} Compared were: {origin}, {expected}."))
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
    Err(foreign(request, app, "A session changes things only from a page of this service; elsewhere send an API key."))
}

/// Checks a call of the agents' endpoint, whatever its credential, as its protocol asks for: a page elsewhere may
/// call only where the operator listed its origin, so that no page reaches a service by a name that it points here
/// (DNS rebinding).
///
/// # Errors
/// 403 for a page of another origin.
pub(in crate::http) fn check_agents_page(request: &Request, app: &App) -> Result<(), ApiError> {
    let origin = request.headers().get(header::ORIGIN);
    let is_listed = match &app.config.cors {
        Origins::Listed(listed) => {
            origin.is_some_and(|origin| listed.iter().any(|known| known.as_bytes() == origin.as_bytes()))
        }
        Origins::Any => false,
    };
    if is_listed || Page::of(request, app) != Page::Foreign {
        return Ok(());
    }
    let message =
        "Agents call from programs, from pages of this service, and of origins listed in HOLDFAST_CORS_ORIGINS.";
    Err(foreign(request, app, message))
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
    fn an_origin_is_compared_with_the_host_as_browsers_write_both() {
        for (origin, host) in [
            ("https://locks.example", "locks.example:443"),
            ("http://locks.example", "locks.example:80"),
            ("https://locks.example", "LOCKS.example"),
            ("https://locks.example", "locks.example."),
            ("http://localhost:9000", "localhost:9000"),
            ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ] {
            assert!(is_of_host(origin, host, false), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:9000", "localhost"),
            ("https://locks.example", "locks.example:80"),
            ("https://locks.example.evil.example", "locks.example"),
            ("https://locks.example", "user@locks.example"),
            ("null", "null"),
            ("https://locks.example", ""),
        ] {
            assert!(!is_of_host(origin, host, false), "{origin} {host}");
        }
        assert!(!is_of_host("http://locks.example", "locks.example", true), "TLS ends here, and that page is plain");
    }

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
