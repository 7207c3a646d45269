//! Transports to one Redis: TCP, a Unix socket, TLS; with passwords, users and databases.

use reqwest::Method;
use serde_json::json;

use crate::{
    redis::replicas::certificate,
    support::{
        redis_server::Redis,
        world::{Client, Replica, Tenant, admin, bound_to_test, eventually, free_port},
    },
};

#[tokio::test]
async fn every_transport_carries_calls_and_events() {
    let dir = tempfile::tempdir().unwrap();
    let (trusted, key) = certificate(dir.path());
    let (port, tls_port) = (free_port(), free_port());
    let (port_text, tls_port_text) = (port.to_string(), tls_port.to_string());
    let options = [
        "--port",
        &port_text,
        "--tls-port",
        &tls_port_text,
        "--tls-cert-file",
        &trusted,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let access = ["--requirepass", "open sesame", "--user", "worker", "on", ">secret", "~*", "&*", "+@all"];
    let redis = Redis::start(dir.path(), &[&options[..], &access].concat());
    let socket = dir.path().join("redis.sock");
    let transports = [
        (1, format!("redis://:open%20sesame@localhost:{port}/1")),
        (2, format!("redis://worker:secret@127.0.0.1:{port}/2")),
        (3, format!("redis+unix://{}?db=3&user=worker&pass=secret", socket.display())),
        (4, format!("rediss://worker:secret@localhost:{tls_port}/4")),
    ];
    for (db, url) in &transports {
        let mut command = bound_to_test(env!("CARGO_BIN_EXE_holdfast"));
        command.env("SSL_CERT_FILE", &trusted);
        let replica = Replica::launch(command, &["serve"], &[("REDIS_URL", url)]).unwrap();
        replica.ready().await;
        let made = admin(&replica, Method::POST, "", Some(json!({"name": "here", "tier": "Pro"}))).await;
        let tenant = Tenant {
            id: made.body["tenantId"].as_str().unwrap().into(),
            key: made.body["apiKey"].as_str().unwrap().into(),
        };
        let at = Client { replica: &replica, key: &tenant.key };
        let mut events = at.events("").await;
        events.head().await;
        let held = at.acquire("me", "door", Some(60)).await;
        assert_eq!(events.expect("RESERVED").await["resource"], "door", "{url}");
        assert_eq!(at.unreserve("me", "door", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"], "{url}");
        let mut there =
            redis::Client::open(format!("redis+unix://{}?db={db}&pass=open%20sesame", socket.display())).unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut there).unwrap();
        assert!(keys.iter().any(|key| key.contains(&tenant.id)), "{url} has its own database: {keys:?}");
    }
    drop(redis);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _redis = Redis::start(dir.path(), &["--port", &port.to_string(), "--requirepass", "open sesame"]);
    let replica = Replica::start(&[("REDIS_URL", &format!("redis://:xyzzy-wrong@127.0.0.1:{port}"))]);
    eventually("it says that it cannot reach redis", || replica.log().contains("redis cannot be reached"));
    assert_eq!(replica.get("/readyz").await.0, 503);
    assert!(!replica.log().contains("xyzzy"));
}
