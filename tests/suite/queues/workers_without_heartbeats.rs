//! Celery's workers that send no heartbeats: their jobs, their answers and the broker's bindings show them.

use serde_json::json;

use crate::support::{
    brokers::{Broker, Celery, Monitor, celery_connection, read_until},
    world::{World, until},
};

#[tokio::test]
async fn a_worker_without_heartbeats_is_shown_while_it_is_bound() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let reading = Monitor::watching(at, celery_connection(&broker.url(0))).await;
    let mut asked = celery_connection(&broker.url(0));
    asked["exactConsumers"] = json!(true);
    let asking = Monitor::watching(at, asked).await;
    let mut stream = reading.stream("worker").await;
    let celery = Celery::over(&broker, 0, json!({}));
    let silent = ["--without-heartbeat", "--without-gossip", "--without-mingle"];
    let mut worker = celery.worker_with("w1", "solo", "emails", &silent);

    // Its answer alone shows it, with what it can do; a watch that only reads knows nothing yet.
    asking.until_workers(1).await;
    let answered = asking.workers().await["w1@test"].clone();
    assert_eq!((&answered["state"], &answered["queues"]), (&json!("online"), &json!(["emails"])));
    assert!(answered["concurrency"].is_number(), "{answered}");
    assert!(reading.workers().await.is_empty());

    // Its jobs show it, too.
    let fates = celery.drive("emails", "add").await;
    reading.until_job(&fates["add 0"].id, "completed").await;
    assert_eq!(reading.job(&fates["add 0"].id).await["workerId"], "w1@test");
    assert_eq!(reading.workers().await["w1@test"]["state"], "online");
    let states = |received: &[(String, serde_json::Value)], state: &str| {
        received.iter().any(|(kind, data)| {
            kind == "worker:state_change" && data["hostname"] == "w1@test" && data["state"] == state
        })
    };
    read_until(&mut stream, "it is told", |received| states(received, "online")).await;

    // It says no farewell, but its binding goes with it.
    worker.terminate().await;
    for monitor in [&reading, &asking] {
        until("it is offline", || async { monitor.workers().await["w1@test"]["state"] == "offline" }).await;
    }
    read_until(&mut stream, "that is told, too", |received| states(received, "offline")).await;

    // It comes back under the same name.
    let _anew = celery.worker_with("w1", "solo", "emails", &silent);
    until("it is online again", || async { asking.workers().await["w1@test"]["state"] == "online" }).await;
}
