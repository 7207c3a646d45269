//! Where a stream waits: what wakes it, and since when it has been silent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// There may be something to write.
const WOKEN: u8 = 1;
/// It was silent for long enough to say that it lives.
const BEAT: u8 = 2;
/// Its credential, or its tenant, is gone.
const ENDED: u8 = 4;
/// The replica leaves.
const LEAVE: u8 = 8;

/// A stream's seat.
#[derive(Debug)]
pub(super) struct Seat {
    signs: AtomicU8,
    waker: AtomicWaker,
    /// When it last wrote, in milliseconds of its shard's clock.
    spoke_ms: AtomicU64,
    credential: Option<Box<str>>,
    /// Where it is in its group.
    at: AtomicUsize,
}

/// Why a stream was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Woken,
    Beat,
    Ended,
    Leave,
}

impl Seat {
    pub(super) fn new(credential: Option<String>, now_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            // It looks once before it waits: something may have come while it was let in.
            signs: AtomicU8::new(WOKEN),
            waker: AtomicWaker::new(),
            spoke_ms: AtomicU64::new(now_ms),
            credential: credential.map(Into::into),
            at: AtomicUsize::new(0),
        })
    }

    pub(super) fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    pub(super) fn wake(&self) {
        self.sign(WOKEN);
    }

    pub(super) fn beat(&self) {
        self.sign(BEAT);
    }

    pub(super) fn end(&self) {
        self.sign(ENDED);
    }

    pub(super) fn leave(&self) {
        self.sign(LEAVE);
    }

    fn sign(&self, sign: u8) {
        if self.signs.fetch_or(sign, Ordering::AcqRel) & sign == 0 {
            self.waker.wake();
        }
    }

    /// Whether it is to say that it lives; takes the sign.
    pub(super) fn beat_is_due(&self) -> bool {
        self.signs.fetch_and(!BEAT, Ordering::AcqRel) & BEAT != 0
    }

    /// Whether its credential has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.signs.load(Ordering::Acquire) & ENDED != 0
    }

    /// Whether the replica wants it to leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.signs.load(Ordering::Acquire) & LEAVE != 0
    }

    pub(super) fn spoke_ms(&self) -> u64 {
        self.spoke_ms.load(Ordering::Relaxed)
    }

    pub(super) fn speaks(&self, now_ms: u64) {
        self.spoke_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits for a sign, and takes it.
    pub(super) async fn sign_given(&self) -> Sign {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            let signs = self.signs.load(Ordering::Acquire);
            // These two stay: nothing comes after them.
            for (bit, sign) in [(ENDED, Sign::Ended), (LEAVE, Sign::Leave)] {
                if signs & bit != 0 {
                    return Poll::Ready(sign);
                }
            }
            for (bit, sign) in [(WOKEN, Sign::Woken), (BEAT, Sign::Beat)] {
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
pub(super) struct Seats(Vec<Arc<Seat>>);

impl Seats {
    pub(super) fn add(&mut self, seat: &Arc<Seat>) {
        seat.at.store(self.0.len(), Ordering::Relaxed);
        self.0.push(seat.clone());
    }

    pub(super) fn remove(&mut self, seat: &Arc<Seat>) {
        let at = seat.at.load(Ordering::Relaxed);
        if self.0.get(at).is_some_and(|present| Arc::ptr_eq(present, seat)) {
            self.0.swap_remove(at);
            if let Some(moved) = self.0.get(at) {
                moved.at.store(at, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
