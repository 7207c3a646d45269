//! Holdfast: reservations over HTTP, held with a TTL and a fencing token, and pushed live to subscribers.
//!
//! To read in this order:
//! - [`domain`]: the concepts, pure: requests, outcomes, events, tiers.
//! - [`store`]: every decision, as a function that Redis runs; connections, keys, decoders.
//! - [`feed`]: events from Redis to subscribers, in order and without a gap.
//! - [`http`]: routes, authentication, streams, the OpenAPI document.
//! - [`monitor`]: the queue monitor, which watches the brokers of Celery and BullMQ.
//! - [`limits`], [`trust`], [`config`], [`sweeper`], [`replica`]: rate limiters, cryptography, settings, expiry, the replica's condition.
//! - [`app`] and [`cli`] connect them.
//!
//! `ARCHITECTURE.md` explains the design; a test holds which room may import which.

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod domain;
pub mod feed;
pub mod http;
pub mod limits;
pub mod monitor;
pub mod redis;
pub mod replica;
pub mod store;
pub mod sweeper;
pub mod sync;
pub mod trust;
