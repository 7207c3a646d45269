//! A real Celery, watched: the monitor's states against Celery's own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    brokers::{Broker, Celery, Fate, Monitor, celery_connection, read_until},
    world::{World, long, until},
};

/// The unified state for Celery's state of a task.
fn unified(state: &str) -> &str {
    match state {
        "SUCCESS" => "completed",
        "FAILURE" => "failed",
        "REVOKED" => "cancelled",
        other => panic!("the task has not ended: {other}"),
    }
}

async fn assert_states(monitor: &Monitor<'_>, fates: &std::collections::BTreeMap<String, Fate>) {
    for (name, fate) in fates {
        // Some versions of Celery store no result of a rejected task; its event has the state.
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
    assert_states(&monitor, &by_prefork).await;
    assert_states(&monitor, &by_solo).await;

    // Each job has the history of its fate.
    let history = async |fate: &str| monitor.history(&by_prefork[fate].id).await;
    assert_eq!(history("add 0").await, ["queued", "active", "completed"]);
    assert_eq!(history("fail").await, ["queued", "active", "failed"]);
    // Who reports the task only after its ETA reports it as due: it is queued in between, and never before its time.
    let eta = monitor.job(&by_prefork["eta"].id).await;
    let (steps, due) = (eta["stateHistory"].as_array().unwrap(), eta["scheduledFor"].as_str().unwrap());
    let on_time: Vec<_> =
        steps.iter().filter(|step| step["state"] != "queued").map(|step| step["state"].clone()).collect();
    assert_eq!(on_time, ["scheduled", "active", "completed"], "{eta}");
    assert!(steps.iter().all(|step| step["state"] != "queued" || step["timestamp"].as_str().unwrap() >= due), "{eta}");
    // A worker sends no `task-received` for a task revoked before, and the producer may date `task-sent` after the worker's `task-revoked`.
    let revoked = history("revoke").await;
    assert!(revoked == ["queued", "cancelled"] || revoked == ["cancelled"], "{revoked:?}");
    assert_eq!(history("terminate").await, ["queued", "active", "cancelled"]);
    let flaky = history("flaky").await;
    assert_eq!((flaky.first().unwrap().as_str(), flaky.last().unwrap().as_str()), ("queued", "completed"));
    // A prefork worker may receive the next attempt before it sends `task-retried` for the first.
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

    // The stream has each change once, with the state before it.
    let last = &by_solo["eta"].id;
    let ended: BTreeSet<&str> = by_prefork.values().chain(by_solo.values()).map(|fate| fate.id.as_str()).collect();
    let mut changes: Vec<(String, String, String)> = Vec::new();
    let is_last = |state: &str| ["completed", "failed", "cancelled"].contains(&state);
    let received = read_until(&mut stream, "every end is published", |received| {
        let ends = received
            .iter()
            .filter(|(kind, data)| kind == "job:state_change" && is_last(data["state"].as_str().unwrap()));
        ends.count() >= ended.len()
    })
    .await;
    for (_, data) in received.iter().filter(|(kind, _)| kind == "job:state_change") {
        let text = |name: &str| data[name].as_str().unwrap_or("").to_owned();
        let before = changes.iter().rev().find(|(id, ..)| *id == text("id")).map(|(.., state)| state.clone());
        assert_eq!(data["previousState"].as_str().map(str::to_owned), before, "{data}");
        changes.push((text("id"), text("previousState"), text("state")));
    }
    let once: BTreeSet<_> = changes.iter().filter(|(.., state)| is_last(state)).collect();
    assert_eq!(once.len(), ended.len(), "each end once; the last was {last}");
    for kind in ["worker:heartbeat", "queue:snapshot"] {
        assert!(received.iter().any(|(other, _)| other == kind), "{kind}");
    }

    // The depth is the sum over the priority steps, and each queue's one consumer is inferred from its tasks.
    let depth = async |name: &str| {
        monitor.queues().await.get(name).map(|queue| (queue["depth"].as_i64(), queue["consumers"].as_i64()))
    };
    until("the queues are empty, with a consumer each", || async {
        depth("emails").await == Some((Some(0), Some(1))) && depth("prio").await == Some((Some(0), Some(1)))
    })
    .await;
    // A killed worker sends nothing, and is offline six seconds later. Its blocking read stays open at the broker for a moment.
    prefork.kill();
    solo.kill();
    until("no client is blocked at the broker any more", || async {
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
async fn prefixes_databases_and_channels_without_patterns_are_watched() {
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
        "each sees its own workers alone"
    );

    let (first, second) = tokio::join!(with_prefix.drive("q1", "add,fail"), without.drive("celery", "add,fail"));
    assert_states(&prefixed, &first).await;
    assert_states(&bare, &second).await;

    // By remote control the worker names both of its queues, also the one without jobs; and the mailbox is removed.
    until("the worker is asked", || async {
        let queues = prefixed.queues().await;
        ["q1", "q2"].iter().all(|name| queues.get(*name).is_some_and(|queue| queue["consumers"] == 1))
    })
    .await;
    until("its queues and its concurrency are known", || async {
        let worker = prefixed.workers().await["one@test"].clone();
        worker["queues"] == json!(["q1", "q2"]) && worker["concurrency"].is_number()
    })
    .await;
    let left = || {
        let mut connection = redis::Client::open(broker.url(3)).unwrap().get_connection().unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*reply.celery.pidbox*").query(&mut connection).unwrap();
        keys
    };
    until("the replies are removed", || async { left().is_empty() }).await;
}

/// Commands that a watcher may send to a broker.
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
/// Commands that the test itself sends.
const OWN_COMMANDS: &[&str] = &["keys", "dump", "pttl", "type", "hgetall", "config|get", "info", "config|resetstat"];

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
    // The dead worker's last keys may expire by themselves: only keys without expiry are compared.
    let keys = || broker.redis.snapshot().into_iter().filter(|(_, (_, expires))| !expires).collect::<Vec<_>>();
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
    let duration = match std::env::var("HOLDFAST_READ_ONLY_SECONDS").ok().and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => std::time::Duration::from_secs(seconds),
        None => std::time::Duration::from_secs(if long() { 60 } else { 0 }),
    };
    let begun = std::time::Instant::now();
    while begun.elapsed() < duration {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    // 41 queues of four lists each, once a second.
    until("queues were polled a thousand times", || async { calls().get("llen").copied().unwrap_or(0) >= 1_000 }).await;
    assert!(monitor.queues().await.len() >= 41);

    for command in calls().keys() {
        assert!(READS.contains(&command.as_str()) || OWN_COMMANDS.contains(&command.as_str()), "{command} is no read");
    }
    assert!(keys() == keys_before, "the keys are as they were");
    assert_eq!(config(), config_before);
    assert_ne!(monitor.health().await["connectedSince"], Value::Null);
}
