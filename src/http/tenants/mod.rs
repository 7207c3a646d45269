//! The routes of tenants: administration, API keys, sessions, exchanged tokens.

pub(super) mod admin;
pub(super) mod api_keys;
pub(super) mod session;
pub(super) mod token_exchange;
