//! The only room that knows poem: routes, credentials, bodies, errors, streams, pages, and the listener under them.
//!
//! A handler parses, asks the store, and answers. Untrusted text becomes a domain type once, at this door.

mod app_state;
mod auth;
mod events;
mod health;
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

use crate::{
    config::Config,
    feed::Feed,
    replica::Replica,
    store::{RedisHandles, Store},
    trust::Vault,
};

pub use auth::Limiters;
pub use openapi::document;
pub use pipeline::Pipeline;
pub(crate) use server::acceptor as tls_acceptor;
pub use server::{Listener, ListenerError, Server};

/// What every handler can reach. One per runtime.
pub struct App {
    /// This runtime's way to Redis.
    pub store: Store,
    /// Every runtime's way to Redis.
    pub links: Arc<RedisHandles>,
    /// The replica's streams.
    pub feed: Feed,
    /// The replica's settings.
    pub config: Arc<Config>,
    /// The replica's condition.
    pub replica: Arc<Replica>,
    /// Limits that the replica enforces before it asks Redis.
    pub limiters: Arc<Limiters>,
    /// What signs tokens and seals secrets.
    pub vault: Arc<Vault>,
}

/// Everything that is served.
#[must_use]
pub fn edge(app: App) -> Pipeline {
    Pipeline::new(app, routes::routes())
}
