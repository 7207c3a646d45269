//! The library of functions on real servers: persisted, replicated, mended where it is lost, beside other builds' libraries.

use std::sync::Arc;

use futures_util::future::join_all;
use holdfast::{
    domain::{names::TenantId, tier::Tier},
    redis::Address,
    store::{Callers, FUNCTIONS, Function, KeyKind, Partition, Store, TenantHandle},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    redis::{
        moved_slots::move_slot,
        topologies::{SentinelSetup, cluster, node, tenant},
    },
    support::{
        redis_server::Redis,
        sse::EventStream,
        store_bench::{Bench, wanted},
        world::{Answer, Client, Replica, World, eventually, free_port, until},
    },
};

/// What a build that cannot have its functions says, once.
pub(super) const ON_SCRIPTS: &str = "the same decisions run as scripts";

fn function(name: &str) -> &'static Function {
    FUNCTIONS.iter().find(|function| function.name == name).unwrap()
}

/// The version in the names of this build's library and functions.
fn version() -> &'static str {
    function("reserve").loaded_as().split('_').nth(1).unwrap()
}

/// Prefix of the libraries that note when others were last in use.
const NOTE: &str = "holdfastuse_";

/// The libraries that a server has, sorted; without the notes of their use, which replicas make by themselves.
pub(super) fn libraries(redis: &Redis) -> Vec<String> {
    let text: Vec<std::collections::BTreeMap<String, redis::Value>> = redis.ask("FUNCTION LIST");
    let name = |library: &std::collections::BTreeMap<String, redis::Value>| {
        redis::from_redis_value::<String>(library["library_name"].clone()).unwrap()
    };
    let mut names: Vec<_> = text.iter().map(name).filter(|name| !name.starts_with(NOTE)).collect();
    names.sort();
    names
}

pub(super) fn ours() -> String {
    format!("holdfast_{}", version())
}

/// Which way the replica calls Redis, by its metrics.
pub(super) async fn vehicle(replica: &Replica) -> &'static str {
    let metrics = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let is_used = |kind: &str| metrics.contains(&format!("holdfast_store_vehicle{{kind=\"{kind}\"}} 1"));
    match (is_used("functions"), is_used("scripts")) {
        (true, false) => "functions",
        (false, true) => "scripts",
        both => panic!("one of both: {both:?}"),
    }
}

pub(super) async fn try_reserve(at: &Client<'_>, resource: &str) -> Answer {
    at.post("/Reservation/reserve", json!([{"requester": "w", "resource": resource}])).await
}

/// Calls of every kind; `name` is in the names that they use.
pub(super) async fn serves_every_kind_of_call(at: &Client<'_>, name: &str) {
    let mut live = at.events("").await;
    let begin = live.head().await.to_string();
    let held = at.acquire("w", name, Some(60)).await;
    assert_eq!(at.reserve("other", name, None).await["status"], "ALREADY_HELD");
    assert_eq!(at.renew("w", name, &held["releaseToken"], 90).await.statuses(), ["RENEWED"]);
    assert_eq!(at.get(&format!("/Reservation/check/{name}")).await.body["holder"], "w");
    assert!(at.listed().await.contains(&name.to_owned()));
    assert_eq!(at.unreserve("w", name, &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);

    let pool = format!("{name} pool");
    assert_eq!(at.post("/Resource/register", json!([{"name": pool, "capacity": 3}])).await.status, 200);
    let slot = at.acquire("w", &pool, None).await;
    assert_eq!(slot["slots"], json!([format!("{pool}_0")]));
    let item = |requester: &str, resource: &str| json!({"requester": requester, "resource": resource});
    let wanted = [item("x", &format!("{name} a")), item("x", &pool)];
    let answer = at
        .post(
            "/Reservation/transactions",
            json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": wanted}]),
        )
        .await;
    assert_eq!(answer.statuses(), ["APPLIED"]);
    assert_eq!(at.post("/Reservation/forceRelease", json!({"resource": pool})).await.status, 200);
    assert_eq!(at.post("/events", json!({"type": "trade", "data": {"side": "buy"}})).await.status, 202);

    let kept =
        ["RESERVED", "RENEWED", "UNRESERVED", "RESERVED", "TRANSACTION_APPLIED", "UNRESERVED", "UNRESERVED", "trade"];
    let url = format!("{}/api/v1/events", at.replica.url);
    let mut resumed = EventStream::open(&url, &[("x-api-key", at.key), ("last-event-id", &begin)]).await;
    resumed.head().await;
    for stream in [&mut live, &mut resumed] {
        let mut seen = Vec::new();
        while seen.len() < kept.len() {
            let (kind, _, _) = stream.event().await;
            seen.extend((kind != "RESERVE_FAILED").then_some(kind));
        }
        assert_eq!(seen, kept);
    }
}

#[tokio::test]
async fn the_library_is_persisted() {
    let mut world = World::<1>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]).await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w", "printer", None).await;

    world.replicas[0].kill();
    world.redis.kill();
    world.redis.restart();

    eventually("it has loaded its file", || world.redis.info("persistence", "loading").as_deref() == Some("0"));
    assert_eq!(libraries(&world.redis), [ours()]);
    let replica = Replica::start(&[("REDIS_URL", &world.redis.url())]);
    replica.ready().await;
    let again = Client { replica: &replica, key: &tenant.key }.reserve("w", "printer", None).await;
    assert_eq!(again["releaseToken"], held["releaseToken"]);
    assert_eq!(vehicle(&replica).await, "functions");
}

#[tokio::test]
async fn the_library_is_replicated_and_a_fail_over_finds_it() {
    let mut setup = SentinelSetup::start().await;
    let tenant = tenant(&setup.replicas[0]).await;
    let at = Client { replica: &setup.replicas[0], key: &tenant.key };
    let held = at.acquire("w", "printer", None).await;
    setup.catch_up();
    assert_eq!(libraries(&setup.second), [ours()]);

    setup.fail_over();
    assert_eq!(libraries(&setup.second), [ours()]);
    let at = Client { replica: &setup.replicas[0], key: &tenant.key };
    until("granting works again", || async { try_reserve(&at, "later").await.status == 200 }).await;
    at.serves().await;
    assert_eq!(at.reserve("w", "printer", None).await["releaseToken"], held["releaseToken"]);
    assert!(setup.second.function_calls() > 0);

    // A primary without it is given it by the next call.
    setup.second.ask::<()>("FUNCTION FLUSH");
    at.acquire("w", "after the loss", None).await;
    assert_eq!(libraries(&setup.second), [ours()]);
    assert_eq!(vehicle(at.replica).await, "functions");
}

#[tokio::test]
async fn every_primary_of_a_cluster_has_the_library_and_one_that_lacks_it_is_given_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, url) = cluster(dir.path());
    let replica = Replica::start(&[("REDIS_URL", &url)]);
    replica.ready().await;
    let tenant = tenant(&replica).await;
    let at = Client { replica: &replica, key: &tenant.key };
    for node in &nodes {
        assert_eq!(libraries(node), [ours()]);
    }

    // One primary loses it, the one that the tenant lives on.
    let home = Partition::of(&TenantId::parse(&tenant.id).unwrap()).number() * 3 / 128;
    nodes[home].ask::<()>("FUNCTION FLUSH");
    serves_every_kind_of_call(&at, "after the loss").await;
    assert_eq!(libraries(&nodes[home]), [ours()]);

    // A primary is added without it, and the tenant moves there.
    let port = free_port();
    nodes.push(node(dir.path(), port, &["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]));
    let (added, old) = (&nodes[3], &nodes[home]);
    let bus = added.ask::<(String, String)>("CONFIG GET cluster-port").1;
    old.ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
    eventually("all know each other", || {
        nodes.iter().all(|node| node.ask::<String>("CLUSTER INFO").contains("cluster_known_nodes:4\r"))
    });
    eventually("it is whole", || added.ask::<String>("CLUSTER INFO").contains("cluster_state:ok"));
    move_slot(&tenant.id, old, (added, port), &[&nodes[(home + 1) % 3], &nodes[(home + 2) % 3]]);
    assert_eq!(libraries(added), Vec::<String>::new());
    // Until the client knows the cluster's new form, the calls there are scripts.
    until("it is given the library", || async {
        assert_eq!(try_reserve(&at, "there").await.status, 200);
        libraries(added) == [ours()] && added.function_calls() > 0
    })
    .await;
    assert_eq!(vehicle(&replica).await, "functions");
}

/// Loads the library as another build would: the same text under another name.
fn load_other_build(redis: &Redis, other: &str) {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(ours()).arg("WITHCODE");
    let found: Vec<std::collections::BTreeMap<String, redis::Value>> = list.query(&mut redis.connection()).unwrap();
    let text: String = redis::from_redis_value(found[0]["library_code"].clone()).unwrap();
    redis::cmd("FUNCTION").arg("LOAD").arg(text.replace(version(), other)).exec(&mut redis.connection()).unwrap();
}

#[tokio::test]
async fn two_builds_stand_side_by_side_and_only_what_nobody_uses_is_removed() {
    let bench = Bench::start(Tier::Pro).await;
    let redis = &bench.redis;
    let hour_ms = 3_600_000;
    let note = |version: &str, ago_ms: i64| {
        let name = format!("{NOTE}{version}");
        let text = format!(
            "#!lua name={name}\n-- last used at {}\nredis.register_function('{name}', function() return 1 end)",
            bench.now_ms() - ago_ms
        );
        redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).exec(&mut redis.connection()).unwrap();
    };
    let noted = |version: &str| {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(format!("{NOTE}{version}")).arg("WITHCODE");
        let found: Vec<std::collections::BTreeMap<String, redis::Value>> = list.query(&mut redis.connection()).unwrap();
        let text: String = redis::from_redis_value(found.first()?["library_code"].clone()).unwrap();
        text.lines().find_map(|line| line.strip_prefix("-- last used at ")?.parse::<i64>().ok())
    };
    let read = async |version: &str| {
        let keys =
            [KeyKind::Meta, KeyKind::Keys].map(|kind| TenantHandle::new(bench.tenant.id.clone()).key(kind).to_string());
        redis::cmd("FCALL")
            .arg(format!("hf_{version}_tenant_read"))
            .arg(2)
            .arg(&keys)
            .arg("")
            .query::<Vec<u8>>(&mut redis.connection())
            .map(|answer| answer.len())
    };

    // Given a second build's library, and a third's that is in use.
    load_other_build(redis, "11111111");
    load_other_build(redis, "22222222");
    load_other_build(redis, "33333333");
    let foreign = "#!lua name=others\nredis.register_function('others', function() return 1 end)";
    redis::cmd("FUNCTION").arg("LOAD").arg(foreign).exec(&mut redis.connection()).unwrap();
    let mut all = vec![
        "holdfast_11111111".into(),
        "holdfast_22222222".into(),
        "holdfast_33333333".into(),
        ours(),
        "others".into(),
    ];
    all.sort();

    // When this build notes its use, then all stay, and who was not noted has a day from now on.
    note("22222222", 23 * hour_ms);
    bench.store.note_library_use().await.unwrap();
    // Nor does an installation on another database remove any, which has never seen them in use.
    let address = Address::parse(&format!("{}?db=1", redis.url())).unwrap();
    let other = Store::open(address, Arc::new(Callers::default()));
    other.redis().connected().await;
    other.note_library_use().await.unwrap();
    assert_eq!(libraries(redis), all);
    for name in [version(), "11111111"] {
        assert!(noted(name).is_some_and(|at_ms| at_ms > bench.now_ms() - hour_ms), "{name}");
    }
    assert_eq!(noted("others"), None);
    assert_eq!(read(version()).await, read("11111111").await);
    assert!(read("11111111").await.is_ok());
    bench.reserve(&[wanted("w", "r", 60)]).await;

    // When two were last used more than a day ago, then they go; ours never, whatever the note says.
    for name in ["11111111", "44444444", version()] {
        note(name, 24 * hour_ms + 60_000);
    }
    bench.store.note_library_use().await.unwrap();
    all.retain(|name| name != "holdfast_11111111");
    assert_eq!(libraries(redis), all);
    assert_eq!((noted("11111111"), noted("44444444")), (None, None));
    assert!(noted(version()).is_some_and(|at_ms| at_ms > bench.now_ms() - hour_ms));
    assert!(read("22222222").await.is_ok());
    bench.reserve(&[wanted("w", "s", 60)]).await;
}

#[tokio::test]
async fn a_flush_in_mid_flight_fails_no_call() {
    const CLIENTS: usize = 16;
    const FLUSHES: usize = 30;
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let stop = CancellationToken::new();
    let calls = (0..CLIENTS).map(|client| {
        let (at, stop) = (world.at_replica(client % 2, &tenant), stop.clone());
        async move {
            let mut done = 0;
            while !stop.is_cancelled() {
                let name = format!("{client}-{done}");
                let granted = at.acquire("w", &name, Some(60)).await;
                assert_eq!(at.unreserve("w", &name, &granted["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
                done += 1;
            }
            done
        }
    });
    let flushing = async {
        let mut flushed = 0;
        until("the library was flushed and loaded often enough", || {
            if libraries(&world.redis) == [ours()] {
                world.redis.ask::<()>("FUNCTION FLUSH");
                flushed += 1;
            }
            std::future::ready(flushed == FLUSHES)
        })
        .await;
        stop.cancel();
    };

    let (done, ()) = tokio::join!(join_all(calls), flushing);

    assert!(done.iter().all(|done| *done > 0), "{done:?}");
    for replica in &world.replicas {
        assert_eq!(vehicle(replica).await, "functions");
        assert!(!replica.log().contains(ON_SCRIPTS));
    }
}
