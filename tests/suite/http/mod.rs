//! Agents, errors, unknown fields, the OpenAPI document, pages, clients and their packages, examples, the guide, open mode, secrets.

mod agents;
pub mod browser;
mod client_packages;
mod clients;
mod document;
mod errors;
mod examples;
mod guide;
mod open_mode;
mod openapi;
mod reference;
pub mod secrets;
mod unknown_fields;
