//! Where the service is, and the key that it is called with.

use std::fmt;

use http::{HeaderValue, Uri, uri::Scheme};

/// What is wrong with a setting, in words that name the way out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SettingError(String);

/// The service's address: scheme, host, port, and a path before `/api` where a proxy adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection is TLS.
    pub(super) tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `host[:port]` as the header `Host` carries it.
    pub(super) authority: String,
    /// Begins with `/` where it is not empty, and never ends with one.
    pub(super) base_path: String,
}

impl Endpoint {
    /// Reads a URL such as `https://holdfast.example.org` or `http://127.0.0.1:8080/locks`. `/api/v1` at its end, the base that other
    /// clients want, is left out.
    ///
    /// # Errors
    /// What is wrong with it: another scheme, no host, a query, a password.
    pub fn parse(url: &str) -> Result<Self, SettingError> {
        let fault = |what: &str| {
            SettingError(format!("the URL of the service, {url:?}, {what}; it is written like http://127.0.0.1:8080"))
        };
        let uri: Uri = url.trim().parse().map_err(|_| fault("cannot be read"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => return Err(fault("has a scheme other than http and https")),
            None => return Err(fault("has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| fault("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(SettingError(
                "the URL of the service has a user or a password in it; the key is given by HOLDFAST_KEY or --key-file"
                    .into(),
            ));
        }
        if uri.query().is_some() {
            return Err(fault("has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(fault("has no host"));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            base_path: {
                let path = uri.path().trim_end_matches('/');
                path.strip_suffix("/api/v1").unwrap_or(path).trim_end_matches('/').to_owned()
            },
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(to, "{scheme}://{}{}", self.authority, self.base_path)
    }
}

/// An API key or an exchanged token. Never shown.
#[derive(Clone)]
pub struct ApiKey {
    value: HeaderValue,
    /// Where it was found, for people.
    origin: String,
}

/// What every key begins with, and of what follows how many characters may be shown: enough to tell one key from another.
const KEY_PREFIX: &str = "hf_live_";
const SHOWN_OF_KEY: usize = 2;
/// A text with fewer characters behind the prefix is no key, and nothing of it is shown.
const FEWEST_OF_KEY: usize = 20;

impl ApiKey {
    /// Reads a key; white space around it, such as a file's last line break, is left out.
    ///
    /// # Errors
    /// It is empty, or has characters that no key has.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SettingError("the key is empty".into()));
        }
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| SettingError("the key has characters that no key has; it is one word, hf_live_...".into()))?;
        value.set_sensitive(true);
        Ok(Self { value, origin: String::new() })
    }

    /// The same, with where it was found: `HOLDFAST_KEY`, the name of a file.
    #[must_use]
    pub fn found_in(self, origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), ..self }
    }

    /// Which key it is, without showing it: its first characters where it looks like a key, and where it was found.
    #[must_use]
    pub fn hint(&self) -> String {
        let secret = self.expose().strip_prefix(KEY_PREFIX).filter(|secret| secret.len() >= FEWEST_OF_KEY);
        let shown = secret.and_then(|secret| secret.get(..SHOWN_OF_KEY));
        let key = shown.map_or("the key".into(), |shown| format!("the key {KEY_PREFIX}{shown}..."));
        if self.origin.is_empty() { key } else { format!("{key} of {}", self.origin) }
    }

    /// The key as a header's value.
    pub(super) fn header(&self) -> HeaderValue {
        self.value.clone()
    }

    /// The key's text, for another process of the same user.
    #[must_use]
    pub fn expose(&self) -> &str {
        // It was read from a text, so it is one.
        self.value.to_str().unwrap_or_default()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_defaults() {
        let read = |url| Endpoint::parse(url).map(|at| (at.tls, at.host, at.port, at.base_path));
        assert_eq!(read("http://127.0.0.1:8080"), Ok((false, "127.0.0.1".into(), 8080, String::new())));
        assert_eq!(read("https://h.example/locks/"), Ok((true, "h.example".into(), 443, "/locks".into())));
        assert_eq!(read("http://[::1]:81/"), Ok((false, "::1".into(), 81, String::new())));
        assert_eq!(Endpoint::parse("http://[::1]:81/x").unwrap().to_string(), "http://[::1]:81/x");
        assert_eq!(read("http://h:81/api/v1"), Ok((false, "h".into(), 81, String::new())));
        assert_eq!(read("https://h.example/locks/api/v1/"), Ok((true, "h.example".into(), 443, "/locks".into())));
    }

    #[test]
    fn a_url_that_cannot_be_used_says_why() {
        for (url, says) in [
            ("127.0.0.1:8080", "scheme"),
            ("ftp://x", "scheme"),
            ("http://", "cannot be read"),
            ("http://u:p@h", "password"),
            ("http://h/?a=b", "query"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let key = ApiKey::parse("hf_live_x\n").unwrap();
        assert_eq!(key.expose(), "hf_live_x");
        assert_eq!(format!("{key:?}"), "(hidden)");
        let hint = |text: &str| ApiKey::parse(text).unwrap().found_in("HOLDFAST_KEY").hint();
        assert_eq!(hint("hf_live_abcdefghijklmnopqrstuvwxyz"), "the key hf_live_ab... of HOLDFAST_KEY");
        for no_key in ["hf_live_x", "a-password-of-something-else-altogether", "hf_live_\u{e4}"] {
            assert!(ApiKey::parse(no_key).is_err() || hint(no_key) == "the key of HOLDFAST_KEY", "{no_key}");
        }
        assert!(ApiKey::parse(" \n").is_err());
        assert!(ApiKey::parse("a\nb").is_err());
    }
}
