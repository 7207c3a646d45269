//! Rate limiters of one replica, in front of Redis: they refuse floods without a call to Redis.
//!
//! The shared count in Redis decides. These refuse only what Redis would refuse, or just has. Losing their state admits nobody who should
//! not be, so their memory is bounded by evicting.

mod address;
mod tenant;

pub use address::AddressLimiter;
pub use tenant::TenantLimiter;
