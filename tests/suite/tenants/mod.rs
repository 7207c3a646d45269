//! Tenants, sessions, tokens, limits.

mod admin;
mod jwt;
mod limits;
mod sessions;
