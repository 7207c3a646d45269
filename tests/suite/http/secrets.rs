//! Secrets: the service does not start without one, and none appears in a response, a log, a metric or Redis.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{ADMIN_KEY, Replica, World, admin, answer, call, until};

const SECRET_KEY: &str = "secret-key-of-the-tests";
const ISSUER_SECRET: &str = "issuer-secret-of-the-tests";

#[tokio::test]
async fn no_secret_appears_in_a_response_a_log_a_metric_or_redis() {
    let world = World::<2>::with(&[], &[("SECRET_KEY", SECRET_KEY)]).await;
    let [north, south] = &world.replicas;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut output = String::new();

    // Every call that carries a secret, once with the right one and once with a wrong one.
    let registered = admin(
        north,
        Method::PATCH,
        &format!("/{}", tenant.id),
        Some(json!({"jwt": {"hs256Secret": ISSUER_SECRET, "issuer": "i", "audience": "a"}})),
    )
    .await;
    assert_eq!(registered.status, 200);
    output.push_str(&registered.body.to_string());
    let worker = at.post("/keys", json!({"label": "worker"})).await.body["apiKey"].as_str().unwrap().to_owned();
    let token =
        call(Method::POST, &format!("{}/api/v1/auth/token", south.url), Some(&worker), None).await.body["accessToken"]
            .as_str()
            .unwrap()
            .to_owned();
    let signed_in = answer(
        reqwest::Client::new()
            .post(format!("{}/api/v1/session", north.url))
            .json(&json!({"apiKey": worker}))
            .send()
            .await
            .unwrap(),
    )
    .await;
    let session = signed_in.headers["set-cookie"].to_str().unwrap().split([';', '=']).nth(1).unwrap().to_owned();
    output.push_str(&signed_in.body.to_string());
    for (header, value) in [
        ("x-api-key", worker.clone()),
        ("authorization", format!("Bearer {token}")),
        ("cookie", format!("holdfast_session={session}")),
    ] {
        for replica in [north, south] {
            let good = reqwest::Client::new()
                .get(format!("{}/api/v1/session", replica.url))
                .header(header, &value)
                .send()
                .await
                .unwrap();
            assert_eq!(good.status(), 200, "{header}");
            output.push_str(&good.text().await.unwrap());
            let bad = reqwest::Client::new()
                .get(format!("{}/api/v1/session", replica.url))
                .header(header, format!("{value}x"))
                .send()
                .await
                .unwrap();
            assert_eq!(bad.status(), 401, "{header}");
            output.push_str(&bad.text().await.unwrap());
        }
    }
    for key in [&worker, &token] {
        let mut stream =
            crate::support::sse::EventStream::open(&format!("{}/api/v1/events?api_key={key}", south.url), &[]).await;
        stream.head().await;
        let wrong = reqwest::get(format!("{}/api/v1/events?api_key={key}x", south.url)).await.unwrap();
        assert_eq!(wrong.status(), 401);
        output.push_str(&wrong.text().await.unwrap());
    }
    let wrong = reqwest::Client::new()
        .get(format!("{}/api/v1/admin/tenants", north.url))
        .header("x-admin-key", format!("{ADMIN_KEY}x"));
    output.push_str(&wrong.send().await.unwrap().text().await.unwrap());
    for path in ["/keys", "/session"] {
        output.push_str(&at.get(path).await.body.to_string());
    }
    for replica in [north, south] {
        output.push_str(&reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap());
        output.push_str(&replica.log());
    }
    let stored: Vec<u8> =
        world.redis.snapshot().into_iter().flat_map(|(key, (value, _))| [key.into_bytes(), value].concat()).collect();
    let stored = String::from_utf8_lossy(&stored).into_owned();
    // Redis compresses long values in its dumps, so the hashes are read too.
    let fields = fields_of(&world);

    for secret in [ADMIN_KEY, SECRET_KEY, ISSUER_SECRET, &tenant.key, &worker, &token, &session] {
        assert!(secret.len() >= 16);
        // Nor the greater part of it.
        let part = &secret[..secret.len() - 3];
        for (place, text) in
            [("a response, a metric or a log", &output), ("redis", &stored), ("redis' hashes", &fields)]
        {
            assert!(!text.contains(part), "{part} is in {place}");
        }
    }
}

pub fn fields_of<const N: usize>(world: &World<N>) -> String {
    let mut connection = world.redis.connection();
    let mut all = String::new();
    for key in world.redis.snapshot().into_keys() {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
        let verb = match kind.as_str() {
            "hash" => "HGETALL",
            "string" => "GET",
            _ => continue,
        };
        let value: redis::Value = redis::cmd(verb).arg(&key).query(&mut connection).unwrap();
        let parts = match value {
            redis::Value::BulkString(bytes) => vec![bytes],
            other => redis::from_redis_value::<Vec<Vec<u8>>>(other).unwrap(),
        };
        parts.iter().for_each(|part| all.push_str(&String::from_utf8_lossy(part)));
    }
    all
}

#[test]
fn the_service_does_not_start_without_a_secret() {
    let output = Replica::try_start(&[("REDIS_URL", "redis://127.0.0.1:1"), ("ADMIN_KEY", "")])
        .err()
        .expect("it does not start");
    assert!(output.contains("HOLDFAST_SECRET_KEY"), "{output}");
    let output = Replica::try_start(&[("REDIS_URL", "redis://127.0.0.1:1"), ("SECRET_KEY", "hunter2")])
        .err()
        .expect("it does not start");
    assert!(
        output.contains("HOLDFAST_SECRET_KEY") && output.contains("16 bytes") && !output.contains("hunter2"),
        "{output}"
    );
}

#[tokio::test]
async fn with_the_private_redis_a_secret_is_generated_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("DATA_DIR", dir.path().to_str().unwrap())];
    let mut replica = Replica::start(&settings);
    replica.ready().await;
    let file = dir.path().join("secret-key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(!replica.log().contains(secret.trim()));
    let made = admin(&replica, Method::POST, "", Some(json!({"name": "t", "tier": "Pro"}))).await;
    let key = made.body["apiKey"].as_str().unwrap().to_owned();
    let token =
        call(Method::POST, &format!("{}/api/v1/auth/token", replica.url), Some(&key), None).await.body["accessToken"]
            .clone();

    replica.signal("-TERM");
    assert_eq!(replica.ended(), 0);
    let replica = Replica::start(&settings);
    replica.ready().await;

    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    let shown = reqwest::Client::new()
        .get(format!("{}/api/v1/session", replica.url))
        .bearer_auth(token.as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(shown.status(), 200, "a token outlives a restart");
}

#[tokio::test]
async fn tokens_of_the_previous_secret_stay_valid_while_it_is_listed() {
    let world = World::<1>::with(&[], &[("SECRET_KEY", SECRET_KEY)]).await;
    let tenant = world.tenant().await;
    let url = world.redis.url();
    let jwt = json!({"jwt": {"hs256Secret": ISSUER_SECRET}});
    assert_eq!(admin(&world.replicas[0], Method::PATCH, &format!("/{}", tenant.id), Some(jwt)).await.status, 200);
    let token = call(Method::POST, &format!("{}/api/v1/auth/token", world.replicas[0].url), Some(&tenant.key), None)
        .await
        .body["accessToken"]
        .clone();
    let status = |replica: &Replica| {
        let request =
            reqwest::Client::new().get(format!("{}/api/v1/session", replica.url)).bearer_auth(token.as_str().unwrap());
        async move { request.send().await.unwrap().status().as_u16() }
    };

    let both = Replica::start(&[("REDIS_URL", &url), ("SECRET_KEY", &format!("another-secret-key-here,{SECRET_KEY}"))]);
    let new = Replica::start(&[("REDIS_URL", &url), ("SECRET_KEY", "another-secret-key-here")]);
    both.ready().await;
    new.ready().await;

    assert_eq!((status(&both).await, status(&new).await), (200, 401));
    until("the key still opens everything", || async {
        call(Method::GET, &format!("{}/api/v1/session", new.url), Some(&tenant.key), None).await.status == 200
    })
    .await;
    assert_ne!(Value::Null, token);
}
