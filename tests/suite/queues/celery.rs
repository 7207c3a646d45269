//! A real Celery, watched: what the monitor says against what Celery says.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    brokers::{Broker, Celery, Fate, Monitor, celery_connection, read_until},
    world::{World, long, until},
};

/// The monitor's word for a state of Celery's.
fn unified(state: &str) -> &str {
    match state {
        "SUCCESS" => "completed",
        "FAILURE" => "failed",
        "REVOKED" => "cancelled",
        other => panic!("Celery has not done with it: {other}"),
    }
}

async fn agrees(monitor: &Monitor<'_>, fates: &std::collections::BTreeMap<String, Fate>) {
    for (name, fate) in fates {
        // Celery keeps no result of what was rejected, in some versions; its event says so.
        let state = if name == "reject" { "failed" } else { unified(&fate.state) };
        monitor.until_job(&fate.id, state).await;
    }
}

#[tokio::test]
async fn jobs_workers_and_queues_are_as_celery_has_them() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await;
    let mut stream = monitor.stream("job,worker,queue").await;
    let celery = Celery::over(&broker, 0, json!({}));
    let mut prefork = celery.worker("prefork", "prefork", "emails");
    let mut solo = celery.worker("solo", "solo", "prio");
    monitor.until_workers(2).await;

    let (by_prefork, by_solo) = tokio::join!(
        celery.drive("emails", "add,fail,flaky,reject,expire,eta,revoke,terminate"),
        celery.drive("prio", "add,fail,flaky,eta")
    );
    agrees(&monitor, &by_prefork).await;
    agrees(&monitor, &by_solo).await;

    // Each went the way that its fate says.
    let history = async |fate: &str| monitor.history(&by_prefork[fate].id).await;
    assert_eq!(history("add 0").await, ["queued", "active", "completed"]);
    assert_eq!(history("fail").await, ["queued", "active", "failed"]);
    assert_eq!(history("eta").await, ["scheduled", "active", "completed"]);
    // A worker says nothing of receiving what was revoked before, and the producer may write down the sending after the worker's revoking.
    let revoked = history("revoke").await;
    assert!(revoked == ["queued", "cancelled"] || revoked == ["cancelled"], "{revoked:?}");
    assert_eq!(history("terminate").await, ["queued", "active", "cancelled"]);
    let flaky = history("flaky").await;
    assert_eq!((flaky.first().unwrap().as_str(), flaky.last().unwrap().as_str()), ("queued", "completed"));
    // A prefork worker may receive the next attempt before it tells that the first one is tried again.
    let at = |state: &str| {
        flaky.iter().position(|step| step == state).unwrap_or_else(|| panic!("{state} is not in {flaky:?}"))
    };
    assert!(at("active") < at("retrying") && flaky.iter().filter(|step| *step == "active").count() == 2, "{flaky:?}");
    let failed = monitor.job(&by_prefork["fail"].id).await;
    assert_eq!(
        (failed["name"].as_str(), failed["queue"].as_str(), failed["workerId"].as_str()),
        (Some("shop.fail"), Some("emails"), Some("prefork@test"))
    );
    assert!(
        failed["error"].as_str().unwrap().contains("no such product")
            && failed["stacktrace"].as_str().unwrap().contains("shop.py")
    );
    assert!(monitor.job(&by_prefork["flaky"].id).await["attempt"].as_u64().unwrap() >= 2);
    assert_eq!(monitor.job(&by_solo["flaky"].id).await["attempt"], 2);

    // The stream told each change once, from the state before it.
    let last = &by_solo["eta"].id;
    let ended: BTreeSet<&str> = by_prefork.values().chain(by_solo.values()).map(|fate| fate.id.as_str()).collect();
    let mut told: Vec<(String, String, String)> = Vec::new();
    let is_last = |state: &str| ["completed", "failed", "cancelled"].contains(&state);
    let seen = read_until(&mut stream, "every end is told", |seen| {
        let ends =
            seen.iter().filter(|(kind, data)| kind == "job:state_change" && is_last(data["state"].as_str().unwrap()));
        ends.count() >= ended.len()
    })
    .await;
    for (_, data) in seen.iter().filter(|(kind, _)| kind == "job:state_change") {
        let text = |name: &str| data[name].as_str().unwrap_or("").to_owned();
        let before = told.iter().rev().find(|(id, ..)| *id == text("id")).map(|(.., state)| state.clone());
        assert_eq!(data["previousState"].as_str().map(str::to_owned), before, "{data}");
        told.push((text("id"), text("previousState"), text("state")));
    }
    let once: BTreeSet<_> = told.iter().filter(|(.., state)| is_last(state)).collect();
    assert_eq!(once.len(), ended.len(), "each end once; the last was {last}");
    for kind in ["worker:heartbeat", "queue:snapshot"] {
        assert!(seen.iter().any(|(seen, _)| seen == kind), "{kind}");
    }

    // The depth counts all steps of priority, and the one consumer of each queue is known by what it took.
    let depth = async |name: &str| {
        monitor.queues().await.get(name).map(|queue| (queue["depth"].as_i64(), queue["consumers"].as_i64()))
    };
    until("the queues are empty, with a consumer each", || async {
        depth("emails").await == Some((Some(0), Some(1))) && depth("prio").await == Some((Some(0), Some(1)))
    })
    .await;
    // A killed worker says nothing, and is offline six seconds later. What it had asked the broker for is still open for a moment.
    prefork.kill();
    solo.kill();
    until("nobody waits at the broker any more", || async {
        broker.redis.info("clients", "blocked_clients").as_deref() == Some("0")
    })
    .await;
    for list in ["emails", "emails\u{6}\u{16}3", "emails\u{6}\u{16}9"] {
        let mut connection = broker.redis.connection();
        redis::cmd("LPUSH").arg(list).arg("waits").query::<i64>(&mut connection).unwrap();
    }
    until("what waits is counted", || async { depth("emails").await.is_some_and(|(depth, _)| depth == Some(3)) }).await;
    until("a killed worker is offline", || async { monitor.workers().await["prefork@test"]["state"] == "offline" })
        .await;
    until("and consumes no more", || async { depth("emails").await == Some((Some(3), Some(0))) }).await;
}

#[tokio::test]
async fn prefixes_databases_and_channels_without_patterns_are_heard() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let options = json!({"global_keyprefix": "acme:", "fanout_patterns": false, "priority_steps": [0, 5], "sep": ":"});
    let asked = json!({"name": "n", "framework": "celery", "brokerUrl": broker.url(3), "keyPrefix": "acme:", "exactConsumers": true,
        "separator": ":", "prioritySteps": [0, 5], "fanoutPatterns": false});
    let prefixed = Monitor::watching(at, asked).await;
    let plain = json!({"name": "n", "framework": "celery", "brokerUrl": broker.url(3), "fanoutPrefix": ""});
    let bare = Monitor::watching(at, plain).await;
    let (with_prefix, without) =
        (Celery::over(&broker, 3, options), Celery::over(&broker, 3, json!({"fanout_prefix": false})));
    let (_one, _other) = (with_prefix.worker("one", "solo", "q1,q2"), without.worker("other", "solo", "celery"));
    prefixed.until_workers(1).await;
    bare.until_workers(1).await;
    assert!(
        prefixed.workers().await.contains_key("one@test") && bare.workers().await.contains_key("other@test"),
        "each hears its own alone"
    );

    let (first, second) = tokio::join!(with_prefix.drive("q1", "add,fail"), without.drive("celery", "add,fail"));
    agrees(&prefixed, &first).await;
    agrees(&bare, &second).await;

    // Asked, the worker names both of its queues, also the one in which nothing happened; and nothing of the question stays.
    until("the worker is asked", || async {
        let queues = prefixed.queues().await;
        ["q1", "q2"].iter().all(|name| queues.get(*name).is_some_and(|queue| queue["consumers"] == 1))
    })
    .await;
    until("its queues and its slots are known", || async {
        let worker = prefixed.workers().await["one@test"].clone();
        worker["queues"] == json!(["q1", "q2"]) && worker["concurrency"].is_number()
    })
    .await;
    let left = || {
        let mut connection = redis::Client::open(broker.url(3)).unwrap().get_connection().unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*reply.celery.pidbox*").query(&mut connection).unwrap();
        keys
    };
    until("the answers are taken away", || async { left().is_empty() }).await;
}

/// What a watcher may ask of a broker.
const READS: &[&str] = &[
    "llen",
    "scan",
    "sscan",
    "psubscribe",
    "subscribe",
    "unsubscribe",
    "punsubscribe",
    "info",
    "ping",
    "hello",
    "select",
    "auth",
    "client|list",
];
/// What the test itself asks.
const OURS: &[&str] = &["keys", "dump", "pttl", "type", "hgetall", "config|get", "info", "config|resetstat"];

#[tokio::test]
async fn watching_leaves_the_broker_as_it_was() {
    let broker = Broker::start();
    let celery = Celery::over(&broker, 0, json!({}));
    {
        let _worker = celery.worker("w", "solo", "emails");
        celery.drive("emails", "add,fail").await;
    }
    let mut connection = broker.redis.connection();
    for queue in 0..40 {
        let member = format!("celery\u{6}\u{16}\u{6}\u{16}queue-{queue}");
        redis::cmd("SADD").arg("_kombu.binding.celery").arg(member).query::<i64>(&mut connection).unwrap();
    }
    // The dead worker's last keys may lapse by themselves: only what stays is compared.
    let keys = || broker.redis.snapshot().into_iter().filter(|(_, (_, lapses))| !lapses).collect::<Vec<_>>();
    let config = || {
        let config: std::collections::BTreeMap<String, String> = broker.redis.ask("CONFIG GET *");
        config
    };
    let (keys_before, config_before) = (keys(), config());
    broker.redis.ask::<()>("CONFIG RESETSTAT");

    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await;
    let calls = || {
        let info: String = broker.redis.ask("INFO commandstats");
        let line = |line: &str| {
            let (command, facts) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = facts.strip_prefix("calls=")?.split(',').next()?.parse::<u64>().ok()?;
            Some((command.to_owned(), calls))
        };
        info.lines().filter_map(line).collect::<std::collections::BTreeMap<_, _>>()
    };
    let patience = match std::env::var("HOLDFAST_READ_ONLY_SECONDS").ok().and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => std::time::Duration::from_secs(seconds),
        None => std::time::Duration::from_secs(if long() { 60 } else { 0 }),
    };
    let begun = std::time::Instant::now();
    while begun.elapsed() < patience {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    // 41 queues of four lists each, once a second.
    until("queues were polled a thousand times", || async { calls().get("llen").copied().unwrap_or(0) >= 1_000 }).await;
    assert!(monitor.queues().await.len() >= 41);

    for command in calls().keys() {
        assert!(READS.contains(&command.as_str()) || OURS.contains(&command.as_str()), "{command} is no read");
    }
    assert!(keys() == keys_before, "the keys are as they were");
    assert_eq!(config(), config_before);
    assert_ne!(monitor.health().await["connectedSince"], Value::Null);
}
