//! The suite: every promise of the contract against the real binary, a real Redis and real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

mod clients;
mod encoder;
mod fanout;
mod filters;
mod http_reservations;
mod platform_events;
mod resume;
mod sse;
mod stream_limits;
mod world;
