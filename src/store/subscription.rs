//! The replica's ear: one connection on which the channels of the partitions that matter here are subscribed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, watch};

use crate::store::{
    Address, PATIENCE, Partition, StoreError,
    wire::{self, Wire},
};

const BEAT: Duration = Duration::from_millis(1_000);
const RETRY: Duration = Duration::from_millis(100);
/// How long a new stream waits for its partition to be heard.
const JOIN_PATIENCE: Duration = Duration::from_millis(3_000);

/// What the ear hears.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A message: one or more packed notes.
    Message(&'a [u8]),
    /// The connection broke: from here on messages may have been lost.
    Broken,
    /// Everything that is wanted is heard again after a break.
    Back,
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
    /// Starts listening, on the present runtime. `hear` is called for every message, in order, and must not block.
    pub fn open(address: Address, hear: impl Fn(Heard<'_>) + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner { wanted: Mutex::default(), changed: Notify::new(), heard: watch::Sender::default() });
        tokio::spawn(listen(address, Arc::downgrade(&inner), Arc::new(hear)));
        Self { inner }
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

type Hear = Arc<dyn Fn(Heard<'_>) + Send + Sync>;

/// Connects, subscribes what is wanted, and again, for as long as somebody holds the subscription.
async fn listen(address: Address, inner: std::sync::Weak<Inner>, hear: Hear) {
    while inner.strong_count() > 0 {
        let broken = Arc::new(Notify::new());
        let pushed = {
            let (hear, broken) = (hear.clone(), broken.clone());
            move |push: PushInfo| match push.kind {
                PushKind::Message | PushKind::SMessage => {
                    if let Some(Value::BulkString(message)) = push.data.get(1) {
                        hear(Heard::Message(message));
                    }
                }
                PushKind::Disconnection => {
                    hear(Heard::Broken);
                    broken.notify_one();
                }
                _ => {}
            }
        };
        if let Ok(wire) = wire::connect(&address, Some(PATIENCE), pushed).await {
            stay(wire, &inner, &broken, &hear).await;
            hear(Heard::Broken);
            if let Some(inner) = inner.upgrade() {
                inner.heard.send_replace(HashSet::new());
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Keeps the subscriptions equal to what is wanted until the connection breaks.
async fn stay(mut wire: Wire, inner: &std::sync::Weak<Inner>, broken: &Notify, hear: &Hear) {
    let mut heard = HashSet::new();
    let mut back = false;
    loop {
        let Some(held) = inner.upgrade() else { return };
        let wanted = held.wanted().clone();
        for partition in wanted.difference(&heard) {
            if wire.subscribe(&partition.channel()).await.is_err() {
                return;
            }
        }
        for partition in heard.difference(&wanted) {
            if wire.unsubscribe(&partition.channel()).await.is_err() {
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
            hear(Heard::Back);
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
