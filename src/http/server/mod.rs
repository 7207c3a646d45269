//! Client connections: listening, admission, TLS, HTTP, timeouts, and the hand-off of open event streams.

mod accept;
mod activity;
mod admission;
mod connection;
pub(super) mod handoff;
mod http2_streams;
mod http_io;
mod listener;
pub(super) mod open_stream;
mod protocol;
mod tls;

pub use accept::Server;
pub use admission::ConnectionSlots;
pub(super) use admission::{HeldOnConnection, Place};
pub use listener::{Listener, ListenerError};
pub(crate) use tls::acceptor;
