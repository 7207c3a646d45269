//! Redis topologies, transports, outages, the private server; a replica's start and end.

mod functions;
mod outages;
mod private_redis;
pub mod replicas;
mod scripts;
mod topologies;
mod transports;
