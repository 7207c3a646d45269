//! Errors, unknown fields, the OpenAPI document, pages, clients, examples, open mode, secrets.

mod browser;
mod clients;
mod errors;
mod examples;
mod open_mode;
mod openapi;
pub mod secrets;
mod unknown_fields;
