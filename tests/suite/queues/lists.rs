//! Lists of jobs, workers and queues, by HTTP.

use holdfast::{
    domain::{queue::job_id, tier::Tier},
    store::StoreError,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    queues::push_connection::{PushConnection, job, queue, worker},
    support::{
        store_bench::Bench,
        world::{Tenant, World, call},
    },
};

#[tokio::test]
async fn jobs_workers_and_queues_are_listed_filtered_sorted_and_paged() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let connection = PushConnection::create(world.at(&tenant)).await;
    let now = chrono::Utc::now();
    let at = |back_ms: i64| {
        (now - chrono::Duration::milliseconds(back_ms)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    let mut events = Vec::new();
    for number in 0..12 {
        let mut event = |state: &str, back: i64, more: Value| {
            let mut event = job(&format!("t{number}"), state, 0);
            event["timestamp"] = json!(at(back - number));
            event["job"]["name"] = json!(format!("app.task_{}", number % 3));
            event["job"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            events.push(event);
        };
        event(
            "queued",
            3_000,
            json!({"attempt": 1, "maxRetries": 3, "extensions": {"routing_key": "emails", "eta": null}}),
        );
        event("active", 2_000, json!({"progress": 0.5}));
        match number % 4 {
            0 => event("failed", 1_000, json!({"error": "ValueError('no')", "stacktrace": "Traceback"})),
            1 => {}
            _ => event("completed", 1_000, json!({})),
        }
    }
    events.push(worker("online", 1));
    events.push(queue(42, 1));
    assert_eq!(connection.push(json!(events)).await.status, 202);

    // Jobs: the newest first, by cursor.
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = connection.get(&format!("/jobs?limit=5&cursor={cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(
            (page.body["pagination"]["total"].as_i64(), page.body["pagination"]["limit"].as_i64()),
            (Some(12), Some(5))
        );
        names.extend(
            page.body["data"].as_array().unwrap().iter().map(|job| job["externalId"].as_str().unwrap().to_owned()),
        );
        match page.body["pagination"]["nextCursor"].as_str() {
            Some(next) => cursor = next.into(),
            None => break,
        }
    }
    assert_eq!(names, (0..12).rev().map(|number| format!("t{number}")).collect::<Vec<_>>());

    let failed = connection.get("/jobs?state=failed&search=TASK_&sortBy=name&sortOrder=asc").await.body;
    assert_eq!(failed["pagination"]["total"], 3);
    assert_eq!(
        failed["data"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["app.task_0", "app.task_1", "app.task_2"]
    );
    let row = &failed["data"][0];
    assert_eq!(
        (row["error"].as_str(), row["durationMs"].as_i64(), row["workerId"].as_str()),
        (Some("ValueError('no')"), Some(1000), Some("celery@worker-1"))
    );
    assert_eq!(
        (row["queue"].as_str(), row["framework"].as_str(), &row["connectionId"]),
        (Some("emails"), Some("celery"), &json!(connection.id))
    );
    for (query, total) in [
        ("queue=emails", 12),
        ("queue=other", 0),
        ("worker=celery@worker-1", 12),
        ("framework=bullmq", 0),
        (&format!("connectionId={}", connection.id), 12),
    ] {
        assert_eq!(connection.get(&format!("/jobs?{query}")).await.body["pagination"]["total"], total, "{query}");
    }
    for bad in [
        "limit=0",
        "limit=101",
        "state=running",
        "sortBy=color",
        "sortOrder=up",
        "cursor=!",
        "connectionId=x",
        "framework=x",
        &format!("search={}", "x".repeat(501)),
    ] {
        assert_eq!(connection.get(&format!("/jobs?{bad}")).await.paths(), [bad.split('=').next().unwrap()], "{bad}");
    }

    // One job with everything.
    let job = connection.get(&format!("/jobs/{}", job_id(connection.id, "t0"))).await;
    assert_eq!(job.status, 200, "{job:?}");
    let job = job.body;
    assert_eq!(
        (job["state"].as_str(), job["previousState"].as_str(), job["attempt"].as_i64()),
        (Some("failed"), Some("active"), Some(1))
    );
    assert_eq!(
        (job["maxRetries"].as_i64(), job["progress"].as_f64(), job["stacktrace"].as_str()),
        (Some(3), Some(0.5), Some("Traceback"))
    );
    assert_eq!(job["extensions"], json!({"routing_key": "emails", "eta": null}));
    assert_eq!(
        job["stateHistory"]
            .as_array()
            .unwrap()
            .iter()
            .map(|transition| transition["state"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["queued", "active", "failed"]
    );
    assert_eq!(job["recentExecutions"].as_array().unwrap().len(), 3);
    connection.get(&format!("/jobs/{}", Uuid::new_v4())).await.fails(404, "NOT_FOUND");
    connection.get("/jobs/nonsense").await.fails(404, "NOT_FOUND");

    // Workers and queues, by page.
    let workers = connection.get("/workers?state=busy&sortBy=taskRate&sortOrder=desc").await.body;
    assert_eq!(workers["pagination"], json!({"page": 1, "limit": 50, "total": 1, "totalPages": 1}));
    let worker = &workers["data"][0];
    assert_eq!(
        (worker["hostname"].as_str(), worker["state"].as_str(), worker["pid"].as_i64()),
        (Some("celery@worker-1"), Some("online"), Some(42))
    );
    assert_eq!(
        (worker["concurrency"].as_i64(), worker["activeJobs"].as_i64(), worker["processedTotal"].as_i64()),
        (Some(8), Some(3), Some(12))
    );
    assert_eq!(worker["metadata"]["loadavg"], json!([0.1, 0.2, 0.3]));
    assert_eq!(worker["taskRate"], json!(9.0), "nine that ended in the first minute");
    assert_eq!(connection.get("/workers?state=idle").await.body["pagination"]["total"], 0);

    for range in ["1h", "6h", "24h", "7d"] {
        let queues =
            connection.get(&format!("/queues?timeRange={range}&sortBy=throughput&sortOrder=desc&limit=1")).await.body;
        assert_eq!(queues["pagination"], json!({"page": 1, "limit": 1, "total": 2, "totalPages": 2}));
        let queue = &queues["data"][0];
        assert_eq!(
            (queue["name"].as_str(), queue["failureRate"].as_f64(), queue["avgLatencyMs"].as_f64()),
            (Some("emails"), Some(0.3333), Some(1000.0)),
            "{queue}"
        );
        assert_eq!(queue["throughput"], json!(0.15), "nine in the first minute: {queue}");
        let buckets = queue["healthBar"]["buckets"].as_array().unwrap();
        let sum = |part: &str| buckets.iter().map(|bucket| bucket[part].as_i64().unwrap()).sum::<i64>();
        assert_eq!((sum("succeeded"), sum("failed")), (6, 3), "{range}");
        assert!(buckets.windows(2).all(|pair| pair[0]["end"] == pair[1]["start"]));
    }
    let queues = connection.get("/queues?page=1").await.body;
    let names: Vec<_> = queues["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| (queue["name"].as_str().unwrap(), queue["depth"].as_i64()))
        .collect();
    assert_eq!(names, [("default", Some(42)), ("emails", None)]);
    assert_eq!(queues["data"][0]["consumersSource"], "pushed");
    assert_eq!(connection.get("/queues?page=2").await.body["data"], json!([]));
    assert_eq!(connection.get("/queues?page=0&timeRange=1y").await.paths(), ["timeRange", "page"]);
    connection.get("/nonsense").await.fails(404, "NOT_FOUND");
    let wrong =
        call(Method::DELETE, &format!("{}/api/jobs", connection.at.replica.url), Some(connection.at.key), None).await;
    wrong.fails(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.headers["allow"], "GET");

    // Another tenant sees nothing of it.
    let stranger: Tenant = world.tenant().await;
    let other = call(Method::GET, &format!("{}/api/jobs", connection.at.replica.url), Some(&stranger.key), None).await;
    assert_eq!(other.body["data"], json!([]));
    let job = format!("{}/api/jobs/{}", connection.at.replica.url, job_id(connection.id, "t0"));
    call(Method::GET, &job, Some(&stranger.key), None).await.fails(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_tenant_reads_two_lists_whole_at_once_and_the_next_has_its_turn_or_is_refused() {
    let bench = Bench::start(Tier::Enterprise).await;
    let turn = async || bench.store.whole_read(&bench.caller).await;
    let (first, _second) = (turn().await.unwrap(), turn().await.unwrap());
    assert!(matches!(turn().await, Err(StoreError::Crowded)), "nobody waits without an end");

    // Who waits when a turn is over has the next one.
    let (third, ()) = tokio::join!(turn(), async { drop(first) });
    assert!(third.is_ok());
}
