//! What is refused before it costs Redis anything: tenants beyond their rate, addresses that try credentials.
//!
//! The shared count in Redis decides; what stands here only says no where Redis would, or lately did. All of it can be forgotten at
//! any moment without anybody being let in who should not be, so its memory is bounded by forgetting.

mod address;
mod tenant;

pub use address::AddressLimiter;
pub use tenant::TenantLimiter;
