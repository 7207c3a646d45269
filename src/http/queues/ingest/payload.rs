//! Request body of `POST /api/ingest`. Every field is optional here, so that the parser can name each one that is missing.

use poem_openapi::Object;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    domain::queue::{Framework, JobState},
    http::wire::{
        request::{List, whole_number},
        word::UncheckedWord,
    },
};

/// Events of one request.
pub(super) const MAX_EVENTS: usize = 1_000;
/// Queues that a worker may name.
const MAX_QUEUES: usize = 1_000;

/// Events to push.
#[derive(Debug, Deserialize, Object)]
pub(super) struct IngestRequest {
    /// 1 to 1,000.
    pub(super) events: Option<List<IngestEvent, MAX_EVENTS>>,
}

/// An event: something that happened to a job, a worker or a queue.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct IngestEvent {
    /// `job:state_change`, `worker:state_change`, `worker:heartbeat` or `queue:snapshot`.
    pub(super) r#type: Option<String>,
    /// When it happened, in UTC, with the letter Z.
    pub(super) timestamp: Option<String>,
    pub(super) framework: Option<UncheckedWord<Framework>>,
    /// The connection, if it is named, must be that of the key.
    pub(super) connection_id: Option<String>,
    /// The job, in an event of one.
    pub(super) job: Option<Box<IngestJob>>,
    /// The worker, in an event of one.
    pub(super) worker: Option<IngestWorker>,
    /// The queue, in an event of one.
    pub(super) queue: Option<IngestQueue>,
}

/// State and details of a job.
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
    pub(super) state: Option<UncheckedWord<JobState>>,
    /// The worker's external id, at most 512 bytes.
    pub(super) worker_id: Option<String>,
    /// 1 for the first.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) attempt: Option<u32>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) max_retries: Option<u32>,
    /// 0 to 1.
    pub(super) progress: Option<f64>,
    /// Cut after 10,000 bytes.
    pub(super) error: Option<String>,
    /// Cut after 50,000 bytes.
    pub(super) stacktrace: Option<String>,
    /// Cut after 10,000 bytes, as are `kwargs` and `result`.
    #[oai(skip)]
    pub(super) args: Option<Box<RawValue>>,
    #[oai(skip)]
    pub(super) kwargs: Option<Box<RawValue>>,
    #[oai(skip)]
    pub(super) result: Option<Box<RawValue>>,
    pub(super) parent_id: Option<String>,
    pub(super) root_id: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) started_at: Option<String>,
    pub(super) completed_at: Option<String>,
    pub(super) scheduled_for: Option<String>,
    pub(super) duration_ms: Option<f64>,
    /// What only this framework has: an object of at most 64 KiB, of which the first 64 fields are kept.
    #[oai(skip)]
    pub(super) extensions: Option<Box<RawValue>>,
}

/// State and details of a worker.
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
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) pid: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) active_jobs: Option<u32>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) concurrency: Option<u32>,
    pub(super) queues: Option<List<String, MAX_QUEUES>>,
    /// Software, version and the like: an object of at most 64 KiB, of which the first 64 fields are kept.
    /// `processedTotal` is how many jobs it has run.
    #[oai(skip)]
    pub(super) metadata: Option<Box<RawValue>>,
}

/// Depth and consumers of a queue.
#[derive(Debug, Deserialize, Object)]
pub(super) struct IngestQueue {
    /// Its name: at most 255 bytes.
    pub(super) name: Option<String>,
    /// How many jobs wait in it.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) depth: Option<u32>,
    /// How many workers consume it.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) consumers: Option<u32>,
}
