//! How full Redis is: shown in the metrics, and said in the log before it is full.

use std::time::{Duration, Instant};

use crate::{redis::MemoryUse, store::Store};

/// Interval of looking.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Share of its `maxmemory` from which a server counts as nearly full.
const NEARLY_FULL: f64 = 0.8;
/// Interval at which that is said again in the log.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Looks again and again, for ever.
pub(super) async fn watch(store: Store) {
    let mut logged = None::<Instant>;
    loop {
        store.redis().connected().await;
        if let Ok(info) = store.redis().server_info().await
            && let Some(fullest) = info.memory().into_iter().max_by(|one, other| share(*one).total_cmp(&share(*other)))
        {
            metrics::gauge!("holdfast_redis_memory_used_bytes").set(fullest.used as f64);
            metrics::gauge!("holdfast_redis_memory_limit_bytes").set(fullest.limit as f64);
            metrics::gauge!("holdfast_redis_memory_used_ratio").set(share(fullest));
            if share(fullest) < NEARLY_FULL {
                logged = None;
            } else if logged.is_none_or(|logged| logged.elapsed() >= AGAIN_AFTER) {
                logged = Some(Instant::now());
                tracing::warn!(
                    used_bytes = fullest.used,
                    limit_bytes = fullest.limit,
                    "redis is nearly full; when it is, nothing more is granted: raise maxmemory, or lower the tiers' stored_bytes"
                );
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The share of its memory that a server uses; 0 where it has no limit.
fn share(memory: MemoryUse) -> f64 {
    if memory.limit == 0 { 0.0 } else { memory.used as f64 / memory.limit as f64 }
}
