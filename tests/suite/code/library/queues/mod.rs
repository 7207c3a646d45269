//! The queue monitor.

mod connections;
mod harness;
mod jobs;
mod workers;
