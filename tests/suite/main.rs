//! The suite, by subject. All but `code` (the source itself) and `support` run the real binary against a real Redis over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

mod cli;
mod clients;
mod code;
mod events;
mod http;
mod neighbours; // no client holds up another
mod queues;
mod redis;
mod reservations;
mod support;
mod tenants;
