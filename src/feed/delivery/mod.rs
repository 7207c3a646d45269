//! How frames reach subscribers: channels, groups with equal filters, a shard per runtime, streams with a cursor each.

pub(super) mod channel;
pub(super) mod group;
pub(super) mod live_stream;
pub(super) mod shard;
pub(super) mod stream;
pub(super) mod subscriber;
