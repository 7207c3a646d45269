//! The dashboard's view of queues in a real Chromium, over a real Celery and a real BullMQ: see `tests/browser/`.

use serde_json::json;
use tokio::{runtime::Handle, task::block_in_place};

use crate::{
    http::browser::Browser,
    support::{
        brokers::{Broker, BullMq, Celery, Program},
        world::{World, free_port},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_celery_and_bullmq_do() {
    run("queues.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_usage_and_charts_are_accessible_in_every_size() {
    run("craft-queues.mjs").await;
}

/// Runs a script with a broker, and starts what it asks for over that: workers, and jobs of every fate.
async fn run(script: &str) {
    let broker = Broker::start();
    let nobody = format!("127.0.0.1:{}", free_port());
    let world = World::<2>::with(&[], &[("BROKER_HOSTS", &format!("{},{nobody}", broker.host()))]).await;
    let tenant = world.tenant().await;
    let (celery, bullmq) = (Celery::over(&broker, 0, json!({})), BullMq::over(&broker));
    let mut browser = Browser::new(&world, &tenant);
    browser.settings = vec![("BROKER_URL", broker.url(0)), ("NOBODY_URL", format!("redis://{nobody}/0"))];
    let mut celery_worker: Option<Program> = None;
    let mut bullmq_workers = Vec::new();
    browser.run(script, |what| match what.split(' ').collect::<Vec<_>>()[..] {
        ["celery", "worker", "kill"] => drop(celery_worker.take()),
        ["celery", "worker", queue] => celery_worker = Some(celery.worker("prefork", "prefork", queue)),
        ["bullmq", "worker", queue] => bullmq_workers.push(bullmq.worker(queue, "painter")),
        ["celery", queue, fates] => drop(wait(celery.drive(queue, fates))),
        ["bullmq", queue, fates] => drop(wait(bullmq.drive(queue, fates))),
        _ => panic!("it asks for {what}"),
    });
}

/// Waits within the closure, whose caller reads the script's output line by line.
fn wait<T>(work: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(work))
}
