//! The suite: every promise of the contract against the real binary, a real Redis and real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

mod batches;
mod benchmarks;
mod brokers;
mod browser;
mod bullmq;
mod celery;
mod clients;
mod connections;
mod cost;
mod deployment;
mod document;
mod domain_property;
mod encoder;
mod events;
mod expiry;
mod fanout;
mod filters;
mod handover;
mod headers;
mod hearing;
mod http_errors;
mod http_reservations;
mod jwt;
mod limits;
mod memory;
mod model;
mod open_mode;
mod outages;
mod platform_events;
mod private_redis;
mod property;
mod queue_lists;
mod queue_monitor;
mod queue_replay;
mod queue_state;
mod replicas;
mod resources;
mod resume;
mod rooms;
mod scripts;
mod secrets;
mod sessions;
mod shared;
mod sluice;
mod sse;
mod standing;
mod stream_limits;
mod tenants;
mod topologies;
mod transactions;
mod watches;
mod ways;
mod world;
