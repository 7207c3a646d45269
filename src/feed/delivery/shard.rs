//! One runtime's part of the streams: it is told once for all that was heard together, not once per stream, and wakes its own.
//!
//! A wake-up across threads costs a system call, and a write costs far more than what is written: a busy shard waits a moment
//! between rounds, so that each write, or at least each round, carries more.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::feed::delivery::{channel::Channel, subscriber::Subscriber};

/// After this long without a byte a stream says that it lives: proxies cut what is silent for longer.
pub(in crate::feed) const KEEPALIVE: Duration = Duration::from_secs(15);
/// How fine the wheel turns.
const TICK: Duration = Duration::from_millis(125);
/// Enough slots for the longest wait, and one.
const SLOTS: usize = (KEEPALIVE.as_millis() / TICK.as_millis()) as usize + 2;
/// A round that took less is not worth waiting for the next one.
const BUSY: Duration = Duration::from_micros(500);
/// The longest wait between two rounds. The runtime's timer may add a millisecond.
const PAUSE: Duration = Duration::from_millis(2);
/// Rounds that begin in such quick succession are worth collecting for.
const OFTEN: Duration = Duration::from_millis(4);

/// A runtime's part.
#[derive(Debug)]
pub(in crate::feed) struct Shard {
    pub(in crate::feed) number: usize,
    begun: Instant,
    bell: Notify,
    rung: Mutex<Vec<Arc<Channel>>>,
    wheel: Mutex<Wheel>,
}

/// Seats by the moment at which they will have been silent for long enough, if they stay silent.
#[derive(Debug)]
struct Wheel {
    slots: Vec<Vec<Weak<Subscriber>>>,
    turned: u64,
}

impl Shard {
    pub(in crate::feed) fn new(number: usize) -> Self {
        let wheel = Wheel { slots: vec![Vec::new(); SLOTS], turned: 0 };
        Self { number, begun: Instant::now(), bell: Notify::new(), rung: Mutex::default(), wheel: Mutex::new(wheel) }
    }

    /// Milliseconds since the shard began.
    pub(in crate::feed) fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Notes that a channel has something to write here. [`Shard::ring`] tells the runtime.
    pub(in crate::feed) fn note(&self, channel: &Arc<Channel>) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).push(channel.clone());
    }

    /// Tells the runtime.
    pub(in crate::feed) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Watches over a seat's silence.
    pub(in crate::feed) fn watch(&self, seat: &Arc<Subscriber>) {
        let due = seat.spoke_ms() + KEEPALIVE.as_millis() as u64;
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner).put(Arc::downgrade(seat), due);
    }

    /// Wakes the streams of this runtime, until the runtime ends.
    pub(in crate::feed) async fn run(self: Arc<Self>) {
        let turning = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                turning.turn();
            }
        });
        let mut last = Instant::now();
        loop {
            self.bell.notified().await;
            let began = Instant::now();
            let rung = std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
            let mut served = 0;
            for channel in rung {
                served += channel.flush(self.number, self.now_ms()).await;
            }
            if served > 1 {
                // A task that is put last runs when all that were woken have written.
                let _ = tokio::spawn(async {}).await;
            }
            let took = began.elapsed();
            if took > BUSY {
                tokio::time::sleep(took.min(PAUSE)).await;
            } else if began.duration_since(last) < OFTEN {
                // Little was to be done, but it comes often, and each time wakes the runtime.
                tokio::time::sleep(PAUSE).await;
            }
            last = began;
        }
    }

    /// Has the streams leave, evenly spread over `window`.
    pub(in crate::feed) async fn end_over(&self, window: Duration) {
        let seats: Vec<_> = {
            let wheel = self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
            wheel.slots.iter().flatten().cloned().collect()
        };
        let (begun, count) = (tokio::time::Instant::now(), seats.len());
        for (number, seat) in seats.into_iter().enumerate() {
            tokio::time::sleep_until(begun + window.mul_f64(number as f64 / count as f64)).await;
            seat.upgrade().iter().for_each(|seat| seat.leave());
        }
    }

    fn turn(&self) {
        let now_ms = self.now_ms();
        let mut wheel = self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
        for seat in wheel.due(now_ms) {
            let due = seat.spoke_ms() + KEEPALIVE.as_millis() as u64;
            if due <= now_ms {
                seat.beat();
                wheel.put(Arc::downgrade(&seat), now_ms + KEEPALIVE.as_millis() as u64);
            } else {
                wheel.put(Arc::downgrade(&seat), due);
            }
        }
    }
}

impl Wheel {
    fn put(&mut self, seat: Weak<Subscriber>, due_ms: u64) {
        let tick = (due_ms.div_ceil(TICK.as_millis() as u64)).clamp(self.turned + 1, self.turned + SLOTS as u64 - 1);
        self.slots[tick as usize % SLOTS].push(seat);
    }

    /// Turns to the present moment; the seats that were put there and still are.
    fn due(&mut self, now_ms: u64) -> Vec<Arc<Subscriber>> {
        let until = now_ms / TICK.as_millis() as u64;
        let mut due = Vec::new();
        while self.turned < until {
            self.turned += 1;
            let slot = &mut self.slots[self.turned as usize % SLOTS];
            due.extend(std::mem::take(slot).iter().filter_map(Weak::upgrade));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_gives_each_seat_once_when_its_time_has_come() {
        let mut wheel = Wheel { slots: vec![Vec::new(); SLOTS], turned: 0 };
        let seats: Vec<_> = (0..40).map(|_| Subscriber::new(None, 0)).collect();
        for (at, seat) in seats.iter().enumerate() {
            wheel.put(Arc::downgrade(seat), at as u64 * 375);
        }
        let mut given = 0;
        for now_ms in (0..16_000).step_by(500) {
            given += wheel.due(now_ms).len();
            assert!(given <= now_ms as usize / 375 + 2, "{given} at {now_ms} ms");
        }
        assert_eq!(given, 40);
        drop(seats);
        assert!(wheel.due(60_000).is_empty());
    }
}
