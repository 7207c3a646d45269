//! The cryptography of jsonwebtoken, implemented with ring: TLS needs ring anyway, so there is one implementation to keep up to date.
//!
//! It verifies every algorithm that issuers may use, and signs with HMAC alone: no private key of another kind is ever here.

use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error as JwtError, ErrorKind},
};
use ring::{hmac, rsa::PublicKeyComponents, signature as rs};

pub(super) static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

struct Hmac(hmac::Key);

impl Signer<Vec<u8>> for Hmac {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hmac {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    match algorithm {
        Algorithm::HS256 if key.family() == AlgorithmFamily::Hmac => {
            Ok(Box::new(Hmac(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
        }
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let secret = || self.key.try_get_as_bytes().map_err(Error::from_source);
        let good = match self.algorithm {
            // ring compares in constant time.
            Algorithm::HS256 => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret()?), message, signature).is_ok(),
            Algorithm::ES256 => {
                rs::UnparsedPublicKey::new(&rs::ECDSA_P256_SHA256_FIXED, secret()?).verify(message, signature).is_ok()
            }
            Algorithm::ES384 => {
                rs::UnparsedPublicKey::new(&rs::ECDSA_P384_SHA384_FIXED, secret()?).verify(message, signature).is_ok()
            }
            Algorithm::EdDSA => rs::UnparsedPublicKey::new(&rs::ED25519, secret()?).verify(message, signature).is_ok(),
            other => rsa(other).is_some_and(|parameters| match self.key.kind() {
                DecodingKeyKind::RsaModulusExponent { n, e } => {
                    PublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
                }
                DecodingKeyKind::SecretOrDer(der) => {
                    rs::UnparsedPublicKey::new(parameters, der).verify(message, signature).is_ok()
                }
            }),
        };
        if good { Ok(()) } else { Err(Error::new()) }
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static rs::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &rs::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &rs::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &rs::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &rs::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &rs::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &rs::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Check { algorithm: *algorithm, key: key.clone() }))
}
