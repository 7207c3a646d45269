//! The routes of the queue monitor.

pub(super) mod connections;
pub(super) mod ingest;
pub(super) mod jobs;
pub(super) mod payload;
pub(super) mod stream;
pub(super) mod workers_and_queues;
