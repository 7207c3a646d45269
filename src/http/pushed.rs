//! What clients push, as they write it.

use poem_openapi::Object;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Events to push.
#[derive(Debug, Deserialize, Object)]
pub(super) struct IngestRequest {
    /// 1 to 1,000.
    pub(super) events: Option<Vec<IngestEvent>>,
}

/// Something that happened.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct IngestEvent {
    /// `job:state_change`, `worker:state_change`, `worker:heartbeat` or `queue:snapshot`.
    pub(super) r#type: Option<String>,
    /// When it happened, in UTC, with the letter Z.
    pub(super) timestamp: Option<String>,
    /// `celery`, `bullmq` or `sidekiq`.
    pub(super) framework: Option<String>,
    /// The connection, if it is named: that of the key.
    pub(super) connection_id: Option<String>,
    /// Of a job's event.
    pub(super) job: Option<Box<IngestJob>>,
    /// Of a worker's event.
    pub(super) worker: Option<IngestWorker>,
    /// Of a queue's event.
    pub(super) queue: Option<IngestQueue>,
}

/// What is told of a job.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct IngestJob {
    /// The framework's own id, at most 512 bytes.
    pub(super) external_id: Option<String>,
    /// The task's name, at most 1,024 bytes.
    pub(super) name: Option<String>,
    /// The queue, at most 255 bytes.
    pub(super) queue: Option<String>,
    /// `unknown`, `queued`, `scheduled`, `active`, `completed`, `failed`, `retrying` or `cancelled`.
    pub(super) state: Option<String>,
    /// The worker's external id, at most 512 bytes.
    pub(super) worker_id: Option<String>,
    /// 1 for the first.
    pub(super) attempt: Option<u32>,
    pub(super) max_retries: Option<u32>,
    /// 0 to 1.
    pub(super) progress: Option<f64>,
    /// Cut after 10,000 bytes.
    pub(super) error: Option<String>,
    /// Cut after 50,000 bytes.
    pub(super) stacktrace: Option<String>,
    /// Cut after 10,000 bytes, as are `kwargs` and `result`.
    #[oai(skip)]
    pub(super) args: Option<Value>,
    #[oai(skip)]
    pub(super) kwargs: Option<Value>,
    #[oai(skip)]
    pub(super) result: Option<Value>,
    pub(super) parent_id: Option<String>,
    pub(super) root_id: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) completed_at: Option<String>,
    pub(super) scheduled_for: Option<String>,
    pub(super) duration_ms: Option<f64>,
    /// What only this framework has.
    #[oai(skip)]
    pub(super) extensions: Option<Map<String, Value>>,
}

/// What is told of a worker.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct IngestWorker {
    /// The framework's own id, at most 512 bytes.
    pub(super) external_id: Option<String>,
    /// The name that people read; without it the external id.
    pub(super) hostname: Option<String>,
    /// `online`, `busy`, `idle` or `offline`; `heartbeat` means online.
    pub(super) state: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) active_jobs: Option<u32>,
    pub(super) concurrency: Option<u32>,
    pub(super) queues: Option<Vec<String>>,
    /// Software, version and the like; `processedTotal` is how many jobs it has run.
    #[oai(skip)]
    pub(super) metadata: Option<Map<String, Value>>,
}

/// How a queue stands.
#[derive(Debug, Deserialize, Object)]
pub(super) struct IngestQueue {
    /// Its name, at most 255 bytes.
    pub(super) name: Option<String>,
    /// How many jobs wait in it.
    pub(super) depth: Option<u32>,
    /// How many workers take from it.
    pub(super) consumers: Option<u32>,
}
