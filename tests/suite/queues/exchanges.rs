//! A real Celery whose exchanges have names of their own.

use serde_json::{Value, json};

use crate::support::{
    brokers::{Broker, Celery, Monitor, celery_connection},
    world::{World, until},
};

#[tokio::test]
async fn celery_with_exchanges_of_its_own_is_watched_by_their_names() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let configuration = json!({"event_exchange": "shop.ev", "control_exchange": "shop"});
    let celery = Celery::over(&broker, 0, json!({})).configured(&configuration);
    let mut worker = celery.worker("w1", "solo", "mails");

    // Given a connection that does not name them: nothing is heard, and nobody answers.
    let mut asked = celery_connection(&broker.url(0));
    asked["exactConsumers"] = json!(true);
    let unnamed = Monitor::watching(at, asked.clone()).await;
    until("the health says why nothing is seen", || async { unnamed.health().await["error"] == "other_exchanges" })
        .await;
    assert!(unnamed.health().await["connectedSince"].is_string(), "it is watched all the same");
    until("the queue is found", || async { unnamed.queues().await.contains_key("mails") }).await;
    let queue = &unnamed.queues().await["mails"];
    assert_eq!((&queue["consumers"], &queue["consumersSource"]), (&Value::Null, &Value::Null), "nobody said none");

    // When another one names them.
    asked["eventExchange"] = json!("shop.ev");
    asked["controlExchange"] = json!("shop");
    let named = Monitor::watching(at, asked).await;
    named.until_workers(1).await;
    let fates = celery.drive("mails", "add,fail").await;
    for (fate, state) in [("add 0", "completed"), ("fail", "failed")] {
        named.until_job(&fates[fate].id, state).await;
    }
    until("the worker is asked", || async {
        let queues = named.queues().await;
        queues.get("mails").is_some_and(|queue| queue["consumers"] == 1 && queue["consumersSource"] == "exact")
    })
    .await;
    assert_eq!(named.health().await["error"], Value::Null);
    assert!(unnamed.workers().await.is_empty() && unnamed.jobs().await.is_empty());

    // When the worker ends by itself, those who answered are no more, and the other broker shows nothing to look for.
    worker.terminate().await;
    until("none is left", || async {
        let queues = named.queues().await;
        queues["mails"]["consumers"] == 0 && queues["mails"]["consumersSource"] == "exact"
    })
    .await;
    until("nobody is bound elsewhere", || async { unnamed.health().await["error"].is_null() }).await;
}
