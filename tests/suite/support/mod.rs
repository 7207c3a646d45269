//! What the tests share: replicas, servers, streams, the reference model.

pub mod brokers;
pub mod redis_server;
pub mod reference_model;
pub mod script_bench;
pub mod sse;
pub mod tenant_state;
pub mod world;
