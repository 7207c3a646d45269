//! What hangs on `SECRET_KEY`: the signatures of our own tokens, and the cipher of what is stored secret.
//!
//! Each purpose has a key of its own, derived from each secret. The first secret signs and encrypts; the others still verify and decrypt,
//! so a secret is changed by putting a new one in front, and dropped a while later.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::{aead, hkdf};
use serde::{Deserialize, Serialize};

use crate::domain::{
    access::{Scopes, Token},
    names::TenantId,
};

/// How long one of our tokens lives, in seconds.
pub const TOKEN_LIFE_S: i64 = 900;
const ISSUER: &str = "holdfast";
const SALT: &[u8] = b"holdfast 1";

/// The secrets of `SECRET_KEY`, the present one first.
#[derive(Clone)]
pub struct SecretKeys(Vec<String>);

impl SecretKeys {
    /// The fewest bytes of a secret.
    pub const BYTES: usize = 16;

    /// One secret, whatever it is made of; `None` when it is too short.
    #[must_use]
    pub fn one(secret: &str) -> Option<Self> {
        (secret.len() >= Self::BYTES).then(|| Self(vec![secret.to_owned()]))
    }

    /// Reads a comma list; `None` when there is none, or one is too short.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let secrets: Vec<_> = list.split(',').map(|secret| secret.trim().to_owned()).collect();
        secrets.iter().all(|secret| secret.len() >= Self::BYTES).then_some(Self(secrets))
    }
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "({} hidden)", self.0.len())
    }
}

/// The keys that come from the secrets.
pub struct Vault(Vec<Keys>);

struct Keys {
    /// Tells which secret it is, and nothing of it.
    id: String,
    sign: EncodingKey,
    verify: DecodingKey,
    cipher: aead::LessSafeKey,
}

/// What is in a token.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The tenant.
    tid: String,
    /// The credential that it was had from.
    cred: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    scope: String,
    iat: i64,
    exp: i64,
}

impl Vault {
    /// Derives the keys.
    ///
    /// # Panics
    /// Never: the lengths asked for are those of the algorithms.
    #[must_use]
    pub fn new(secrets: &SecretKeys) -> Self {
        super::ready();
        Self(secrets.0.iter().filter_map(|secret| Keys::derive(secret.as_bytes())).collect())
    }

    /// A token of ours, as text, which ends [`TOKEN_LIFE_S`] after `now_us`. `None` if nothing can sign, which cannot be.
    #[must_use]
    pub fn sign(&self, token: &Token, now_us: i64) -> Option<String> {
        let keys = self.0.first()?;
        let claims = Claims {
            iss: ISSUER.into(),
            tid: token.tenant.to_string(),
            cred: token.credential.clone(),
            sub: token.end_user.clone(),
            scope: token.scopes.to_list(),
            iat: now_us / 1_000_000,
            exp: token.ends_ms / 1000,
        };
        let header = Header { kid: Some(keys.id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &keys.sign).ok()
    }

    /// Reads a token of ours, if it is one. Whether it has ended, and whether its credential has, the tenant's scripts say.
    #[must_use]
    pub fn verify(&self, text: &str) -> Option<Token> {
        let kid = jsonwebtoken::decode_header(text).ok()?.kid?;
        let keys = self.0.iter().find(|keys| keys.id == kid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        let claims = jsonwebtoken::decode::<Claims>(text, &keys.verify, &validation).ok()?.claims;
        Some(Token {
            tenant: TenantId::parse(&claims.tid)?,
            credential: claims.cred,
            end_user: claims.sub,
            scopes: Scopes::parse(claims.scope.split(',')).ok()?,
            ends_ms: claims.exp.checked_mul(1000)?,
        })
    }

    /// Encrypts what is stored of `owner`; it opens for that owner alone. `None` when the system gives no random numbers.
    #[must_use]
    pub fn seal(&self, owner: &str, secret: &str) -> Option<String> {
        let keys = self.0.first()?;
        let mut nonce = [0_u8; aead::NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut bytes = secret.as_bytes().to_vec();
        keys.cipher
            .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(owner), &mut bytes)
            .ok()?;
        Some(format!("{}.{}", keys.id, URL_SAFE_NO_PAD.encode([nonce.as_slice(), &bytes].concat())))
    }

    /// Decrypts what was stored of `owner`; `None` when no secret of ours opens it.
    #[must_use]
    pub fn unseal(&self, owner: &str, sealed: &str) -> Option<String> {
        let (id, text) = sealed.split_once('.')?;
        let keys = self.0.iter().find(|keys| keys.id == id)?;
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, bytes) = bytes.split_at_mut_checked(aead::NONCE_LEN)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = keys.cipher.open_in_place(nonce, aead::Aad::from(owner), bytes).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "Vault({} hidden)", self.0.len())
    }
}

impl Keys {
    fn derive(secret: &[u8]) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let derive = |purpose: &[u8]| {
            let mut key = [0_u8; 32];
            root.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|key_material| key_material.fill(&mut key))
                .ok()
                .map(|()| key)
        };
        let (id, sign, cipher) = (derive(b"name")?, derive(b"tokens")?, derive(b"at rest")?);
        Some(Self {
            id: URL_SAFE_NO_PAD.encode(&id[..6]),
            sign: EncodingKey::from_secret(&sign),
            verify: DecodingKey::from_secret(&sign),
            cipher: aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &cipher).ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(list: &str) -> Vault {
        Vault::new(&SecretKeys::parse(list).unwrap())
    }

    fn token() -> Token {
        Token {
            tenant: TenantId::random(),
            credential: "k:x".into(),
            end_user: Some("u".into()),
            scopes: Scopes::READ_WRITE,
            ends_ms: 900_000,
        }
    }

    #[test]
    fn a_new_secret_in_front_leaves_what_the_old_one_made_good() {
        let (old, new, other) =
            (vault("secret-one-secret"), vault("secret-two-secret,secret-one-secret"), vault("secret-two-secret"));
        let (text, sealed) = (old.sign(&token(), 0).unwrap(), old.seal("t", "hush").unwrap());
        assert!(new.verify(&text).is_some() && other.verify(&text).is_none());
        assert_eq!((new.unseal("t", &sealed).as_deref(), other.unseal("t", &sealed)), (Some("hush"), None));
    }

    #[test]
    fn a_token_comes_back_as_it_went_and_not_changed() {
        let (vault, token) = (vault("secret-one-secret"), token());
        let text = vault.sign(&token, 0).unwrap();
        assert_eq!(vault.verify(&text), Some(token));
        for at in (0..text.len()).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(vault.verify(&String::from_utf8(bytes).unwrap()), None, "byte {at}");
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_alone() {
        let vault = vault("secret-one-secret");
        let sealed = vault.seal("a", "hush").unwrap();
        assert!(!sealed.contains("hush"));
        assert_eq!(vault.unseal("b", &sealed), None);
        assert_ne!(sealed, vault.seal("a", "hush").unwrap(), "each time another nonce");
    }

    #[test]
    fn a_short_secret_is_no_secret() {
        assert!(
            SecretKeys::parse("short").is_none()
                && SecretKeys::parse("").is_none()
                && SecretKeys::parse("long-enough-secret,").is_none()
        );
    }
}
