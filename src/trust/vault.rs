//! The vault: signs our own tokens and encrypts stored secrets, with keys derived from `SECRET_KEY`.
//!
//! Each purpose has a key of its own, derived from each secret with HKDF-SHA256. The first secret signs and encrypts; the others still
//! verify and decrypt. So a secret is rotated by putting a new one in front, and dropped when nothing uses it any more.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::{aead, hkdf};
use serde::{Deserialize, Serialize};

use crate::domain::{
    access::{MIN_SECRET_BYTES, Scopes, Token},
    names::TenantId,
};

/// Life of one of our tokens, in seconds.
pub const TOKEN_LIFE_S: i64 = 900;
/// Value of the claim `iss` of our tokens.
const ISSUER: &str = "holdfast";
/// Salt of the derivation: separates these keys from any other use of the same secret.
const SALT: &[u8] = b"holdfast 1";

/// The secrets of `SECRET_KEY`, the current one first.
#[derive(Clone)]
pub struct SecretKeys(Vec<String>);

impl SecretKeys {
    /// One secret; `None` when it is shorter than [`MIN_SECRET_BYTES`].
    #[must_use]
    pub fn one(secret: &str) -> Option<Self> {
        Self::of([secret])
    }

    /// Several secrets, the current one first; `None` when there is none, or one is shorter than [`MIN_SECRET_BYTES`].
    #[must_use]
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let secrets: Vec<_> = secrets.into_iter().map(str::to_owned).collect();
        let fits = !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= MIN_SECRET_BYTES);
        fits.then_some(Self(secrets))
    }
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "({} hidden)", self.0.len())
    }
}

/// Signs and verifies tokens, encrypts and decrypts stored secrets. One per replica.
pub struct Vault(Vec<DerivedKeys>);

/// Keys derived from one secret.
struct DerivedKeys {
    /// Names the secret, and shows nothing of it.
    id: String,
    sign: EncodingKey,
    verify: DecodingKey,
    cipher: aead::LessSafeKey,
}

/// Claims of a token.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The tenant.
    tid: String,
    /// The credential for which it was exchanged.
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
        super::install_provider();
        Self(secrets.0.iter().filter_map(|secret| DerivedKeys::derive(secret.as_bytes())).collect())
    }

    /// Signs a token as a JWT, issued at `now_us` on Redis' clock. `None` only if the signature fails, which HMAC does not.
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

    /// Verifies the signature of a token of ours; `None` for any other text. Does not check its end nor its credential: the tenant's
    /// scripts do, on Redis' clock.
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

    /// Encrypts a secret of `owner`, bound to that owner, for storage. `None` when the system gives no random numbers.
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

    /// Decrypts a stored secret of `owner`; `None` when it was encrypted for another owner or with another secret.
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

impl DerivedKeys {
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
        Vault::new(&SecretKeys::of(list.split(',')).unwrap())
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
        assert!(SecretKeys::one("short").is_none() && SecretKeys::of([]).is_none());
        assert!(SecretKeys::of(["long-enough-secret", ""]).is_none());
    }
}
