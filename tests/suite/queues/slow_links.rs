//! BullMQ's results over links that are slow, or lose what is great.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    brokers::{Broker, Monitor, bullmq_connection, read_until},
    slow_link::Link,
    world::{World, until, until_within},
};

/// Adds an entry to a queue's event stream: `id` is its milliseconds and number, or `*`.
fn completed(broker: &Broker, id: &str, job: u32, bytes: usize) {
    let mut connection = redis::Client::open(broker.url(0)).unwrap().get_connection().unwrap();
    let mut add = redis::cmd("XADD");
    add.arg("bull:mails:events").arg(id).arg("event").arg("completed").arg("jobId").arg(job);
    add.arg("prev").arg("active").arg("returnvalue").arg("r".repeat(bytes)).exec(&mut connection).unwrap();
}

#[tokio::test]
async fn great_results_come_over_a_slow_link() {
    // Given answers of 6 MB, over a link of 8 Mbit/s: each takes longer than the timeout of a silent connection.
    const JOBS: u32 = 10;
    let broker = Broker::start();
    (1..=JOBS).for_each(|job| completed(&broker, "*", job, 600_000));
    let link = Link::throttled(broker.port, 1_000_000);
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &link.host())]).await;
    let tenant = world.tenant().await;
    let asked = bullmq_connection(&format!("redis://{}/0", link.host()));
    let monitor = Monitor::watching(world.at(&tenant), asked).await;

    until_within(Duration::from_secs(30), "all of them are there", || async {
        assert_eq!(monitor.health().await["error"], json!(null), "it is watched all the time");
        monitor.jobs().await.len() == JOBS as usize
    })
    .await;
}

#[tokio::test]
async fn pieces_get_smaller_where_answers_are_lost_and_what_cannot_be_had_is_a_gap() {
    const LOST: usize = 400_000;
    let broker = Broker::start();
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() - 60_000;
    // Given three that fit one by one, and perhaps two at once, one that never does, and one that follows.
    for (job, bytes) in [(1, 60_000), (2, 60_000), (3, 60_000), (4, LOST), (5, 10)] {
        completed(&broker, &format!("{}-0", now_ms + u128::from(job)), job, bytes);
    }
    let link = Link::lossy(broker.port, 150_000);
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &link.host())]).await;
    let tenant = world.tenant().await;
    let asked = bullmq_connection(&format!("redis://{}/0", link.host()));
    let monitor = Monitor::watching(world.at(&tenant), asked).await;
    let mut stream = monitor.stream("").await;

    let received = read_until(&mut stream, "the gap is told", |received| {
        received.iter().any(|(kind, data)| kind == "gap" && data["reason"] == "overflow")
    })
    .await;
    assert!(link.lost() >= 3, "all at once, a piece of them, and the one: {}", link.lost());
    let jobs = monitor.jobs().await;
    let before = ["mails:1", "mails:2", "mails:3"];
    assert!(before.iter().all(|job| jobs[*job]["state"] == "completed"), "{received:?}");
    until("what follows is read", || async { monitor.jobs().await.contains_key("mails:5") }).await;
    assert!(!monitor.jobs().await.contains_key("mails:4"));
    let health = monitor.health().await;
    assert_eq!((&health["error"], health["connectedSince"].is_string()), (&json!(null), true));
    // It is not tried again and again.
    let lost = link.lost();
    completed(&broker, "*", 6, 10);
    until("later ones are read", || async { monitor.jobs().await.contains_key("mails:6") }).await;
    assert_eq!(link.lost(), lost);
}
