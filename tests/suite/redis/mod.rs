//! Redis topologies, transports, outages, the private server; a replica's start and end.

mod outages;
mod private_redis;
pub mod replicas;
mod topologies;
mod transports;
