//! Redis away, hanging, full or refusing: each has its own answer, and the service heals by itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    redis_server::Redis,
    world::{Answer, Client, World, call, eventually, long, until},
};

/// Options of a Redis that loses nothing when killed.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

async fn try_reserve(at: &Client<'_>, resource: &str) -> Answer {
    at.post("/Reservation/reserve", json!([{"requester": "w", "resource": resource, "ttlSeconds": 600}])).await
}

/// Waits until reserving works again, on every worker.
async fn heals(at: &Client<'_>, resource: &str) {
    until("reserving works again", || async { try_reserve(at, resource).await.status == 200 }).await;
    at.serves().await;
}

/// A well-formed key that no cache knows, so that Redis has to be asked.
const UNKNOWN_KEY: &str = "hf_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Asserts that a call was refused as `UNAVAILABLE`, and that the message names Redis' error code, if one is given.
fn refused(answer: &Answer, word: &str) {
    let error = answer.fails(503, "UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains(word), "{answer:?}");
}

#[tokio::test]
async fn while_redis_is_away_calls_are_refused_and_afterwards_all_is_as_before() {
    let mut world = World::<2>::with(DURABLE, &[]).await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w", "printer", Some(600)).await;

    world.redis.kill();
    for number in 0..2 {
        let at = world.at_replica(number, &tenant);
        until("the outage is noticed", || async { at.get("/Reservation").await.status == 503 }).await;
        refused(&try_reserve(&at, "other").await, "");
        refused(&at.get("/Reservation/check/printer").await, "");
        refused(&at.post("/keys", json!({"label": "x"})).await, "");
        call(Method::GET, &format!("{}/api/v1/Reservation", at.replica.url), Some(UNKNOWN_KEY), None)
            .await
            .fails(503, "UNAVAILABLE");
        until("it is not ready", || async { at.replica.get("/readyz").await.0 == 503 }).await;
        assert_eq!(at.replica.get("/healthz").await.0, 200, "the process itself is alive");
    }
    // An outage longer than one attempt to connect.
    tokio::time::sleep(Duration::from_secs(if long() { 40 } else { 3 })).await;

    world.redis.restart();
    for number in 0..2 {
        let at = world.at_replica(number, &tenant);
        heals(&at, "printer").await;
        assert_eq!(at.reserve("w", "printer", None).await["releaseToken"], held["releaseToken"]);
        at.replica.ready().await;
    }
}

#[tokio::test]
async fn a_stream_opens_again_after_an_outage() {
    let mut world = World::<1>::with(DURABLE, &[]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut before = at.events("").await;
    before.head().await;

    world.redis.kill();
    let url = format!("{}/api/v1/events", world.replicas[0].url);
    let fresh = crate::support::sse::EventStream::open(&url, &[("x-api-key", &tenant.key)]).await;
    assert_eq!(fresh.status, 503);
    let mut again =
        crate::support::sse::EventStream::open(&url, &[("x-api-key", &tenant.key), ("last-event-id", "1")]).await;
    assert_eq!(again.status, 200, "a browser does not reconnect after any other status");
    assert!(matches!(again.rest().await[..], [crate::support::sse::Seen::Retry(1000..=5000)]));

    world.redis.restart();
    let at = world.at(&tenant);
    heals(&at, "first").await;
    let mut after = at.events("").await;
    after.head().await;
    at.acquire("w", "second", None).await;
    assert_eq!(after.expect("RESERVED").await["resource"], "second");
}

#[tokio::test]
async fn while_redis_hangs_the_outcome_of_a_change_is_unknown_and_a_read_is_refused() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    heals(&at, "known").await;

    world.redis.signal("-STOP");
    let unknown = format!("{}/api/v1/Reservation/reserve", at.replica.url);
    let (answer, read, read_by_post, looked_up) = tokio::join!(
        try_reserve(&at, "printer"),
        at.get("/Reservation/check/printer"),
        at.post("/Reservation/check", json!({"resources": ["printer"]})),
        // Whose key nobody has looked up yet: the call itself never went out.
        call(Method::POST, &unknown, Some(UNKNOWN_KEY), Some(json!([{"requester": "w", "resource": "r"}]))),
    );
    world.redis.signal("-CONT");

    answer.fails(504, "OUTCOME_UNKNOWN");
    for read in [read, read_by_post, looked_up] {
        refused(&read, "nothing was changed");
    }
    assert!(!answer.headers.contains_key("retry-after"), "the caller decides whether to repeat");
    // Repeating settles it: it was done then, or it is done now.
    heals(&at, "known").await;
    let settled = at.reserve("w", "printer", Some(600)).await;
    assert!(["ACQUIRED", "ALREADY_HAD"].contains(&settled["status"].as_str().unwrap()), "{settled}");
    assert_eq!(at.listed().await, ["known", "printer"]);
}

#[tokio::test]
async fn a_full_redis_grants_nothing_but_releases() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (first, second) = (at.acquire("w", "first", Some(600)).await, at.acquire("w", "second", Some(600)).await);
    at.acquire("w", "third", None).await;

    world.redis.ask::<()>("CONFIG SET maxmemory-policy noeviction");
    world.redis.ask::<()>("CONFIG SET maxmemory 1");
    let before = world.redis.snapshot();
    refused(&try_reserve(&at, "fourth").await, "OOM");
    refused(&at.post("/keys", json!({"label": "x"})).await, "OOM");
    assert_eq!(world.redis.snapshot(), before, "byte for byte");

    assert_eq!(at.renew("w", "second", &second["releaseToken"], 60).await.statuses(), ["RENEWED"]);
    assert_eq!(at.unreserve("w", "first", &first["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    assert_eq!(at.post("/Reservation/forceRelease", json!({"resource": "third"})).await.status, 200);
    assert_eq!(at.listed().await, ["second"]);
    assert_eq!(at.post("/Reservation/reset", json!({})).await.status, 200);

    world.redis.ask::<()>("CONFIG SET maxmemory 0");
    heals(&at, "fourth").await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::<1>::with(&["--enable-protected-configs", "yes"], &[]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w", "held", None).await;

    // A directory stands where the dump should go: saving fails, as on a full disk.
    std::fs::create_dir_all(dir.path().join("dump.rdb/full")).unwrap();
    world.redis.ask::<()>(&format!("CONFIG SET dir {}", dir.path().display()));
    let mut config = redis::cmd("CONFIG");
    config.arg("SET").arg("save").arg("3600 1").exec(&mut world.redis.connection()).unwrap();
    world.redis.ask::<String>("BGSAVE");
    eventually("saving has failed", || {
        world.redis.info("persistence", "rdb_last_bgsave_status").as_deref() == Some("err")
    });
    refused(&try_reserve(&at, "other").await, "MISCONF");
    // Reads count against the rate, which is a write, so they are refused too.
    refused(&at.get("/Reservation").await, "MISCONF");

    config = redis::cmd("CONFIG");
    config.arg("SET").arg("save").arg("").exec(&mut world.redis.connection()).unwrap();
    heals(&at, "other").await;
}

#[tokio::test]
async fn a_demoted_primary_is_not_written_to() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w", "held", None).await;

    world.redis.ask::<()>("REPLICAOF 127.0.0.1 1");
    until("it is refused with Redis' error code", || async {
        let answer = try_reserve(&at, "other").await;
        refused(&answer, "");
        answer.body["error"]["message"].as_str().unwrap().contains("READONLY")
    })
    .await;

    world.redis.ask::<()>("REPLICAOF NO ONE");
    heals(&at, "other").await;
    assert_eq!(at.listed().await, ["held", "other"]);
}

#[tokio::test]
async fn a_redis_that_is_still_loading_is_waited_for() {
    let mut world = World::<1>::with(DURABLE, &[]).await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w", "held", None).await;
    let mut filling = redis::pipe();
    for number in 0..20_000 {
        filling.cmd("SET").arg(format!("ballast:{number}")).arg("x").ignore();
    }
    filling.exec(&mut world.redis.connection()).unwrap();

    world.redis.kill();
    world.redis.restart_slowly(100);
    let at = world.at(&tenant);
    until("it is refused with Redis' error code", || async {
        let answer = try_reserve(&at, "other").await;
        answer.status == 503 && answer.body["error"]["message"].as_str().unwrap().contains("LOADING")
    })
    .await;

    heals(&at, "other").await;
    assert_eq!(at.reserve("w", "held", None).await["releaseToken"], held["releaseToken"]);
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w", "r", Some(600)).await;
    world.redis.ask::<()>("FUNCTION FLUSH");
    assert_eq!(at.renew("w", "r", &held["releaseToken"], 60).await.statuses(), ["RENEWED"]);
    world.redis.ask::<()>("FUNCTION FLUSH");
    assert_eq!(at.listed().await, ["r"]);
    world.redis.ask::<()>("FUNCTION FLUSH");
    assert_eq!(at.unreserve("w", "r", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
}

#[tokio::test]
async fn a_replica_that_starts_before_its_redis_serves_as_soon_as_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redis+unix://{}/redis.sock", dir.path().display());
    let replica = crate::support::world::Replica::start(&[("REDIS_URL", &url)]);
    assert_eq!(replica.get("/healthz").await.0, 200);
    assert_eq!(replica.get("/readyz").await.0, 503);
    call(Method::GET, &format!("{}/api/v1/Reservation", replica.url), Some(UNKNOWN_KEY), None)
        .await
        .fails(503, "UNAVAILABLE");

    let log = replica.log();
    assert!(!log.contains("could not be"), "nobody asks a Redis that is not there: {log}");

    let _redis = Redis::start(dir.path(), &[]);
    replica.ready().await;
    let made =
        crate::support::world::admin(&replica, Method::POST, "", Some(json!({"name": "n", "tier": "Free"}))).await;
    assert_eq!((made.status.as_u16(), &made.body["tier"]), (201, &Value::from("Free")));
}
