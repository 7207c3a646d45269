//! Names that clients give: their lengths and characters.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest name of a resource or a requester, and longest note, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Longest label, slug or resource type, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Checks a resource or a requester: 1 to 1,024 bytes of UTF-8, any character but NUL.
///
/// # Errors
/// A message that says what is wrong and what would be right.
pub fn name(text: Option<String>) -> Result<String, String> {
    let text = text.ok_or("is required")?;
    match text.len() {
        0 => Err("must not be empty".into()),
        1..=MAX_NAME_BYTES if text.contains('\0') => Err("must not contain the character NUL".into()),
        1..=MAX_NAME_BYTES => Ok(text),
        long => Err(format!("is {long} bytes long; at most {MAX_NAME_BYTES} are allowed")),
    }
}

/// Checks a label, slug or resource type: 1 to 256 bytes of UTF-8 without control characters.
///
/// # Errors
/// A message that says what is wrong and what would be right.
pub fn label(text: Option<String>) -> Result<String, String> {
    let text = text.ok_or("is required")?;
    match text.len() {
        0 => Err("must not be empty".into()),
        1..=MAX_LABEL_BYTES if text.chars().any(char::is_control) => Err("must not contain control characters".into()),
        1..=MAX_LABEL_BYTES => Ok(text),
        long => Err(format!("is {long} bytes long; at most {MAX_LABEL_BYTES} are allowed")),
    }
}

/// Checks a name that stands alone in the path of an address: clients replace `.` and `..` by another path, also where they
/// are percent-encoded, so what has such a name could never be deleted.
///
/// # Errors
/// A message that says what is wrong.
pub fn addressable(name: String) -> Result<String, String> {
    match name.as_str() {
        "." | ".." => Err("must not be \".\" or \"..\", which no address can name".into()),
        _ => Ok(name),
    }
}

/// Checks a note: at most 1,024 bytes of UTF-8, any character but NUL; empty is the same as none.
///
/// # Errors
/// A message that says what is wrong and what would be right.
pub fn note(text: Option<String>) -> Result<String, String> {
    match text {
        None => Ok(String::new()),
        Some(text) if text.len() > MAX_NAME_BYTES => {
            Err(format!("is {} bytes long; at most {MAX_NAME_BYTES} are allowed", text.len()))
        }
        Some(text) if text.contains('\0') => Err("must not contain the character NUL".into()),
        Some(text) => Ok(text),
    }
}

/// Id of a tenant: a UUID, or `default` in open mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TenantId {
    /// A new, random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// Id of the only tenant of open mode.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// Reads an id that a client or the store names; `None` for any other text, a UUID in another spelling included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text == "default" || Uuid::parse_str(text).is_ok_and(|id| id.to_string() == text)).then(|| Self(text.into()))
    }

    /// The id as text, as keys and events have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TenantId {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_in_bytes_not_characters() {
        assert!(name(Some("é".repeat(512))).is_ok());
        assert_eq!(name(Some("é".repeat(513))).unwrap_err(), "is 1026 bytes long; at most 1024 are allowed");
        assert_eq!(name(Some(String::new())).unwrap_err(), "must not be empty");
        assert_eq!(name(None).unwrap_err(), "is required");
        assert!(name(Some("a\0b".into())).is_err());
        assert!(name(Some("a\r\nb".into())).is_ok());
    }

    #[test]
    fn a_label_has_no_control_characters() {
        assert!(label(Some("worker prod".into())).is_ok());
        assert!(label(Some("a\nb".into())).is_err());
        assert!(label(Some("x".repeat(257))).is_err());
    }

    #[test]
    fn a_tenant_is_a_uuid_in_its_one_spelling() {
        assert!(TenantId::parse("6f1f6d4e-0b8e-4a55-9d5a-0f6f5d7f2c11").is_some());
        assert!(TenantId::parse("6F1F6D4E-0B8E-4A55-9D5A-0F6F5D7F2C11").is_none());
        assert!(TenantId::parse("a}{b").is_none());
    }
}
