//! The source itself: rooms, script headers, costs, benchmarks, deployment files.

mod benchmarks;
mod cost;
mod deployment;
mod encoder;
mod headers;
mod rooms;
mod scripts;
