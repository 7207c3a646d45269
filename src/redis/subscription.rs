//! The replica's pub/sub connection, on which the channels are subscribed that matter here.
//!
//! It has a thread of its own. A message costs hardly anything; waking a thread for it does. When messages come in quick succession the
//! thread sleeps between its reads, and handles what has arrived meanwhile as one batch: a runtime that waits for events would wake for
//! each.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::MissedTickBehavior,
};

use crate::{
    redis::{
        Address, CommandError,
        pipelined::Push,
        transport::{self, Transport},
    },
    sync::lock,
};

/// Interval of pings.
const PING_INTERVAL: Duration = Duration::from_millis(1_000);
/// Delay between attempts to connect.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long [`Subscription::subscribe`] waits for the channel.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_millis(3_000);
/// How long [`Subscription::settle`] waits for what was published before.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Messages closer together than this are batched.
const BATCH_GAP: Duration = Duration::from_millis(1);
/// How long a batch is collected, 2.9 ms. The batch before it has been handled by then, so no message waits longer than this.
const BATCH_PAUSE: Duration = Duration::from_micros(2_900);

/// What the subscription delivers.
#[derive(Debug)]
pub enum SubscriptionEvent<'a> {
    /// The payload of a message.
    Payload(&'a [u8]),
    /// Every message that has arrived was delivered: the end of a batch.
    Drained,
    /// The connection broke: from here on messages may have been lost.
    Broken,
    /// Every wanted channel is subscribed again, or for the first time.
    Resubscribed,
}

/// The replica's subscription. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: Mutex<HashSet<String>>,
    wanted_changed: Notify,
    /// How often the connection of the moment was found to be of no use.
    renewals: watch::Sender<u64>,
    /// Who waits until everything has arrived that was published before.
    settling: Mutex<Vec<oneshot::Sender<()>>>,
    settling_changed: Notify,
    /// The channels that are subscribed on the present connection.
    subscribed: watch::Sender<HashSet<String>>,
}

type Handler = Arc<dyn Fn(SubscriptionEvent<'_>) + Send + Sync>;
type IsAwaited = Box<dyn Fn() -> bool + Send + Sync>;

impl Subscription {
    /// Starts the thread, which ends soon after the last clone is gone. `handle` is called there for every event, in order, and must not
    /// wait. While `is_awaited`, batches are not collected.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn open(
        address: Address,
        is_awaited: impl Fn() -> bool + Send + Sync + 'static,
        handle: impl Fn(SubscriptionEvent<'_>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            wanted: Mutex::default(),
            wanted_changed: Notify::new(),
            renewals: watch::Sender::default(),
            settling: Mutex::default(),
            settling_changed: Notify::new(),
            subscribed: watch::Sender::default(),
        });
        let weak = Arc::downgrade(&inner);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("subscription".into())
            .spawn(move || runtime.block_on(run(address, weak, Box::new(is_awaited), Arc::new(handle))))?;
        Ok(Self { inner })
    }

    /// Subscribes a channel, and returns once that is done.
    ///
    /// # Errors
    /// [`CommandError::Unreachable`] when it is not done within 3 s; the channel stays wanted.
    pub async fn subscribe(&self, channel: &str) -> Result<(), CommandError> {
        if self.inner.wanted().insert(channel.to_owned()) {
            self.inner.wanted_changed.notify_one();
        }
        let mut subscribed = self.inner.subscribed.subscribe();
        match tokio::time::timeout(SUBSCRIBE_TIMEOUT, subscribed.wait_for(|channels| channels.contains(channel))).await
        {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CommandError::Unreachable),
        }
    }

    /// Waits until the handler has had every message that was published before and is not lost; whether that is so within 1 s. On a
    /// connection the reply to a ping follows what was published before it.
    pub async fn settle(&self) -> bool {
        let (settled, wait) = oneshot::channel();
        lock(&self.inner.settling).push(settled);
        self.inner.settling_changed.notify_one();
        matches!(tokio::time::timeout(SETTLE_TIMEOUT, wait).await, Ok(Ok(())))
    }

    /// Subscribes every channel anew, on another connection: the present one answers, and delivers nothing. The handler gets
    /// [`SubscriptionEvent::Broken`] and [`SubscriptionEvent::Resubscribed`].
    pub fn renew(&self) {
        self.inner.renewals.send_modify(|count| *count += 1);
    }

    /// Whether a channel is subscribed, and stays so: everything that is published there from now on arrives, unless the connection breaks.
    #[must_use]
    pub fn listens(&self, channel: &str) -> bool {
        self.inner.wanted().contains(channel) && self.inner.subscribed.borrow().contains(channel)
    }

    /// Unsubscribes every channel that is not `needed` any more. Who wants one meanwhile, and says so first to what `needed` asks, keeps it.
    pub fn retain(&self, needed: impl FnOnce() -> HashSet<String>) {
        let mut wanted = self.inner.wanted();
        let needed = needed();
        wanted.retain(|channel| needed.contains(channel));
        drop(wanted);
        self.inner.wanted_changed.notify_one();
    }
}

impl Inner {
    fn wants(&self, channel: &[u8]) -> bool {
        std::str::from_utf8(channel).is_ok_and(|channel| self.wanted().contains(channel))
    }

    fn wanted(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.wanted)
    }

    /// The channels that are to be subscribed. The others count as unsubscribed at once: who wants one of them from here on waits until it is
    /// subscribed anew.
    fn begin_change(&self) -> HashSet<String> {
        let wanted = self.wanted();
        self.subscribed.send_if_modified(|known| {
            let before = known.len();
            known.retain(|channel| wanted.contains(channel));
            known.len() != before
        });
        wanted.clone()
    }
}

/// Connects, keeps the channels subscribed, and reconnects, for as long as somebody holds the subscription.
async fn run(address: Address, inner: Weak<Inner>, is_awaited: IsAwaited, handle: Handler) {
    let arrived = Arc::new(Notify::new());
    tokio::spawn(end_batches(arrived.clone(), is_awaited, handle.clone()));
    while inner.strong_count() > 0 {
        let broken = Arc::new(Notify::new());
        let on_push = {
            let (handle, broken, arrived, inner) = (handle.clone(), broken.clone(), arrived.clone(), inner.clone());
            move |push: Push<'_>| match push {
                Push::Message(message) => {
                    handle(SubscriptionEvent::Payload(message));
                    arrived.notify_one();
                }
                // Nobody asked for that: the channel's slot has moved, and a new connection finds where it is now.
                Push::Unsubscribed(channel) => {
                    if inner.upgrade().is_some_and(|inner| inner.wants(channel)) {
                        handle(SubscriptionEvent::Broken);
                        broken.notify_one();
                    }
                }
                Push::Ended => {
                    handle(SubscriptionEvent::Broken);
                    broken.notify_one();
                }
            }
        };
        if let Ok(connection) = transport::connect(&address, on_push).await {
            keep_subscribed(connection, &inner, &broken, &handle).await;
            handle(SubscriptionEvent::Broken);
            if let Some(inner) = inner.upgrade() {
                inner.subscribed.send_replace(HashSet::new());
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Ends each batch: the task that reads wakes this one, which runs when there is nothing more to read.
async fn end_batches(arrived: Arc<Notify>, is_awaited: IsAwaited, handle: Handler) {
    let mut ready = Instant::now();
    loop {
        arrived.notified().await;
        let waited = ready.elapsed();
        handle(SubscriptionEvent::Drained);
        // A hand-over is a chain of messages, each of which would wait.
        if waited < BATCH_GAP && !is_awaited() {
            // The whole thread sleeps; nothing else runs on it.
            std::thread::sleep(BATCH_PAUSE);
        }
        ready = Instant::now();
    }
}

/// Keeps the subscribed channels equal to the wanted ones until the connection breaks.
async fn keep_subscribed(mut connection: Transport, inner: &Weak<Inner>, broken: &Notify, handle: &Handler) {
    let Some(mut renewals) = inner.upgrade().map(|inner| inner.renewals.subscribe()) else { return };
    let mut subscribed = HashSet::new();
    let mut is_complete = false;
    // Kept over changes of what is wanted: else a connection on which channels come and go would never be pinged.
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(held) = inner.upgrade() else { return };
        let wanted = held.begin_change();
        for channel in wanted.difference(&subscribed) {
            if !connection.subscribe(channel).await {
                return;
            }
        }
        for channel in subscribed.difference(&wanted) {
            if !connection.unsubscribe(channel).await {
                return;
            }
        }
        subscribed = wanted;
        held.subscribed.send_if_modified(|known| {
            let is_changed = *known != subscribed;
            known.clone_from(&subscribed);
            is_changed
        });
        if !std::mem::replace(&mut is_complete, true) {
            handle(SubscriptionEvent::Resubscribed);
        }
        tokio::select! {
            () = broken.notified() => return,
            _ = renewals.changed() => return,
            () = held.wanted_changed.notified() => continue,
            () = held.settling_changed.notified() => {}
            _ = pings.tick() => {}
        }
        // Of those who come during the ping it proves nothing.
        let settling = std::mem::take(&mut *lock(&held.settling));
        if !connection.ping().await {
            return;
        }
        for settled in settling {
            // Who has given up meanwhile is not there to be told.
            let _ = settled.send(());
        }
    }
}
