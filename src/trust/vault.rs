//! The vault: signs our own tokens and encrypts stored secrets, with keys derived from `SECRET_KEY`.
//!
//! Each purpose has a key of its own, derived from each secret with HKDF-SHA256. A secret that people may have chosen is stretched before,
//! with PBKDF2, so that what a token or a stored secret shows is no quick test of guesses. The first secret signs and encrypts; the others still
//! verify and decrypt. So a secret is rotated by putting a new one in front, and dropped when nothing uses it any more.

use std::{collections::HashSet, num::NonZeroU32};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::{aead, hkdf, pbkdf2};
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
/// Rounds of PBKDF2 over a secret that people chose, 600,000: the least that OWASP advises. They take a fraction of a second, once
/// at the start, and as long for each guess.
const PBKDF2_ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// A secret of so many hexadecimal digits, 64, as `openssl rand -hex 32` writes it, was generated, and its replica is ready sooner...
const GENERATED_DIGITS: usize = 64;
/// ... if so many of its pairs of neighbours differ, 40: of 63 random pairs, 56 on average; of a repeated or counted text, 16 at most.
const GENERATED_PAIRS: usize = 40;
/// Credentials that a token may stand for, by the beginning of their field: an API key, and an issuer.
const EXCHANGED: [&str; 2] = ["k:", "i:"];

/// The secrets of `SECRET_KEY`, the current one first.
#[derive(Clone)]
pub struct SecretKeys(Vec<Secret>);

#[derive(Clone)]
struct Secret {
    text: String,
    /// Whether it may consist of words, so that it is stretched.
    is_chosen: bool,
}

impl SecretKeys {
    /// One secret that was generated at random; `None` when it is shorter than [`MIN_SECRET_BYTES`].
    #[must_use]
    pub fn generated(secret: &str) -> Option<Self> {
        Self::all([secret], false)
    }

    /// Secrets that people set, the current one first; `None` when there is none, or one is shorter than [`MIN_SECRET_BYTES`].
    #[must_use]
    pub fn chosen<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        Self::all(secrets, true)
    }

    fn all<'a>(secrets: impl IntoIterator<Item = &'a str>, are_chosen: bool) -> Option<Self> {
        let secret = |text: &str| Secret { text: text.to_owned(), is_chosen: are_chosen && !is_random_hex(text) };
        let secrets: Vec<_> = secrets.into_iter().map(secret).collect();
        let fits = !secrets.is_empty() && secrets.iter().all(|secret| secret.text.len() >= MIN_SECRET_BYTES);
        fits.then_some(Self(secrets))
    }
}

impl Secret {
    /// What the keys are derived from.
    fn material(&self) -> Vec<u8> {
        if !self.is_chosen {
            return self.text.as_bytes().to_vec();
        }
        let mut material = vec![0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, PBKDF2_ROUNDS, SALT, self.text.as_bytes(), &mut material);
        material
    }
}

/// Whether a text can only be random digits: 256 bits that nobody guesses, stretched or not.
fn is_random_hex(text: &str) -> bool {
    let digits = text.as_bytes();
    let pairs: HashSet<_> = digits.windows(2).collect();
    digits.len() >= GENERATED_DIGITS && digits.iter().all(u8::is_ascii_hexdigit) && pairs.len() >= GENERATED_PAIRS
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
        Self(secrets.0.iter().filter_map(|secret| DerivedKeys::derive(&secret.material())).collect())
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

    /// Verifies the signature of a token of ours, and that it claims no more than we sign: an exchanged credential, the scopes read and
    /// write, a life of [`TOKEN_LIFE_S`]. `None` for any other text.
    ///
    /// Does not check its end nor its credential: the tenant's scripts do, on Redis' clock.
    #[must_use]
    pub fn verify(&self, text: &str) -> Option<Token> {
        let kid = jsonwebtoken::decode_header(text).ok()?.kid?;
        let keys = self.0.iter().find(|keys| keys.id == kid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        let claims = jsonwebtoken::decode::<Claims>(text, &keys.verify, &validation).ok()?.claims;
        let scopes = Scopes::parse(claims.scope.split(',')).ok()?.and(Scopes::READ_WRITE);
        let life_s = claims.exp.checked_sub(claims.iat)?;
        let is_ours = EXCHANGED.iter().any(|kind| claims.cred.starts_with(kind))
            && scopes != Scopes::NONE
            && (1..=TOKEN_LIFE_S).contains(&life_s);
        is_ours.then_some(Token {
            tenant: TenantId::parse(&claims.tid)?,
            credential: claims.cred,
            end_user: claims.sub,
            scopes,
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
        Vault::new(&SecretKeys::all(list.split(','), false).unwrap())
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
        assert!(SecretKeys::generated("short").is_none() && SecretKeys::chosen([]).is_none());
        assert!(SecretKeys::chosen(["long-enough-secret", ""]).is_none());
    }

    #[test]
    fn a_chosen_secret_is_slow_to_guess() {
        let text = "correct-horse-battery";
        let (plain, slow) = (SecretKeys::generated(text).unwrap(), SecretKeys::chosen([text]).unwrap());
        let begun = std::time::Instant::now();
        let slow = Vault::new(&slow);
        assert!(begun.elapsed() > std::time::Duration::from_millis(20), "{:?}: a guess is cheap", begun.elapsed());
        assert_ne!(Vault::new(&plain).0[0].id, slow.0[0].id, "the name of the key is no quick test either");
        let again = Vault::new(&SecretKeys::chosen([text]).unwrap());
        assert!(again.verify(&slow.sign(&token(), 0).unwrap()).is_some(), "every replica derives the same");
    }

    #[test]
    fn random_digits_are_not_stretched_and_nothing_else_is_taken_for_them() {
        let random = "c1f6e0a92b7d48351fbb06c5d2e87a490d3c64f8a5b1e7920f4d86ab3c59e714";
        assert!(is_random_hex(random));
        let counted = "0123456789abcdef".repeat(4);
        let words = "correct-horse-battery-staple-correct-horse-battery-staple-correct";
        for text in [&random[..62], &random.replace('c', "g"), &"deadbeef".repeat(8), &counted, words] {
            assert!(!is_random_hex(text), "{text}");
        }
    }

    #[test]
    fn a_signed_token_that_claims_too_much_is_refused() {
        let vault = vault("secret-one-secret");
        let with = |change: fn(&mut Token)| {
            let mut token = token();
            change(&mut token);
            vault.verify(&vault.sign(&token, 0).unwrap())
        };
        assert!(with(|_| ()).is_some() && with(|token| token.credential = "i:1".into()).is_some());
        for credential in ["name", "state", "s:x", "q:x", ""] {
            let mut token = token();
            token.credential = credential.into();
            assert_eq!(vault.verify(&vault.sign(&token, 0).unwrap()), None, "{credential}");
        }
        assert_eq!(with(|token| token.ends_ms = 901_000), None, "it lives too long");
        assert_eq!(with(|token| token.ends_ms = 0), None, "it never lived");
        assert_eq!(with(|token| token.scopes = Scopes::ALL).unwrap().scopes, Scopes::READ_WRITE);
    }
}
