//! What Holdfast is about, without IO and without a clock: names, statuses, tiers, rates, events.

pub mod access;
pub mod event;
pub mod fault;
pub mod names;
pub mod platform;
pub mod queue;
pub mod rate;
pub mod reservation;
pub mod resource;
pub mod tier;
pub mod time;
pub mod transaction;
