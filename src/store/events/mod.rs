//! A tenant's events: published ones, their history, and the counted slots of streams.

pub(super) mod history;
pub(super) mod notification;
pub(super) mod platform;
pub(super) mod stream_slots;
