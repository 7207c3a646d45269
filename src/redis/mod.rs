//! Connections to our Redis: one server, Sentinel or Cluster. This room knows no key and no function.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `address` | `REDIS_URL`, parsed |
//! | `functions` | libraries of functions, loaded |
//! | `handle` | one runtime's shared connection, which reconnects by itself |
//! | `transport` | the ways to Redis: pipelined, TLS, cluster |
//! | `pipelined/` | our own connection to one server, without TLS |
//! | `resp` | RESP2: commands encoded, replies decoded |
//! | `subscription` | the replica's pub/sub connection, on a thread of its own |
//! | `inspection` | whether a server can be used: its version, what it keeps, the rights of its user |
//! | `outage` | what the log says while it cannot |
//! | `identity` | the names and addresses by which our Redis is recognised |
//! | `private_server` | a redis-server as our child process |
//! | `error` | why a command got no reply |

pub(crate) mod address;
pub(crate) mod error;
mod functions;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod inspection;
mod outage;
mod pipelined;
pub(crate) mod private_server;
pub(crate) mod resp;
pub(crate) mod subscription;
mod transport;

use std::time::Duration;

pub use address::{Address, AddressError};
pub use error::CommandError;
pub use functions::FunctionLibrary;
pub use handle::{ConnectFailure, RedisHandle, RedisHandles};
pub use identity::names_in;
pub use inspection::{MemoryUse, ServerInfo};
pub use outage::outage_is_logged;
pub use private_server::{PrivateRedis, PrivateRedisError};
pub use resp::{Arguments, Command};
pub use subscription::{Subscription, SubscriptionEvent};

/// Timeout of one Redis command; after it the outcome is unknown.
pub const TIMEOUT: Duration = Duration::from_millis(2_000);
