//! The event stream: delivery, resuming, filters, limits.

mod event_fields;
mod fanout;
mod filters;
mod handoff;
mod memory;
mod platform;
mod resume;
mod schema;
mod stream;
mod stream_limits;
mod subscription;
