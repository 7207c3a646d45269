//! Shared by the tests: replicas, servers, streams, the reference model, the project's own files.

pub mod brokers;
pub mod document;
pub mod redis_server;
pub mod reference_model;
pub mod silent_proxy;
pub mod slow_link;
pub mod source;
pub mod sse;
pub mod store_bench;
pub mod tenant_state;
pub mod waiting_model;
pub mod world;
