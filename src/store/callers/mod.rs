//! Callers: a credential's hash becomes its tenant, scopes and label once, and is cached.
//!
//! A cached caller may be outdated. That is harmless: every function compares the cached version with the one in the tenant's own state, which
//! changes when a credential ends, and a mismatch makes the replica look the credential up again.

pub(super) mod cache;
pub(super) mod caller;
mod lookup;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::domain::access::Token;

/// Length of a SHA-256 in base64 without padding.
const HASH_BYTES: usize = 43;

/// The hash of a credential: it is stored instead of the credential, which the store never sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hashes a credential as its bearer gave it. A key has at least 128 random bits, so an unsalted SHA-256 cannot be searched.
    #[must_use]
    pub fn of(credential: &str) -> Self {
        let mut text = [0; HASH_BYTES];
        // Base64 of 32 bytes is 43 bytes of ASCII, so neither default is ever taken.
        let written = URL_SAFE_NO_PAD.encode_slice(Sha256::digest(credential.as_bytes()), &mut text).unwrap_or(0);
        Self(std::str::from_utf8(&text[..written]).unwrap_or("").into())
    }

    /// The hash in base64, as keys and fields of the store contain it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0
    }
}

/// The credential of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// An API key.
    Key(Secret),
    /// A session's cookie.
    Session(Secret),
    /// A token of ours, whose signature was verified; with the hash of its text.
    Token(Secret, Arc<Token>),
    /// The ingest key of a connection: for what its clients push, and nothing else.
    Ingest(Secret),
    /// No credential, where the service asks for none.
    Anonymous,
    /// The service itself, for the sweep and the command line. No rate limits it.
    System,
}

impl Bearer {
    /// The field of the tenant's state that the credential lives by: it ends with the field.
    fn field(&self) -> Option<String> {
        match self {
            Self::Key(secret) => Some(key_field(secret)),
            Self::Session(secret) => Some(format!("s:{}", secret.hash())),
            Self::Token(_, token) => Some(token.credential.clone()),
            Self::Ingest(secret) => Some(ingest_field(secret)),
            Self::Anonymous => Some("name".into()),
            Self::System => None,
        }
    }

    /// The key under which the caller is cached.
    fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Key(secret) | Self::Session(secret) | Self::Token(secret, _) | Self::Ingest(secret) => Some(secret),
            Self::Anonymous | Self::System => None,
        }
    }
}

/// The field of an API key in the tenant's state.
pub(in crate::store) fn key_field(secret: &Secret) -> String {
    format!("k:{}", secret.hash())
}

/// Prefix of ingest keys.
pub const INGEST_KEY_PREFIX: &str = "sk_live_";

/// The field of an ingest key in the tenant's state; it holds the connection's id.
pub(in crate::store) fn ingest_field(secret: &Secret) -> String {
    format!("q:{}", secret.hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_hash_and_shows_nothing_of_the_key() {
        let secret = Secret::of("hf_live_abc");
        assert_eq!(secret.hash().len(), 43);
        assert!(!secret.hash().contains("abc"));
        assert_eq!(secret, Secret::of("hf_live_abc"));
        assert_ne!(secret, Secret::of("hf_live_abd"));
    }
}
