//! Tenants, sessions, tokens, limits.

mod admin;
mod call_cost;
mod issuer_keys;
mod jwt;
mod limits;
mod sessions;
pub mod signer;
mod stored_bytes;
