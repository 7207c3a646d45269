//! Subscribers of one channel and one runtime with equal filters: frames are matched and encoded once for all of them.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::{
    feed::{
        buffer::{filter::Filter, ring::Ring},
        delivery::{
            broadcast::{Broadcast, EncodedBatch},
            subscriber::{Subscriber, Subscribers},
        },
    },
    sync::lock,
};

/// Writes of a broadcast before the runtime's other tasks get their turn.
const WRITES_PER_TURN: usize = 32;

/// A group of subscribers. Each method that reads frames takes the ring of the group's channel.
#[derive(Debug)]
pub(in crate::feed) struct Group {
    filter: Filter,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
struct GroupState {
    subscribers: Subscribers,
    /// Cursor up to which frames were matched.
    scanned: u64,
    /// Last position among the scanned frames.
    scanned_position: Option<i64>,
    /// Cursor after the last frame that matched.
    matched: u64,
    /// The last encoded batch and the cursor at which it begins.
    cached: Option<(u64, EncodedBatch)>,
}

impl Group {
    /// A group without subscribers, which begins after the ring's last frame.
    pub(super) fn new(filter: Filter, ring: &Ring) -> Self {
        let state = GroupState {
            subscribers: Subscribers::default(),
            scanned: ring.end(),
            scanned_position: ring.head(),
            matched: ring.end(),
            cached: None,
        };
        Self { filter, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, GroupState> {
        lock(&self.state)
    }

    pub(in crate::feed) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn add(&self, subscriber: &Arc<Subscriber>) {
        self.state().subscribers.add(subscriber);
    }

    /// Removes a subscriber; returns whether it was the last.
    pub(super) fn remove(&self, subscriber: &Arc<Subscriber>) -> bool {
        let mut state = self.state();
        state.subscribers.remove(subscriber);
        state.subscribers.is_empty()
    }

    pub(super) fn for_each(&self, each: &mut impl FnMut(&Subscriber)) {
        self.state().subscribers.iter().for_each(|subscriber| each(subscriber));
    }

    /// Drops the cached batch.
    pub(super) fn evict_cached(&self) {
        self.state().cached = None;
    }

    /// Matches the new frames; returns the broadcast of those that match, if any.
    pub(super) fn next_broadcast(&self, ring: &Mutex<Ring>, now_ms: u64) -> Option<Broadcast> {
        let mut state = self.state();
        let from = {
            let ring = lock(ring);
            let from = state.matched..=state.scanned;
            let mut number = state.scanned.max(ring.first());
            // Frames evicted before they were matched may have matched: subscribers look for them in the history.
            if number > state.scanned {
                state.matched = number;
            }
            for frame in ring.since(number).into_iter().flatten() {
                number += 1;
                if self.filter.matches(frame) {
                    state.matched = number;
                }
                state.scanned_position = frame.position.or(state.scanned_position);
            }
            let has_new = state.matched > state.scanned;
            state.scanned = number;
            if !has_new {
                return None;
            }
            from
        };
        let end = state.matched;
        let batch = state.encode(&self.filter, &lock(ring), *from.end());
        Some(match batch {
            Some(EncodedBatch { chunk, next, position, .. }) => {
                Broadcast { is_complete: next >= end, chunk, from, next, position, end, now_ms }
            }
            // The frames were evicted: each stream's task reads them from the history.
            None => Broadcast { chunk: Bytes::new(), from, next: 0, position: None, end, is_complete: false, now_ms },
        })
    }

    /// Writes the new frames to all subscribers on the present thread, unless these are more than `budget`, which they
    /// are taken from. Returns whether nothing is left to write.
    pub(super) fn flush_inline(&self, ring: &Mutex<Ring>, now_ms: u64, budget: &mut usize) -> bool {
        let subscribers = {
            let mut state = self.state();
            if !state.has_matching(&self.filter, &lock(ring)) {
                return true;
            }
            state.subscribers.len()
        };
        if subscribers > *budget {
            return false;
        }
        *budget -= subscribers;
        if let Some(broadcast) = self.next_broadcast(ring, now_ms) {
            self.state().subscribers.iter().for_each(|subscriber| subscriber.deliver(&broadcast));
        }
        true
    }

    /// Writes a broadcast to all subscribers, yielding to the runtime's other tasks in between. Returns how many there
    /// are.
    pub(super) async fn deliver(&self, broadcast: &Broadcast) -> usize {
        // From the last index down: removing a subscriber moves one that was served already into its index, and a new
        // one, at the end, looks for frames itself.
        let count = self.state().subscribers.len();
        let mut left = count;
        while left > 0 {
            let next = left.saturating_sub(WRITES_PER_TURN);
            self.state()
                .subscribers
                .range(next, left)
                .iter()
                .rev()
                .for_each(|subscriber| subscriber.deliver(broadcast));
            left = next;
            if left > 0 {
                tokio::task::yield_now().await;
            }
        }
        count
    }

    /// Encodes the matching frames from a cursor on, up to the size of one chunk; `None`: the frame there was evicted.
    pub(super) fn encode_from(&self, ring: &Mutex<Ring>, cursor: u64) -> Option<EncodedBatch> {
        let mut state = self.state();
        state.encode(&self.filter, &lock(ring), cursor)
    }
}

impl GroupState {
    /// Whether a new frame matches. The frames before it count as scanned from now on.
    fn has_matching(&mut self, filter: &Filter, ring: &Ring) -> bool {
        // Frames evicted before they were scanned may have matched.
        let Some(frames) = ring.since(self.scanned) else { return true };
        for frame in frames {
            if filter.matches(frame) {
                return true;
            }
            self.scanned += 1;
            self.scanned_position = frame.position.or(self.scanned_position);
        }
        false
    }

    fn encode(&mut self, filter: &Filter, ring: &Ring, cursor: u64) -> Option<EncodedBatch> {
        // Nothing matched since the cursor, so no evicted frame was for this subscriber.
        if cursor < ring.first() && self.matched <= cursor && self.scanned >= ring.first() {
            return Some(EncodedBatch::empty(self.scanned, self.scanned_position));
        }
        let end = ring.end();
        if let Some((from, batch)) = &self.cached
            && *from == cursor
            && batch.next == end
        {
            return Some(batch.clone());
        }
        let batch = EncodedBatch::encode(filter, ring, cursor)?;
        if batch.next == end && self.subscribers.len() > 1 && !batch.chunk.is_empty() {
            self.cached = Some((cursor, batch.clone()));
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        os::unix::net::UnixStream,
        time::Instant,
    };

    use super::*;
    use crate::feed::{
        buffer::{
            frame::{Frame, Subject},
            memory_budget::MemoryBudget,
        },
        delivery::subscriber::ChunkSink,
    };

    impl ChunkSink for UnixStream {
        fn try_write(&self, chunk: &[u8]) -> io::Result<usize> {
            let mut to = self;
            to.write(chunk)
        }
    }

    /// Adds a parked subscriber; returns it and the client's end of its socket.
    fn parked(group: &Group, ring: &Mutex<Ring>) -> (Arc<Subscriber>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let subscriber = Subscriber::new(None, 0);
        group.add(&subscriber);
        subscriber.cursor_state().next = lock(ring).end();
        subscriber.cursor_state().sink = Some(Arc::new(near));
        // As its task does: it looks for frames once, then parks.
        let mut task = Box::pin(async {
            subscriber.wake_reason().await;
            subscriber.park().await
        });
        assert!(futures_util::FutureExt::now_or_never(&mut task).is_none());
        std::mem::forget(task);
        (subscriber.clone(), far)
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
    fn few_subscribers_are_written_inline_many_are_left_and_no_match_needs_nothing() {
        let ring = Mutex::new(Ring::live(MemoryBudget::new()));
        let group = |types: &str, count: usize| {
            let group = Group::new(Filter::parse(&[types.into()], &[], &[]).unwrap(), &lock(&ring));
            let subscribers: Vec<_> = (0..count).map(|_| parked(&group, &ring)).collect();
            (group, subscribers)
        };
        let (few, scores) = group("score", 2);
        let (many, trades) = group("trade", 5);
        let push = |kind: &str| lock(&ring).push(Frame::new(None, kind, Subject::Tenant, &["1"]), Instant::now());
        let flush = |group: &Group, budget: &mut usize| group.flush_inline(&ring, 0, budget);

        // No frame matches: nothing is written and no budget is spent, however many subscribers there are.
        (0..3).for_each(|_| push("season"));
        let mut budget = 3;
        assert!(flush(&few, &mut budget) && flush(&many, &mut budget));
        assert_eq!(budget, 3);

        // A frame matches two subscribers: they get it, although frames before it were not for them.
        push("score");
        assert!(flush(&few, &mut budget) && flush(&many, &mut budget));
        assert_eq!(budget, 1);
        for (_, far) in &scores {
            assert_eq!(received(far), "16\r\nevent: score\ndata: 1\n\n\r\n");
        }

        // A frame matches five: that is beyond the budget, and still there for the next flush.
        push("season");
        push("trade");
        let mut budget = 3;
        assert!(!flush(&many, &mut budget));
        assert_eq!(budget, 3);
        assert!(trades.iter().all(|(_, far)| received(far).is_empty()));
        let mut budget = 5;
        assert!(flush(&few, &mut budget) && flush(&many, &mut budget));
        for (_, far) in &trades {
            assert_eq!(received(far), "16\r\nevent: trade\ndata: 1\n\n\r\n");
        }
        assert!(scores.iter().all(|(_, far)| received(far).is_empty()));
    }
}
