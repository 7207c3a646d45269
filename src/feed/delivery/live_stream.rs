//! A stream of one connection's live changes: jobs, workers and queues. Nothing is replayed, so a stream that falls
//! behind the ring skips to its end and says so with a `gap`.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{
    domain::queue::{Queue, Worker},
    feed::{
        buffer::{filter::Filter, frame::Frame},
        delivery::{
            Chunk,
            channel::Channel,
            group::Group,
            shard::Shard,
            subscriber::{Subscriber, WakeReason},
        },
        stream_slots::StreamSlot,
    },
};

/// Present queues and live workers of a connection.
#[derive(Debug)]
pub(in crate::feed) struct Snapshot {
    pub(in crate::feed) queues: Vec<Queue>,
    pub(in crate::feed) workers: Vec<Worker>,
}

/// An open stream of a connection's changes. Dropping it unsubscribes and releases its slot.
#[derive(Debug)]
pub struct LiveStream {
    shard: Arc<Shard>,
    channel: Arc<Channel>,
    group: Arc<Group>,
    subscriber: Arc<Subscriber>,
    /// Number of the next frame.
    cursor: u64,
    /// Instant up to which nothing is missing.
    complete_until: DateTime<Utc>,
    _slot: Option<StreamSlot>,
}

impl LiveStream {
    /// Opens a stream at the end of the ring. `None`: the channel has no such runtime.
    pub(in crate::feed) fn open(
        shard: Arc<Shard>,
        channel: Arc<Channel>,
        credential: Option<String>,
        filter: Filter,
        slot: Option<StreamSlot>,
    ) -> Option<Self> {
        let subscriber = Subscriber::new(credential, shard.now_ms());
        let group = channel.subscribe(shard.number, filter, &subscriber)?;
        let cursor = channel.ring().end();
        shard.keep_alive(&subscriber);
        Some(Self { shard, channel, group, subscriber, cursor, complete_until: Utc::now(), _slot: slot })
    }

    /// Encodes a snapshot: `queue:snapshot` and `worker:heartbeat` frames, as far as they match the filter.
    pub(in crate::feed) fn encode(&self, snapshot: &Snapshot) -> Bytes {
        let queues = snapshot.queues.iter().map(Frame::queue_snapshot);
        let frames = queues.chain(snapshot.workers.iter().map(Frame::worker_heartbeat));
        let mut bytes = Vec::new();
        frames
            .filter(|frame| self.group.filter().matches(frame))
            .for_each(|frame| bytes.extend_from_slice(frame.bytes()));
        bytes.into()
    }

    /// Waits for something to write: changes, or a heartbeat.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; the next call continues at the same cursor.
    pub async fn next(&mut self) -> Chunk {
        loop {
            if self.subscriber.has_ended() {
                return Chunk::End;
            }
            if self.subscriber.is_leaving() {
                return Chunk::Leave;
            }
            if self.subscriber.take_keepalive() {
                return self.heartbeat();
            }
            let now = Utc::now();
            match self.channel.encode_from(&self.group, self.cursor) {
                Some(batch) => {
                    let has_moved = batch.next != self.cursor;
                    self.cursor = batch.next;
                    self.complete_until = now;
                    let bytes = batch.body();
                    if !bytes.is_empty() {
                        return Chunk::Bytes(bytes);
                    }
                    if has_moved {
                        continue;
                    }
                }
                None => {
                    self.cursor = self.channel.ring().end();
                    let gap = Frame::gap(std::mem::replace(&mut self.complete_until, now), now, "slow");
                    return Chunk::Bytes(Bytes::copy_from_slice(gap.bytes()));
                }
            }
            match self.subscriber.wake_reason().await {
                WakeReason::Ended => return Chunk::End,
                WakeReason::Leaving => return Chunk::Leave,
                WakeReason::KeepaliveDue => return self.heartbeat(),
                WakeReason::Woken => {}
            }
        }
    }

    /// Sent every 15 s whatever else is written, so only this counts as a write.
    fn heartbeat(&self) -> Chunk {
        self.subscriber.record_write(self.shard.now_ms());
        Chunk::Bytes(Bytes::copy_from_slice(Frame::heartbeat(Utc::now()).bytes()))
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.channel.unsubscribe(self.shard.number, &self.group, &self.subscriber);
    }
}
