//! One stream: where its reader is, and what it is written next.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{
    feed::{
        Filter, Frame, Hub, Reason,
        delivery::{
            channel::{Channel, Page},
            group::Group,
            shard::Shard,
            subscriber::{ChunkSink, Subscriber, WakeReason},
        },
        stream_slots::StreamSlot,
    },
    store::{Store, StoreError},
};

/// The most that is written at once from the history.
const PIECE_BYTES: usize = 64 << 10;
/// How long a reader that is served from the history waits when Redis cannot be asked.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// A stream that was let in. Dropping it leaves.
#[derive(Debug)]
pub struct Reader {
    hub: Arc<Hub>,
    shard: Arc<Shard>,
    store: Store,
    channel: Arc<Channel>,
    group: Arc<Group>,
    seat: Arc<Subscriber>,
    at: At,
    _lease: Option<StreamSlot>,
}

/// Where a reader is; how far, its seat knows.
#[derive(Debug)]
enum At {
    /// In the ring.
    Ring,
    /// Behind it: in the history, with what was read there and not written yet.
    History(VecDeque<Arc<Frame>>),
}

/// Where a stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this position, without a hole.
    At(i64),
    /// At this one, which is not where its reader stopped.
    Reset(Reason, i64),
}

/// What a stream writes next.
#[derive(Debug)]
pub enum Piece {
    /// These bytes; none if there is only [`Reader::take_rest`] to be written.
    Bytes(Bytes),
    /// Nothing more: the stream ends, and its reader resumes where it stopped.
    End,
    /// The replica leaves: the reader is told when to come again, and the stream ends.
    Leave,
}

impl Reader {
    /// Lets a reader in at the ring's end; [`Self::start`] moves it.
    pub(in crate::feed) fn new(
        hub: Arc<Hub>,
        shard: Arc<Shard>,
        store: Store,
        channel: Arc<Channel>,
        credential: Option<String>,
        filter: Filter,
        lease: Option<StreamSlot>,
    ) -> Option<Self> {
        let seat = Subscriber::new(credential, shard.now_ms());
        let group = channel.enter(shard.number, filter, &seat)?;
        {
            let (ring, mut desk) = (channel.ring(), seat.desk());
            (desk.cursor, desk.position) = (ring.end(), ring.told());
        }
        shard.watch(&seat);
        Some(Self { hub, shard, store, channel, group, seat, at: At::Ring, _lease: lease })
    }

    /// Lets the runtime's rounds write chunks to this socket while [`Self::next`] waits. Whoever writes to it besides must first write
    /// what [`Self::take_rest`] gives.
    pub fn write_through(&self, outlet: Arc<dyn ChunkSink>) {
        self.seat.desk().outlet = Some(outlet);
    }

    /// The part of a chunk that the socket did not take; most often nothing.
    pub fn take_rest(&self) -> Bytes {
        std::mem::take(&mut self.seat.desk().rest)
    }

    fn position(&self) -> i64 {
        self.seat.desk().position
    }

    fn is_at(&mut self, cursor: u64, position: i64) {
        self.at = At::Ring;
        let mut desk = self.seat.desk();
        (desk.cursor, desk.position) = (cursor, position);
    }

    /// Moves the reader to where its last stream stopped.
    ///
    /// # Errors
    /// As [`StoreError`] says, when the history must be asked and cannot be.
    pub(in crate::feed) async fn start(&mut self, from: Option<&str>) -> Result<Start, StoreError> {
        let Some(from) = from else { return Ok(Start::At(self.position())) };
        // Positions are below 2^53: a number beyond is none of ours.
        let from = (from.len() <= 16 && from.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| from.parse::<i64>().ok())
            .flatten();
        let Some(from) = from else { return Ok(self.reset(Reason::Unknown)) };
        let (sought, base, head) = {
            let ring = self.channel.ring();
            (ring.seek(from), ring.base(), ring.head().unwrap_or(0))
        };
        if let Some(cursor) = sought {
            self.is_at(cursor, from);
            return Ok(Start::At(from));
        }
        if from > head || from > base {
            // Either there never was such a position, or Redis has lost it. What lies ahead of its clock never was.
            let now_us = self.page(head).await?.map_or(0, |page| page.now_us);
            return Ok(self.reset(if from > head && from <= now_us { Reason::Lost } else { Reason::Unknown }));
        }
        let Some(page) = self.page(from).await? else { return Ok(self.reset(Reason::Unknown)) };
        match page.previous {
            Some(previous) if previous == from => {
                self.seat.desk().position = from;
                self.take_page(from, &page);
                Ok(Start::At(from))
            }
            Some(previous) if previous < from => Ok(self.reset(Reason::Unknown)),
            None if page.last == from => {
                // The ring was not there yet when the history already was: it will be.
                self.seat.desk().position = from;
                self.at = At::History(VecDeque::new());
                Ok(Start::At(from))
            }
            _ => Ok(self.reset(Reason::TooOld)),
        }
    }

    /// Goes on from the latest position.
    fn reset(&mut self, reason: Reason) -> Start {
        let (end, as_of) = {
            let ring = self.channel.ring();
            (ring.end(), ring.told())
        };
        self.is_at(end, as_of);
        Start::Reset(reason, as_of)
    }

    /// A page of the history after `from`: asked once for all who want it.
    async fn page(&self, from: i64) -> Result<Option<Arc<Page>>, StoreError> {
        self.hub.page(&self.store, &self.channel.place, from).await
    }

    /// Goes on with a page that begins right after `from`: in the ring if it joins there, so that others find it there too.
    fn take_page(&mut self, from: i64, page: &Page) {
        let mut ring = self.channel.ring();
        let cursor = ring.seek(from).or_else(|| ring.put_before(from, &page.frames).then(|| ring.first()));
        drop(ring);
        match cursor {
            Some(cursor) => self.is_at(cursor, from),
            None => self.at = At::History(page.frames.iter().cloned().collect()),
        }
    }

    /// Waits for something to write: events, or a sign of life.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; the next call goes on from the same place.
    pub async fn next(&mut self) -> Piece {
        loop {
            if self.seat.has_ended() {
                return Piece::End;
            }
            if self.seat.is_leaving() {
                return Piece::Leave;
            }
            if !self.seat.desk().rest.is_empty() {
                return Piece::Bytes(Bytes::new());
            }
            let written = match &mut self.at {
                At::Ring => self.read_ring(),
                // In a box: few streams are there, and all would be as large.
                At::History(_) => Box::pin(self.read_history()).await,
            };
            match written {
                Some(Piece::Bytes(bytes)) if bytes.is_empty() => continue,
                Some(piece) => {
                    self.seat.speaks(self.shard.now_ms());
                    return piece;
                }
                None => {}
            }
            match self.seat.sign_given_in_the_ring().await {
                WakeReason::Ended => return Piece::End,
                WakeReason::Leave => return Piece::Leave,
                WakeReason::Woken => {}
                WakeReason::Beat => {
                    if !self.seat.desk().rest.is_empty() {
                        continue;
                    }
                    // What was filtered out moves the cursor too.
                    while let Some(Piece::Bytes(bytes)) = self.read_ring_if_there() {
                        if !bytes.is_empty() {
                            self.seat.speaks(self.shard.now_ms());
                            return Piece::Bytes(bytes);
                        }
                    }
                    self.seat.speaks(self.shard.now_ms());
                    return Piece::Bytes(self.beat());
                }
            }
        }
    }

    fn read_ring_if_there(&mut self) -> Option<Piece> {
        match self.at {
            At::Ring => self.read_ring(),
            At::History(_) => None,
        }
    }

    /// What the ring has for this reader: nothing more (`None`), or bytes, empty if all of it was filtered out.
    fn read_ring(&mut self) -> Option<Piece> {
        let cursor = self.seat.desk().cursor;
        match self.group.stretch(&self.channel, cursor) {
            Some(stretch) if stretch.to == cursor => None,
            Some(stretch) => {
                let mut desk = self.seat.desk();
                desk.cursor = stretch.to;
                desk.position = desk.position.max(stretch.position.unwrap_or(0));
                Some(Piece::Bytes(stretch.body()))
            }
            None => {
                self.at = At::History(VecDeque::new());
                Some(Piece::Bytes(Bytes::new()))
            }
        }
    }

    /// What the history has for this reader, until it reaches the ring.
    async fn read_history(&mut self) -> Option<Piece> {
        let At::History(frames) = &mut self.at else { return None };
        let mut bytes = BytesMut::new();
        while let Some(frame) = frames.front() {
            if self.group.filter().passes(frame) {
                if !bytes.is_empty() && bytes.len() + frame.bytes().len() > PIECE_BYTES {
                    break;
                }
                bytes.extend_from_slice(frame.bytes());
            }
            if let Some(position) = frame.position {
                self.seat.desk().position = position;
            }
            frames.pop_front();
        }
        if !bytes.is_empty() {
            return Some(Piece::Bytes(bytes.freeze()));
        }
        let from = self.position();
        let sought = self.channel.ring().seek(from);
        if let Some(cursor) = sought {
            self.is_at(cursor, from);
            return Some(Piece::Bytes(Bytes::new()));
        }
        match self.page(from).await {
            Ok(Some(page)) if page.previous == Some(from) => {
                self.take_page(from, &page);
                Some(Piece::Bytes(Bytes::new()))
            }
            Ok(Some(page)) if page.frames.is_empty() && page.last == from => {
                // The history ends where the reader is, and the ring does not know it yet: it will.
                tokio::time::sleep(RETRY / 10).await;
                Some(Piece::Bytes(Bytes::new()))
            }
            // Its cursor left the history: it is cut off, comes again, and is told so.
            Ok(_) => Some(Piece::End),
            Err(_) => match tokio::time::timeout(RETRY, self.seat.sign_given()).await {
                Ok(WakeReason::Ended) => Some(Piece::End),
                Ok(WakeReason::Leave) => Some(Piece::Leave),
                Ok(WakeReason::Woken | WakeReason::Beat) | Err(_) => self.beat_if_silent(),
            },
        }
    }

    /// A stream that waits for Redis still says that it lives.
    fn beat_if_silent(&self) -> Option<Piece> {
        let silent =
            self.shard.now_ms().saturating_sub(self.seat.spoke_ms()) >= super::shard::KEEPALIVE.as_millis() as u64;
        Some(Piece::Bytes(if silent { self.beat() } else { Bytes::new() }))
    }

    /// The sign of life, which moves a filtered reader's cursor.
    fn beat(&self) -> Bytes {
        Bytes::from(format!(": keepalive\nid: {}\n\n", self.position()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.channel.leave(self.shard.number, &self.group, &self.seat);
    }
}
