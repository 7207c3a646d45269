//! Connections of the queue monitor: create, list, delete; which brokers may be watched, and how errors are reported.

use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    http::secrets::fields_of,
    redis::replicas::certificate,
    support::{
        brokers::{Broker, Monitor, bullmq_connection, celery_connection},
        world::{Client, Replica, World, bound_to_test, call, free_port, nameless_host, until},
    },
};

#[tokio::test]
async fn a_connection_is_created_listed_and_deleted_on_any_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));

    let asked = json!({"name": "shop", "framework": "celery", "queues": ["a"], "keyPrefix": "acme:", "exactConsumers": true, "prioritySteps": [0, 5]});
    let created = north.post("/connections", asked).await;
    assert_eq!(created.status, 201, "{created:?}");
    let (id, key) = (created.body["id"].as_str().unwrap(), created.body["ingestKey"].as_str().unwrap());
    assert!(key.starts_with("sk_live_") && key.len() > 24);

    let listed = south.get("/connections").await.body;
    let row = &listed["connections"][0];
    assert_eq!(
        (row["id"].as_str(), row["name"].as_str(), row["framework"].as_str()),
        (Some(id), Some("shop"), Some("celery"))
    );
    assert_eq!(
        (&row["queues"], &row["keyPrefix"], &row["exactConsumers"]),
        (&json!(["a"]), &json!("acme:"), &json!(true))
    );
    assert_eq!(
        (&row["health"], &row["consumersSource"], row.get("ingestKey")),
        (&Value::Null, &Value::Null, None),
        "nothing is watched without a broker"
    );
    assert_eq!(listed["nextCursor"], Value::Null);

    let ingest = async |replica: usize| {
        let event = json!({"events": [{"type": "job_state_change", "timestamp": "2026-05-13T12:01:00.000Z", "framework": "celery", "connectionId": id,
            "job": {"externalId": "1", "name": "n", "state": "queued"}}]});
        let url = format!("{}/api/ingest", world.replicas[replica].url);
        reqwest::Client::new().post(url).bearer_auth(key).json(&event).send().await.unwrap().status().as_u16()
    };
    assert_eq!((ingest(0).await, ingest(1).await), (202, 202));
    assert_eq!(south.delete(&format!("/connections/{id}")).await.status, 204);
    assert_eq!((ingest(0).await, ingest(1).await), (401, 401), "its key ends with it, at once on every replica");
    assert_eq!(north.delete(&format!("/connections/{id}")).await.status, 404);
    assert_eq!(north.get("/connections").await.body["connections"], json!([]));
}

#[tokio::test]
async fn faults_of_a_connection_are_named() {
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", "127.0.0.1:6390")]).await;
    let (tenant, free) = (world.tenant().await, world.tenant_of("Free").await);
    let at = world.at(&tenant);
    let before = world.redis.snapshot();
    let paths = async |asked: Value| {
        at.post("/connections", asked).await.paths().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(paths(json!({})).await, ["name", "framework"]);
    assert_eq!(paths(json!({"name": "n", "framework": "sidekiq"})).await, ["framework"]);
    assert_eq!(
        paths(json!({"name": "n", "framework": "bullmq", "exactConsumers": true, "separator": ":"})).await,
        ["exactConsumers", "separator"]
    );
    assert_eq!(
        paths(json!({"name": "n", "framework": "celery", "queues": ["a", ""], "prioritySteps": []})).await,
        ["queues[1]", "prioritySteps"]
    );
    for url in [
        "redis://127.0.0.1:6379",
        "redis://localhost:6390",
        "http://127.0.0.1:6390",
        "redis+unix:///tmp/x",
        "redis://127.0.0.1:6390@10.0.0.1:6379",
    ] {
        assert_eq!(paths(celery_connection(url)).await, ["brokerUrl"], "{url}");
    }
    assert_eq!(world.redis.snapshot(), before, "what is refused leaves nothing behind");

    let key = at.post("/keys", json!({"label": "worker"})).await.body["apiKey"].as_str().unwrap().to_owned();
    let url = format!("{}/api/v1/connections", world.replicas[0].url);
    call(Method::GET, &url, Some(&key), None).await.fails(403, "FORBIDDEN");

    let one = json!({"name": "n", "framework": "celery"});
    assert_eq!(world.at(&free).post("/connections", one.clone()).await.status, 201);
    let refused = world.at(&free).post("/connections", one).await;
    refused.fails(429, "RATE_LIMITED");
    assert_eq!((refused.body["limitType"].as_str(), refused.body["limit"].as_i64()), (Some("Connections"), Some(1)));
}

#[tokio::test]
async fn broker_errors_are_reported_as_a_class() {
    let guarded = Broker::with(&["--requirepass", "the-right-password"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (silent_port, nobody) = (silent.local_addr().unwrap().port(), free_port());
    let own_port = free_port();
    let own = own_port.to_string();
    // Our own Redis is reached by its socket; a tenant names it by its port.
    let hosts = format!(
        "127.0.0.1:{own},{},127.0.0.1:{silent_port},127.0.0.1:{nobody},{}:6379",
        guarded.host(),
        nameless_host()
    );
    let world = World::<1>::with(&["--port", &own, "--bind", "127.0.0.1"], &[("BROKER_HOSTS", &hosts)]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let cases = [
        (format!("redis://127.0.0.1:{own}"), "own_redis"),
        (format!("redis://:a-wrong-password@{}", guarded.host()), "auth"),
        (format!("redis://{}", guarded.host()), "auth"),
        // A server without TLS does not answer a TLS handshake.
        (format!("rediss://:the-right-password@{}", guarded.host()), "timeout"),
        (format!("redis://127.0.0.1:{silent_port}"), "timeout"),
        (format!("redis://127.0.0.1:{nobody}"), "refused"),
        (format!("redis://{}:6379", nameless_host()), "dns"),
    ];
    let mut created = Vec::new();
    for (url, class) in &cases {
        let id = at.post("/connections", celery_connection(url)).await.body["id"].as_str().unwrap().to_owned();
        created.push((Monitor { at, connection: id }, class));
    }
    for (monitor, class) in &created {
        until(&format!("the health says {class}"), || async { monitor.health().await["error"] == **class }).await;
        let health = monitor.health().await;
        assert_eq!((&health["connectedSince"], &health["watched"]), (&Value::Null, &json!(true)), "{class}");
    }
    let watched =
        Monitor::watching(at, celery_connection(&format!("redis://:the-right-password@{}", guarded.host()))).await;
    assert_eq!(watched.health().await["error"], Value::Null);

    // None of the addresses can be read anywhere.
    let stored = fields_of(&world);
    let listed = at.get("/connections").await.body.to_string();
    for secret in ["the-right-password", "a-wrong-password", &nameless_host()] {
        for (source, text) in [("redis", &stored), ("the list", &listed), ("the log", &world.replicas[0].log())] {
            assert!(!text.contains(secret), "{secret} is in {source}");
        }
    }
}

#[tokio::test]
async fn our_own_redis_is_refused_under_every_name() {
    let own = Broker::start();
    // Names that resolve to the same address, besides the name that we use ourselves.
    let names = ["127.0.0.1", "localhost", "127.1", "2130706433"];
    let hosts = names.map(|name| format!("{name}:{}", own.port)).join(",");
    let url = own.url(0);
    let world = World::<1>::with(&[], &[("REDIS_URL", &url), ("BROKER_HOSTS", &hosts)]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut created = Vec::new();
    for name in names {
        let asked = bullmq_connection(&format!("redis://{name}:{}/5", own.port));
        created.push(Monitor {
            at,
            connection: at.post("/connections", asked).await.body["id"].as_str().unwrap().to_owned(),
        });
    }
    for monitor in &created {
        until("it is refused", || async { monitor.health().await["error"] == "own_redis" }).await;
    }
    // A replica of our Redis is ours, too.
    let copy = Broker::with(&["--replicaof", &format!("127.0.0.1 {}", own.port)]);
    until("it is a copy", || async { copy.redis.info("replication", "master_link_status").as_deref() == Some("up") })
        .await;
    let second = World::<1>::with(&[], &[("REDIS_URL", &url), ("BROKER_HOSTS", &copy.host())]).await;
    let at = second.at(&tenant);
    let asked = at.post("/connections", celery_connection(&copy.url(0))).await;
    let monitor = Monitor { at, connection: asked.body["id"].as_str().unwrap().to_owned() };
    // Either replica may watch it: the first may not reach that host, the second finds that it is our own Redis.
    drop(world);
    until("the copy is refused", || async { monitor.health().await["error"] == "own_redis" }).await;
}

#[tokio::test]
async fn a_broker_behind_tls_must_have_a_certificate_that_this_machine_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path());
    let port = free_port();
    let text = port.to_string();
    let tls = [
        "--tls-port",
        &text,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "open sesame",
    ];
    let _broker = Broker::with(&tls);
    let hosts = format!("localhost:{port}");
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &hosts)]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let asked = celery_connection(&format!("rediss://:open%20sesame@localhost:{port}/2"));
    let id = at.post("/connections", asked).await.body["id"].as_str().unwrap().to_owned();
    let doubting = Monitor { at, connection: id.clone() };
    until("the certificate is not trusted", || async { doubting.health().await["error"] == "tls" }).await;

    // A replica that trusts the certificate takes over.
    let mut command = bound_to_test(env!("CARGO_BIN_EXE_holdfast"));
    command.env("SSL_CERT_FILE", &certificate);
    let trusting =
        Replica::launch(command, &["serve"], &[("REDIS_URL", &world.redis.url()), ("BROKER_HOSTS", &hosts)]).unwrap();
    trusting.ready().await;
    world.replicas[0].signal("-TERM");
    let trusted = Monitor { at: Client { replica: &trusting, key: &tenant.key }, connection: id };
    until("the broker is watched", || async { trusted.health().await["connectedSince"].is_string() }).await;
    assert_eq!(trusted.health().await["error"], Value::Null);
}

#[tokio::test]
async fn a_broker_that_the_operator_no_longer_allows_is_not_watched() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let connection = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await.connection;
    let stricter = Replica::start(&[("REDIS_URL", &world.redis.url())]);
    stricter.ready().await;
    world.replicas[0].signal("-TERM");
    let monitor = Monitor { at: Client { replica: &stricter, key: &tenant.key }, connection };
    until("it is not allowed", || async { monitor.health().await["error"] == "not_allowed" }).await;
    assert_eq!(broker.redis.ask::<String>("CLIENT LIST").lines().count(), 1, "nobody but this test is connected");
}
