//! The concepts of Holdfast, without IO and without a clock: requests and outcomes, events, names, tiers, rates, the queue monitor's states.

pub mod access;
pub mod closed_set;
pub mod event;
pub mod field_errors;
pub mod json_text;
pub mod names;
pub mod nearest;
pub mod platform;
pub mod queue;
pub mod rate;
pub mod reservation;
pub mod resource;
pub mod tier;
pub mod time;
pub mod transaction;
pub mod waiting;
