//! The suite: every promise of the contract against the real binary, a real Redis and real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

mod http_reservations;
mod jwt;
mod limits;
mod open_mode;
mod secrets;
mod sessions;
mod sse;
mod world;
