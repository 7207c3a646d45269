//! The issuers that tenants trust: their keys, and the verification of their JWTs.
//!
//! The kind of a registered key decides which algorithms are accepted, never the token. So a token signed with HMAC over a public key, or
//! not signed at all, finds no key that fits it.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    domain::{
        access::{Issuer, IssuerKind, MIN_SECRET_BYTES},
        field_errors::FieldErrors,
        names,
    },
    trust::public_key,
};

/// Most keys of a set.
const MAX_KEYS: usize = 100;
/// Largest registration, in bytes.
const MAX_REGISTRATION_BYTES: usize = 64 << 10;
/// Most audiences of a token that are looked up: each costs a call to Redis, all at once.
const MAX_AUDIENCES: usize = 64;
/// Members of a JWK that hold a private key or a shared secret.
const PRIVATE_MEMBERS: [&str; 2] = ["d", "k"];

/// An issuer's keys as they are registered: exactly one of the three fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// A JSON Web Key Set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// One public key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
    /// A shared secret for HMAC with SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hs256_secret: Option<String>,
}

impl Registration {
    /// How the keys were given; `None` unless exactly one of the three is there.
    #[must_use]
    pub fn kind(&self) -> Option<IssuerKind> {
        match (&self.jwks, &self.public_key_pem, &self.hs256_secret) {
            (Some(_), None, None) => Some(IssuerKind::Jwks),
            (None, Some(_), None) => Some(IssuerKind::PublicKeyPem),
            (None, None, Some(_)) => Some(IssuerKind::Hs256Secret),
            _ => None,
        }
    }

    /// The keys as JSON, to be encrypted.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An issuer's keys, ready to verify.
#[derive(Debug)]
pub struct IssuerKeys(Vec<VerifyingKey>);

/// Check of a key for its algorithms; it costs a key agreement for each elliptic curve.
type KeyCheck = fn(&DecodingKey, &[Algorithm]) -> Result<(), String>;

/// One key, and the algorithms that it verifies.
#[derive(Debug)]
struct VerifyingKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Claims of a token that are compared.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Pairs of issuer and audience that a token claims, at most 64. Nothing of it is verified: it only tells which tenant to look up.
#[must_use]
pub fn claimed_pairs(text: &str) -> Vec<(String, String)> {
    super::install_provider();
    let Ok(claims) = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(text) else { return Vec::new() };
    let (Some(iss), Some(aud)) = (claims.iss, claims.aud) else { return Vec::new() };
    aud.list().into_iter().take(MAX_AUDIENCES).map(|aud| (iss.clone(), aud)).collect()
}

impl IssuerKeys {
    /// Parses the keys of a registration that was checked before. `None` where that was by another version with other rules.
    #[must_use]
    pub fn registered(registration: &Registration) -> Option<Self> {
        Self::read(registration, &mut FieldErrors::default(), |_, _| Ok(()))
    }

    /// Parses the keys of a new registration, and checks that they can verify; every error has a path under `jwt`.
    pub fn parse(registration: &Registration, errors: &mut FieldErrors) -> Option<Self> {
        Self::read(registration, errors, public_key::check)
    }

    fn read(registration: &Registration, errors: &mut FieldErrors, check: KeyCheck) -> Option<Self> {
        super::install_provider();
        if registration.text().len() > MAX_REGISTRATION_BYTES {
            errors.add("jwt", format!("is larger than {MAX_REGISTRATION_BYTES} bytes"));
            return None;
        }
        match registration {
            Registration { jwks: Some(set), public_key_pem: None, hs256_secret: None } => {
                Self::of_set(set, errors, check)
            }
            Registration { jwks: None, public_key_pem: Some(pem), hs256_secret: None } => {
                errors.check(|| "jwt.publicKeyPem".into(), Self::of_pem(pem, check))
            }
            Registration { jwks: None, public_key_pem: None, hs256_secret: Some(secret) } => {
                if secret.len() < MIN_SECRET_BYTES {
                    errors.add("jwt.hs256Secret", format!("must have at least {MIN_SECRET_BYTES} bytes"));
                    return None;
                }
                Some(Self(vec![VerifyingKey {
                    kid: None,
                    algorithms: vec![Algorithm::HS256],
                    key: DecodingKey::from_secret(secret.as_bytes()),
                }]))
            }
            _ => {
                errors.add("jwt", "must have exactly one of jwks, publicKeyPem and hs256Secret; {} removes the issuer");
                None
            }
        }
    }

    fn of_set(set: &Value, errors: &mut FieldErrors, check: KeyCheck) -> Option<Self> {
        let Some(keys) = set.get("keys").and_then(Value::as_array).filter(|keys| (1..=MAX_KEYS).contains(&keys.len()))
        else {
            errors.add("jwt.jwks", format!("must be a key set: {{\"keys\":[...]}} with 1 to {MAX_KEYS} keys"));
            return None;
        };
        // As RFC 7517 says, keys that cannot be used are passed over: issuers publish keys of many kinds and uses together.
        let mut usable = Vec::new();
        let mut unusable = FieldErrors::default();
        for (at, key) in keys.iter().enumerate() {
            usable.extend(unusable.check(|| format!("jwt.jwks.keys[{at}]"), VerifyingKey::of_jwk(key, check)));
        }
        if usable.is_empty() {
            errors.add_nested("", unusable.finish(|| Some(())).err().unwrap_or_default());
            return None;
        }
        Some(Self(usable))
    }

    fn of_pem(pem: &str, check: KeyCheck) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY-----") {
            return Err("has a private key in it; give the public one alone, and replace that pair of keys".into());
        }
        if !pem.contains("PUBLIC KEY-----") {
            return Err("must be a public key in PEM: -----BEGIN PUBLIC KEY-----".into());
        }
        let bytes = pem.as_bytes();
        let one = |key, algorithms: &[Algorithm]| {
            check(&key, algorithms)?;
            Ok(Self(vec![VerifyingKey { kid: None, algorithms: algorithms.to_vec(), key }]))
        };
        if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
            return one(key, AlgorithmFamily::Rsa.algorithms());
        }
        if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
            return one(key, &[Algorithm::EdDSA]);
        }
        let key = DecodingKey::from_ec_pem(bytes).map_err(|_| "is no public key of RSA, P-256, P-384 or Ed25519")?;
        // An uncompressed point: one byte that says so, then two coordinates.
        match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => one(key, &[Algorithm::ES256]),
            Ok(97) => one(key, &[Algorithm::ES384]),
            _ => Err("is a key of another curve; P-256 and P-384 are known".into()),
        }
    }

    /// End user (`sub`) of a token that is valid at `now_us` on Redis' clock; `None` if it is not.
    ///
    /// Valid: signed by one of these keys with an algorithm of that key, `exp` in the future (without leeway), `nbf` not, `iss` and `aud`
    /// as registered.
    #[must_use]
    pub fn end_user(&self, issuer: &Issuer, text: &str, now_us: i64) -> Option<String> {
        super::install_provider();
        let header = jsonwebtoken::decode_header(text).ok()?;
        if header.crit.is_some() {
            return None; // it has a critical extension, and none is known here
        }
        let fits = |key: &&VerifyingKey| {
            key.algorithms.contains(&header.alg) && (key.kid.is_none() || header.kid.is_none() || key.kid == header.kid)
        };
        let claims = self.0.iter().filter(fits).find_map(|key| {
            let mut validation = Validation::new(header.alg);
            // Times and names are compared below, on Redis' clock and without leeway.
            (validation.validate_exp, validation.validate_aud) = (false, false);
            validation.set_required_spec_claims::<&str>(&[]);
            jsonwebtoken::decode::<Claims>(text, &key.key, &validation).ok()
        })?;
        let claims = claims.claims;
        let now_s = now_us as f64 / 1_000_000.0;
        let in_time = claims.exp.is_some_and(|exp| now_s < exp) && claims.nbf.is_none_or(|nbf| nbf <= now_s);
        let from_issuer = issuer.issuer.is_none() || issuer.issuer == claims.iss;
        let for_us =
            issuer.audience.as_ref().is_none_or(|wanted| claims.aud.is_some_and(|aud| aud.list().contains(wanted)));
        if in_time && from_issuer && for_us { names::label(claims.sub).ok() } else { None }
    }
}

impl VerifyingKey {
    fn of_jwk(value: &Value, check: KeyCheck) -> Result<Self, String> {
        if PRIVATE_MEMBERS.iter().any(|member| value.get(member).is_some()) {
            return Err("holds a private key or a shared secret; give public keys alone".into());
        }
        let mut value = value.clone();
        // RFC 9864's name of the one algorithm of Ed25519.
        if value.get("alg").and_then(Value::as_str) == Some("Ed25519") {
            value["alg"] = "EdDSA".into();
        }
        let verifies = |operations: &Vec<Value>| operations.iter().any(|operation| operation == "verify");
        if value.get("key_ops").is_some_and(|operations| !operations.as_array().is_some_and(verifies)) {
            return Err("is not for verifying, by its key_ops".into());
        }
        let jwk: Jwk = serde_json::from_value(value.clone())
            .map_err(|_| "is no JSON Web Key of a known kind, curve and algorithm".to_owned())?;
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return Err("is for encryption; give keys that sign".into());
        }
        let algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            // A shared secret in a set of public keys is a mistake, and would let whoever reads the set forge tokens.
            _ => return Err("is no public key of RSA, P-256, P-384 or Ed25519".into()),
        };
        let pinned = value
            .get("alg")
            .and_then(Value::as_str)
            .map(|name| name.parse::<Algorithm>().map_err(|_| format!("has the unknown algorithm \"{name}\"")));
        let algorithms = match pinned.transpose()? {
            Some(pinned) if algorithms.contains(&pinned) => vec![pinned],
            Some(_) => return Err("has an \"alg\" that does not fit its kind".into()),
            None => algorithms,
        };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "has coordinates that are not base64url".to_owned())?;
        check(&key, &algorithms)?;
        Ok(Self { kid: jwk.common.key_id, algorithms, key })
    }
}
