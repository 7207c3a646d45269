//! Nobody can hold up anybody: whatever one client does, with a small tier or without a key, another tenant's calls go on and the
//! replica's memory stays bounded.

mod bodies;
mod connections;
mod credentials;
pub mod frame;
mod inputs;
mod streams;
mod turns;
mod work;
