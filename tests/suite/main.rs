//! The suite: every promise of the contract against the real binary, a real Redis and real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

mod cli;
mod code;
mod events;
mod http;
mod neighbours;
mod queues;
mod redis;
mod reservations;
mod support;
mod tenants;
