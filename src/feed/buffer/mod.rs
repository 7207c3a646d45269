//! Buffers of event streams: encoded frames, one ring of them per channel, and the memory budget that all rings share.

pub(super) mod chunk;
pub(super) mod filter;
pub(super) mod frame;
pub(super) mod memory_budget;
pub(super) mod queue_frames;
pub(super) mod ring;
