//! Watches brokers.
mod broker;
mod celery;
mod glob;

pub use broker::check_url;
