//! What the rings of a replica hold together. Each is bounded by itself; ten thousand of them need a bound on their sum.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The most bytes that all rings hold together: as much as sixty-four full ones.
const MOST: usize = 256 << 20;
/// The age beyond which frames go first when that is too much. Each further look halves it: so the oldest go, whoever's they are, and
/// what was heard just now stays until it has been written.
const OLDEST: Duration = Duration::from_secs(64);
/// Frames that are younger are never given up: their readers may not have had a chance yet.
const YOUNGEST: Duration = Duration::from_millis(50);

/// The weight of all rings together. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::feed) struct MemoryBudget {
    bytes: Arc<AtomicUsize>,
    most: usize,
}

impl MemoryBudget {
    /// Nothing yet.
    pub(in crate::feed) fn new() -> Self {
        Self::of_at_most(MOST)
    }

    fn of_at_most(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    pub(in crate::feed) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::feed) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many bytes more would be too many.
    pub(in crate::feed) fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    pub(in crate::feed) fn is_too_much(&self) -> bool {
        self.room() == 0
    }

    /// Has the rings forget what is older than it names, younger and younger, until a quarter is free again: so this is seldom needed.
    pub(in crate::feed) fn shed(&self, mut forget: impl FnMut(Duration)) {
        let mut age = OLDEST;
        while age >= YOUNGEST && self.room() < self.most / 4 {
            forget(age);
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
        feed::buffer::ring::{Ring, Taken},
        store::{Notification, Payload, Replay},
    };

    fn note(position: i64) -> Notification {
        let event = PlatformEvent {
            kind: "trade".into(),
            company_id: None,
            company_slug: None,
            data: "0".repeat(1_000),
            timestamp: DateTime::UNIX_EPOCH,
        };
        Notification {
            tenant: "t".into(),
            message: Payload::Platform { previous: position - 1, position, event: Box::new(event) },
        }
    }

    #[test]
    fn too_much_together_is_taken_from_the_oldest_whoever_has_them() {
        let weight = MemoryBudget::of_at_most(100_000);
        let begun = Instant::now();
        // Ring 0 hears its last a minute before ring 1 begins, and so on.
        let mut rings: Vec<_> = (0..4).map(|_| Ring::new(weight.clone())).collect();
        for (number, ring) in rings.iter_mut().enumerate() {
            ring.mend(&Replay { notes: vec![], last: 0, position: 0, now_us: 0 }, false);
            for position in 1..=20 {
                assert_eq!(ring.hear_at(note(position), begun + Duration::from_secs(60) * number as u32), Taken::Added);
            }
        }
        assert!(weight.is_too_much());

        let now = begun + Duration::from_secs(180);
        weight.shed(|age| {
            let forgotten: usize = rings.iter_mut().map(|ring| ring.forget_older(now, age)).sum();
            assert!(forgotten == 0 || age == OLDEST, "{forgotten} at {age:?}");
        });

        assert!(weight.room() >= 25_000, "{}", weight.room());
        let held: Vec<_> = rings.iter().map(|ring| ring.end() - ring.first()).collect();
        assert_eq!(held, [0, 0, 20, 20], "the younger half stays whole");
        assert_eq!(rings[0].seek(5), None, "who stopped there is served from the history");
        assert_eq!(rings[0].seek(20), Some(rings[0].end()), "who has everything goes on");

        drop(rings);
        assert_eq!(weight.room(), 100_000, "a ring that is gone weighs nothing");
    }
}
