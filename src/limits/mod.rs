//! Limits of one replica, in front of Redis: rates, which refuse floods without a call to Redis, and the memory of bodies.
//!
//! The shared count in Redis decides. These refuse only what Redis would refuse, or just has. Losing their state admits nobody who should
//! not be, so their memory is bounded by evicting.

mod address;
mod body_budget;
mod tenant;

pub use address::AddressLimiter;
pub use body_budget::{BodyBudget, BodyOwner, BodyShare, FREE_BODY_BYTES};
pub use tenant::TenantLimiter;
