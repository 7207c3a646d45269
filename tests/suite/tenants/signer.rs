//! Harness: keys that sign JWTs, their registration, and tokens that are exchanged for them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use reqwest::Method;
use ring::{
    hmac, rand,
    signature::{self, KeyPair},
};
use serde_json::{Value, json};

use crate::support::world::{Answer, Replica, Tenant, admin, answer, call};

pub const RSA: &str = include_str!("keys/rsa-of-the-tests.pem");
pub const RSA_PUBLIC: &str = include_str!("keys/rsa-of-the-tests.pub.pem");
pub const SECRET: &str = "a-secret-of-the-tests-of-32-bytes";

/// A key that signs JWTs.
pub enum Signer {
    Rsa(signature::RsaKeyPair),
    Ec(signature::EcdsaKeyPair),
    Ed(signature::Ed25519KeyPair),
    Secret(Vec<u8>),
}

pub fn der_of(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}

impl Signer {
    pub fn rsa() -> Self {
        Self::Rsa(signature::RsaKeyPair::from_pkcs8(&der_of(RSA)).unwrap())
    }

    pub fn ec() -> Self {
        let random = rand::SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(signature::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    pub fn ed() -> Self {
        let pkcs8 = signature::Ed25519KeyPair::generate_pkcs8(&rand::SystemRandom::new()).unwrap();
        Self::Ed(signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Secret(_) => "HS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Secret(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
        }
    }

    /// The public key as a JSON Web Key.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": B64.encode(public.n), "e": B64.encode(public.e)})
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "kid": kid, "crv": "P-256", "alg": "ES256", "x": B64.encode(x), "y": B64.encode(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": B64.encode(pair.public_key().as_ref())})
            }
            Self::Secret(_) => unreachable!("a secret is in no set of public keys"),
        }
    }

    pub fn jwt(&self, kid: Option<&str>, claims: &Value) -> String {
        self.jwt_as(&json!({"alg": self.algorithm(), "kid": kid}), claims)
    }

    pub fn jwt_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = B64.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

pub fn now_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Claims that are good for a minute.
pub fn claims(sub: &str) -> Value {
    json!({"iss": "https://issuer.example", "aud": "locks", "sub": sub, "exp": now_s() + 60, "nbf": now_s() - 60})
}

pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

pub async fn register(replica: &Replica, tenant: &Tenant, jwt: Value) -> Answer {
    admin(replica, Method::PATCH, &format!("/{}", tenant.id), Some(json!({"jwt": jwt}))).await
}

/// Registers keys with the usual issuer and audience.
pub async fn trust(replica: &Replica, tenant: &Tenant, mut keys: Value) {
    keys["issuer"] = json!("https://issuer.example");
    keys["audience"] = json!("locks");
    let answer = register(replica, tenant, keys).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn exchange(replica: &Replica, body: Value) -> Answer {
    call(Method::POST, &format!("{}/api/v1/auth/token", replica.url), None, Some(body)).await
}

pub async fn token(replica: &Replica, jwt: &str) -> String {
    let answer = exchange(replica, json!({"jwt": jwt})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["tokenType"], &answer.body["expiresIn"]), (&json!("Bearer"), &json!(900)));
    answer.body["accessToken"].as_str().unwrap().to_owned()
}

/// Reserves with a token, at any replica.
pub async fn reserve(replica: &Replica, token: &str, resource: &str) -> Answer {
    let request = reqwest::Client::new().post(format!("{}/api/v1/Reservation/reserve", replica.url)).bearer_auth(token);
    answer(request.json(&json!([{"requester": "w", "resource": resource}])).send().await.unwrap()).await
}
