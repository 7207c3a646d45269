//! A stream of one tenant's events: its cursor, in the ring while it keeps up and in the history while it is behind.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use crate::{
    feed::{
        buffer::{
            filter::Filter,
            frame::{Frame, ResetReason},
        },
        delivery::{
            Chunk, MAX_CHUNK_BYTES,
            channel::Channel,
            group::Group,
            history::{HistoryPages, Page},
            shard::{KEEPALIVE, Shard},
            subscriber::{ChunkSink, Subscriber, WakeReason},
        },
        stream_slots::StreamSlot,
    },
    store::{Store, StoreError},
};

/// Delay before a failed read of the history is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Delay before the ring is asked again for a position that the history has reached and the ring has not.
const RING_DELAY: Duration = Duration::from_millis(50);
/// Digits of the largest position: positions are below 2^53.
const POSITION_DIGITS: usize = 16;

/// An open stream of a tenant's events. Dropping it unsubscribes and releases its slot.
#[derive(Debug)]
pub struct TenantStream {
    pages: Arc<HistoryPages>,
    shard: Arc<Shard>,
    store: Store,
    channel: Arc<Channel>,
    group: Arc<Group>,
    subscriber: Arc<Subscriber>,
    source: Source,
    /// Position of the last keepalive, or of the start: the client has it.
    last_id: i64,
    _slot: Option<StreamSlot>,
}

/// Where the next frames come from.
#[derive(Debug)]
enum Source {
    Ring,
    /// The history, with the frames of a page that are not written yet.
    History(VecDeque<Arc<Frame>>),
}

/// Position at which a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The position asked for, or the latest one; nothing is missing.
    At(i64),
    /// The latest position, because the stream cannot resume at the one asked for.
    Reset(ResetReason, i64),
}

impl TenantStream {
    /// Opens a stream at the end of the ring; [`Self::start`] moves it. `None`: the channel has no such runtime.
    pub(in crate::feed) fn open(
        pages: Arc<HistoryPages>,
        shard: Arc<Shard>,
        store: Store,
        channel: Arc<Channel>,
        credential: Option<String>,
        filter: Filter,
        slot: Option<StreamSlot>,
    ) -> Option<Self> {
        let subscriber = Subscriber::new(credential, shard.now_ms());
        let group = channel.subscribe(shard.number, filter, &subscriber)?;
        let (end, as_of) = {
            let ring = channel.ring();
            (ring.end(), ring.as_of())
        };
        shard.keep_alive(&subscriber);
        let source = Source::Ring;
        let mut stream = Self { pages, shard, store, channel, group, subscriber, source, last_id: as_of, _slot: slot };
        stream.enter_ring(end, as_of);
        Some(stream)
    }

    /// Lets broadcasts write chunks to this socket while [`Self::next`] waits. Whoever else writes to it must write
    /// [`Self::take_unsent`] first.
    pub fn set_sink(&self, sink: Arc<dyn ChunkSink>) {
        self.subscriber.cursor_state().sink = Some(sink);
    }

    /// Takes the part of a chunk that the socket did not take; mostly empty.
    pub fn take_unsent(&self) -> Bytes {
        std::mem::take(&mut self.subscriber.cursor_state().unsent)
    }

    fn position(&self) -> i64 {
        self.subscriber.cursor_state().position
    }

    fn enter_ring(&mut self, cursor: u64, position: i64) {
        self.source = Source::Ring;
        let mut state = self.subscriber.cursor_state();
        (state.next, state.position) = (cursor, position);
    }

    /// Moves the stream to the position at which its client stopped, if one is given.
    ///
    /// # Errors
    /// As [`Store::replay`], when the position is not in the ring.
    pub(in crate::feed) async fn start(&mut self, last_event_id: Option<&str>) -> Result<Start, StoreError> {
        let start = self.seek(last_event_id).await?;
        self.last_id = match start {
            Start::At(position) | Start::Reset(_, position) => position,
        };
        Ok(start)
    }

    async fn seek(&mut self, last_event_id: Option<&str>) -> Result<Start, StoreError> {
        let Some(last_event_id) = last_event_id else { return Ok(Start::At(self.position())) };
        let is_number =
            last_event_id.len() <= POSITION_DIGITS && last_event_id.bytes().all(|byte| byte.is_ascii_digit());
        let position = is_number.then(|| last_event_id.parse::<i64>().ok()).flatten();
        let Some(position) = position else { return Ok(self.reset(ResetReason::Unknown)) };
        let (cursor, base, head) = {
            let ring = self.channel.ring();
            (ring.seek(position), ring.base(), ring.head().unwrap_or(0))
        };
        if let Some(cursor) = cursor {
            self.enter_ring(cursor, position);
            return Ok(Start::At(position));
        }
        if position > head || position > base {
            // The ring covers this range without it: Redis lost it, or it never was. A position ahead of Redis' clock
            // never was.
            let now_us = self.page_after(head).await?.map_or(0, |page| page.now_us);
            let is_lost = position > head && position <= now_us;
            return Ok(self.reset(if is_lost { ResetReason::Lost } else { ResetReason::Unknown }));
        }
        let Some(page) = self.page_after(position).await? else { return Ok(self.reset(ResetReason::Unknown)) };
        match page.previous {
            Some(previous) if previous == position => {
                self.subscriber.cursor_state().position = position;
                self.enter_page(position, &page);
                Ok(Start::At(position))
            }
            Some(previous) if previous < position => Ok(self.reset(ResetReason::Unknown)),
            None if page.last == position => {
                // The history has reached it and the ring has not yet.
                self.subscriber.cursor_state().position = position;
                self.source = Source::History(VecDeque::new());
                Ok(Start::At(position))
            }
            _ => Ok(self.reset(ResetReason::TooOld)),
        }
    }

    /// Continues from the latest position.
    fn reset(&mut self, reason: ResetReason) -> Start {
        let (end, as_of) = {
            let ring = self.channel.ring();
            (ring.end(), ring.as_of())
        };
        self.enter_ring(end, as_of);
        Start::Reset(reason, as_of)
    }

    async fn page_after(&self, position: i64) -> Result<Option<Arc<Page>>, StoreError> {
        self.pages.after(&self.store, &self.channel.tenant_handle, position).await
    }

    /// Continues with a page that begins right after `position`: from the ring, if the page joins it, so that other
    /// streams find it there.
    fn enter_page(&mut self, position: i64, page: &Page) {
        let cursor = {
            let mut ring = self.channel.ring();
            ring.seek(position).or_else(|| ring.prepend(position, &page.frames).then(|| ring.first()))
        };
        match cursor {
            Some(cursor) => self.enter_ring(cursor, position),
            None => self.source = Source::History(page.frames.iter().cloned().collect()),
        }
    }

    /// Waits for something to write: frames, or a keepalive.
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
            if !self.subscriber.cursor_state().unsent.is_empty() {
                return Chunk::Bytes(Bytes::new());
            }
            let read = match &mut self.source {
                Source::Ring => self.read_ring(),
                // Boxed because it is large and rare: every stream's task would be as large as its largest future.
                Source::History(_) => Box::pin(self.read_history()).await,
            };
            match read {
                Some(Chunk::Bytes(bytes)) if bytes.is_empty() => continue,
                Some(chunk) => {
                    self.subscriber.record_write(self.shard.now_ms());
                    return chunk;
                }
                None => {}
            }
            match self.subscriber.park().await {
                WakeReason::Ended => return Chunk::End,
                WakeReason::Leaving => return Chunk::Leave,
                WakeReason::Woken => {}
                WakeReason::KeepaliveDue => {
                    if !self.subscriber.cursor_state().unsent.is_empty() {
                        continue;
                    }
                    // Frames that did not match move the position that the keepalive names.
                    while let Some(Chunk::Bytes(bytes)) = self.read_ring() {
                        if !bytes.is_empty() {
                            self.subscriber.record_write(self.shard.now_ms());
                            return Chunk::Bytes(bytes);
                        }
                    }
                    self.subscriber.record_write(self.shard.now_ms());
                    return Chunk::Bytes(self.keepalive());
                }
            }
        }
    }

    /// The ring's next frames: `None` if there are none, empty if none of them matched. A stream in the history reads
    /// none.
    fn read_ring(&mut self) -> Option<Chunk> {
        let Source::Ring = self.source else { return None };
        let cursor = self.subscriber.cursor_state().next;
        match self.channel.encode_from(&self.group, cursor) {
            Some(batch) if batch.next == cursor => None,
            Some(batch) => {
                let mut state = self.subscriber.cursor_state();
                state.next = batch.next;
                state.position = state.position.max(batch.position.unwrap_or(0));
                Some(Chunk::Bytes(batch.body()))
            }
            None => {
                self.source = Source::History(VecDeque::new());
                Some(Chunk::Bytes(Bytes::new()))
            }
        }
    }

    /// The history's next frames, until the stream reaches the ring.
    async fn read_history(&mut self) -> Option<Chunk> {
        let Source::History(frames) = &mut self.source else { return None };
        let mut bytes = BytesMut::new();
        while let Some(frame) = frames.front() {
            if self.group.filter().matches(frame) {
                if !bytes.is_empty() && bytes.len() + frame.bytes().len() > MAX_CHUNK_BYTES {
                    break;
                }
                bytes.extend_from_slice(frame.bytes());
            }
            if let Some(position) = frame.position {
                self.subscriber.cursor_state().position = position;
            }
            frames.pop_front();
        }
        if !bytes.is_empty() {
            return Some(Chunk::Bytes(bytes.freeze()));
        }
        let position = self.position();
        let cursor = self.channel.ring().seek(position);
        if let Some(cursor) = cursor {
            self.enter_ring(cursor, position);
            return Some(Chunk::Bytes(Bytes::new()));
        }
        match self.page_after(position).await {
            Ok(Some(page)) if page.previous == Some(position) => {
                self.enter_page(position, &page);
                Some(Chunk::Bytes(Bytes::new()))
            }
            Ok(Some(page)) if page.frames.is_empty() && page.last == position => {
                tokio::time::sleep(RING_DELAY).await;
                Some(Chunk::Bytes(Bytes::new()))
            }
            // The position has left the history: the client reconnects and gets RESET_CURSOR.
            Ok(_) => Some(Chunk::End),
            Err(_) => match tokio::time::timeout(RETRY_DELAY, self.subscriber.wake_reason()).await {
                Ok(WakeReason::Ended) => Some(Chunk::End),
                Ok(WakeReason::Leaving) => Some(Chunk::Leave),
                Ok(WakeReason::Woken | WakeReason::KeepaliveDue) | Err(_) => Some(self.keepalive_if_silent()),
            },
        }
    }

    /// A stream that waits for Redis still sends keepalives.
    fn keepalive_if_silent(&mut self) -> Chunk {
        let silent_ms = self.shard.now_ms().saturating_sub(self.subscriber.last_write_ms());
        Chunk::Bytes(if silent_ms >= KEEPALIVE.as_millis() as u64 { self.keepalive() } else { Bytes::new() })
    }

    /// A comment, and, if the position moved since the last one, an `id` line: it moves the client past frames that did
    /// not match. What an empty line ends is an event to some clients, also without data, so none stands behind the comment alone.
    fn keepalive(&mut self) -> Bytes {
        let position = self.position();
        if std::mem::replace(&mut self.last_id, position) == position {
            return Bytes::from_static(b": keepalive\n");
        }
        Bytes::from(format!(": keepalive\nid: {position}\n\n"))
    }
}

impl Drop for TenantStream {
    fn drop(&mut self) {
        self.channel.unsubscribe(self.shard.number, &self.group, &self.subscriber);
    }
}
