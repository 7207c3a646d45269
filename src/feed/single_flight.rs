//! One call for all who ask the same at the same time, and for those who ask within a moment after.
//!
//! When ten thousand streams come back at once they ask Redis a few questions, not ten thousand.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

/// Beyond so many questions the old ones are looked through.
const MANY: usize = 256;

/// When each question began, and its answer once it is there.
type Begun<K, V> = HashMap<K, (Instant, Arc<OnceCell<V>>)>;

/// Questions under way or just answered.
#[derive(Debug)]
pub(super) struct SingleFlight<K, V> {
    kept: Duration,
    begun: Mutex<Begun<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    /// Answers are given again for `kept` after their question began.
    pub(super) fn new(kept: Duration) -> Self {
        Self { kept, begun: Mutex::default() }
    }

    fn begun(&self) -> MutexGuard<'_, Begun<K, V>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to `key`, by `ask` if nobody has asked lately. A failure is not kept: who waited for it asks.
    ///
    /// # Cancellation
    /// When the one who asks is dropped, one of those who wait asks in its place.
    pub(super) async fn get<E>(&self, key: &K, ask: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let cell = {
            let (now, mut begun) = (Instant::now(), self.begun());
            if begun.len() > MANY {
                begun.retain(|_, (at, _)| now.duration_since(*at) < self.kept);
            }
            match begun.get(key).filter(|(at, _)| now.duration_since(*at) < self.kept) {
                Some((_, cell)) => cell.clone(),
                None => {
                    let cell = Arc::new(OnceCell::new());
                    begun.insert(key.clone(), (now, cell.clone()));
                    cell
                }
            }
        };
        cell.get_or_try_init(|| ask).await.cloned()
    }

    /// Forgets the answer to `key`.
    pub(super) fn forget(&self, key: &K) {
        self.begun().remove(key);
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.begun().clear();
    }
}
