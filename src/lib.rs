//! Holdfast: reservations over HTTP, held with a TTL and a fencing token, and seen live by everybody who cares.
//!
//! `ARCHITECTURE.md` shows the house; the rooms are the modules below, and who may import whom is held by a test.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod feed;
pub mod http;
pub mod limits;
pub mod monitor;
pub mod replica;
pub mod store;
pub mod sweeper;
pub mod sync;
pub mod trust;
