//! One runtime's part of the event streams: a queue of channels with new frames, and the timers of its keepalives.
//!
//! Waking another thread takes a system call, and a write takes far longer than what is written. So a runtime is woken
//! once for all frames that arrived together, and a busy shard pauses between flushes, so that each write carries more.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    feed::delivery::{channel::Channel, subscriber::Subscriber, timer_wheel::TimerWheel},
    sync::lock,
};

/// Silence after which a stream sends a keepalive: proxies cut connections that are silent for longer.
pub(in crate::feed) const KEEPALIVE: Duration = Duration::from_secs(15);
/// Resolution of the keepalive timers.
const TICK: Duration = Duration::from_millis(125);
/// A flush that took longer is followed by a pause as long as itself, up to [`MAX_PAUSE`].
const LONG_FLUSH: Duration = Duration::from_micros(500);
/// Flushes that begin within this time of each other are followed by a pause of [`MAX_PAUSE`].
const FREQUENT_FLUSHES: Duration = Duration::from_millis(4);
/// Longest pause between two flushes. The runtime's timer may add a millisecond.
const MAX_PAUSE: Duration = Duration::from_millis(2);

/// A runtime's part of the event streams.
#[derive(Debug)]
pub(in crate::feed) struct Shard {
    /// Number of the runtime.
    pub(in crate::feed) number: usize,
    begun: Instant,
    woken: Notify,
    /// Channels with frames to be written here.
    queue: Mutex<Vec<Arc<Channel>>>,
    keepalives: Mutex<TimerWheel<Subscriber>>,
}

impl Shard {
    pub(in crate::feed) fn new(number: usize) -> Self {
        Self {
            number,
            begun: Instant::now(),
            woken: Notify::new(),
            queue: Mutex::default(),
            keepalives: Mutex::new(TimerWheel::new(TICK, KEEPALIVE)),
        }
    }

    /// Milliseconds since the shard was made.
    pub(in crate::feed) fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Queues a channel that has frames to be written here. [`Self::wake`] starts the flush.
    pub(in crate::feed) fn enqueue(&self, channel: &Arc<Channel>) {
        lock(&self.queue).push(channel.clone());
    }

    /// Wakes the runtime for what was queued.
    pub(in crate::feed) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Sets a subscriber's keepalive timer, which then runs until the subscriber is dropped.
    pub(super) fn keep_alive(&self, subscriber: &Arc<Subscriber>) {
        let due_ms = subscriber.last_write_ms() + KEEPALIVE.as_millis() as u64;
        lock(&self.keepalives).insert(Arc::downgrade(subscriber), due_ms);
    }

    /// Flushes queued channels and signals keepalives until the runtime ends.
    pub(in crate::feed) async fn run(self: Arc<Self>) {
        tokio::spawn(self.clone().run_keepalives());
        let mut previous = Instant::now();
        loop {
            self.woken.notified().await;
            let begun = Instant::now();
            let queue = std::mem::take(&mut *lock(&self.queue));
            let mut served = 0;
            for channel in queue {
                served += channel.flush(self.number, self.now_ms()).await;
            }
            if served > 1 {
                // A task spawned last runs once every stream that was woken has written.
                let _ = tokio::spawn(async {}).await;
            }
            let took = begun.elapsed();
            if took > LONG_FLUSH {
                tokio::time::sleep(took.min(MAX_PAUSE)).await;
            } else if begun.duration_since(previous) < FREQUENT_FLUSHES {
                tokio::time::sleep(MAX_PAUSE).await;
            }
            previous = begun;
        }
    }

    async fn run_keepalives(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.signal_keepalives();
        }
    }

    /// A write does not move a timer; an expired timer whose stream has written meanwhile is set again.
    fn signal_keepalives(&self) {
        let now_ms = self.now_ms();
        let mut timers = lock(&self.keepalives);
        for subscriber in timers.advance(now_ms) {
            let due_ms = subscriber.last_write_ms() + KEEPALIVE.as_millis() as u64;
            if due_ms <= now_ms {
                subscriber.signal_keepalive();
                timers.insert(Arc::downgrade(&subscriber), now_ms + KEEPALIVE.as_millis() as u64);
            } else {
                timers.insert(Arc::downgrade(&subscriber), due_ms);
            }
        }
    }

    /// Ends this runtime's streams, evenly spread over `window`.
    pub(in crate::feed) async fn end_streams(&self, window: Duration) {
        let subscribers: Vec<_> = lock(&self.keepalives).values().cloned().collect();
        let (begun, count) = (tokio::time::Instant::now(), subscribers.len());
        for (number, subscriber) in subscribers.into_iter().enumerate() {
            tokio::time::sleep_until(begun + window.mul_f64(number as f64 / count as f64)).await;
            subscriber.upgrade().iter().for_each(|subscriber| subscriber.leave());
        }
    }
}
