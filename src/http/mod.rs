//! HTTP, the only room that knows poem: routes, authentication, bodies, errors, streams, pages, and the listener.
//!
//! A handler parses, asks the store, and answers. Untrusted text becomes a domain type once, here, and is never checked again.

mod app_state;
mod assets;
mod auth;
mod events;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod mcp;
mod openapi;
mod pages;
mod pipeline;
mod queues;
mod reservations;
mod routes;
mod server;
mod tenants;
mod wire;

use std::sync::Arc;

use crate::{config::Config, feed::Feed, redis::RedisHandles, replica::Replica, store::Store, trust::Vault};

pub use auth::Limiters;
pub use openapi::document;
pub use pipeline::Pipeline;
pub(crate) use server::acceptor as tls_acceptor;
pub use server::{ConnectionSlots, Listener, ListenerError, Server};

/// State that every handler can reach. One per runtime.
pub struct App {
    /// The store, over this runtime's connection to Redis.
    pub store: Store,
    /// The Redis connections of all runtimes.
    pub redis: Arc<RedisHandles>,
    /// The replica's event streams.
    pub feed: Feed,
    /// The replica's settings.
    pub config: Arc<Config>,
    /// The replica's condition: draining, metrics.
    pub replica: Arc<Replica>,
    /// Rate limiters in front of Redis.
    pub limiters: Arc<Limiters>,
    /// Signs tokens and encrypts stored secrets.
    pub vault: Arc<Vault>,
}

/// The request pipeline with every route behind it.
#[must_use]
pub fn pipeline(app: App) -> Pipeline {
    Pipeline::new(app, routes::routes())
}
