//! Basics of a stream: its head, its events, its keepalives, its end.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    sse::{EventStream, Seen},
    world::{Tenant, World, admin},
};

fn url(world: &World<2>, number: usize, query: &str) -> String {
    format!("{}/api/v1/events{query}", world.replicas[number].url)
}

#[tokio::test]
async fn a_stream_begins_with_its_position_and_ids_only_grow() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let before = at.acquire("w", "before", None).await;

    let mut events = at.events("").await;
    assert_eq!(events.status, 200);
    let headers = ["content-type", "cache-control", "x-accel-buffering", "connection", "transfer-encoding"]
        .map(|name| events.headers[name].to_str().unwrap());
    assert_eq!(headers, ["text/event-stream", "no-cache, no-transform", "no", "keep-alive", "chunked"]);
    let mut last = events.head().await;
    assert_eq!(before["fencingToken"], last, "a stream starts at the latest position");

    let held = at.acquire("w", "r", Some(60)).await;
    at.renew("w", "r", &held["releaseToken"], 90).await;
    at.unreserve("w", "r", &held["releaseToken"]).await;
    at.post("/Reservation/reset", json!({})).await;
    for wanted in ["RESERVED", "RENEWED", "UNRESERVED", "RESET"] {
        let (kind, event, id) = events.event().await;
        assert_eq!((kind.as_str(), &event["type"], &event["id"]), (wanted, &json!(wanted), &json!(id)));
        assert_eq!(event["tenantId"], json!(tenant.id));
        let id: i64 = id.parse().unwrap();
        assert!(id > last);
        last = id;
    }
}

#[tokio::test]
async fn an_event_has_every_key() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let mut events = world.at(&tenant).events("").await;
    events.head().await;
    let item = json!([{"requester": "w", "resource": "r", "ttlSeconds": 60, "resourceType": "Job"}]);
    let granted = world.at_replica(1, &tenant).post("/Reservation/reserve", item).await;

    let event = events.expect("RESERVED").await;

    let mut keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut all: Vec<_> = "type tenantId resource requester explanation resourceType apiKeyLabel requestType timestamp method changes limitType limit id \
        fencingToken expiresAt pool slots blockers note ticket waitedMs place waitExpiresAt reason"
        .split_whitespace()
        .collect();
    all.sort_unstable();
    assert_eq!(keys, all);
    let grant = &granted.body[0];
    assert_eq!((&event["fencingToken"], &event["expiresAt"]), (&grant["fencingToken"], &grant["expiresAt"]));
    assert_eq!(event["id"], grant["fencingToken"].to_string());
    for (key, value) in [
        ("explanation", "ACQUIRED"),
        ("requestType", "RESERVE"),
        ("resourceType", "Job"),
        ("apiKeyLabel", "default"),
        ("requester", "w"),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
    assert!(!event.to_string().contains(grant["releaseToken"].as_str().unwrap()), "never a token");
    assert_eq!(event["timestamp"].as_str().unwrap().len(), "2026-05-13T12:01:00.000Z".len());
}

#[tokio::test]
async fn all_replicas_deliver_the_same_events_and_none_of_another_tenant() {
    let world = World::<2>::start().await;
    let (ours, theirs) = (world.tenant().await, world.tenant().await);
    let mut streams = Vec::new();
    for number in 0..2 {
        for tenant in [&ours, &theirs] {
            let mut stream = world.at_replica(number, tenant).events("").await;
            stream.head().await;
            streams.push((tenant.id.clone(), stream));
        }
    }
    for round in 0..20 {
        for tenant in [&ours, &theirs] {
            world.at_replica(round % 2, tenant).acquire(&tenant.id, &format!("r{round}"), None).await;
        }
    }
    let mut ids_by_tenant = Vec::new();
    for (tenant, stream) in &mut streams {
        let mut ids = Vec::new();
        for round in 0..20 {
            let (_, event, id) = stream.event().await;
            assert_eq!(
                (&event["requester"], &event["tenantId"], &event["resource"]),
                (&json!(tenant), &json!(tenant), &json!(format!("r{round}")))
            );
            ids.push(id);
        }
        ids_by_tenant.push((tenant.clone(), ids));
    }
    assert_eq!(ids_by_tenant[0], ids_by_tenant[2]);
    assert_eq!(ids_by_tenant[1], ids_by_tenant[3]);
}

#[tokio::test]
async fn refusals_are_live_only_and_have_no_id() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "r", None).await;
    let mut events = world.at_replica(1, &tenant).events("").await;
    let start = events.head().await;

    at.reserve("w2", "r", None).await;
    at.unreserve("w2", "r", &Value::Null).await;
    at.unreserve("w1", "r", &json!("wrong")).await;
    at.reserve("w1", "r", None).await; // had already: no event
    at.unreserve("w1", "nothing", &Value::Null).await; // not reserved: no event
    at.unreserve("w1", "r", &held["releaseToken"]).await;

    for (wanted, explanation, requester) in [
        ("RESERVE_FAILED", "ALREADY_HELD", "w2"),
        ("UNRESERVE_FAILED", "DOESNT_OWN_RESERVATION", "w2"),
        ("UNRESERVE_FAILED", "INVALID_RELEASE_TOKEN", "w1"),
    ] {
        let (kind, event, last_id) = events.event().await;
        assert_eq!(
            (kind.as_str(), event["explanation"].as_str(), event["requester"].as_str()),
            (wanted, Some(explanation), Some(requester))
        );
        assert_eq!(
            (&event["id"], last_id.as_str(), &event["fencingToken"]),
            (&Value::Null, start.to_string().as_str(), &Value::Null)
        );
    }
    assert_eq!(events.expect("UNRESERVED").await["explanation"], "RELINQUISHED");
    let mut later = at.events("").await;
    later.head().await;
    at.acquire("w1", "next", None).await;
    assert_eq!(later.expect("RESERVED").await["resource"], "next", "refusals are not kept");
}

#[tokio::test]
async fn a_filter_of_types_matches_only_those() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut comma = at.events("?types=UNRESERVED,RENEWED").await;
    let mut repeated = at.events("?types=UNRESERVED&types=RENEWED").await;
    let mut unknown = at.events("?types=NOTHING,reserved").await;
    let mut empty = at.events("?types=").await;
    for stream in [&mut comma, &mut repeated, &mut unknown, &mut empty] {
        stream.head().await;
    }
    let held = at.acquire("w", "r", Some(60)).await;
    at.reserve("other", "r", None).await;
    at.renew("w", "r", &held["releaseToken"], 90).await;
    at.unreserve("w", "r", &held["releaseToken"]).await;

    for stream in [&mut comma, &mut repeated] {
        stream.expect("RENEWED").await;
        stream.expect("UNRESERVED").await;
    }
    for wanted in ["RESERVED", "RESERVE_FAILED", "RENEWED", "UNRESERVED"] {
        empty.expect(wanted).await;
    }
    let silent = unknown.next_within(Duration::from_millis(200)).await;
    assert!(silent.is_err(), "unknown values match nothing: {silent:?}");
}

#[tokio::test]
async fn a_stream_takes_its_key_from_the_query() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let mut in_query = EventStream::open(&url(&world, 0, &format!("?api_key={}", tenant.key)), &[]).await;
    let mut in_bearer =
        EventStream::open(&url(&world, 1, ""), &[("authorization", &format!("Bearer {}", tenant.key))]).await;
    in_query.head().await;
    in_bearer.head().await;
    world.at(&tenant).acquire("w", "r", None).await;
    in_query.expect("RESERVED").await;
    in_bearer.expect("RESERVED").await;

    for (query, headers) in [
        ("", &[][..]),
        ("?api_key=", &[]),
        ("?api_key=nonsense", &[]),
        (&*format!("?api_key={}", tenant.key), &[("x-api-key", "nonsense")]),
    ] {
        let refused = crate::support::world::answer(
            reqwest::Client::new()
                .get(url(&world, 0, query))
                .headers(
                    headers
                        .iter()
                        .map(|(name, value): &(&str, &str)| {
                            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
                        })
                        .collect(),
                )
                .send()
                .await
                .unwrap(),
        )
        .await;
        refused.fails(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn an_empty_line_ends_nothing_that_has_no_data() {
    // Some clients make an event of whatever an empty line ends, once they have seen an id.
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let request = reqwest::Client::new().get(format!("{}/api/v1/events", at.replica.url)).header("x-api-key", at.key);
    let mut response = request.send().await.unwrap();
    let mut text = String::new();
    let mut reads = async |wanted: &str| {
        let reading = async {
            while !text.contains(wanted) {
                text.push_str(
                    std::str::from_utf8(&response.chunk().await.unwrap().expect("the stream goes on")).unwrap(),
                );
            }
        };
        tokio::time::timeout(Duration::from_secs(40), reading).await.unwrap_or_else(|_| panic!("in vain: {wanted}"));
    };
    reads("\"connected\"").await;
    reads("\n: keepalive\n").await;
    at.acquire("w", "after", None).await;
    reads("\"after\"").await;

    let blocks: Vec<_> = text.split("\n\n").filter(|block| !block.is_empty()).collect();
    assert!(blocks.iter().all(|block| block.lines().any(|line| line.starts_with("data: "))), "{text}");
    assert_eq!(blocks.len(), 2, "{text}");
}

#[tokio::test]
async fn a_silent_stream_sends_a_keepalive_every_fifteen_seconds() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=RENEWED").await;
    events.head().await;
    let begun = Instant::now();
    let filtered = at.acquire("w", "r", None).await;

    let next = events.next_within(Duration::from_secs(40)).await.expect("a keepalive");

    assert_eq!(next, Some(Seen::Comment("keepalive".into())));
    assert!((14..30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(
        events.next().await,
        Some(Seen::Id(filtered["fencingToken"].to_string())),
        "the cursor moves past events that do not match"
    );
}

/// Waits until a stream has ended; returns how long that took.
async fn ends(stream: &mut EventStream) -> Duration {
    let begun = Instant::now();
    stream.rest().await;
    begun.elapsed()
}

#[tokio::test]
async fn a_stream_ends_with_its_key_on_every_replica_and_others_stay_open() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    for act in ["rotate", "delete"] {
        let made = at.post("/keys", json!({"label": act})).await;
        let (id, key) = (made.body["id"].as_str().unwrap(), made.body["apiKey"].as_str().unwrap());
        let mut stays = at.events("").await;
        stays.head().await;
        let mut streams = Vec::new();
        for number in 0..2 {
            let mut stream = EventStream::open(&url(&world, number, ""), &[("x-api-key", key)]).await;
            stream.head().await;
            streams.push(stream);
        }

        match act {
            "rotate" => assert_eq!(at.post(&format!("/keys/{id}/rotate"), Value::Null).await.status, 200),
            _ => assert_eq!(at.delete(&format!("/keys/{id}")).await.status, 204),
        }

        for stream in &mut streams {
            let took = ends(stream).await;
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
        at.acquire("w", act, None).await;
        assert_eq!(stays.expect("RESERVED").await["resource"], act);
    }
}

#[tokio::test]
async fn all_streams_of_a_tenant_end_with_it() {
    let world = World::<2>::start().await;
    let (gone, stays): (Tenant, Tenant) = (world.tenant().await, world.tenant().await);
    let mut ending = world.at_replica(1, &gone).events("").await;
    ending.head().await;
    let mut staying = world.at_replica(1, &stays).events("").await;
    staying.head().await;

    assert_eq!(admin(&world.replicas[0], Method::DELETE, &format!("/{}", gone.id), None).await.status, 204);

    assert!(ends(&mut ending).await < Duration::from_secs(5));
    world.at(&stays).acquire("w", "r", None).await;
    staying.expect("RESERVED").await;
    let refused = EventStream::open(&url(&world, 1, ""), &[("x-api-key", &gone.key)]).await;
    assert_eq!(refused.status, 401);
}
