//! Take-over of watched connections: when a replica is killed, drains or is paused, another one continues, and `gap` says what was missed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    brokers::{Broker, BullMq, Celery, Monitor, bullmq_connection, celery_connection, read_until},
    world::{World, until},
};

/// The replica that watches a connection, by its log.
fn watcher<const N: usize>(world: &World<N>, connection: &str) -> usize {
    let watches = |log: &str| {
        let of = |line: &&str| line.contains(connection);
        let begun = log.lines().filter(of).filter(|line| line.contains("watching a connection\"")).count();
        let ended = log.lines().filter(of).filter(|line| line.contains("watching a connection no more")).count();
        begun > ended
    };
    (0..N).find(|at| watches(&world.replicas[*at].log())).expect("one of them watches it")
}

#[tokio::test]
async fn a_killed_watchers_connections_are_taken_over_without_a_change_lost_or_repeated() {
    let (bull_broker, celery_broker) = (Broker::start(), Broker::start());
    let hosts = format!("{},{}", bull_broker.host(), celery_broker.host());
    let mut world = World::<2>::with(&[], &[("BROKER_HOSTS", &hosts)]).await;
    let tenant = world.tenant().await;
    let bullmq = BullMq::over(&bull_broker);
    let at = world.at(&tenant);
    let first = Monitor::watching(at, bullmq_connection(&bull_broker.url(0))).await.connection;
    let lost = watcher(&world, &first);
    // The Celery connection must be the same replica's: whichever gets it, another is made until it is.
    let mut second = String::new();
    while second.is_empty() {
        let made = Monitor::watching(at, celery_connection(&celery_broker.url(0))).await.connection;
        if watcher(&world, &made) == lost {
            second = made;
        } else {
            assert_eq!(at.delete(&format!("/connections/{made}")).await.status, 204);
        }
    }
    let left = 1 - lost;
    let celery = Celery::over(&celery_broker, 0, json!({}));
    let _celery_worker = celery.worker("w", "solo", "emails");
    let _bull_worker = bullmq.worker("emails", "anna");
    {
        let at = world.at_replica(left, &tenant);
        let monitor = Monitor { at, connection: second.clone() };
        monitor.until_workers(1).await;
    }
    let (mut bull_stream, mut celery_stream) = {
        let at = world.at_replica(left, &tenant);
        (
            Monitor { at, connection: first.clone() }.stream("job").await,
            Monitor { at, connection: second.clone() }.stream("job").await,
        )
    };

    // When the watcher is killed in the middle of a thousand jobs.
    let driving = tokio::spawn(async move { bullmq.drive("emails", "many:1000").await });
    let begun = read_until(&mut bull_stream, "some arrive", |seen| seen.len() > 500).await;
    world.replicas[lost].kill();
    let killed = std::time::Instant::now();
    let gap =
        read_until(&mut celery_stream, "the gap arrives", |seen| seen.iter().any(|(kind, _)| kind == "gap")).await;
    assert!(killed.elapsed() < std::time::Duration::from_secs(10), "taken over after {:?}", killed.elapsed());

    // Then BullMQ's events are complete: every job completed, and each of its changes arrived once.
    let fates = driving.await.unwrap();
    assert!(fates.values().all(|fate| fate.state == "completed") && fates.len() == 1_000);
    let monitor = Monitor { at: world.at_replica(left, &tenant), connection: first.clone() };
    let mut ended = begun.iter().filter(|(_, data)| data["state"] == "completed").count();
    let mut counted = 0;
    let rest = read_until(&mut bull_stream, "all are completed", |seen| {
        ended += seen[counted..].iter().filter(|(_, data)| data["state"] == "completed").count();
        counted = seen.len();
        ended >= 1_000
    })
    .await;
    let mut states_by_job: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, data) in begun.iter().chain(&rest) {
        assert!(kind != "gap", "BullMQ's broker keeps its events");
        if kind == "job:state_change" {
            states_by_job
                .entry(data["id"].as_str().unwrap().into())
                .or_default()
                .push(data["state"].as_str().unwrap().into());
        }
    }
    assert_eq!(states_by_job.len(), 1_000);
    for (job, states) in &states_by_job {
        // Every change arrives once, also those that were on their way when the watcher was killed.
        assert_eq!(states, &["queued", "active", "completed"], "{job}");
    }
    let health = monitor.health().await;
    assert_eq!((&health["watched"], &health["error"]), (&json!(true), &Value::Null));

    // And Celery's stream has a gap, and continues.
    let (_, gap) = gap.iter().find(|(kind, _)| kind == "gap").unwrap();
    assert_eq!(gap["reason"], "takeover");
    let at = |name: &str| chrono::DateTime::parse_from_rfc3339(gap[name].as_str().unwrap()).unwrap();
    assert!(at("from") < at("to") && (at("to") - at("from")).num_seconds() < 12, "{gap}");
    let monitor = Monitor { at: world.at_replica(left, &tenant), connection: second.clone() };
    for fate in celery.drive("emails", "add").await.values() {
        monitor.until_job(&fate.id, "completed").await;
    }
}

#[tokio::test]
async fn a_draining_watcher_releases_its_connections_at_once() {
    let broker = Broker::start();
    let world = World::<2>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let connection = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await.connection;
    let leaving = watcher(&world, &connection);
    let left = world.at_replica(1 - leaving, &tenant);
    let monitor = Monitor { at: left, connection: connection.clone() };
    let mut stream = monitor.stream("job").await;

    world.replicas[leaving].signal("-TERM");
    let begun = std::time::Instant::now();
    let seen = read_until(&mut stream, "the gap arrives", |seen| seen.iter().any(|(kind, _)| kind == "gap")).await;
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "without waiting for the lease to lapse: {:?}",
        begun.elapsed()
    );
    assert_eq!(seen.last().unwrap().1["reason"], "handover");
    assert_eq!(watcher(&world, &connection), 1 - leaving);
}

#[tokio::test]
async fn an_outdated_watcher_changes_nothing_and_stops() {
    let broker = Broker::start();
    let world = World::<2>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await;
    let paused = watcher(&world, &monitor.connection);
    world.replicas[paused].signal("-STOP");
    let other = Monitor { at: world.at_replica(1 - paused, &tenant), connection: monitor.connection.clone() };
    let took_over = || {
        world.replicas[1 - paused]
            .log()
            .lines()
            .any(|line| line.contains("watching a connection\"") && line.contains(&monitor.connection))
    };
    until("the other takes it over", || async { took_over() }).await;
    let _celery = Celery::over(&broker, 0, json!({}));

    // When the paused one continues, it finds that it is no longer the watcher.
    world.replicas[paused].signal("-CONT");
    until("it stops", || async {
        world.replicas[paused]
            .log()
            .lines()
            .any(|line| line.contains("watching a connection no more") && line.contains("lost"))
    })
    .await;
    assert_eq!(watcher(&world, &monitor.connection), 1 - paused);
    assert_eq!(other.health().await["watched"], json!(true));
}

#[tokio::test]
async fn connections_are_shared_among_the_replicas() {
    let broker = Broker::start();
    let world = World::<2>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for _ in 0..20 {
        assert_eq!(at.post("/connections", celery_connection(&broker.url(0))).await.status, 201);
    }
    let listed = async || at.get("/connections").await.body["connections"].as_array().unwrap().clone();
    until("all are watched", || async {
        listed().await.iter().all(|connection| connection["health"]["connectedSince"].is_string())
    })
    .await;
    let watches = |replica: &crate::support::world::Replica| {
        replica.log().lines().filter(|line| line.contains("watching a connection\"")).count()
    };
    let each = world.replicas.each_ref().map(watches);
    assert_eq!(each.iter().sum::<usize>(), 20, "each once: {each:?}");
    assert!(each.iter().all(|watched| *watched >= 4), "neither has nearly all of them: {each:?}");
}

/// The message that a producer's kombu publishes of a task sent now.
fn task_sent(number: usize) -> String {
    let at = chrono::Utc::now().timestamp_micros() as f64 / 1e6;
    let event = json!({"type": "task-sent", "timestamp": at, "uuid": format!("task-{number}"), "name": "n", "queue": "q", "retries": 0});
    json!({"body": event.to_string(), "content-type": "application/json", "properties": {}}).to_string()
}

#[tokio::test]
async fn events_beyond_the_buffer_become_a_gap() {
    let broker = Broker::start();
    let world = World::<1>::with(&[], &[("BROKER_HOSTS", &broker.host())]).await;
    let tenant = world.tenant().await;
    let monitor = Monitor::watching(world.at(&tenant), celery_connection(&broker.url(0))).await;
    let mut stream = monitor.stream("worker").await;
    let mut connection = broker.redis.connection();

    // While nothing can be stored, more events arrive than the buffer holds.
    world.redis.signal("-STOP");
    let begun = chrono::Utc::now();
    let message = task_sent(1);
    for _ in 0..60 {
        let mut many = redis::pipe();
        for _ in 0..1_000 {
            many.cmd("PUBLISH").arg("/0.celeryev/task.sent").arg(&message).ignore();
        }
        many.query::<()>(&mut connection).unwrap();
    }
    world.redis.signal("-CONT");

    let seen = read_until(&mut stream, "the gap arrives", |seen| seen.iter().any(|(kind, _)| kind == "gap")).await;
    let (_, gap) = seen.last().unwrap();
    assert_eq!(gap["reason"], "overflow");
    let at = |name: &str| chrono::DateTime::parse_from_rfc3339(gap[name].as_str().unwrap()).unwrap();
    assert!(
        begun <= at("from") && at("from") <= at("to") && at("to") <= chrono::Utc::now() + chrono::TimeDelta::seconds(1),
        "{gap}"
    );
    redis::cmd("PUBLISH").arg("/0.celeryev/task.sent").arg(task_sent(2)).query::<i64>(&mut connection).unwrap();
    monitor.until_job("task-2", "queued").await;
}
