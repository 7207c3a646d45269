//! What a tenant stores is bounded by its tier; operators see it, and see when Redis is nearly full.

use holdfast::{
    domain::names::TenantId,
    store::{KeyKind, TenantHandle},
};
use serde_json::{Value, json};

use crate::support::{
    redis_server::Redis,
    world::{Replica, World, eventually, until},
};

const METRICS_KEY: &str = "the-key-of-the-metrics";

async fn metrics(replica: &Replica) -> String {
    let request = reqwest::Client::new().get(format!("{}/metrics", replica.url)).bearer_auth(METRICS_KEY);
    request.send().await.unwrap().text().await.unwrap()
}

/// The value of a metric; labels are part of its name.
async fn metric(replica: &Replica, name: &str) -> Option<f64> {
    let text = metrics(replica).await;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn used(session: &Value) -> i64 {
    let of = |row: &&Value| row["limitType"] == "StoredBytes";
    session["usage"].as_array().unwrap().iter().find(of).unwrap()["used"].as_i64().unwrap()
}

#[tokio::test]
async fn a_tenant_that_stores_more_than_its_share_may_add_nothing_and_another_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let tiers = dir.path().join("tiers.toml");
    std::fs::write(&tiers, "[Starter]\nstored_bytes = 1048576\n").unwrap();
    let settings = [("TIERS_FILE", tiers.to_str().unwrap()), ("METRICS_KEY", METRICS_KEY)];
    let world = World::<1>::with(&[], &settings).await;
    let (tenant, other) = (world.tenant_of("Starter").await, world.tenant_of("Starter").await);
    let at = world.at(&tenant);
    let held = at.acquire("w", "held before", Some(600)).await;
    let before = used(&at.get("/session").await.body);
    assert!(before > 0 && before < 1 << 20, "{before}");

    // Definitions with long names: none of them passes any other limit.
    let mut number = 0;
    let refused = loop {
        let names: Vec<_> = (0..20).map(|n| json!({"name": format!("{number}-{n}-{}", "x".repeat(900)), "blocks": [format!("{n}{}", "b".repeat(900))]})).collect();
        let answer = at.post("/Resource/register", json!(names)).await;
        if answer.status != 200 {
            break answer;
        }
        number += 1;
        assert!(number < 49, "the tier allows 1,000 resources");
        at.get("/session").await;
    };
    refused.fails(429, "RATE_LIMITED");
    assert_eq!((&refused.body["limitType"], &refused.body["limit"]), (&json!("StoredBytes"), &json!(1 << 20)));
    assert_eq!((&refused.body["tier"], &refused.body["upgradeRequired"]), (&json!("Starter"), &json!(true)));
    assert!(used(&at.get("/session").await.body) > 1 << 20);

    // Nothing more may be added ...
    let event = json!({"type": "trade", "data": {}});
    assert_eq!(at.post("/events", event.clone()).await.body["limitType"], "StoredBytes");
    let company =
        reqwest::Client::new().put(format!("{}/api/v1/companies/acme", at.replica.url)).header("x-api-key", at.key);
    assert_eq!(company.json(&json!({"name": "Acme"})).send().await.unwrap().status(), 429);
    let wait = json!([{"requester": "w2", "resource": "held before", "waitSeconds": 60}]);
    assert_eq!(at.post("/Reservation/reserve", wait).await.body["limitType"], "StoredBytes");
    // ... but what is held is renewed and given back, and everything is read.
    assert_eq!(at.renew("w", "held before", &held["releaseToken"], 600).await.statuses(), ["RENEWED"]);
    assert_eq!(at.unreserve("w", "held before", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    assert_eq!(at.get("/Resource?limit=1").await.status, 200);
    // Another tenant does not notice.
    assert_eq!(world.at(&other).post("/events", event.clone()).await.status, 202);

    // Operators see who it is, and only with the key.
    let shown = metric(&world.replicas[0], &format!("holdfast_tenant_stored_bytes{{tenant=\"{}\"}}", tenant.id)).await;
    assert!(shown.is_some_and(|bytes| bytes > f64::from(1 << 20)), "{shown:?}");
    assert!(
        metric(&world.replicas[0], "holdfast_storage_refusals_total").await.is_some_and(|refusals| refusals >= 3.0)
    );
    for key in [None, Some("another-key-of-nothing")] {
        let mut request = reqwest::Client::new().get(format!("{}/metrics", world.replicas[0].url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        assert_eq!(request.send().await.unwrap().status(), 401);
    }

    // What is forgotten makes room.
    let listed = at.get("/Resource?limit=1000").await.body;
    for resource in listed["resources"].as_array().unwrap() {
        let name = resource["name"].as_str().unwrap();
        at.delete(&format!("/Resource/{name}")).await;
    }
    until("there is room again", || async { at.post("/events", event.clone()).await.status == 202 }).await;
}

#[tokio::test]
async fn a_history_keeps_as_many_bytes_as_its_tier_allows() {
    let dir = tempfile::tempdir().unwrap();
    let tiers = dir.path().join("tiers.toml");
    std::fs::write(&tiers, "[Pro]\nhistory_bytes = 1048576\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", tiers.to_str().unwrap())]).await;
    let tenant = world.tenant_of("Pro").await;
    let history = TenantHandle::new(TenantId::parse(&tenant.id).unwrap()).key(KeyKind::History).to_string();

    let events = json!(vec![json!({"type": "x", "data": "z".repeat(15_000)}); 20]);
    for _ in 0..10 {
        assert_eq!(world.at(&tenant).post("/events", events.clone()).await.status, 202);
    }

    let kept: Vec<Vec<u8>> = world.redis.ask(&format!("LRANGE {history} 0 -1"));
    let bytes: usize = kept.iter().map(Vec::len).sum();
    assert!((1 << 19..(1 << 20) + 400_000).contains(&bytes), "{bytes} of 3,000,000 bytes are kept");
}

#[tokio::test]
async fn without_a_key_the_metrics_are_open_and_name_no_tenant() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    world.at(&tenant).get("/session").await;
    let text = reqwest::get(format!("{}/metrics", world.replicas[0].url)).await.unwrap().text().await.unwrap();
    assert!(text.contains("holdfast_requests_total") && !text.contains(&tenant.id) && !text.contains("tenant_stored"));
}

#[tokio::test]
async fn a_redis_that_is_nearly_full_is_reported_before_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let used: u64 = redis.info("memory", "used_memory").unwrap().parse().unwrap();
    redis.ask::<()>(&format!("CONFIG SET maxmemory {}", used * 10 / 9));
    let replica = Replica::start(&[("REDIS_URL", &redis.url()), ("METRICS_KEY", METRICS_KEY)]);
    replica.ready().await;
    eventually("the log warns", || replica.log().contains("redis is nearly full"));
    let ratio = metric(&replica, "holdfast_redis_memory_used_ratio").await;
    assert!(ratio.is_some_and(|ratio| ratio >= 0.8), "{ratio:?}");
}
