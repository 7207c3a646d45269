//! Single flight: calls for the same key at the same time share one call and its result (the pattern of Go's
//! `singleflight`).
//!
//! A result is shared for a short while longer. When ten thousand streams reconnect at once, Redis gets a few calls
//! instead of ten thousand.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use crate::sync::lock;

/// Number of calls beyond which expired ones are removed.
const PRUNE_ABOVE: usize = 256;

/// Begin and result of each call; the cell is empty while the call is under way.
type Calls<K, V> = HashMap<K, (Instant, Arc<OnceCell<V>>)>;

/// Calls that are under way or have just ended.
#[derive(Debug)]
pub(super) struct SingleFlight<K, V> {
    ttl: Duration,
    calls: Mutex<Calls<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    /// Shares a call's result for `ttl` after the call began.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, Calls<K, V>> {
        lock(&self.calls)
    }

    /// The result for `key`: of the present or the last call, or of `call`. An error is not shared: each waiting caller
    /// makes its own call.
    ///
    /// # Cancellation
    /// When the future that makes the call is dropped, a waiting one makes it instead.
    pub(super) async fn get<E>(&self, key: &K, call: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let cell = {
            let (now, mut calls) = (Instant::now(), self.calls());
            let is_fresh = |begun: &Instant| now.duration_since(*begun) < self.ttl;
            if calls.len() > PRUNE_ABOVE {
                calls.retain(|_, (begun, _)| is_fresh(begun));
            }
            match calls.get(key).filter(|(begun, _)| is_fresh(begun)) {
                Some((_, cell)) => cell.clone(),
                None => {
                    let cell = Arc::new(OnceCell::new());
                    calls.insert(key.clone(), (now, cell.clone()));
                    cell
                }
            }
        };
        cell.get_or_try_init(|| call).await.cloned()
    }

    /// Stops sharing the result for `key`.
    pub(super) fn forget(&self, key: &K) {
        self.calls().remove(key);
    }

    /// Stops sharing every result.
    pub(super) fn forget_all(&self) {
        self.calls().clear();
    }
}
