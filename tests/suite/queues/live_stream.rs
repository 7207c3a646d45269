//! Live stream of a connection: its frames, its heartbeats and gaps, who may open it, and when it ends.

use std::time::{Duration, Instant};

use holdfast::domain::queue::{job_id, worker_id};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    queues::push_connection::{PushConnection, job, queue, worker},
    support::{
        sse::{EventStream, Seen},
        world::{TIMEOUT, World, call, until},
    },
};

#[tokio::test]
async fn pushed_events_are_streamed_at_once_in_the_documented_frames() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let far = PushConnection {
        at: world.at_replica(1, &tenant),
        id: connection.id,
        ingest_key: connection.ingest_key.clone(),
    };
    let mut stream = far.stream("").await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");

    // When a job goes through its states, a worker sends a heartbeat and a queue changes.
    let answer = connection
        .push(json!([job("t1", "unknown", 1), job("t1", "active", 2), worker("heartbeat", 3), queue(42, 4)]))
        .await;
    assert_eq!((answer.status, &answer.body), (StatusCode::ACCEPTED, &json!({"accepted": 4, "duplicates": 0})));
    let finished = connection.push(json!([job("t1", "completed", 9)])).await;
    assert_eq!(finished.status, 202);

    // Then each change has its frame as documented.
    let id = job_id(connection.id, "t1").to_string();
    let of = |state: &str, previous: Value, ms: u32| json!({"id": id, "name": "app.tasks.send_email", "state": state, "previousState": previous, "timestamp": format!("2026-05-13T14:00:00.{ms:03}Z")});
    let worker_id = worker_id(connection.id, "celery@worker-1").to_string();
    assert_eq!(stream.expect("job:state_change").await, of("unknown", Value::Null, 1));
    assert_eq!(stream.expect("job:state_change").await, of("active", json!("unknown"), 2));
    assert_eq!(
        stream.expect("worker:state_change").await,
        json!({"id": worker_id, "hostname": "celery@worker-1", "state": "online", "previousState": "offline", "timestamp": "2026-05-13T14:00:00.003Z"})
    );
    assert_eq!(
        stream.expect("worker:heartbeat").await,
        json!({"id": worker_id, "hostname": "celery@worker-1", "state": "online", "activeJobs": 3})
    );
    assert_eq!(stream.expect("queue:snapshot").await, json!({"name": "default", "depth": 42, "consumers": 4}));
    let (kind, data, id) = stream.event().await;
    assert_eq!(
        (kind.as_str(), data, id.as_str()),
        ("job:state_change", of("completed", json!("active"), 9), "0"),
        "no frame has an id but the first, which names no position"
    );

    // A later subscriber gets queues and live workers first, as far as its filter wants them.
    let mut late = connection.stream("&types=queue,worker").await;
    assert_eq!(late.expect("queue:snapshot").await["name"], "default");
    assert_eq!(late.expect("queue:snapshot").await["name"], "emails");
    assert_eq!(late.expect("worker:heartbeat").await["id"], worker_id);
    let mut jobs_alone = connection.stream("&types=job:state_change").await;
    connection.push(json!([queue(41, 10), worker("online", 11), job("t2", "queued", 12)])).await;
    assert_eq!(jobs_alone.expect("job:state_change").await["state"], "queued");
    assert_eq!(late.expect("queue:snapshot").await["depth"], 41);
    assert_eq!(late.expect("worker:heartbeat").await["state"], "online");

    // The stream of another connection does not have them.
    let other = PushConnection::create(world.at(&tenant)).await;
    let mut elsewhere = other.stream("").await;
    other.push(json!([job("t1", "queued", 1)])).await;
    assert_eq!(elsewhere.expect("job:state_change").await["id"], job_id(other.id, "t1").to_string());
}

#[tokio::test]
async fn a_stream_has_a_heartbeat_every_fifteen_seconds_and_its_queues_every_thirty() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    connection.push(json!([queue(7, 1)])).await;
    let mut stream = connection.stream("&types=queue").await;
    let begun = Instant::now();
    assert_eq!(stream.expect("queue:snapshot").await["depth"], 7);

    let mut received = Vec::new();
    while begun.elapsed() < Duration::from_secs(31) && received.len() < 3 {
        let Some(Seen::Event { kind, data, .. }) = stream.next().await else { panic!("nothing else comes") };
        received.push((kind, begun.elapsed().as_secs(), data));
    }
    let heartbeats: Vec<_> = received.iter().filter(|(kind, ..)| kind == "heartbeat").map(|(_, at, _)| *at).collect();
    assert!(matches!(heartbeats[..], [14..=16, 29..=31]), "{received:?}");
    assert!(
        received.iter().any(|(kind, at, data)| kind == "queue:snapshot" && *at <= 30 && data.contains("\"depth\":7")),
        "{received:?}"
    );
    let heartbeat: Value = serde_json::from_str(&received[0].2).unwrap();
    assert!(heartbeat["timestamp"].as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')), "{heartbeat}");
}

#[tokio::test]
async fn a_stream_is_for_those_who_may_see_the_connection() {
    let world = World::<1>::start().await;
    let (tenant, stranger) = (world.tenant_of("Free").await, world.tenant().await);
    let connection = PushConnection::create(world.at(&tenant)).await;
    let foreign = world.at(&stranger);
    let url = |id: &str| format!("{}/api/events/stream{id}", connection.at.replica.url);
    let ask = async |key: Option<&str>, query: &str| call(Method::GET, &url(query), key, None).await;

    let here = format!("?connectionId={}", connection.id);
    ask(None, &here).await.fails(401, "UNAUTHORIZED");
    ask(Some(&connection.ingest_key), &here).await.fails(401, "UNAUTHORIZED");
    assert_eq!(ask(Some(&tenant.key), "").await.paths(), ["connectionId"]);
    assert_eq!(ask(Some(&tenant.key), "?connectionId=default").await.paths(), ["connectionId"]);
    let refused = ask(Some(foreign.key), &here).await;
    refused.fails(404, "NOT_FOUND");
    assert_eq!(refused.body["error"]["docs_url"], "/docs#errors", "as the clients of these paths know it");

    // It counts as a stream of the tier; a client that reconnects gets a stream that only says when to retry.
    let _one = connection.stream("").await;
    let refused = ask(Some(&tenant.key), &here).await;
    assert_eq!(
        (refused.fails(429, "RATE_LIMITED").clone(), refused.body["limitType"].as_str()).1,
        Some("SseConnections")
    );
    let mut back = EventStream::open(&url(&here), &[("x-api-key", &tenant.key), ("last-event-id", "x")]).await;
    assert_eq!(back.status, 200);
    assert!(matches!(back.rest().await.as_slice(), [Seen::Retry(_)]));
}

#[tokio::test]
async fn a_stream_ends_with_its_connection_and_with_its_session() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let signed_in = reqwest::Client::new()
        .post(format!("{}/api/v1/session", connection.at.replica.url))
        .json(&json!({"apiKey": tenant.key}))
        .send()
        .await
        .unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let url = format!("{}/api/events/stream?connectionId={}", connection.at.replica.url, connection.id);
    let mut of_session = EventStream::open(&url, &[("cookie", &cookie)]).await;
    assert_eq!(of_session.status, 200);
    assert!(matches!(of_session.next().await, Some(Seen::Retry(_))));
    connection.push(json!([job("t", "active", 1)])).await;
    assert_eq!(of_session.expect("job:state_change").await["state"], "active");
    let out = reqwest::Client::new()
        .delete(format!("{}/api/v1/session", connection.at.replica.url))
        .header("cookie", &cookie)
        .header("origin", &connection.at.replica.url);
    assert_eq!(out.send().await.unwrap().status(), 204);
    of_session.rest().await;

    let mut of_key = connection.stream("").await;
    assert_eq!(connection.at.delete(&format!("/connections/{}", connection.id)).await.status, 204);
    of_key.rest().await;
    connection.push(json!([job("t", "active", 1)])).await.fails(401, "UNAUTHORIZED");
    // Its observations are deleted, and nothing else is.
    let other = PushConnection::create(world.at(&tenant)).await;
    other.push(json!([job("t", "active", 1), worker("online", 2)])).await;
    let total = async |list: &str| other.get(&format!("/{list}")).await.body["pagination"]["total"].clone();
    until("they are deleted", async || total("jobs").await == 1).await;
    assert_eq!((total("workers").await, total("queues").await), (json!(1), json!(1)));
}

#[tokio::test]
async fn a_worker_without_a_heartbeat_is_offline_after_six_seconds() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let mut stream = connection.stream("&types=worker").await;
    connection.push(json!([worker("online", 1)])).await;
    assert_eq!(stream.expect("worker:state_change").await["state"], "online");
    assert_eq!(stream.expect("worker:heartbeat").await["activeJobs"], 3);
    let last_heartbeat = Instant::now();

    let gone = stream.expect("worker:state_change").await;
    assert_eq!((gone["state"].as_str(), gone["previousState"].as_str()), (Some("offline"), Some("online")));
    assert!((5.5..8.0).contains(&last_heartbeat.elapsed().as_secs_f64()), "{:?}", last_heartbeat.elapsed());
    assert_eq!(connection.get("/workers?state=offline").await.body["pagination"]["total"], 1);
    // Both replicas maintain the tenant's queues, and it is published once.
    assert!(stream.next_within(Duration::from_secs(2)).await.is_err(), "nothing more is published");
}

#[tokio::test]
async fn subscribers_get_a_gap_after_a_lost_subscription_to_redis() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let mut stream = connection.stream("&types=job").await;

    world.redis.ask::<()>("CLIENT KILL TYPE pubsub");

    let gap = stream.expect("gap").await;
    assert_eq!(gap["reason"], "interrupted");
    assert!(gap["from"].as_str() <= gap["to"].as_str());
    connection.push(json!([job("after", "active", 1)])).await;
    assert_eq!(stream.expect("job:state_change").await["id"], job_id(connection.id, "after").to_string());
}

#[tokio::test]
async fn a_slow_subscriber_gets_a_gap_and_goes_on() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    // Given a subscriber that reads little and then, for a while, nothing.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut slow = socket.connect(connection.at.replica.address().parse().unwrap()).await.unwrap();
    let ask = format!(
        "GET /api/events/stream?connectionId={} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\n\r\n",
        connection.id, tenant.key
    );
    slow.write_all(ask.as_bytes()).await.unwrap();
    let mut read = String::new();
    read_until(&mut slow, &mut read, "retry:").await;

    // When more happens than its buffer holds.
    for batch in 0..40 {
        let events: Vec<_> = (0..1_000).map(|number| job(&format!("{batch}-{number}"), "active", number)).collect();
        assert_eq!(connection.push(json!(events)).await.status, 202);
    }

    // Then it reads what was sent, a gap, and what comes after.
    read_until(&mut slow, &mut read, "\"reason\":\"slow\"}").await;
    connection.push(json!([job("after", "active", 1)])).await;
    read_until(&mut slow, &mut read, &job_id(connection.id, "after").to_string()).await;
    let received = read.matches("event: job:state_change").count();
    assert!(received < 40_000, "{received} of 40,001 were received, and yet there is a gap");
}

/// Reads until `wanted` has come.
async fn read_until(from: &mut TcpStream, read: &mut String, wanted: &str) {
    let mut searched = read.len();
    let reading = async {
        let mut chunk = vec![0; 64 << 10];
        while !read[searched..].contains(wanted) {
            // The text may have begun in the chunk before.
            searched = read.len().saturating_sub(wanted.len());
            let got = from.read(&mut chunk).await.unwrap();
            assert!(got > 0, "the stream ended before {wanted}");
            read.push_str(std::str::from_utf8(&chunk[..got]).unwrap());
        }
    };
    tokio::time::timeout(TIMEOUT, reading).await.unwrap_or_else(|_| panic!("in vain: {wanted}"));
}
