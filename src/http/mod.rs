//! The only room that knows poem: routes, credentials, bodies, errors, streams, pages, and the listener under them.
//!
//! A handler parses, asks the store, and answers. Untrusted text becomes a domain type once, at this door.

mod address;
mod admin;
mod answer;
mod body;
mod connections;
mod cors;
mod credentials;
mod document;
mod edge;
mod error;
mod exchange;
mod failures;
mod fleet;
mod here;
mod ingest;
mod jobs;
mod keys;
mod listener;
mod listing;
mod operations;
mod origin;
mod pace;
mod pages;
mod paths;
mod platform;
mod pushed;
mod queue_stream;
mod reservations;
mod resources;
mod routes;
mod session;
mod socket;
mod stream;
mod trace;
mod transactions;

use std::sync::Arc;

use crate::{
    config::Config,
    feed::Feed,
    replica::Replica,
    store::{Links, Store},
    trust::Vault,
};

pub use credentials::Guards;
pub use document::document;
pub use edge::Edge;
pub(crate) use listener::tls;
pub use listener::{Listener, ListenerError, Serving};

/// What every handler can reach. One per runtime.
pub struct App {
    /// This runtime's way to Redis.
    pub store: Store,
    /// Every runtime's way to Redis.
    pub links: Arc<Links>,
    /// The replica's streams.
    pub feed: Feed,
    /// The replica's settings.
    pub config: Arc<Config>,
    /// The replica's condition.
    pub replica: Arc<Replica>,
    /// What the replica refuses by itself.
    pub guards: Arc<Guards>,
    /// What signs tokens and seals secrets.
    pub vault: Arc<Vault>,
}

/// Everything that is served.
#[must_use]
pub fn edge(app: App) -> Edge {
    Edge::new(app, routes::routes())
}
