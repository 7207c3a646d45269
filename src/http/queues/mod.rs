//! Routes of the queue monitor.

pub(super) mod connections;
mod cursor;
pub(super) mod ingest;
mod job_rows;
pub(super) mod jobs;
mod paging;
mod params;
pub(super) mod queue_list;
pub(super) mod schema;
pub(super) mod stream;
pub(super) mod workers;

#[cfg(any(test, fuzzing))]
pub(super) use cursor::{decode as decode_cursor, encode as encode_cursor};
