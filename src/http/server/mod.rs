//! The connections of clients: accepting, TLS, timeouts, and the hand-off of open streams.

pub(super) mod connection;
pub(super) mod listener;
