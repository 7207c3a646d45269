//! The queue monitor as its clients see it: what they push, what they list, what streams to them.

use std::time::{Duration, Instant};

use holdfast::domain::queue::{job_id, worker_id};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use uuid::Uuid;

use crate::support::{
    sse::{EventStream, Seen},
    world::{Answer, Client, TIMEOUT, World, admin, answer, call, until},
};

/// A connection that clients push to.
pub struct Pushed<'a> {
    pub at: Client<'a>,
    pub id: Uuid,
    ingest_key: String,
}

impl<'a> Pushed<'a> {
    pub async fn of(at: Client<'a>) -> Self {
        let made = at.post("/connections", json!({"name": "app", "framework": "celery"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.body["id"].as_str().unwrap().parse().unwrap();
        Self { at, id, ingest_key: made.body["ingestKey"].as_str().unwrap().into() }
    }

    pub async fn push(&self, events: Value) -> Answer {
        self.push_as(&self.ingest_key, json!({ "events": events })).await
    }

    async fn push_as(&self, key: &str, body: Value) -> Answer {
        let request =
            reqwest::Client::new().post(format!("{}/api/ingest", self.at.replica.url)).bearer_auth(key).json(&body);
        answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        call(Method::GET, &format!("{}/api{path}", self.at.replica.url), Some(self.at.key), None).await
    }

    async fn stream(&self, query: &str) -> EventStream {
        let url = format!("{}/api/events/stream?connectionId={}{query}", self.at.replica.url, self.id);
        let mut stream = EventStream::open(&url, &[("x-api-key", self.at.key)]).await;
        assert_eq!(stream.status, 200);
        let Some(Seen::Retry(retry)) = stream.next().await else { panic!("retry comes first") };
        assert!((1000..=5000).contains(&retry));
        stream
    }
}

/// A job's event, `ms` after the instant `14:00`.
pub fn job(external_id: &str, state: &str, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:{:02}.{:03}Z", ms / 1000, ms % 1000);
    json!({"type": "job.state_change", "timestamp": timestamp, "framework": "celery",
        "job": {"externalId": external_id, "name": "app.tasks.send_email", "queue": "emails", "state": state, "workerId": "celery@worker-1"}})
}

pub fn worker(state: &str, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:00.{ms:03}Z");
    json!({"type": "worker.state_change", "timestamp": timestamp, "framework": "celery", "worker": {
        "externalId": "celery@worker-1", "hostname": "celery@worker-1", "state": state, "pid": 42, "activeJobs": 3, "concurrency": 8,
        "metadata": {"software": "py-celery", "processedTotal": 12, "loadavg": [0.1, 0.2, 0.3]}}})
}

pub fn queue(depth: u32, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:00.{ms:03}Z");
    json!({"type": "queue:snapshot", "timestamp": timestamp, "framework": "celery", "queue": {"name": "default", "depth": depth, "consumers": 4}})
}

#[tokio::test]
async fn what_is_pushed_streams_at_once_as_the_document_shows_it() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    let far = Pushed { at: world.at_replica(1, &tenant), id: pushed.id, ingest_key: pushed.ingest_key.clone() };
    let mut stream = far.stream("").await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");

    // When a job goes through its states, a worker is heard and a queue changes.
    let answer = pushed
        .push(json!([job("t1", "unknown", 1), job("t1", "active", 2), worker("heartbeat", 3), queue(42, 4)]))
        .await;
    assert_eq!((answer.status, &answer.body), (StatusCode::ACCEPTED, &json!({"accepted": 4, "duplicates": 0})));
    let finished = pushed.push(json!([job("t1", "completed", 9)])).await;
    assert_eq!(finished.status, 202);

    // Then each is told in the frames of the document.
    let id = job_id(pushed.id, "t1").to_string();
    let of = |state: &str, previous: Value, ms: u32| json!({"id": id, "name": "app.tasks.send_email", "state": state, "previousState": previous, "timestamp": format!("2026-05-13T14:00:00.{ms:03}Z")});
    let worker_id = worker_id(pushed.id, "celery@worker-1").to_string();
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
        ("job:state_change", of("completed", json!("active"), 9), ""),
        "no frame has an id"
    );

    // A later reader is shown queues and live workers first, as far as it wants them.
    let mut late = pushed.stream("&types=queue,worker").await;
    assert_eq!(late.expect("queue:snapshot").await["name"], "default");
    assert_eq!(late.expect("queue:snapshot").await["name"], "emails");
    assert_eq!(late.expect("worker:heartbeat").await["id"], worker_id);
    let mut jobs_alone = pushed.stream("&types=job:state_change").await;
    pushed.push(json!([queue(41, 10), worker("online", 11), job("t2", "queued", 12)])).await;
    assert_eq!(jobs_alone.expect("job:state_change").await["state"], "queued");
    assert_eq!(late.expect("queue:snapshot").await["depth"], 41);
    assert_eq!(late.expect("worker:heartbeat").await["state"], "online");

    // Nobody hears of it who watches another connection, or the tenant's own events.
    let other = Pushed::of(world.at(&tenant)).await;
    let mut elsewhere = other.stream("").await;
    other.push(json!([job("t1", "queued", 1)])).await;
    assert_eq!(elsewhere.expect("job:state_change").await["id"], job_id(other.id, "t1").to_string());
}

#[tokio::test]
async fn a_stream_beats_every_fifteen_seconds_and_shows_its_queues_every_thirty() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    pushed.push(json!([queue(7, 1)])).await;
    let mut stream = pushed.stream("&types=queue").await;
    let begun = Instant::now();
    assert_eq!(stream.expect("queue:snapshot").await["depth"], 7);

    let mut seen = Vec::new();
    while begun.elapsed() < Duration::from_secs(31) && seen.len() < 3 {
        let Some(Seen::Event { kind, data, .. }) = stream.next().await else { panic!("nothing else comes") };
        seen.push((kind, begun.elapsed().as_secs(), data));
    }
    let beats: Vec<_> = seen.iter().filter(|(kind, ..)| kind == "heartbeat").map(|(_, at, _)| *at).collect();
    assert!(matches!(beats[..], [14..=16, 29..=31]), "{seen:?}");
    assert!(
        seen.iter().any(|(kind, at, data)| kind == "queue:snapshot" && *at <= 30 && data.contains("\"depth\":7")),
        "{seen:?}"
    );
    let beat: Value = serde_json::from_str(&seen[0].2).unwrap();
    assert!(beat["timestamp"].as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')), "{beat}");
}

#[tokio::test]
async fn a_stream_is_for_those_who_may_see_the_connection() {
    let world = World::<1>::start().await;
    let (tenant, stranger) = (world.tenant_of("Free").await, world.tenant().await);
    let pushed = Pushed::of(world.at(&tenant)).await;
    let foreign = world.at(&stranger);
    let url = |id: &str| format!("{}/api/events/stream{id}", pushed.at.replica.url);
    let ask = async |key: Option<&str>, query: &str| call(Method::GET, &url(query), key, None).await;

    let here = format!("?connectionId={}", pushed.id);
    ask(None, &here).await.fails(401, "UNAUTHORIZED");
    ask(Some(&pushed.ingest_key), &here).await.fails(401, "UNAUTHORIZED");
    assert_eq!(ask(Some(&tenant.key), "").await.paths(), ["connectionId"]);
    assert_eq!(ask(Some(&tenant.key), "?connectionId=default").await.paths(), ["connectionId"]);
    let refused = ask(Some(foreign.key), &here).await;
    refused.fails(404, "NOT_FOUND");
    assert_eq!(refused.body["error"]["docs_url"], "/docs#errors", "as the clients of these paths know it");

    // It counts as a stream of the tier, and a client that comes back is told to come again.
    let _one = pushed.stream("").await;
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
    let pushed = Pushed::of(world.at(&tenant)).await;
    let signed_in = reqwest::Client::new()
        .post(format!("{}/api/v1/session", pushed.at.replica.url))
        .json(&json!({"apiKey": tenant.key}))
        .send()
        .await
        .unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let url = format!("{}/api/events/stream?connectionId={}", pushed.at.replica.url, pushed.id);
    let mut of_session = EventStream::open(&url, &[("cookie", &cookie)]).await;
    assert_eq!(of_session.status, 200);
    assert!(matches!(of_session.next().await, Some(Seen::Retry(_))));
    pushed.push(json!([job("t", "active", 1)])).await;
    assert_eq!(of_session.expect("job:state_change").await["state"], "active");
    let out = reqwest::Client::new()
        .delete(format!("{}/api/v1/session", pushed.at.replica.url))
        .header("cookie", &cookie)
        .header("origin", &pushed.at.replica.url);
    assert_eq!(out.send().await.unwrap().status(), 204);
    of_session.rest().await;

    let mut of_key = pushed.stream("").await;
    assert_eq!(pushed.at.delete(&format!("/connections/{}", pushed.id)).await.status, 204);
    of_key.rest().await;
    pushed.push(json!([job("t", "active", 1)])).await.fails(401, "UNAUTHORIZED");
    // What was seen through it goes, and nothing else does.
    let other = Pushed::of(world.at(&tenant)).await;
    other.push(json!([job("t", "active", 1), worker("online", 2)])).await;
    let total = async |list: &str| other.get(&format!("/{list}")).await.body["pagination"]["total"].clone();
    until("it is forgotten", async || total("jobs").await == 1).await;
    assert_eq!((total("workers").await, total("queues").await), (json!(1), json!(1)));
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all_and_names_each_fault() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
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
    let refused = pushed.push(events).await;
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
        pushed.push_as(&pushed.ingest_key, body).await.fails(400, "VALIDATION_ERROR");
    }
    assert_eq!(world.redis.snapshot(), before);

    // No key but its own lets anybody push.
    for key in ["sk_live_wrong", &tenant.key, ""] {
        pushed.push_as(key, json!({"events": [good]})).await.fails(401, "UNAUTHORIZED");
    }
    call(
        Method::POST,
        &format!("{}/api/ingest", pushed.at.replica.url),
        Some(&pushed.ingest_key),
        Some(json!({"events": [good]})),
    )
    .await
    .fails(401, "UNAUTHORIZED");
    assert_eq!(world.redis.snapshot(), before);
    // And it opens nothing else.
    call(Method::GET, &format!("{}/api/jobs", pushed.at.replica.url), Some(&pushed.ingest_key), None)
        .await
        .fails(401, "UNAUTHORIZED");

    // The three spellings of a type are one.
    for (at, kind) in ["job:state_change", "job.state_change", "job_state_change"].into_iter().enumerate() {
        let event = with(&|event| event["type"] = json!(kind));
        let answer = pushed.push(json!([event])).await;
        assert_eq!(answer.body, json!({"accepted": u32::from(at == 0), "duplicates": u32::from(at > 0)}));
    }
}

#[tokio::test]
async fn the_tiers_day_ends_the_pushing() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    let batch = |name: &str, len: u32| {
        (0..len).map(|number| job(&format!("{name}-{number}"), "active", number)).collect::<Vec<_>>()
    };
    // The rate of the tier holds here, too: a push waits for it.
    let push = async |events: Vec<Value>| loop {
        let answer = pushed.push(json!(events)).await;
        if answer.body["limitType"] != "RequestRate" {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for number in 0..9 {
        assert_eq!(push(batch(&number.to_string(), 1_000)).await.status, 202);
    }
    assert_eq!(push(batch("last", 400)).await.status, 202);
    // A batch must fit as a whole, also one that is taken in several steps.
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
    until("the tier is known", async || pushed.push(json!(batch("one more", 1))).await.status == 202).await;
    let usage = pushed.at.get("/session").await.body["usage"].clone();
    assert_eq!((usage[6]["used"].as_i64(), usage[7]["used"].as_i64()), (Some(1), Some(10_001)), "{usage}");
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_told_to_be_offline_after_six_seconds() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    let mut stream = pushed.stream("&types=worker").await;
    pushed.push(json!([worker("online", 1)])).await;
    assert_eq!(stream.expect("worker:state_change").await["state"], "online");
    assert_eq!(stream.expect("worker:heartbeat").await["activeJobs"], 3);
    let heard = Instant::now();

    let gone = stream.expect("worker:state_change").await;
    assert_eq!((gone["state"].as_str(), gone["previousState"].as_str()), (Some("offline"), Some("online")));
    assert!((5.5..8.0).contains(&heard.elapsed().as_secs_f64()), "{:?}", heard.elapsed());
    assert_eq!(pushed.get("/workers?state=offline").await.body["pagination"]["total"], 1);
    // Both replicas look, and it is told once.
    assert!(stream.next_within(Duration::from_secs(2)).await.is_err(), "nothing more is told");
}

#[tokio::test]
async fn readers_are_told_of_the_time_in_which_nothing_was_heard() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    let mut stream = pushed.stream("&types=job").await;

    world.redis.ask::<()>("CLIENT KILL TYPE pubsub");

    let gap = stream.expect("gap").await;
    assert_eq!(gap["reason"], "interrupted");
    assert!(gap["from"].as_str() <= gap["to"].as_str());
    pushed.push(json!([job("after", "active", 1)])).await;
    assert_eq!(stream.expect("job:state_change").await["id"], job_id(pushed.id, "after").to_string());
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_of_the_gap_and_goes_on() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let pushed = Pushed::of(world.at(&tenant)).await;
    // Given a reader that takes little and then, for a while, nothing.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut slow = socket.connect(pushed.at.replica.address().parse().unwrap()).await.unwrap();
    let ask = format!(
        "GET /api/events/stream?connectionId={} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\n\r\n",
        pushed.id, tenant.key
    );
    slow.write_all(ask.as_bytes()).await.unwrap();
    let mut read = String::new();
    read_until(&mut slow, &mut read, "retry:").await;

    // When more happens than is kept for it.
    for batch in 0..40 {
        let events: Vec<_> = (0..1_000).map(|number| job(&format!("{batch}-{number}"), "active", number)).collect();
        assert_eq!(pushed.push(json!(events)).await.status, 202);
    }

    // Then it reads what was sent, that something is missing, and what comes after.
    read_until(&mut slow, &mut read, "\"reason\":\"slow\"}").await;
    pushed.push(json!([job("after", "active", 1)])).await;
    read_until(&mut slow, &mut read, &job_id(pushed.id, "after").to_string()).await;
    let told = read.matches("event: job:state_change").count();
    assert!(told < 40_000, "{told} of 40,001 were told, and yet something was missing");
}

/// Reads until `wanted` has come.
async fn read_until(from: &mut TcpStream, read: &mut String, wanted: &str) {
    let mut looked_at = read.len();
    let reading = async {
        let mut piece = vec![0; 64 << 10];
        while !read[looked_at..].contains(wanted) {
            // What is looked for may have begun in the piece before.
            looked_at = read.len().saturating_sub(wanted.len());
            let got = from.read(&mut piece).await.unwrap();
            assert!(got > 0, "the stream ended before {wanted}");
            read.push_str(std::str::from_utf8(&piece[..got]).unwrap());
        }
    };
    tokio::time::timeout(TIMEOUT, reading).await.unwrap_or_else(|_| panic!("in vain: {wanted}"));
}
