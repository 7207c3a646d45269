//! Fan-out: many streams each get every event, and none waits for another.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    sse::EventStream,
    world::{ADMIN_KEY, Tenant, World, long},
};

/// Streams, or tenants, of a large test: 1,000, which takes a few seconds, or the 10,000 that a replica promises to serve.
fn large_count() -> usize {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    if long() { 10_000 } else { 1_000 }
}

#[tokio::test]
async fn every_stream_gets_every_event_in_order() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let mut streams = join_all((0..60).map(|number| {
        let at = world.at_replica(number % 2, &tenant);
        async move { at.events(if number % 3 == 0 { "?types=RESERVED" } else { "" }).await }
    }))
    .await;
    for stream in &mut streams {
        stream.head().await;
    }
    let mut fences = Vec::new();
    for number in 0..20 {
        fences.push(world.at(&tenant).acquire("w", &format!("r{number}"), None).await["fencingToken"].to_string());
    }
    for stream in &mut streams {
        for fence in &fences {
            assert_eq!(&stream.event().await.2, fence);
        }
    }
}

#[tokio::test]
async fn each_tenant_gets_only_its_own_events() {
    let world = World::<1>::start().await;
    let tenants = join_all((0..12).map(|_| world.tenant())).await;
    let mut streams = join_all(tenants.iter().map(|tenant| async { world.at(tenant).events("").await })).await;
    for stream in &mut streams {
        stream.head().await;
    }
    join_all(tenants.iter().map(|tenant| async { world.at(tenant).acquire("w", &tenant.id, None).await })).await;
    for (stream, tenant) in streams.iter_mut().zip(&tenants) {
        let event = stream.expect("RESERVED").await;
        assert_eq!(
            (event["tenantId"].as_str(), event["resource"].as_str()),
            (Some(tenant.id.as_str()), Some(tenant.id.as_str()))
        );
    }
}

#[tokio::test]
async fn many_reconnecting_streams_share_a_few_calls_to_redis() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let from = at.acquire("w", "before", None).await["fencingToken"].to_string();
    for number in 0..5 {
        at.acquire("w", &format!("r{number}"), None).await;
    }
    let before = world.redis.function_calls();

    let mut streams = join_all((0..150).map(|_| async {
        EventStream::open(
            &format!("{}/api/v1/events", at.replica.url),
            &[("x-api-key", at.key), ("last-event-id", &from)],
        )
        .await
    }))
    .await;
    for stream in &mut streams {
        assert_eq!(stream.head().await.to_string(), from);
        for number in 0..5 {
            assert_eq!(stream.expect("RESERVED").await["resource"], format!("r{number}"));
        }
    }
    // Beside the replica's own calls: a comparison of positions every 1.75 s, and a verification every quarter of a second.
    let asked = world.redis.function_calls() - before;
    assert!(asked < 75, "{asked} scripts for 150 streams");
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_can_reconnect() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let address = at.replica.url.trim_start_matches("http://").to_owned();
    let mut stuck = TcpStream::connect(&address).await.unwrap();
    stuck
        .write_all(format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\n\r\n", tenant.key).as_bytes())
        .await
        .unwrap();
    let mut quick = at.events("").await;
    let from = quick.head().await;

    // More than the sockets and the ring hold.
    let event = json!({"type": "blob", "data": "x".repeat(15_000)});
    for _ in 0..8 {
        assert_eq!(at.post("/events", json!(vec![event.clone(); 100])).await.status, 202);
    }
    let mut last = from;
    for _ in 0..800 {
        let id: i64 = tokio::time::timeout(Duration::from_secs(10), quick.event())
            .await
            .expect("no stream waits for the stuck client")
            .2
            .parse()
            .unwrap();
        assert!(id > last);
        last = id;
    }
    // A client that reconnects is served from the history, beyond the ring.
    let mut back = at.events(&format!("?lastEventId={from}")).await;
    back.head().await;
    for _ in 0..800 {
        back.expect("blob").await;
    }
    drop(stuck);
}

#[tokio::test]
async fn many_streams_of_one_tenant_get_every_event_once() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (client, url) = (reqwest::Client::new(), format!("{}/api/v1/events", world.replicas[0].url));
    let headers = [("x-api-key", tenant.key.as_str())];
    let mut streams: Vec<_> = stream::iter(0..large_count())
        .map(|_| EventStream::open_by(&client, &url, &headers))
        .buffer_unordered(64)
        .collect()
        .await;
    for stream in &mut streams {
        stream.head().await;
    }

    let mut fences = Vec::new();
    for number in 0..5 {
        fences.push(world.at(&tenant).acquire("w", &format!("r{number}"), None).await["fencingToken"].to_string());
    }
    let last = world.at(&tenant).acquire("w", "last", None).await["fencingToken"].to_string();

    for stream in &mut streams {
        // The last event comes right after the others, so none of them came twice.
        for fence in fences.iter().chain([&last]) {
            assert_eq!(&stream.event().await.2, fence);
        }
    }
}

#[tokio::test]
async fn many_tenants_with_a_stream_each_get_their_own_events() {
    let world = World::<1>::start().await;
    let (client, base) = (reqwest::Client::new(), format!("{}/api/v1", world.replicas[0].url));
    let make = |_| async {
        let made = client
            .post(format!("{base}/admin/tenants"))
            .header("x-admin-key", ADMIN_KEY)
            .json(&json!({"name": "one of many", "tier": "Pro"}));
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        Tenant { id: made["tenantId"].as_str().unwrap().into(), key: made["apiKey"].as_str().unwrap().into() }
    };
    let tenants: Vec<_> = stream::iter(0..large_count()).map(make).buffer_unordered(16).collect().await;
    let url = format!("{base}/events");
    let open = |tenant: Tenant| {
        let (client, url) = (&client, &url);
        async move {
            let mut stream = EventStream::open_by(client, url, &[("x-api-key", &tenant.key)]).await;
            stream.head().await;
            (tenant, stream)
        }
    };
    let streams: Vec<_> = stream::iter(tenants).map(open).buffer_unordered(64).collect().await;

    let reserve = |tenant: &Tenant| {
        let item = json!([{"requester": "w", "resource": tenant.id}]);
        client.post(format!("{base}/Reservation/reserve")).header("x-api-key", &tenant.key).json(&item).send()
    };
    let calls: Vec<_> = streams.iter().map(|(tenant, _)| reserve(tenant)).collect();
    let mut answers = stream::iter(calls).buffer_unordered(16);
    while let Some(answer) = answers.next().await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }

    for (tenant, mut stream) in streams {
        let event = stream.expect("RESERVED").await;
        assert_eq!(
            (event["tenantId"].as_str(), event["resource"].as_str()),
            (Some(tenant.id.as_str()), Some(tenant.id.as_str()))
        );
    }
}
