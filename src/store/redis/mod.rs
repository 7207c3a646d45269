//! The connections to our Redis: one server, Sentinel or Cluster; commands, replies, subscriptions; the private server.

pub(super) mod address;
pub(super) mod handle;
pub(super) mod identity;
pub(super) mod pipelined;
pub(super) mod private_server;
pub(super) mod resp;
pub(super) mod subscription;
pub(super) mod transport;
