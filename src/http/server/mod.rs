//! Client connections: listening, TLS, HTTP, timeouts, and the hand-off of open event streams.

mod accept;
mod connection;
pub(super) mod handoff;
mod listener;
pub(super) mod open_stream;
mod protocol;
mod tls;

pub use accept::Server;
pub use listener::{Listener, ListenerError};
pub(crate) use tls::acceptor;
