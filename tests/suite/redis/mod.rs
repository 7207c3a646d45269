//! Redis topologies, transports, outages, the private server; a replica's start and end.

mod addresses;
mod functions;
mod inspection;
mod installations;
mod interrupted;
pub mod moved_slots;
mod outages;
mod private_redis;
pub mod replicas;
mod scripts;
pub mod topologies;
mod transports;
