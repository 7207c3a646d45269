//! The readers of one runtime that have the same filter: what passes is found once for all of them, and put together once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::feed::{
    Filter, Frame,
    buffer::{frame::Framing, ring::Ring},
    delivery::{
        channel::Channel,
        shard::Shard,
        subscriber::{Subscriber, Subscribers},
    },
};

/// The most that is written at once.
const PIECE_BYTES: usize = 64 << 10;
/// After so many writes of a round the runtime's other tasks have their turn.
const WRITES: usize = 32;

/// A group of readers.
#[derive(Debug)]
pub(in crate::feed) struct Group {
    filter: Filter,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
struct GroupState {
    seats: Subscribers,
    /// The number of the next frame to be looked at.
    scanned: u64,
    /// The position up to which everything was looked at.
    scanned_position: Option<i64>,
    /// The number after the last frame that passed.
    passed: u64,
    piece: Option<(u64, EncodedBatch)>,
}

/// Ready bytes from one cursor to another.
#[derive(Debug, Clone)]
pub(in crate::feed) struct EncodedBatch {
    /// What passed, as a chunk of HTTP/1.1; empty if nothing did.
    chunk: Bytes,
    /// Where in the chunk it begins.
    begins: usize,
    /// The cursor after it.
    pub(in crate::feed) to: u64,
    /// The last position among it, also of what did not pass.
    pub(in crate::feed) position: Option<i64>,
}

/// What is written to all readers of a group that have everything before it.
#[derive(Debug)]
pub(in crate::feed) struct Broadcast {
    pub(in crate::feed) chunk: Bytes,
    /// Nothing passed between these two cursors, so whoever is there has everything before the chunk.
    from: std::ops::RangeInclusive<u64>,
    /// The cursor after the chunk.
    pub(in crate::feed) to: u64,
    /// The last position in it, also of what did not pass.
    pub(in crate::feed) position: Option<i64>,
    /// The cursor after everything that passed: there may be more than the chunk.
    pub(in crate::feed) end: u64,
    /// Whether the chunk is all that passed.
    pub(in crate::feed) is_whole: bool,
    /// The present moment of the shard's clock.
    pub(in crate::feed) now_ms: u64,
}

impl Broadcast {
    /// Whether the chunk is what comes next at this cursor.
    pub(in crate::feed) fn continues(&self, cursor: u64) -> bool {
        self.from.contains(&cursor)
    }
}

impl EncodedBatch {
    /// What passed, without a frame; empty if nothing did.
    pub(in crate::feed) fn body(&self) -> Bytes {
        if self.chunk.is_empty() { Bytes::new() } else { self.chunk.slice(self.begins..self.chunk.len() - 2) }
    }
}

impl Group {
    /// A group of nobody yet, for whom nothing that is in the ring is new.
    pub(in crate::feed) fn new(filter: Filter, ring: &Ring) -> Self {
        let state = GroupState {
            seats: Subscribers::default(),
            scanned: ring.end(),
            scanned_position: ring.head(),
            passed: ring.end(),
            piece: None,
        };
        Self { filter, state: Mutex::new(state) }
    }

    pub(in crate::feed) fn add(&self, seat: &Arc<Subscriber>) {
        self.state().seats.add(seat);
    }

    /// Lets a seat go; whether it was the last.
    pub(in crate::feed) fn remove(&self, seat: &Arc<Subscriber>) -> bool {
        let mut state = self.state();
        state.seats.remove(seat);
        state.seats.is_empty()
    }

    pub(in crate::feed) fn each_seat(&self, each: &mut impl FnMut(&Subscriber)) {
        self.state().seats.iter().for_each(|seat| each(seat));
    }

    /// Lets go of what was put together.
    pub(in crate::feed) fn tidy(&self) {
        self.state().piece = None;
    }

    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::feed) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Looks at what is new; if any of it passes, what is to be written.
    pub(in crate::feed) fn look(&self, channel: &Channel, now_ms: u64) -> Option<Broadcast> {
        let mut state = self.state();
        let from = {
            let ring = channel.ring();
            let before = state.passed..=state.scanned;
            let from = state.scanned.max(ring.first());
            // What has left the ring unseen may have passed: the readers look for themselves.
            if from > state.scanned {
                state.passed = from;
            }
            let mut number = from;
            for frame in ring.since(from).into_iter().flatten() {
                number += 1;
                if self.filter.passes(frame) {
                    state.passed = number;
                }
                state.scanned_position = frame.position.or(state.scanned_position);
            }
            let news = state.passed > state.scanned;
            state.scanned = number;
            if !news {
                return None;
            }
            before
        };
        let end = state.passed;
        let stretch = state.stretch(&self.filter, channel, *from.end());
        // What has left the ring already is for the tasks to find elsewhere.
        let Some(stretch) = stretch else {
            return Some(Broadcast { chunk: Bytes::new(), from, to: 0, position: None, end, is_whole: false, now_ms });
        };
        Some(Broadcast {
            is_whole: stretch.to >= end,
            chunk: stretch.chunk,
            from,
            to: stretch.to,
            position: stretch.position,
            end,
            now_ms,
        })
    }

    /// Writes what is new on the present thread, unless more than `left` are to be written to; whether everything was.
    pub(in crate::feed) fn flush_at_once(&self, channel: &Channel, shard: &Shard, left: &mut usize) -> bool {
        let seats = {
            let mut state = self.state();
            if !state.has_news(&self.filter, channel) {
                return true;
            }
            state.seats.len()
        };
        if seats > *left {
            return false;
        }
        *left -= seats;
        if let Some(round) = self.look(channel, shard.now_ms()) {
            self.state().seats.iter().for_each(|seat| seat.deliver(&round));
        }
        true
    }

    /// Gives every reader a round's chunk, a few at a time; how many.
    pub(in crate::feed) async fn deliver(&self, round: &Broadcast) -> usize {
        // From the last seat on: whoever leaves meanwhile makes room for one that was served already, and whoever comes looks by itself.
        let count = self.state().seats.len();
        let mut left = count;
        while left > 0 {
            let next = left.saturating_sub(WRITES);
            self.state().seats.between(next, left).iter().rev().for_each(|seat| seat.deliver(round));
            left = next;
            if left > 0 {
                tokio::task::yield_now().await;
            }
        }
        count
    }

    /// What passes from `cursor` on, up to a bound; `None`: the frame there has left the ring.
    pub(in crate::feed) fn stretch(&self, channel: &Channel, cursor: u64) -> Option<EncodedBatch> {
        self.state().stretch(&self.filter, channel, cursor)
    }
}

impl GroupState {
    /// Whether anything passes that was not looked at. What comes before that counts as looked at from now on.
    fn has_news(&mut self, filter: &Filter, channel: &Channel) -> bool {
        let ring = channel.ring();
        // What has left the ring unseen may have passed.
        let Some(frames) = ring.since(self.scanned) else { return true };
        for frame in frames {
            if filter.passes(frame) {
                return true;
            }
            self.scanned += 1;
            self.scanned_position = frame.position.or(self.scanned_position);
        }
        false
    }

    fn stretch(&mut self, filter: &Filter, channel: &Channel, cursor: u64) -> Option<EncodedBatch> {
        let ring = channel.ring();
        // Nothing passed since: whatever has left the ring meanwhile was not for this reader.
        if cursor < ring.first() && self.passed <= cursor && self.scanned >= ring.first() {
            return Some(EncodedBatch {
                chunk: Bytes::new(),
                begins: 0,
                to: self.scanned,
                position: self.scanned_position,
            });
        }
        let end = ring.end();
        if let Some((from, piece)) = &self.piece
            && *from == cursor
            && piece.to == end
        {
            return Some(piece.clone());
        }
        let (mut lone, mut framing, mut to, mut position) = (None, Framing::default(), cursor, None);
        for frame in ring.since(cursor)? {
            if filter.passes(frame) {
                let held = lone.map_or(framing.len(), |lone: &Arc<Frame>| lone.bytes().len());
                if held > 0 && held + frame.bytes().len() > PIECE_BYTES {
                    break;
                }
                if held == 0 {
                    // Most often one is all there is, and a chunk already.
                    lone = Some(frame);
                } else {
                    lone.take().into_iter().chain([frame]).for_each(|frame| framing.push(frame.bytes()));
                }
            }
            to += 1;
            position = frame.position.or(position);
        }
        let (chunk, begins) = lone.map_or_else(|| framing.finish(), |lone| lone.chunk());
        drop(ring);
        let stretch = EncodedBatch { chunk, begins, to, position };
        if to == end && self.seats.len() > 1 && !stretch.chunk.is_empty() {
            self.piece = Some((cursor, stretch.clone()));
        }
        Some(stretch)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::{
        domain::names::TenantId,
        feed::{
            buffer::{frame::About, memory_budget::MemoryBudget},
            delivery::subscriber::ChunkSink,
        },
        store::TenantHandle,
    };

    impl ChunkSink for UnixStream {
        fn try_write(&self, chunk: &[u8]) -> io::Result<usize> {
            let mut to = self;
            to.write(chunk)
        }
    }

    /// A seat that waits, and the other end of its socket.
    fn seat(channel: &Channel, types: &str) -> (Arc<Subscriber>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let seat = Subscriber::new(None, 0);
        channel.enter(0, Filter::parse(&[types.into()], &[], &[]), &seat).unwrap();
        seat.desk().cursor = channel.ring().end();
        seat.desk().outlet = Some(Arc::new(near));
        // It looks once, as a task does, and waits.
        let mut waiting = Box::pin(async {
            seat.sign_given().await;
            seat.sign_given_in_the_ring().await
        });
        assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
        std::mem::forget(waiting);
        (seat.clone(), far)
    }

    fn received(mut from: &UnixStream) -> String {
        let mut bytes = [0; 4_096];
        match from.read(&mut bytes) {
            Ok(count) => String::from_utf8_lossy(&bytes[..count]).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_passes_nobody_is_nobodys_work_and_what_passes_few_is_written_at_once() {
        let channel = Channel::live(Arc::new(TenantHandle::new(TenantId::random())), 1, MemoryBudget::new());
        let shard = Shard::new(0);
        let few: Vec<_> = (0..2).map(|_| seat(&channel, "score")).collect();
        let many: Vec<_> = (0..5).map(|_| seat(&channel, "trade")).collect();
        let tell = |kind: &str| channel.push(std::iter::once(Frame::new(None, kind, About::Everything, &["1"])));

        // Nothing passes: no runtime is needed, however many are there.
        (0..3).for_each(|_| tell("season"));
        let mut left = 3;
        assert!(channel.flush_at_once(&shard, &mut left));
        assert_eq!(left, 3);

        // Something passes to two: they have it, although what came between was not for them.
        tell("score");
        assert!(channel.flush_at_once(&shard, &mut left));
        assert_eq!(left, 1);
        for (_, far) in &few {
            assert_eq!(received(far), "16\r\nevent: score\ndata: 1\n\n\r\n");
        }

        // Something passes to five: that is for the runtime, and still there when it looks.
        tell("season");
        tell("trade");
        let mut left = 3;
        assert!(!channel.flush_at_once(&shard, &mut left));
        assert_eq!(left, 3);
        assert!(many.iter().all(|(_, far)| received(far).is_empty()));
        let mut left = 5;
        assert!(channel.flush_at_once(&shard, &mut left));
        for (_, far) in &many {
            assert_eq!(received(far), "16\r\nevent: trade\ndata: 1\n\n\r\n");
        }
        assert!(few.iter().all(|(_, far)| received(far).is_empty()));
    }
}
