//! Entries for fuzzing (`fuzz/`): what a tenant's broker may send. Compiled for that and for unit tests alone.

pub use super::{
    broker::fuzzing::replies,
    bullmq::fuzzing::entry as bullmq_entry,
    celery::fuzzing::{body as celery_body, message as celery_message},
};
