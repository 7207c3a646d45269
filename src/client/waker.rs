//! Wakes who polls when something that it wants may have come free.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Notify, task::JoinHandle};

use crate::client::{
    events::{EventFilter, EventFollower, Followed},
    reservations::Client,
    shapes::ReserveItem,
};

/// Wakes a poller when something that it wants may have come free.
pub(super) struct Waker {
    wake: Arc<Notify>,
    listens: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Waker {
    pub(super) fn start(client: Client, items: &[ReserveItem]) -> Self {
        let filter = EventFilter {
            types: ["UNRESERVED", "RESERVATION_EXPIRED", "TRANSACTION_APPLIED", "RESET"].map(String::from).into(),
            resources: items.iter().map(|item| item.resource.clone()).collect(),
            companies: Vec::new(),
        };
        let (wake, listens) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn({
            let (wake, listens) = (wake.clone(), listens.clone());
            async move {
                let mut follower = EventFollower::new(client, filter, None);
                // Where no stream is to be had, polling goes on without one.
                while let Ok(followed) = follower.next().await {
                    listens.store(!matches!(followed, Followed::Disconnected(_)), Ordering::Relaxed);
                    // After a new connection, too: something may have come free before it.
                    wake.notify_one();
                }
                listens.store(false, Ordering::Relaxed);
            }
        });
        Self { wake, listens, task }
    }

    /// Whether an event would wake now.
    pub(super) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.task.abort();
    }
}
