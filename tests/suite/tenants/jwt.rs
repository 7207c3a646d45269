//! Token exchange: who gets a token for a JWT or key, what it may do, when it ends. Forgeries get none.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use reqwest::Method;
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
    support::world::{Replica, Tenant, World, admin, answer, call, until},
    tenants::signer::{
        RSA, RSA_PUBLIC, SECRET, Signer, claims, der_of, exchange, now_s, register, reserve, token, trust, with,
    },
};

#[tokio::test]
async fn users_are_verified_with_every_kind_of_key() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let (rsa, ec, ed, secret) = (Signer::rsa(), Signer::ec(), Signer::ed(), Signer::Secret(SECRET.into()));
    let mut made = 0;
    let set = json!({"jwks": {"keys": [rsa.jwk("r"), ec.jwk("e"), ed.jwk("d")]}});
    let forms = [
        (set.clone(), &rsa, Some("r")),
        (set.clone(), &ec, Some("e")),
        (set.clone(), &ed, Some("d")),
        (set, &ed, None),
        (json!({"publicKeyPem": RSA_PUBLIC}), &rsa, None),
        (json!({"hs256Secret": SECRET}), &secret, Some("any")),
    ];
    for (keys, signer, kid) in forms {
        trust(north, &tenant, keys.clone()).await;
        let token = token(south, &signer.jwt(kid, &claims("ada"))).await;
        made += 1;
        let granted = reserve(north, &token, &format!("r{made}")).await;
        assert_eq!(granted.body[0]["status"], "ACQUIRED", "{keys} {granted:?}");
    }
    let listed = world.at(&tenant).get("/Reservation").await;
    assert!(
        listed.body["reservations"].as_array().unwrap().iter().all(|row| row["apiKeyLabel"] == "ada"),
        "{listed:?}"
    );
    // The older path, and what may be shown of the registration.
    let request = reqwest::Client::new()
        .post(format!("{}/auth/token", south.url))
        .json(&json!({"jwt": secret.jwt(None, &claims("ada"))}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let shown = admin(south, Method::GET, &format!("/{}", tenant.id), None).await;
    assert_eq!(
        shown.body["jwt"],
        json!({"kind": "hs256Secret", "issuer": "https://issuer.example", "audience": "locks"})
    );
}

#[tokio::test]
async fn no_forgery_is_exchanged() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let (tenant, other) = (world.tenant().await, world.tenant().await);
    let (rsa, ec) = (Signer::rsa(), Signer::ec());
    trust(north, &tenant, json!({"jwks": {"keys": [rsa.jwk("r"), ec.jwk("e")]}})).await;
    let registered =
        register(north, &other, json!({"hs256Secret": SECRET, "issuer": "https://other.example", "audience": "locks"}))
            .await;
    assert_eq!(registered.status, 200);
    let good = claims("mallory");
    let unsigned = format!("{}.{}.", B64.encode(r#"{"alg":"none"}"#), B64.encode(good.to_string()));
    let confused = |key: &[u8]| Signer::Secret(key.to_vec()).jwt(Some("r"), &good);
    let jwk = rsa.jwk("r");
    let modulus = B64.decode(jwk["n"].as_str().unwrap()).unwrap();
    let whole = rsa.jwt(Some("r"), &good);
    let (message, _) = whole.rsplit_once('.').unwrap();
    let forgeries = [
        ("no signature", unsigned),
        (
            "none, with the signature of another",
            whole.replacen(
                &B64.encode(json!({"alg": "RS256", "kid": "r"}).to_string()),
                &B64.encode(r#"{"alg":"none"}"#),
                1,
            ),
        ),
        ("the signature cut off", format!("{message}.")),
        ("HMAC over the public PEM", confused(RSA_PUBLIC.as_bytes())),
        ("HMAC over the public DER", confused(&der_of(RSA_PUBLIC))),
        ("HMAC over the modulus", confused(&modulus)),
        ("another algorithm of the same family", rsa.jwt_as(&json!({"alg": "RS512", "kid": "r"}), &good)),
        ("the other key's id", rsa.jwt_as(&json!({"alg": "RS256", "kid": "e"}), &good)),
        ("an unknown key's id", Signer::ec().jwt(Some("x"), &good)),
        ("a stranger's key under a known id", Signer::ec().jwt(Some("e"), &good)),
        (
            "its own key in the header",
            Signer::ec().jwt_as(&json!({"alg": "ES256", "kid": "e", "jwk": Signer::ec().jwk("e")}), &good),
        ),
        ("a demand in crit", rsa.jwt_as(&json!({"alg": "RS256", "kid": "r", "crit": ["exp"]}), &good)),
        ("expired this second", rsa.jwt(Some("r"), &with(good.clone(), "exp", json!(now_s())))),
        ("no end", rsa.jwt(Some("r"), &with(good.clone(), "exp", Value::Null))),
        ("an end that is no number", rsa.jwt(Some("r"), &with(good.clone(), "exp", json!("9999999999")))),
        ("not yet", rsa.jwt(Some("r"), &with(good.clone(), "nbf", json!(now_s() + 30)))),
        ("for somebody else", rsa.jwt(Some("r"), &with(good.clone(), "aud", json!("others")))),
        ("from somebody else", rsa.jwt(Some("r"), &with(good.clone(), "iss", json!("https://evil.example")))),
        (
            "for another tenant, signed by the first one's issuer",
            rsa.jwt(Some("r"), &with(good.clone(), "iss", json!("https://other.example"))),
        ),
        ("for nobody", rsa.jwt(Some("r"), &with(good.clone(), "sub", Value::Null))),
        ("for an empty name", rsa.jwt(Some("r"), &with(good.clone(), "sub", json!("")))),
        ("for a name with a line feed", rsa.jwt(Some("r"), &with(good.clone(), "sub", json!("a\nb")))),
        ("no JWT at all", "nonsense".into()),
        ("too long", format!("{whole}{}", "A".repeat(14_000))),
    ];
    let mut wordings = std::collections::BTreeSet::new();
    for (what, forgery) in forgeries {
        for replica in [north, south] {
            let refused = exchange(replica, json!({"jwt": forgery})).await;
            assert_eq!((refused.status.as_u16(), refused.code()), (401, "UNAUTHORIZED"), "{what}: {refused:?}");
            wordings.insert(refused.body.to_string());
        }
    }
    assert_eq!(wordings.len(), 1, "one wording for all: {wordings:?}");
    // Naming a tenant does not help: issuer and audience must match its registration.
    for (name, value) in [
        ("aud", json!("others")),
        ("aud", json!(["others"])),
        ("aud", Value::Null),
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
    ] {
        let jwt = rsa.jwt(Some("r"), &with(good.clone(), name, value.clone()));
        assert_eq!(exchange(north, json!({"jwt": jwt, "tenantId": tenant.id})).await.status, 401, "{name} {value}");
    }
    assert_eq!(exchange(north, json!({"jwt": whole, "tenantId": other.id})).await.status, 401);
    assert_eq!(exchange(north, json!({"jwt": whole, "tenantId": tenant.id})).await.status, 200);
    // And the genuine one is accepted; one of several audiences is enough, and of many the first 64 count.
    let last_of = |count: usize| {
        let others = (1..count).map(|n| format!("other-{n}"));
        rsa.jwt(Some("r"), &with(good.clone(), "aud", others.chain(["locks".to_owned()]).collect()))
    };
    for count in [2, 9, 64] {
        token(north, &last_of(count)).await;
    }
    assert_eq!(exchange(north, json!({"jwt": last_of(65)})).await.status, 401);
}

#[tokio::test]
async fn our_own_tokens_cannot_be_forged_either() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let secret = Signer::Secret(SECRET.into());
    trust(north, &tenant, json!({"hs256Secret": SECRET})).await;
    let good = token(north, &secret.jwt(None, &claims("ada"))).await;
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let inside: Value = serde_json::from_slice(&B64.decode(payload).unwrap()).unwrap();
    let encode = |value: &Value| B64.encode(value.to_string());
    let elsewhere = world.tenant().await;
    let forgeries = [
        format!("{}.{payload}.", B64.encode(r#"{"alg":"none"}"#)),
        format!("{header}.{}.{signature}", encode(&with(inside.clone(), "tid", json!(elsewhere.id)))),
        format!("{header}.{}.{signature}", encode(&with(inside.clone(), "scope", json!("read,write,admin")))),
        format!("{header}.{}.{signature}", encode(&with(inside.clone(), "exp", json!(now_s() + 9_000_000)))),
        format!("{header}.{payload}.{}", B64.encode([0; 32])),
        secret.jwt_as(&serde_json::from_slice(&B64.decode(header).unwrap()).unwrap(), &inside),
        secret.jwt(None, &claims("ada")),
    ];
    for forgery in forgeries {
        assert_eq!(reserve(south, &forgery, "a").await.status, 401, "{forgery}");
    }
    assert_eq!(reserve(south, &good, "a").await.status, 200);
    // A token has no scope admin, opens no session, and is not exchanged again.
    let bearer = |method, path: &str| {
        reqwest::Client::new().request(method, format!("{}/api/v1{path}", south.url)).bearer_auth(&good)
    };
    assert_eq!(bearer(Method::GET, "/keys").send().await.unwrap().status(), 403);
    assert_eq!(bearer(Method::POST, "/auth/token").send().await.unwrap().status(), 403);
    let session = reqwest::Client::new().post(format!("{}/api/v1/session", south.url)).json(&json!({"apiKey": good}));
    assert_eq!(session.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_token_ends_with_the_key_or_issuer_that_it_came_from() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let secret = Signer::Secret(SECRET.into());
    trust(north, &tenant, json!({"hs256Secret": SECRET})).await;
    let of_issuer = token(north, &secret.jwt(None, &claims("ada"))).await;
    let made = world.at(&tenant).post("/keys", json!({"label": "worker"})).await;
    let key = made.body["apiKey"].as_str().unwrap();
    let exchanged = call(Method::POST, &format!("{}/api/v1/auth/token", north.url), Some(key), None).await;
    assert_eq!(exchanged.status, 200, "{exchanged:?}");
    let of_key = exchanged.body["accessToken"].as_str().unwrap().to_owned();
    for replica in [north, south] {
        assert_eq!(reserve(replica, &of_issuer, "a").await.status, 200);
        assert_eq!(reserve(replica, &of_key, "b").await.status, 200);
    }
    let url = format!("{}/api/v1/events?api_key={of_key}", south.url);
    let mut stream = crate::support::sse::EventStream::open(&url, &[]).await;
    stream.head().await;

    assert_eq!(
        world.at(&tenant).post(&format!("/keys/{}/rotate", made.body["id"].as_str().unwrap()), json!({})).await.status,
        200
    );
    for replica in [south, north] {
        assert_eq!(reserve(replica, &of_key, "b").await.status, 401, "its key was rotated");
        assert_eq!(reserve(replica, &of_issuer, "a").await.status, 200, "it came from elsewhere");
    }
    stream.rest().await;

    assert_eq!(register(south, &tenant, json!({})).await.status, 200);
    for replica in [north, south] {
        assert_eq!(reserve(replica, &of_issuer, "a").await.status, 401, "its issuer is no longer trusted");
    }
    assert_eq!(exchange(north, json!({"jwt": secret.jwt(None, &claims("ada"))})).await.status, 401);
    assert!(!south.log().contains(&of_key), "a token in the query is not logged");
}

#[tokio::test]
async fn a_token_ends_on_redis_clock_whatever_a_replica_remembers() {
    const SECRET_KEY: &str = "secret-key-of-the-tests";
    let world = World::<2>::with(&[], &[("SECRET_KEY", SECRET_KEY)]).await;
    let tenant = world.tenant().await;
    // A token as the service makes them, but shorter: the same key signs it.
    let vault = Vault::new(&SecretKeys::chosen([SECRET_KEY]).unwrap());
    let credential = format!("k:{}", Secret::of(&tenant.key).hash());
    let lasting = |seconds: i64| {
        let id = TenantId::parse(&tenant.id).unwrap();
        let token = Token {
            tenant: id,
            credential: credential.clone(),
            end_user: None,
            scopes: Scopes::READ_WRITE,
            ends_ms: (now_s() + seconds) * 1000,
        };
        vault.sign(&token, now_s() * 1_000_000).unwrap()
    };
    let (over, short, long) = (lasting(-1), lasting(3), lasting(900));
    let mut stream = crate::support::sse::EventStream::open(
        &format!("{}/api/v1/events?api_key={short}", world.replicas[1].url),
        &[],
    )
    .await;
    stream.head().await;

    for replica in &world.replicas {
        assert_eq!(reserve(replica, &over, "a").await.status, 401);
        assert_eq!(reserve(replica, &short, "a").await.status, 200);
    }
    for replica in &world.replicas {
        until("the token has ended", || async { reserve(replica, &short, "a").await.status == 401 }).await;
        assert!(now_s() >= ends_at(&short), "and not before its time");
        assert_eq!(reserve(replica, &long, "a").await.status, 200);
    }
    stream.rest().await;
}

fn ends_at(token: &str) -> i64 {
    let claims: Value = serde_json::from_slice(&B64.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    claims["exp"].as_i64().unwrap()
}

#[tokio::test]
async fn a_pair_of_issuer_and_audience_belongs_to_one_tenant() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let (first, second) = (world.tenant().await, world.tenant().await);
    let keys = json!({"hs256Secret": SECRET, "issuer": "https://issuer.example", "audience": "locks"});
    // A race, again and again: one of them has it.
    for round in 0..20 {
        let keys = with(keys.clone(), "audience", json!(format!("round {round}")));
        let (one, two) = tokio::join!(register(north, &first, keys.clone()), register(south, &second, keys.clone()));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
    }
    let (one, two) = tokio::join!(register(north, &first, keys.clone()), register(south, &second, keys.clone()));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let (owner, other) = if one.status == 200 { (&first, &second) } else { (&second, &first) };
    assert_eq!(register(north, owner, keys.clone()).await.status, 200, "again by the same is no conflict");
    assert_eq!(register(north, other, keys.clone()).await.code(), "CONFLICT");

    assert_eq!(admin(north, Method::DELETE, &format!("/{}", owner.id), None).await.status, 204);
    assert_eq!(register(south, other, keys).await.status, 200, "it is free again");

    // Without the pair, the tenant is named.
    let third = world.tenant().await;
    assert_eq!(register(north, &third, json!({"hs256Secret": "another-secret-of-the-tests"})).await.status, 200);
    let jwt =
        Signer::Secret("another-secret-of-the-tests".into()).jwt(None, &json!({"sub": "ada", "exp": now_s() + 60}));
    assert_eq!(exchange(south, json!({"jwt": jwt})).await.status, 401);
    assert_eq!(exchange(south, json!({"jwt": jwt, "tenantId": third.id})).await.status, 200);
}

#[tokio::test]
async fn a_faulty_registration_is_refused_with_the_path_of_its_fault() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let ec = Signer::ec();
    let oct = json!({"kty": "oct", "k": B64.encode(SECRET)});
    for (jwt, path) in [
        (json!({"jwks": {"keys": [ec.jwk("e")]}}), "jwt"),
        (json!({"jwks": {"keys": []}, "issuer": "i", "audience": "a"}), "jwt.jwks"),
        (json!({"jwks": {"keys": [oct]}, "issuer": "i", "audience": "a"}), "jwt.jwks.keys[0]"),
        (
            json!({"jwks": {"keys": [with(ec.jwk("e"), "alg", json!("RS256"))]}, "issuer": "i", "audience": "a"}),
            "jwt.jwks.keys[0]",
        ),
        (json!({"publicKeyPem": RSA}), "jwt.publicKeyPem"),
        (json!({"publicKeyPem": "nonsense"}), "jwt.publicKeyPem"),
        (json!({"hs256Secret": "short"}), "jwt.hs256Secret"),
        (json!({"hs256Secret": SECRET, "publicKeyPem": RSA_PUBLIC}), "jwt"),
        (json!({"issuer": "i"}), "jwt"),
    ] {
        let refused = register(&world.replicas[0], &tenant, jwt.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, "VALIDATION_ERROR"), "{jwt}");
        assert_eq!(refused.body["error"]["details"][0]["path"], path, "{refused:?}");
        assert!(!refused.body.to_string().contains("PRIVATE"), "{refused:?}");
    }
}

#[tokio::test]
async fn the_free_tier_cannot_exchange_and_names_the_upgrade() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    trust(&world.replicas[0], &tenant, json!({"hs256Secret": SECRET})).await;
    let url = format!("{}/api/v1/auth/token", world.replicas[0].url);
    let by_jwt =
        exchange(&world.replicas[0], json!({"jwt": Signer::Secret(SECRET.into()).jwt(None, &claims("ada"))})).await;
    for refused in [by_jwt, call(Method::POST, &url, Some(&tenant.key), None).await] {
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "FORBIDDEN"));
        assert_eq!((&refused.body["upgradeRequired"], &refused.body["tier"]), (&json!(true), &json!("Free")));
    }
    assert_eq!(
        admin(&world.replicas[0], Method::PATCH, &format!("/{}", tenant.id), Some(json!({"tier": "Starter"})))
            .await
            .status,
        200
    );
    assert_eq!(call(Method::POST, &url, Some(&tenant.key), None).await.status, 200);
    assert_eq!(call(Method::POST, &url, None, None).await.status, 401);
}

/// A token of each of these end users of a tenant, which trusts a shared secret from here on.
async fn tokens_of<const N: usize>(replica: &Replica, tenant: &Tenant, users: [&str; N]) -> [String; N] {
    trust(replica, tenant, json!({"hs256Secret": SECRET})).await;
    let secret = Signer::Secret(SECRET.into());
    let mut tokens = users.map(str::to_owned);
    for user in &mut tokens {
        *user = token(replica, &secret.jwt(None, &claims(user))).await;
    }
    tokens
}

#[tokio::test]
async fn a_release_token_stays_with_its_end_user() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let [ada, bob] = tokens_of(north, &tenant, ["ada", "bob"]).await;
    let first = reserve(north, &ada, "a").await;
    let release = first.body[0]["releaseToken"].clone();
    assert!(release.is_string());

    let stranger = reserve(south, &bob, "a").await;
    assert_eq!(
        (&stranger.body[0]["status"], &stranger.body[0]["releaseToken"]),
        (&json!("ALREADY_HELD"), &Value::Null)
    );
    // A new token of the same user, and the tenant's own key, get it.
    let again = token(south, &Signer::Secret(SECRET.into()).jwt(None, &claims("ada"))).await;
    assert_eq!(reserve(south, &again, "a").await.body[0]["releaseToken"], release);
    assert_eq!(world.at(&tenant).reserve("w", "a", None).await["releaseToken"], release);
}

#[tokio::test]
async fn a_ticket_stays_with_its_end_user() {
    let world = World::<2>::start().await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let [ada, bob] = tokens_of(north, &tenant, ["ada", "bob"]).await;
    let holder = world.at(&tenant).reserve("h", "a", None).await;
    let wait = async |replica: &Replica, token: &str| {
        let url = format!("{}/api/v1/Reservation/reserve", replica.url);
        let item = json!([{"requester": "w", "resource": "a", "ttlSeconds": 60, "waitSeconds": 60}]);
        let request = reqwest::Client::new().post(url).bearer_auth(token).json(&item);
        let said = answer(request.send().await.unwrap()).await;
        assert_eq!(said.body[0]["status"], "WAITING", "{}", said.body);
        said.body[0]["ticket"].as_str().unwrap().to_owned()
    };
    let hers = wait(north, &ada).await;
    let his = wait(south, &bob).await;
    assert_ne!(hers, his);
    assert_eq!(wait(south, &ada).await, hers, "she has one, at whichever replica");

    let claim = json!([{"requester": "h", "resource": "a", "releaseToken": holder["releaseToken"]}]);
    let url = format!("{}/api/v1/Reservation/unreserve", north.url);
    assert_eq!(call(Method::POST, &url, Some(&tenant.key), Some(claim)).await.status, 200);
    let state = async |ticket: &str, token: &str| {
        let url = format!("{}/api/v1/Reservation/tickets/{ticket}", south.url);
        answer(reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap()).await.body
    };
    let served = state(&hers, &ada).await;
    assert_eq!((&served["status"], served["reservation"]["releaseToken"].is_string()), (&json!("ACQUIRED"), true));
    let waits = state(&his, &bob).await;
    assert_eq!((&waits["status"], &waits["reservation"]), (&json!("WAITING"), &Value::Null), "{waits}");
}
