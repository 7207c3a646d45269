//! A real BullMQ, watched: the monitor's states against BullMQ's own.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{
    brokers::{Broker, BullMq, Monitor, bullmq_connection, read_until},
    world::{World, until},
};

/// The unified state for BullMQ's state of a job.
fn unified(fate: &str, state: &str) -> &'static str {
    match (fate, state) {
        ("removed", _) => "cancelled",
        (_, "completed") => "completed",
        (_, "failed") => "failed",
        (_, "delayed") => "scheduled",
        (_, other) => panic!("the job has not ended: {other}"),
    }
}

#[tokio::test]
async fn jobs_workers_and_queues_are_as_bullmq_has_them() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let bullmq = BullMq::over(&broker);
    // Jobs from before the watch are read from the streams.
    let _waiting = bullmq.drive("reports", "later,removed").await;
    let monitor = Monitor::watching(world.at(&tenant), bullmq_connection(&broker.url(0))).await;
    let mut stream = monitor.stream("job").await;
    let mut worker = bullmq.worker("emails", "anna");
    monitor.until_workers(1).await;
    assert_eq!(monitor.workers().await["anna"]["state"], "online");

    let fates = bullmq.drive("emails", "plain,priority,progress,fail,flaky,delayed,later,removed").await;
    for (name, fate) in &fates {
        monitor.until_job(&format!("emails:{}", fate.id), unified(name, &fate.state)).await;
    }
    let history = async |fate: &str| monitor.history(&format!("emails:{}", fates[fate].id)).await;
    for fate in ["plain 1", "priority", "progress"] {
        assert_eq!(history(fate).await, ["queued", "active", "completed"], "{fate}");
    }
    assert_eq!(history("fail").await, ["queued", "active", "failed"]);
    assert_eq!(history("flaky").await, ["queued", "active", "retrying", "queued", "active", "completed"]);
    assert_eq!(history("delayed").await, ["scheduled", "queued", "active", "completed"]);
    assert_eq!(history("removed").await, ["scheduled", "cancelled"]);
    let failed = monitor.job(&format!("emails:{}", fates["fail"].id)).await;
    assert_eq!(
        (failed["name"].as_str(), failed["queue"].as_str(), failed["workerId"].as_str()),
        (Some("fail"), Some("emails"), Some("anna"))
    );
    assert!(
        failed["error"].as_str().unwrap().contains("no such product")
            && failed["stacktrace"].as_str().unwrap().contains("work.mjs")
    );
    assert_eq!(monitor.job(&format!("emails:{}", fates["progress"].id)).await["progress"], 0.5);

    let received = read_until(&mut stream, "every ended job is published", |received| {
        received
            .iter()
            .filter(|(_, data)| ["completed", "failed", "cancelled"].contains(&data["state"].as_str().unwrap_or("")))
            .count()
            >= fates.len() - 1
    })
    .await;
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    for (_, data) in received.iter().filter(|(kind, _)| kind == "job:state_change") {
        let before = states.insert(data["id"].as_str().unwrap().into(), data["state"].as_str().unwrap().into());
        assert_eq!(data["previousState"].as_str().map(str::to_owned), before, "{data}");
    }

    until("the queue is empty, with one consumer", || async {
        let queues = monitor.queues().await;
        (&queues["emails"]["depth"], &queues["emails"]["consumers"]) == (&json!(0), &json!(1))
    })
    .await;
    assert!(monitor.queues().await.contains_key("reports"));
    let _more = bullmq.drive("reports", "later").await;
    worker.kill();
    let mut connection = broker.redis.connection();
    redis::cmd("LPUSH").arg("bull:emails:wait").arg("x").arg("y").query::<i64>(&mut connection).unwrap();
    until("the depth and the lost worker are reported", || async {
        let queues = monitor.queues().await;
        (&queues["emails"]["depth"], &queues["emails"]["consumers"]) == (&json!(2), &json!(0))
            && monitor.workers().await["anna"]["state"] == "offline"
    })
    .await;
}
