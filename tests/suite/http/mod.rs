//! Errors, the OpenAPI document, pages, clients, open mode, secrets.

mod browser;
mod clients;
mod errors;
mod open_mode;
mod openapi;
pub mod secrets;
