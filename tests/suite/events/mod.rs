//! Event streams: delivery, resuming, filters, limits, publishing.

mod event_fields;
mod fanout;
mod filters;
mod history;
mod longest_line;
mod lost_messages;
mod memory;
mod platform;
mod resume;
mod schema;
mod stream;
mod stream_limits;
mod subscription;
