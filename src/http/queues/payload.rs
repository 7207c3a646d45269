//! What clients push, as they write it.

use poem_openapi::Object;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Events to push.
#[derive(Debug, Deserialize, Object)]
pub(in crate::http) struct IngestRequest {
    /// 1 to 1,000.
    pub(in crate::http) events: Option<Vec<IngestEvent>>,
}

/// Something that happened.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct IngestEvent {
    /// `job:state_change`, `worker:state_change`, `worker:heartbeat` or `queue:snapshot`.
    pub(in crate::http) r#type: Option<String>,
    /// When it happened, in UTC, with the letter Z.
    pub(in crate::http) timestamp: Option<String>,
    /// `celery`, `bullmq` or `sidekiq`.
    pub(in crate::http) framework: Option<String>,
    /// The connection, if it is named: that of the key.
    pub(in crate::http) connection_id: Option<String>,
    /// Of a job's event.
    pub(in crate::http) job: Option<Box<IngestJob>>,
    /// Of a worker's event.
    pub(in crate::http) worker: Option<IngestWorker>,
    /// Of a queue's event.
    pub(in crate::http) queue: Option<IngestQueue>,
}

/// What is told of a job.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct IngestJob {
    /// The framework's own id, at most 512 bytes.
    pub(in crate::http) external_id: Option<String>,
    /// The task's name, at most 1,024 bytes.
    pub(in crate::http) name: Option<String>,
    /// The queue, at most 255 bytes.
    pub(in crate::http) queue: Option<String>,
    /// `unknown`, `queued`, `scheduled`, `active`, `completed`, `failed`, `retrying` or `cancelled`.
    pub(in crate::http) state: Option<String>,
    /// The worker's external id, at most 512 bytes.
    pub(in crate::http) worker_id: Option<String>,
    /// 1 for the first.
    pub(in crate::http) attempt: Option<u32>,
    pub(in crate::http) max_retries: Option<u32>,
    /// 0 to 1.
    pub(in crate::http) progress: Option<f64>,
    /// Cut after 10,000 bytes.
    pub(in crate::http) error: Option<String>,
    /// Cut after 50,000 bytes.
    pub(in crate::http) stacktrace: Option<String>,
    /// Cut after 10,000 bytes, as are `kwargs` and `result`.
    #[oai(skip)]
    pub(in crate::http) args: Option<Value>,
    #[oai(skip)]
    pub(in crate::http) kwargs: Option<Value>,
    #[oai(skip)]
    pub(in crate::http) result: Option<Value>,
    pub(in crate::http) parent_id: Option<String>,
    pub(in crate::http) root_id: Option<String>,
    pub(in crate::http) created_at: Option<String>,
    pub(in crate::http) started_at: Option<String>,
    pub(in crate::http) completed_at: Option<String>,
    pub(in crate::http) scheduled_for: Option<String>,
    pub(in crate::http) duration_ms: Option<f64>,
    /// What only this framework has.
    #[oai(skip)]
    pub(in crate::http) extensions: Option<Map<String, Value>>,
}

/// What is told of a worker.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct IngestWorker {
    /// The framework's own id, at most 512 bytes.
    pub(in crate::http) external_id: Option<String>,
    /// The name that people read; without it the external id.
    pub(in crate::http) hostname: Option<String>,
    /// `online`, `busy`, `idle` or `offline`; `heartbeat` means online.
    pub(in crate::http) state: Option<String>,
    pub(in crate::http) pid: Option<i64>,
    pub(in crate::http) active_jobs: Option<u32>,
    pub(in crate::http) concurrency: Option<u32>,
    pub(in crate::http) queues: Option<Vec<String>>,
    /// Software, version and the like; `processedTotal` is how many jobs it has run.
    #[oai(skip)]
    pub(in crate::http) metadata: Option<Map<String, Value>>,
}

/// How a queue stands.
#[derive(Debug, Deserialize, Object)]
pub(in crate::http) struct IngestQueue {
    /// Its name, at most 255 bytes.
    pub(in crate::http) name: Option<String>,
    /// How many jobs wait in it.
    pub(in crate::http) depth: Option<u32>,
    /// How many workers take from it.
    pub(in crate::http) consumers: Option<u32>,
}
