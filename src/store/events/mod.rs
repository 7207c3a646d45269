//! A tenant's events: published ones, their history, and stream slots.

pub(super) mod digest;
pub(super) mod history;
pub(super) mod notification;
pub(super) mod platform;
pub(super) mod stream_slots;
