//! Memory bound shared by all rings of a replica. Each ring has a bound of its own; ten thousand of them need one on
//! their sum.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Bound of all rings together: 256 MiB, as much as sixty-four full rings.
const MAX_BYTES: usize = 256 << 20;
/// Age at which eviction begins. Each further step halves it, so the oldest frames go first, whichever ring holds them.
const FIRST_EVICTION_AGE: Duration = Duration::from_secs(64);
/// Younger frames are never evicted: they may not have been written yet.
const MIN_EVICTION_AGE: Duration = Duration::from_millis(50);

/// Bytes that all rings hold together. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::feed) struct MemoryBudget {
    used_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl MemoryBudget {
    /// An unused budget of 256 MiB.
    pub(in crate::feed) fn new() -> Self {
        Self::with_max(MAX_BYTES)
    }

    fn with_max(max_bytes: usize) -> Self {
        Self { used_bytes: Arc::default(), max_bytes }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are left; 0 if more than the budget is in use, which lasts until the next eviction.
    pub(super) fn free_bytes(&self) -> usize {
        self.max_bytes.saturating_sub(self.used_bytes.load(Ordering::Relaxed))
    }

    pub(in crate::feed) fn is_exhausted(&self) -> bool {
        self.free_bytes() == 0
    }

    /// Calls `evict_older` with smaller and smaller ages until a quarter of the budget is free, so that this happens
    /// seldom.
    pub(in crate::feed) fn evict(&self, mut evict_older: impl FnMut(Duration)) {
        let mut age = FIRST_EVICTION_AGE;
        while age >= MIN_EVICTION_AGE && self.free_bytes() < self.max_bytes / 4 {
            evict_older(age);
            age /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chrono::DateTime;

    use super::*;
    use crate::{
        domain::platform::PlatformEvent,
        feed::buffer::ring::{Applied, Ring},
        store::{Notification, Payload, Replay},
    };

    fn notification(position: i64) -> Notification {
        let event = PlatformEvent {
            kind: "trade".into(),
            company_id: None,
            company_slug: None,
            data: "0".repeat(1_000),
            timestamp: DateTime::UNIX_EPOCH,
        };
        Notification {
            tenant: "t".into(),
            payload: Payload::Platform { previous: position - 1, position, event: Box::new(event) },
        }
    }

    #[test]
    fn the_oldest_frames_of_all_rings_are_evicted_first() {
        let budget = MemoryBudget::with_max(100_000);
        let begun = Instant::now();
        // The last frame of ring 0 is a minute older than the first of ring 1, and so on.
        let mut rings: Vec<_> = (0..4).map(|_| Ring::new(budget.clone())).collect();
        for (number, ring) in rings.iter_mut().enumerate() {
            ring.repair(&Replay { notifications: vec![], last: 0, position: 0, now_us: 0 });
            for position in 1..=20 {
                let at = begun + Duration::from_secs(60) * number as u32;
                assert_eq!(ring.apply_at(notification(position), at), Applied::Added);
            }
        }
        assert!(budget.is_exhausted());

        let now = begun + Duration::from_secs(180);
        budget.evict(|age| {
            let evicted: usize = rings.iter_mut().map(|ring| ring.evict_older(now, age)).sum();
            assert!(evicted == 0 || age == FIRST_EVICTION_AGE, "{evicted} at {age:?}");
        });

        assert!(budget.free_bytes() >= 25_000, "{}", budget.free_bytes());
        let frames: Vec<_> = rings.iter().map(|ring| ring.end() - ring.first()).collect();
        assert_eq!(frames, [0, 0, 20, 20], "the younger half stays whole");
        assert_eq!(rings[0].seek(5), None, "a stream that stopped there reads from the history");
        assert_eq!(rings[0].seek(20), Some(rings[0].end()), "a stream that has everything continues");

        drop(rings);
        assert_eq!(budget.free_bytes(), 100_000, "a dropped ring returns its bytes");
    }
}
