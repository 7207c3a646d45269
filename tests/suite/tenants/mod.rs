//! Tenants, sessions, tokens, limits.

mod jwt;
mod limits;
mod sessions;
mod tenants;
