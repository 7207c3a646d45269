//! Pushing events: validation, duplicates, and the limit of the tier's day.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    queues::push_connection::{PushConnection, job},
    support::world::{World, admin, call, until},
};

#[tokio::test]
async fn what_only_python_writes_is_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let mut event = job("odd", "failed", 1);
    event["job"]["error"] = json!("CUT");
    event["job"]["kwargs"] = json!("SHARE");
    let body = json!({"events": [event]}).to_string();
    let body = body.replace("CUT", "cut \\ud83d").replace("\"SHARE\"", "{\"share\":NaN,\"most\":-Infinity}");
    let sent = reqwest::Client::new()
        .post(format!("{}/api/ingest", world.replicas[0].url))
        .bearer_auth(&connection.ingest_key)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 202);
    let listed = call(Method::GET, &format!("{}/api/jobs", world.replicas[0].url), Some(&tenant.key), None).await;
    assert_eq!(listed.body["data"][0]["error"], "cut \u{fffd}");
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all_and_names_each_fault() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let good = job("good", "active", 1);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = good.clone();
        change(&mut event);
        event
    };
    let events = json!([
        good,
        with(&|event| event["timestamp"] = json!("2026-05-13T14:00:00+00:00")),
        with(&|event| event["type"] = json!("job:created")),
        with(&|event| event["job"]["state"] = json!("running")),
        with(&|event| event["job"]["externalId"] = json!("x".repeat(513))),
        with(&|event| event["framework"] = json!("resque")),
        with(&|event| event["connectionId"] = json!(Uuid::new_v4())),
        with(&|event| {
            event.as_object_mut().unwrap().remove("job");
        }),
        with(&|event| event["job"]["progress"] = json!(1.5)),
    ]);
    let before = world.redis.snapshot();
    let refused = connection.push(events).await;
    let expected = [
        "events[1].timestamp",
        "events[2].type",
        "events[3].job.state",
        "events[4].job.externalId",
        "events[5].framework",
        "events[6].connectionId",
        "events[7].job",
        "events[8].job.progress",
    ];
    assert_eq!(refused.paths(), expected);
    assert_eq!(refused.body["error"]["docs_url"], "/docs#errors");
    for body in [json!({}), json!({"events": []}), json!({"events": vec![good.clone(); 1001]}), json!([])] {
        connection.push_as(&connection.ingest_key, body).await.fails(400, "VALIDATION_ERROR");
    }
    assert_eq!(world.redis.snapshot(), before);

    // No other key may push.
    for key in ["sk_live_wrong", &tenant.key, ""] {
        connection.push_as(key, json!({"events": [good]})).await.fails(401, "UNAUTHORIZED");
    }
    call(
        Method::POST,
        &format!("{}/api/ingest", connection.at.replica.url),
        Some(&connection.ingest_key),
        Some(json!({"events": [good]})),
    )
    .await
    .fails(401, "UNAUTHORIZED");
    assert_eq!(world.redis.snapshot(), before);
    // And the ingest key is for nothing else.
    call(Method::GET, &format!("{}/api/jobs", connection.at.replica.url), Some(&connection.ingest_key), None)
        .await
        .fails(401, "UNAUTHORIZED");

    // The three spellings of a type are one.
    for (at, kind) in ["job:state_change", "job.state_change", "job_state_change"].into_iter().enumerate() {
        let event = with(&|event| event["type"] = json!(kind));
        let answer = connection.push(json!([event])).await;
        assert_eq!(answer.body, json!({"accepted": u32::from(at == 0), "duplicates": u32::from(at > 0)}));
    }
}

#[tokio::test]
async fn pushes_beyond_the_tiers_day_are_refused() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let batch = |name: &str, len: u32| {
        (0..len).map(|number| job(&format!("{name}-{number}"), "active", number)).collect::<Vec<_>>()
    };
    // The tier's rate of requests counts here, too: a push waits for it.
    let push = async |events: Vec<Value>| loop {
        let answer = connection.push(json!(events)).await;
        if answer.body["limitType"] != "RequestRate" {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for number in 0..9 {
        assert_eq!(push(batch(&number.to_string(), 1_000)).await.status, 202);
    }
    assert_eq!(push(batch("last", 400)).await.status, 202);
    // A batch must fit as a whole, also one that takes several calls of the script.
    assert_eq!(push(batch("too many", 700)).await.body["limitType"], "EventsPerDay");
    assert_eq!(push(batch("rest", 600)).await.body["accepted"], 600);
    let refused = push(batch("one more", 1)).await;
    refused.fails(429, "RATE_LIMITED");
    assert_eq!(
        (refused.body["limitType"].as_str(), refused.body["limit"].as_i64()),
        (Some("EventsPerDay"), Some(10_000))
    );
    let left_s = 86_400 - chrono::Utc::now().timestamp() % 86_400;
    assert!((left_s - 60..=left_s + 1).contains(&refused.number("retry-after")), "{refused:?}");
    // A higher tier goes on at once.
    admin(&world.replicas[0], Method::PATCH, &format!("/{}", tenant.id), Some(json!({"tier": "Pro"}))).await;
    until("the tier is known", async || connection.push(json!(batch("one more", 1))).await.status == 202).await;
    let usage = connection.at.get("/session").await.body["usage"].clone();
    assert_eq!((usage[6]["used"].as_i64(), usage[7]["used"].as_i64()), (Some(1), Some(10_001)), "{usage}");
}
