//! A stream's subscription on its runtime: its cursor, what woke it, and when it last wrote.
//!
//! While a stream is parked, broadcasts write to its socket directly: waking its task would cost more than the write.
//! The task is woken for everything else: a full socket, a cursor that falls behind, a keepalive, the end.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::{feed::delivery::broadcast::Broadcast, sync::lock};

/// Bits of [`Subscriber::signals`]. There may be something to write.
const WOKEN: u8 = 1;
/// The stream was silent long enough for a keepalive.
const KEEPALIVE_DUE: u8 = 2;
/// The credential or the tenant is gone.
const ENDED: u8 = 4;
/// The replica drains.
const LEAVING: u8 = 8;

/// A socket that takes chunks of HTTP/1.1 as they are.
pub trait ChunkSink: fmt::Debug + Send + Sync {
    /// Writes as much as the socket takes without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket is full; any other error means that it is gone.
    fn try_write(&self, chunk: &[u8]) -> io::Result<usize>;
}

/// A stream's subscription.
#[derive(Debug)]
pub(in crate::feed) struct Subscriber {
    cursor_state: Mutex<CursorState>,
    signals: AtomicU8,
    waker: AtomicWaker,
    /// Time of the last write, in milliseconds of the shard's clock.
    last_write_ms: AtomicU64,
    credential: Option<Box<str>>,
    /// Index in its group's [`Subscribers`].
    index: AtomicUsize,
}

/// Progress of a stream.
#[derive(Debug)]
pub(in crate::feed) struct CursorState {
    /// Number of the next frame, while the stream reads from the ring.
    pub(super) next: u64,
    /// Position up to which everything was written or did not match: the `id` of the next keepalive.
    pub(super) position: i64,
    /// Part of a chunk that a broadcast began and the socket did not take. It comes before anything else.
    pub(super) unsent: Bytes,
    /// Socket that broadcasts may write to.
    pub(super) sink: Option<Arc<dyn ChunkSink>>,
    /// Whether the stream's task waits with everything written.
    parked: bool,
}

/// A parked task. Dropping it unparks.
struct Parked<'a>(&'a Subscriber);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cursor_state().parked = false;
    }
}

/// Why a stream's task was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feed) enum WakeReason {
    Woken,
    KeepaliveDue,
    Ended,
    Leaving,
}

impl Subscriber {
    /// A subscriber that is woken already: frames may have come while it was added.
    pub(super) fn new(credential: Option<String>, now_ms: u64) -> Arc<Self> {
        let cursor_state = CursorState { next: 0, position: 0, unsent: Bytes::new(), sink: None, parked: false };
        Arc::new(Self {
            cursor_state: Mutex::new(cursor_state),
            signals: AtomicU8::new(WOKEN),
            waker: AtomicWaker::new(),
            last_write_ms: AtomicU64::new(now_ms),
            credential: credential.map(Into::into),
            index: AtomicUsize::new(0),
        })
    }

    pub(super) fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    pub(super) fn cursor_state(&self) -> MutexGuard<'_, CursorState> {
        lock(&self.cursor_state)
    }

    /// Writes a broadcast's chunk if the stream is parked right before it; wakes the task if anything is left to write.
    pub(super) fn deliver(&self, broadcast: &Broadcast) {
        if self.signals.load(Ordering::Acquire) & (ENDED | LEAVING) != 0 {
            return; // its task was woken by the signal
        }
        let mut state = self.cursor_state();
        if state.parked && broadcast.continues(state.next) {
            let written = state.sink.as_ref().map_or(Ok(0), |sink| sink.try_write(&broadcast.chunk));
            if let Ok(written @ 1..) = written {
                state.next = broadcast.next;
                state.position = state.position.max(broadcast.position.unwrap_or(0));
                self.record_write(broadcast.now_ms);
                if written == broadcast.chunk.len() && broadcast.is_complete {
                    return;
                }
                state.unsent = broadcast.chunk.slice(written..);
            }
        }
        let is_behind = state.next < broadcast.end || !state.unsent.is_empty();
        drop(state);
        if is_behind {
            self.signal(WOKEN);
        }
    }

    pub(super) fn signal_keepalive(&self) {
        self.signal(KEEPALIVE_DUE);
    }

    pub(super) fn end(&self) {
        self.signal(ENDED);
    }

    pub(super) fn leave(&self) {
        self.signal(LEAVING);
    }

    fn signal(&self, bit: u8) {
        if self.signals.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.waker.wake();
        }
    }

    /// Whether a keepalive is due; clears the signal.
    pub(super) fn take_keepalive(&self) -> bool {
        self.signals.fetch_and(!KEEPALIVE_DUE, Ordering::AcqRel) & KEEPALIVE_DUE != 0
    }

    pub(super) fn has_ended(&self) -> bool {
        self.signals.load(Ordering::Acquire) & ENDED != 0
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.signals.load(Ordering::Acquire) & LEAVING != 0
    }

    pub(super) fn last_write_ms(&self) -> u64 {
        self.last_write_ms.load(Ordering::Relaxed)
    }

    pub(super) fn record_write(&self, now_ms: u64) {
        self.last_write_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits like [`Self::wake_reason`]; meanwhile broadcasts may write to the socket.
    pub(super) async fn park(&self) -> WakeReason {
        self.cursor_state().parked = true;
        let _parked = Parked(self);
        self.wake_reason().await
    }

    /// Waits for a signal and clears it. The two that end a stream stay set.
    pub(super) async fn wake_reason(&self) -> WakeReason {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            let signals = self.signals.load(Ordering::Acquire);
            for (bit, reason) in [(ENDED, WakeReason::Ended), (LEAVING, WakeReason::Leaving)] {
                if signals & bit != 0 {
                    return Poll::Ready(reason);
                }
            }
            for (bit, reason) in [(WOKEN, WakeReason::Woken), (KEEPALIVE_DUE, WakeReason::KeepaliveDue)] {
                if signals & bit != 0 {
                    self.signals.fetch_and(!bit, Ordering::AcqRel);
                    return Poll::Ready(reason);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Subscribers of a group. Adding and removing take constant time: each knows its index, and the last one fills a hole.
#[derive(Debug, Default)]
pub(in crate::feed) struct Subscribers(Vec<Arc<Subscriber>>);

impl Subscribers {
    pub(super) fn add(&mut self, subscriber: &Arc<Subscriber>) {
        subscriber.index.store(self.0.len(), Ordering::Relaxed);
        self.0.push(subscriber.clone());
    }

    pub(super) fn remove(&mut self, subscriber: &Arc<Subscriber>) {
        let index = subscriber.index.load(Ordering::Relaxed);
        if self.0.get(index).is_some_and(|present| Arc::ptr_eq(present, subscriber)) {
            self.0.swap_remove(index);
            if let Some(moved) = self.0.get(index) {
                moved.index.store(index, Ordering::Relaxed);
            }
        }
    }

    /// The subscribers with indices from `from` up to, not including, `to`, as far as there are any.
    pub(super) fn range(&self, from: usize, to: usize) -> &[Arc<Subscriber>] {
        let to = to.min(self.0.len());
        &self.0[from.min(to)..to]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
