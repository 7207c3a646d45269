//! Harness: a connection, its ingest key, and the events that a client pushes.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    sse::{EventStream, Seen},
    world::{Answer, Client, answer, call},
};

/// A connection to which the test pushes events.
pub struct PushConnection<'a> {
    pub at: Client<'a>,
    pub id: Uuid,
    pub ingest_key: String,
}

impl<'a> PushConnection<'a> {
    pub async fn create(at: Client<'a>) -> Self {
        let created = at.post("/connections", json!({"name": "app", "framework": "celery"})).await;
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.body["id"].as_str().unwrap().parse().unwrap();
        Self { at, id, ingest_key: created.body["ingestKey"].as_str().unwrap().into() }
    }

    pub async fn push(&self, events: Value) -> Answer {
        self.push_as(&self.ingest_key, json!({ "events": events })).await
    }

    pub async fn push_as(&self, key: &str, body: Value) -> Answer {
        let request =
            reqwest::Client::new().post(format!("{}/api/ingest", self.at.replica.url)).bearer_auth(key).json(&body);
        answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        call(Method::GET, &format!("{}/api{path}", self.at.replica.url), Some(self.at.key), None).await
    }

    pub async fn stream(&self, query: &str) -> EventStream {
        let url = format!("{}/api/events/stream?connectionId={}{query}", self.at.replica.url, self.id);
        let mut stream = EventStream::open(&url, &[("x-api-key", self.at.key)]).await;
        assert_eq!(stream.status, 200);
        let Some(Seen::Retry(retry)) = stream.next().await else { panic!("retry comes first") };
        assert!((1000..=5000).contains(&retry));
        assert_eq!(stream.next().await, Some(Seen::Id("0".into())), "a browser that reconnects says so by it");
        stream
    }
}

/// Event of a job, `ms` after 14:00.
pub fn job(external_id: &str, state: &str, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:{:02}.{:03}Z", ms / 1000, ms % 1000);
    json!({"type": "job.state_change", "timestamp": timestamp, "framework": "celery",
        "job": {"externalId": external_id, "name": "app.tasks.send_email", "queue": "emails", "state": state, "workerId": "celery@worker-1"}})
}

/// Event of a worker, `ms` after 14:00.
pub fn worker(state: &str, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:00.{ms:03}Z");
    json!({"type": "worker.state_change", "timestamp": timestamp, "framework": "celery", "worker": {
        "externalId": "celery@worker-1", "hostname": "celery@worker-1", "state": state, "pid": 42, "activeJobs": 3, "concurrency": 8,
        "metadata": {"software": "py-celery", "processedTotal": 12, "loadavg": [0.1, 0.2, 0.3]}}})
}

/// Event of a queue, `ms` after 14:00.
pub fn queue(depth: u32, ms: u32) -> Value {
    let timestamp = format!("2026-05-13T14:00:00.{ms:03}Z");
    json!({"type": "queue:snapshot", "timestamp": timestamp, "framework": "celery", "queue": {"name": "default", "depth": depth, "consumers": 4}})
}
