//! State of the queue monitor: connections, leases of their watchers, observations, and the lists made of them.

pub(super) mod connections;
mod counts;
mod decode;
mod encode;
pub(super) mod jobs;
pub(super) mod observe;
pub(super) mod watches;
mod workers_and_queues;
