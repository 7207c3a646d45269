//! Credentials of a request: where they stand, and what kind they are.

use std::sync::Arc;

use poem::http::{HeaderMap, header};

use crate::{
    store::{Bearer, KEY_PREFIX, SESSION_PREFIX, Secret},
    trust::Vault,
};

/// Header of an API key.
pub(super) const API_KEY: &str = "X-Api-Key";
/// Cookie of a session.
pub(in crate::http) const COOKIE: &str = "holdfast_session";
/// Its name where it is `Secure`: under this prefix, browsers take it from no other host and for no other path, so that no
/// neighbouring host can plant one.
pub(in crate::http) const SECURE_COOKIE: &str = "__Host-holdfast_session";
/// No credential of ours is longer; longer texts are not even hashed.
const MAX_CREDENTIAL_BYTES: usize = 4096;

/// The credential that decides a request: the first one present, so that a wrong one is refused even if a later one is
/// right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    None,
    /// A header that cannot hold a credential of ours.
    Unreadable,
    /// An API key or a token.
    KeyOrToken(&'a str),
    /// A session's cookie.
    Session(&'a str),
}

impl<'a> Credential<'a> {
    /// Looks in this order: `X-Api-Key`, `Authorization`, the query's `api_key` where the route takes one, the cookie.
    pub(super) fn find(headers: &'a HeaderMap, api_key_parameter: Option<&'a str>) -> Self {
        if let Some(key) = headers.get(API_KEY) {
            return key.to_str().map_or(Self::Unreadable, Self::KeyOrToken);
        }
        match headers.get(header::AUTHORIZATION).map(|authorization| bearer(authorization.as_bytes())) {
            Some(Authorization::Bearer(Some(token))) => return Self::KeyOrToken(token),
            Some(Authorization::Bearer(None)) => return Self::Unreadable,
            // The scheme of a proxy in front, which the browser sends along.
            Some(Authorization::Other) | None => {}
        }
        if let Some(key) = api_key_parameter {
            return Self::KeyOrToken(key);
        }
        let cookies = || {
            let lines = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
            lines.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
        };
        let named = |wanted: &str| cookies().find(|(name, _)| *name == wanted);
        named(SECURE_COOKIE).or_else(|| named(COOKIE)).map_or(Self::None, |(_, text)| Self::Session(text))
    }
}

/// What an `Authorization` header holds.
enum Authorization<'a> {
    /// Our scheme; `None`: no token that can be read.
    Bearer(Option<&'a str>),
    /// A scheme that is none of ours.
    Other,
}

fn bearer(value: &[u8]) -> Authorization<'_> {
    let scheme_end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, token) = value.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Authorization::Other;
    }
    Authorization::Bearer(std::str::from_utf8(token).ok().map(str::trim).filter(|token| !token.is_empty()))
}

/// The bearer of an API key or a token, by the text's form. A token's signature is verified here; Redis is not asked.
pub(super) fn key_or_token(vault: &Vault, text: &str) -> Option<Bearer> {
    if text.starts_with(KEY_PREFIX) {
        return api_key(text);
    }
    if text.len() > MAX_CREDENTIAL_BYTES {
        return None;
    }
    let token = vault.verify(text)?;
    Some(Bearer::Token(Secret::of(text), Arc::new(token)))
}

/// The bearer of an API key, if the text has the form of one.
pub(in crate::http) fn api_key(text: &str) -> Option<Bearer> {
    (text.starts_with(KEY_PREFIX) && text.len() <= MAX_CREDENTIAL_BYTES).then(|| Bearer::Key(Secret::of(text)))
}

/// The bearer of a session, if the text has the form of one.
pub(super) fn session(text: &str) -> Option<Bearer> {
    (text.starts_with(SESSION_PREFIX) && text.len() <= MAX_CREDENTIAL_BYTES).then(|| Bearer::Session(Secret::of(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_credential_present_decides() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let all = headers(&[("x-api-key", "a"), ("authorization", "Bearer b"), ("cookie", "holdfast_session=d")]);
        assert_eq!(Credential::find(&all, Some("c")), Credential::KeyOrToken("a"));
        let rest = headers(&[("authorization", "bearer b"), ("cookie", "holdfast_session=d")]);
        assert_eq!(Credential::find(&rest, Some("c")), Credential::KeyOrToken("b"));
        let cookies = headers(&[("cookie", "x=1; holdfast_session=d;y=2")]);
        assert_eq!(Credential::find(&cookies, Some("c")), Credential::KeyOrToken("c"));
        assert_eq!(Credential::find(&cookies, None), Credential::Session("d"));
        for broken in ["Bearer", "Bearer ", "bearer  "] {
            assert_eq!(Credential::find(&headers(&[("authorization", broken)]), Some("c")), Credential::Unreadable);
        }
        let behind_proxy = headers(&[("authorization", "Basic b"), ("cookie", "holdfast_session=d")]);
        assert_eq!(Credential::find(&behind_proxy, Some("c")), Credential::KeyOrToken("c"));
        assert_eq!(Credential::find(&behind_proxy, None), Credential::Session("d"));
        let planted = headers(&[("cookie", "holdfast_session=planted; __Host-holdfast_session=own")]);
        assert_eq!(Credential::find(&planted, None), Credential::Session("own"));
        assert_eq!(Credential::find(&headers(&[]), None), Credential::None);
    }
}
