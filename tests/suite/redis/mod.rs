//! Topologies, transports, outages, the private server, many replicas.

mod outages;
mod private_redis;
pub mod replicas;
mod topologies;
mod transports;
