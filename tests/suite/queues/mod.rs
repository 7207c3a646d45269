//! The queue monitor: leases of watchers, observations, pushed events, lists, live streams; real Celery and BullMQ.

mod broker_bounds;
mod bullmq;
mod celery;
mod connections;
mod dashboard;
mod event_order;
mod exchanges;
mod ingest;
mod job_pages;
mod job_state;
mod leases;
mod lists;
mod live_stream;
mod observation_bench;
pub mod push_connection;
mod retention;
mod rights;
mod sdk;
mod slow_links;
mod takeover;
mod workers_and_queues;
mod workers_without_heartbeats;
