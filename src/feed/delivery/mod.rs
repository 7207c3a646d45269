//! Delivery of frames to subscribers: channels, groups of subscribers with equal filters, a shard per runtime, a cursor
//! per stream.

pub(super) mod broadcast;
pub(super) mod channel;
pub(super) mod group;
pub(super) mod history;
pub(super) mod live_stream;
pub(super) mod shard;
pub(super) mod subscriber;
pub(super) mod tenant_stream;
mod timer_wheel;

use bytes::Bytes;

/// Bound of one write, 64 KiB: what a slow client can hold beyond the ring.
const MAX_CHUNK_BYTES: usize = 64 << 10;

/// What a stream writes next.
#[derive(Debug)]
pub enum Chunk {
    /// These bytes; empty if only [`TenantStream::take_unsent`](tenant_stream::TenantStream::take_unsent) is to be
    /// written.
    Bytes(Bytes),
    /// Nothing more: the stream ends, and its client resumes where it stopped.
    End,
    /// The replica drains: the client is given a reconnection time, and the stream ends.
    Leave,
}
