//! What is kept to be delivered: frames, the ring of each channel, filters, and the memory budget of all rings.

pub(super) mod filter;
pub(super) mod frame;
pub(super) mod memory_budget;
pub(super) mod queue_frames;
pub(super) mod ring;
