//! Tenants, sessions, tokens, limits.

mod admin;
mod call_cost;
mod issuer_keys;
pub mod jwt;
mod limits;
mod sessions;
mod stored_bytes;
