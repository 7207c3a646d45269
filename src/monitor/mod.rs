//! Queue monitor: watches Celery and BullMQ brokers, and reports jobs, workers and queues to the store as observations.
//!
//! One replica watches a connection at a time, under a lease in our own Redis ([`crate::store::LEASE_DURATION`]). The next watcher resumes
//! where the framework allows it: BullMQ's streams are kept by the broker, and their cursors are stored with the state. Celery's events are
//! not kept, so the watcher reports a gap. Brokers are only read, unless a connection asks for exact consumers.
//!
//! Data flow: a framework's listener or stream reader → `mapping` (framework event to observation) → `reporter` → store. Beside it each
//! framework polls queue depths and consumers once a second.

mod assignment;
mod broker;
mod bullmq;
mod celery;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod key_scan;
mod random;
mod reporter;
mod watcher;

pub use assignment::run;
pub use broker::check_url;
