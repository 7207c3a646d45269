//! One call: what to send, how patiently, and the answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{clock::BootInstant, error::ClientError};

/// Timeout of one attempt, connection included, unless the call says otherwise.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for all attempts of a call together, unless the call says otherwise: a rolling restart of the service passes unseen.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts of a call while nothing accepts a connection: a service that is not there at all is reported within a second or two.
const CONNECT_ATTEMPTS: u32 = 4;

/// Whether a call may be made again when its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Carrying it out twice is the same as once.
    Safe,
    /// Only where it is certain that nothing was carried out.
    OnlyUnsent,
}

/// One call: what to send, and how patiently.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Bytes>,
    pub(super) headers: HeaderMap,
    pub(super) repeat: Repeat,
    pub(super) attempt_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) connect_attempts: u32,
}

impl Call {
    /// A read of `path`, which begins with `/` and is percent-encoded.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), None, Repeat::Safe)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), None, Repeat::Safe)
    }

    /// A call with a JSON body.
    ///
    /// # Errors
    /// The body cannot be written as JSON.
    pub(super) fn post(
        path: impl Into<String>,
        body: &impl serde::Serialize,
        repeat: Repeat,
    ) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|error| ClientError::UnexpectedAnswer {
            url: String::new(),
            reason: format!("the request cannot be written: {error}"),
        })?;
        Ok(Self::new(Method::POST, path.into(), Some(bytes.into()), repeat))
    }

    fn new(method: Method, path: String, body: Option<Bytes>, repeat: Repeat) -> Self {
        Self {
            method,
            path,
            body,
            headers: HeaderMap::new(),
            repeat,
            attempt_timeout: ATTEMPT_TIMEOUT,
            timeout: CALL_TIMEOUT,
            connect_attempts: CONNECT_ATTEMPTS,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: http::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Another timeout of each attempt, for an answer that the service holds back.
    pub(super) fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self.timeout = self.timeout.max(timeout);
        self
    }

    /// All attempts together end within `timeout`; a service that is not there is asked until then.
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.attempt_timeout = self.attempt_timeout.min(timeout);
        self.connect_attempts = u32::MAX;
        self
    }
}

/// An answer below 400.
#[derive(Debug)]
pub struct Reply {
    /// When the attempt that was answered began: what the answer says was true at that instant or later.
    pub sent: BootInstant,
    /// Whether an earlier attempt may have been carried out, so that this answer may show its effect.
    pub repeated: bool,
    /// Redis' clock in microseconds as the call read it.
    pub server_time_us: Option<i64>,
    /// The tenant's latest position.
    pub position: Option<i64>,
    /// The body as it came.
    pub body: Bytes,
    pub(super) url: String,
}

impl Reply {
    /// The body as `T`.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedAnswer`].
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// The error that the body is not what was promised.
    pub(super) fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::UnexpectedAnswer { url: self.url.clone(), reason: reason.into() }
    }

    /// The body as JSON; null where it is empty.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedAnswer`].
    pub fn json(&self) -> Result<Value, ClientError> {
        if self.body.is_empty() { Ok(Value::Null) } else { self.parse() }
    }
}

/// A text as one segment, or the rest, of a path: everything but unreserved characters is percent-encoded.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_a_path() {
        assert_eq!(encode("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}
