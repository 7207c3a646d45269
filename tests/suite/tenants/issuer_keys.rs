//! Keys of issuers: what can never verify is refused at registration, and in a set it is passed over.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use holdfast::{
    domain::{
        access::{Scopes, Token},
        names::TenantId,
    },
    store::Secret,
    trust::{SecretKeys, Vault},
};

use crate::{
    support::world::World,
    tenants::signer::{Signer, claims, exchange, now_s, register, reserve, with},
};

/// An RSA key of 1,024 bits.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCn2kWBbot/Va6LvNw0JnmSWu9t
3zL2TaTvsCroBa8+Ai6w/FBegGr03jc9g/zl7pRPaUBbSUxVrLeZgshmI4mN4Gzk
XSPuX3dUbqoDNcFokt40V3rybaCjfPbrl1brESZ4yNfOtgrtFNOpWB8Xx2IRbnAo
r0cklMskHW5qeUzQrQIDAQAB
-----END PUBLIC KEY-----
";

/// Keys that can never verify, each with its reason.
fn unusable() -> Vec<(&'static str, Value)> {
    let (rsa, ec, ed) = (Signer::rsa().jwk("r"), Signer::ec().jwk("e"), Signer::ed().jwk("o"));
    let bytes = |key: &Value, member: &str| B64.decode(key[member].as_str().unwrap()).unwrap();
    let long = vec![0xff; 9_216 / 8];
    vec![
        ("for encryption", with(rsa.clone(), "use", json!("enc"))),
        ("of an algorithm that encrypts", with(rsa.clone(), "alg", json!("RSA-OAEP"))),
        ("not to verify", with(ed.clone(), "key_ops", json!(["encrypt"]))),
        ("of another curve", json!({"kty": "EC", "crv": "secp256k1", "x": ec["x"], "y": ec["y"]})),
        ("of another kind", json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"})),
        ("short", with(rsa.clone(), "n", json!(B64.encode([0xff; 128])))),
        ("long", with(rsa.clone(), "n", json!(B64.encode(&long)))),
        (
            "with a zero byte before n",
            with(rsa.clone(), "n", json!(B64.encode([&[0][..], &bytes(&rsa, "n")].concat()))),
        ),
        ("with a zero byte before e", with(rsa.clone(), "e", json!(B64.encode([0, 1, 0, 1])))),
        ("with an exponent of 1", with(rsa.clone(), "e", json!(B64.encode([1])))),
        ("with a short coordinate", with(ec.clone(), "x", json!(B64.encode(&bytes(&ec, "x")[1..])))),
        ("off its curve", with(ec.clone(), "y", ec["x"].clone())),
        ("with 31 bytes", with(ed.clone(), "x", json!(B64.encode(&bytes(&ed, "x")[1..])))),
        ("a private one", with(ed, "d", json!("AAAA"))),
        ("a secret", json!({"kty": "oct", "k": B64.encode([7; 32])})),
        ("no key", json!(7)),
    ]
}

fn set(keys: &[Value]) -> Value {
    json!({"jwks": {"keys": keys}, "issuer": "https://issuer.example", "audience": "locks"})
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_passed_over_and_a_set_of_none_else_is_refused() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let [replica] = &world.replicas;
    let signer = Signer::rsa();
    for (what, key) in unusable() {
        let alone = register(replica, &tenant, set(std::slice::from_ref(&key))).await;
        assert_eq!(alone.paths(), ["jwt.jwks.keys[0]"], "{what}");
        let beside = register(replica, &tenant, set(&[key, signer.jwk("r")])).await;
        assert_eq!(beside.status, 200, "{what}: {beside:?}");
        let jwt = signer.jwt(Some("r"), &claims("ada"));
        assert_eq!(exchange(replica, json!({"jwt": jwt})).await.status, 200, "{what}");
    }
    // None usable: each is named.
    let all: Vec<_> = unusable().into_iter().map(|(_, key)| key).collect();
    assert_eq!(register(replica, &tenant, set(&all)).await.paths().len(), all.len());
}

#[tokio::test]
async fn other_names_of_what_verifies_are_known() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let [replica] = &world.replicas;
    let ed = Signer::ed();
    for key in [
        with(ed.jwk("o"), "alg", json!("Ed25519")),
        with(ed.jwk("o"), "alg", json!("EdDSA")),
        with(ed.jwk("o"), "key_ops", json!(["verify"])),
    ] {
        assert_eq!(register(replica, &tenant, set(std::slice::from_ref(&key))).await.status, 200, "{key}");
        let jwt = ed.jwt(Some("o"), &claims("ada"));
        assert_eq!(exchange(replica, json!({"jwt": jwt})).await.status, 200, "{key}");
    }
    // Of many audiences, any may be the registered one.
    let mut audiences: Vec<_> = (0..40).map(|number| format!("other {number}")).collect();
    audiences.push("locks".into());
    let jwt = ed.jwt(Some("o"), &with(claims("ada"), "aud", json!(audiences)));
    assert_eq!(exchange(replica, json!({"jwt": jwt})).await.status, 200);
}

#[tokio::test]
async fn a_key_in_pem_has_the_same_bounds() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    for pem in [SHORT_RSA, &include_str!("keys/rsa-of-the-tests.pem").replace("PRIVATE", "PUBLIC")] {
        let refused = register(&world.replicas[0], &tenant, json!({"publicKeyPem": pem})).await;
        assert_eq!(refused.paths(), ["jwt.publicKeyPem"]);
    }
    let both = concat!(include_str!("keys/rsa-of-the-tests.pub.pem"), include_str!("keys/rsa-of-the-tests.pem"));
    let refused = register(&world.replicas[0], &tenant, json!({"publicKeyPem": both})).await;
    assert_eq!(refused.paths(), ["jwt.publicKeyPem"]);
}

#[tokio::test]
async fn a_token_signed_with_the_secret_has_no_more_than_ours_have() {
    const SECRET_KEY: &str = "secret-key-of-the-tests";
    let world = World::<1>::with(&[], &[("SECRET_KEY", SECRET_KEY)]).await;
    let tenant = world.tenant().await;
    let vault = Vault::new(&SecretKeys::chosen([SECRET_KEY]).unwrap());
    let signed = |credential: String, begins_in_s: i64, life_s: i64| {
        let (id, begins_s) = (TenantId::parse(&tenant.id).unwrap(), now_s() + begins_in_s);
        let ends_ms = (begins_s + life_s) * 1000;
        let token = Token { tenant: id, credential, end_user: None, scopes: Scopes::ALL, ends_ms };
        vault.sign(&token, begins_s * 1_000_000).unwrap()
    };
    let key = format!("k:{}", Secret::of(&tenant.key).hash());
    let good = signed(key.clone(), 0, 900);
    assert_eq!(reserve(&world.replicas[0], &good, "a").await.status, 200);
    for (what, forged) in [
        ("another field", signed("name".into(), 0, 900)),
        ("the state", signed("state".into(), 0, 900)),
        ("a long life", signed(key.clone(), 0, 1_000_000_000)),
        ("a life that begins in an hour", signed(key, 3_600, 900)),
    ] {
        assert_eq!(reserve(&world.replicas[0], &forged, "a").await.status, 401, "{what}");
    }
    let reset = reqwest::Client::new()
        .post(format!("{}/api/v1/Reservation/reset", world.replicas[0].url))
        .bearer_auth(&good)
        .send()
        .await
        .unwrap();
    assert_eq!(reset.status(), 403, "admin is in no token");
}
