//! Where a stream waits: how far it is, what wakes it, and since when it has been silent.
//!
//! While it waits, its runtime's round writes to its socket itself: waking a task to do so costs more than it adds. The task is woken
//! for whatever is not that simple: a socket that takes no more, a reader that lags, a sign of life, the end.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::feed::delivery::group::Broadcast;

/// There may be something to write.
const WOKEN: u8 = 1;
/// It was silent for long enough to say that it lives.
const BEAT: u8 = 2;
/// Its credential, or its tenant, is gone.
const ENDED: u8 = 4;
/// The replica leaves.
const LEAVE: u8 = 8;

/// A socket that takes chunks of HTTP/1.1 as they are.
pub trait ChunkSink: fmt::Debug + Send + Sync {
    /// Writes as much as the socket takes at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes nothing now; any other: it is gone.
    fn try_write(&self, chunk: &[u8]) -> io::Result<usize>;
}

/// A stream's seat.
#[derive(Debug)]
pub(in crate::feed) struct Subscriber {
    desk: Mutex<Desk>,
    signs: AtomicU8,
    waker: AtomicWaker,
    /// When it last wrote, in milliseconds of its shard's clock.
    spoke_ms: AtomicU64,
    credential: Option<Box<str>>,
    /// Where it is in its group.
    at: AtomicUsize,
}

/// How far a stream is.
#[derive(Debug)]
pub(in crate::feed) struct Desk {
    /// The number of its next frame, while it is in the ring.
    pub(in crate::feed) cursor: u64,
    /// Everything up to here was written or filtered out: what the next keepalive may name.
    pub(in crate::feed) position: i64,
    /// What a round began to write and the socket did not take: part of a chunk, which comes before anything else.
    pub(in crate::feed) rest: Bytes,
    /// Where a round may write.
    pub(in crate::feed) outlet: Option<Arc<dyn ChunkSink>>,
    /// Whether its task waits, with everything written that it had.
    waits: bool,
}

/// A task that waits. Dropping it says that it does no more.
struct Waiting<'a>(&'a Subscriber);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.desk().waits = false;
    }
}

/// Why a stream was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feed) enum WakeReason {
    Woken,
    Beat,
    Ended,
    Leave,
}

impl Subscriber {
    pub(in crate::feed) fn new(credential: Option<String>, now_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::new(Desk { cursor: 0, position: 0, rest: Bytes::new(), outlet: None, waits: false }),
            // It looks once before it waits: something may have come while it was let in.
            signs: AtomicU8::new(WOKEN),
            waker: AtomicWaker::new(),
            spoke_ms: AtomicU64::new(now_ms),
            credential: credential.map(Into::into),
            at: AtomicUsize::new(0),
        })
    }

    pub(in crate::feed) fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// How far it is, for a moment.
    pub(in crate::feed) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a round's chunk, or wakes the task that can.
    pub(in crate::feed) fn deliver(&self, round: &Broadcast) {
        if self.signs.load(Ordering::Acquire) & (ENDED | LEAVE) != 0 {
            return; // its task knows
        }
        let mut desk = self.desk();
        if desk.waits && round.continues(desk.cursor) {
            let written = desk.outlet.as_ref().map_or(Ok(0), |outlet| outlet.try_write(&round.chunk));
            if let Ok(written @ 1..) = written {
                desk.cursor = round.to;
                desk.position = desk.position.max(round.position.unwrap_or(0));
                self.speaks(round.now_ms);
                if written == round.chunk.len() && round.is_whole {
                    return;
                }
                desk.rest = round.chunk.slice(written..);
            }
        }
        let behind = desk.cursor < round.end || !desk.rest.is_empty();
        drop(desk);
        if behind {
            self.wake();
        }
    }

    pub(in crate::feed) fn wake(&self) {
        self.sign(WOKEN);
    }

    pub(in crate::feed) fn beat(&self) {
        self.sign(BEAT);
    }

    pub(in crate::feed) fn end(&self) {
        self.sign(ENDED);
    }

    pub(in crate::feed) fn leave(&self) {
        self.sign(LEAVE);
    }

    fn sign(&self, sign: u8) {
        if self.signs.fetch_or(sign, Ordering::AcqRel) & sign == 0 {
            self.waker.wake();
        }
    }

    /// Whether it is to say that it lives; takes the sign.
    pub(in crate::feed) fn beat_is_due(&self) -> bool {
        self.signs.fetch_and(!BEAT, Ordering::AcqRel) & BEAT != 0
    }

    /// Whether its credential has ended.
    pub(in crate::feed) fn has_ended(&self) -> bool {
        self.signs.load(Ordering::Acquire) & ENDED != 0
    }

    /// Whether the replica wants it to leave.
    pub(in crate::feed) fn is_leaving(&self) -> bool {
        self.signs.load(Ordering::Acquire) & LEAVE != 0
    }

    pub(in crate::feed) fn spoke_ms(&self) -> u64 {
        self.spoke_ms.load(Ordering::Relaxed)
    }

    pub(in crate::feed) fn speaks(&self, now_ms: u64) {
        self.spoke_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits for a sign, and takes it. Until then rounds may write.
    pub(in crate::feed) async fn sign_given_in_the_ring(&self) -> WakeReason {
        self.desk().waits = true;
        let _waiting = Waiting(self);
        self.sign_given().await
    }

    /// Waits for a sign, and takes it.
    pub(in crate::feed) async fn sign_given(&self) -> WakeReason {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            let signs = self.signs.load(Ordering::Acquire);
            // These two stay: nothing comes after them.
            for (bit, sign) in [(ENDED, WakeReason::Ended), (LEAVE, WakeReason::Leave)] {
                if signs & bit != 0 {
                    return Poll::Ready(sign);
                }
            }
            for (bit, sign) in [(WOKEN, WakeReason::Woken), (BEAT, WakeReason::Beat)] {
                if signs & bit != 0 {
                    self.signs.fetch_and(!bit, Ordering::AcqRel);
                    return Poll::Ready(sign);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The seats of a group. Adding and removing cost the same however many there are.
#[derive(Debug, Default)]
pub(in crate::feed) struct Subscribers(Vec<Arc<Subscriber>>);

impl Subscribers {
    pub(in crate::feed) fn add(&mut self, seat: &Arc<Subscriber>) {
        seat.at.store(self.0.len(), Ordering::Relaxed);
        self.0.push(seat.clone());
    }

    pub(in crate::feed) fn remove(&mut self, seat: &Arc<Subscriber>) {
        let at = seat.at.load(Ordering::Relaxed);
        if self.0.get(at).is_some_and(|present| Arc::ptr_eq(present, seat)) {
            self.0.swap_remove(at);
            if let Some(moved) = self.0.get(at) {
                moved.at.store(at, Ordering::Relaxed);
            }
        }
    }

    /// Those from one place to another, as far as they are taken.
    pub(in crate::feed) fn between(&self, from: usize, to: usize) -> &[Arc<Subscriber>] {
        let to = to.min(self.0.len());
        &self.0[from.min(to)..to]
    }

    pub(in crate::feed) fn iter(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.0.iter()
    }

    pub(in crate::feed) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::feed) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
