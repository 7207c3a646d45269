//! The replica's ear: one connection on which the channels of the partitions that matter here are subscribed.
//!
//! It has a thread of its own. What Redis pushes costs hardly anything; being woken for it does. When messages come in quick
//! succession the thread sleeps between its looks, really sleeps: a runtime that waits is woken for whatever arrives.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::store::{
    Address, Partition, StoreError,
    redis::{
        transport,
        transport::{Push, Transport},
    },
};

const BEAT: Duration = Duration::from_millis(1_000);
const RETRY: Duration = Duration::from_millis(100);
/// How long a new stream waits for its partition to be heard.
const JOIN_PATIENCE: Duration = Duration::from_millis(3_000);

/// What comes so soon after the ear was ready again is one of many: the next ones are collected.
const OFTEN: Duration = Duration::from_millis(1);
/// How long they are collected. What was heard has been passed on before; so nothing waits for longer than this.
const PAUSE: Duration = Duration::from_micros(2_900);

/// What the ear hears.
#[derive(Debug)]
pub enum SubscriptionEvent<'a> {
    /// A message: one or more packed notes.
    Payload(&'a [u8]),
    /// There is no other message at the moment: what was heard is to be passed on.
    Drained,
    /// The connection broke: from here on messages may have been lost.
    Broken,
    /// Everything that is wanted is heard again after a break.
    Resubscribed,
}

/// The replica's subscription. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: Mutex<HashSet<Partition>>,
    changed: Notify,
    /// Which partitions are heard on the present connection.
    heard: watch::Sender<HashSet<Partition>>,
}

impl Subscription {
    /// Starts listening, on a thread of its own that ends soon after the last clone is gone. `hear` is called there for every
    /// message, in order, and must not wait.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn open(address: Address, hear: impl Fn(SubscriptionEvent<'_>) + Send + Sync + 'static) -> io::Result<Self> {
        let inner =
            Arc::new(Inner { wanted: Mutex::default(), changed: Notify::new(), heard: watch::Sender::default() });
        let weak = Arc::downgrade(&inner);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("hear".into())
            .spawn(move || runtime.block_on(listen(address, weak, Arc::new(hear))))?;
        Ok(Self { inner })
    }

    /// Begins to hear a partition, and returns once it is heard.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when Redis cannot be reached in time; the partition stays wanted.
    pub async fn join(&self, partition: Partition) -> Result<(), StoreError> {
        if self.inner.wanted().insert(partition) {
            self.inner.changed.notify_one();
        }
        let mut heard = self.inner.heard.subscribe();
        match tokio::time::timeout(JOIN_PATIENCE, heard.wait_for(|heard| heard.contains(&partition))).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Unreachable),
        }
    }

    /// Stops hearing partitions that nobody here needs.
    pub fn keep_only(&self, needed: &HashSet<Partition>) {
        self.inner.wanted().retain(|partition| needed.contains(partition));
        self.inner.changed.notify_one();
    }
}

impl Inner {
    fn wanted(&self) -> std::sync::MutexGuard<'_, HashSet<Partition>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Hear = Arc<dyn Fn(SubscriptionEvent<'_>) + Send + Sync>;

/// Connects, subscribes what is wanted, and again, for as long as somebody holds the subscription.
async fn listen(address: Address, inner: std::sync::Weak<Inner>, hear: Hear) {
    let came = Arc::new(Notify::new());
    tokio::spawn(pass_on(came.clone(), hear.clone()));
    while inner.strong_count() > 0 {
        let broken = Arc::new(Notify::new());
        let told = {
            let (hear, broken, came) = (hear.clone(), broken.clone(), came.clone());
            move |said: Push<'_>| match said {
                Push::Payload(message) => {
                    hear(SubscriptionEvent::Payload(message));
                    came.notify_one();
                }
                Push::Ended => {
                    hear(SubscriptionEvent::Broken);
                    broken.notify_one();
                }
            }
        };
        if let Ok(wire) = transport::connect(&address, told).await {
            stay(wire, &inner, &broken, &hear).await;
            hear(SubscriptionEvent::Broken);
            if let Some(inner) = inner.upgrade() {
                inner.heard.send_replace(HashSet::new());
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Has everything passed on that came at once: the task that reads wakes this one, which runs when there is nothing more to read.
async fn pass_on(came: Arc<Notify>, hear: Hear) {
    let mut ready = Instant::now();
    loop {
        came.notified().await;
        let waited = ready.elapsed();
        hear(SubscriptionEvent::Drained);
        if waited < OFTEN {
            // Nobody else lives on this thread.
            std::thread::sleep(PAUSE);
        }
        ready = Instant::now();
    }
}

/// Keeps the subscriptions equal to what is wanted until the connection breaks.
async fn stay(mut wire: Transport, inner: &std::sync::Weak<Inner>, broken: &Notify, hear: &Hear) {
    let mut heard = HashSet::new();
    let mut back = false;
    loop {
        let Some(held) = inner.upgrade() else { return };
        let wanted = held.wanted().clone();
        for partition in wanted.difference(&heard) {
            if !wire.subscribe(&partition.channel()).await {
                return;
            }
        }
        for partition in heard.difference(&wanted) {
            if !wire.unsubscribe(&partition.channel()).await {
                return;
            }
        }
        heard = wanted;
        held.heard.send_if_modified(|known| {
            let changed = *known != heard;
            known.clone_from(&heard);
            changed
        });
        if !std::mem::replace(&mut back, true) {
            hear(SubscriptionEvent::Resubscribed);
        }
        tokio::select! {
            () = broken.notified() => return,
            () = held.changed.notified() => continue,
            () = tokio::time::sleep(BEAT) => {}
        }
        if !wire.beat().await {
            return;
        }
    }
}
