//! Frames put together for several subscribers: a batch from one cursor to another, and its broadcast to a group.

use std::{ops::RangeInclusive, sync::Arc};

use bytes::Bytes;

use crate::feed::{
    buffer::{chunk::ChunkBuilder, filter::Filter, frame::Frame, ring::Ring},
    delivery::MAX_CHUNK_BYTES,
};

/// The matching frames from one cursor to another, encoded as one chunk of HTTP/1.1.
#[derive(Debug, Clone)]
pub(in crate::feed) struct EncodedBatch {
    /// The chunk; empty if no frame matched.
    pub(super) chunk: Bytes,
    /// Offset in the chunk at which the frames begin.
    start: usize,
    /// Cursor after the batch.
    pub(in crate::feed) next: u64,
    /// Last position in the batch, also of frames that did not match.
    pub(in crate::feed) position: Option<i64>,
}

impl EncodedBatch {
    /// A batch without a matching frame.
    pub(super) fn empty(next: u64, position: Option<i64>) -> Self {
        Self { chunk: Bytes::new(), start: 0, next, position }
    }

    /// Encodes the matching frames from `cursor` on, at most [`MAX_CHUNK_BYTES`]; `None`: the frame there was evicted.
    pub(super) fn encode(filter: &Filter, ring: &Ring, cursor: u64) -> Option<Self> {
        let (mut single, mut builder, mut next, mut position) =
            (None::<&Arc<Frame>>, ChunkBuilder::default(), cursor, None);
        for frame in ring.since(cursor)? {
            if filter.matches(frame) {
                let bytes = single.map_or(builder.len(), |single| single.bytes().len());
                if bytes > 0 && bytes + frame.bytes().len() > MAX_CHUNK_BYTES {
                    break;
                }
                if bytes == 0 {
                    // Most batches have one frame, which is encoded as a chunk already.
                    single = Some(frame);
                } else {
                    single.take().into_iter().chain([frame]).for_each(|frame| builder.push(frame.bytes()));
                }
            }
            next += 1;
            position = frame.position.or(position);
        }
        let (chunk, start) = single.map_or_else(|| builder.finish(), |single| single.chunk());
        Some(Self { chunk, start, next, position })
    }

    /// The frames without the chunk's size line and end; empty if no frame matched.
    pub(super) fn body(&self) -> Bytes {
        if self.chunk.is_empty() { Bytes::new() } else { self.chunk.slice(self.start..self.chunk.len() - 2) }
    }
}

/// A batch that is written to every subscriber of a group that has everything before it.
#[derive(Debug)]
pub(in crate::feed) struct Broadcast {
    pub(super) chunk: Bytes,
    /// Cursors between which nothing matched: a subscriber at any of them has everything before the chunk.
    pub(super) from: RangeInclusive<u64>,
    /// Cursor after the chunk.
    pub(super) next: u64,
    /// Last position in the chunk, also of frames that did not match.
    pub(super) position: Option<i64>,
    /// Cursor after the last matching frame, which may lie beyond the chunk.
    pub(super) end: u64,
    /// Whether the chunk holds every matching frame.
    pub(super) is_complete: bool,
    /// Time of the shard's clock, in milliseconds.
    pub(super) now_ms: u64,
}

impl Broadcast {
    /// Whether the chunk is what comes next at this cursor.
    pub(super) fn continues(&self, cursor: u64) -> bool {
        self.from.contains(&cursor)
    }
}
