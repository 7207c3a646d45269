//! Hashed timer wheel (Varghese and Lauck, 1987): timers in one list per tick, so setting one takes constant time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// Timers of values that somebody else keeps alive; one that was dropped meanwhile is skipped.
#[derive(Debug)]
pub(super) struct TimerWheel<T> {
    tick_ms: u64,
    /// Timers by tick, modulo the number of slots.
    slots: Vec<Vec<Weak<T>>>,
    /// Ticks that have passed.
    ticks: u64,
}

impl<T> TimerWheel<T> {
    /// A wheel with this resolution, for timers of at most `longest`.
    pub(super) fn new(tick: Duration, longest: Duration) -> Self {
        // One slot for the present tick, and one because due times are rounded up.
        let slots = (longest.as_millis() / tick.as_millis()) as usize + 2;
        Self { tick_ms: tick.as_millis() as u64, slots: vec![Vec::new(); slots], ticks: 0 }
    }

    /// Sets a timer, rounded up to a tick and bounded by the wheel's longest.
    pub(super) fn insert(&mut self, value: Weak<T>, due_ms: u64) {
        let count = self.slots.len() as u64;
        let tick = due_ms.div_ceil(self.tick_ms).clamp(self.ticks + 1, self.ticks + count - 1);
        self.slots[(tick % count) as usize].push(value);
    }

    /// Advances to a time; returns the values whose timers have expired.
    pub(super) fn advance(&mut self, now_ms: u64) -> Vec<Arc<T>> {
        let count = self.slots.len() as u64;
        let mut expired = Vec::new();
        while self.ticks < now_ms / self.tick_ms {
            self.ticks += 1;
            let slot = &mut self.slots[(self.ticks % count) as usize];
            expired.extend(std::mem::take(slot).iter().filter_map(Weak::upgrade));
        }
        expired
    }

    /// Every value with a timer.
    pub(super) fn values(&self) -> impl Iterator<Item = &Weak<T>> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_expires_once_and_not_early() {
        let mut wheel = TimerWheel::new(Duration::from_millis(125), Duration::from_secs(15));
        let values: Vec<_> = (0..40).map(Arc::new).collect();
        for (number, value) in values.iter().enumerate() {
            wheel.insert(Arc::downgrade(value), number as u64 * 375);
        }
        let mut expired = 0;
        for now_ms in (0..16_000).step_by(500) {
            expired += wheel.advance(now_ms).len();
            assert!(expired <= now_ms as usize / 375 + 2, "{expired} at {now_ms} ms");
        }
        assert_eq!(expired, 40);
        wheel.insert(Arc::downgrade(&values[0]), 20_000);
        drop(values);
        assert!(wheel.advance(60_000).is_empty(), "a dropped value is skipped");
    }
}
