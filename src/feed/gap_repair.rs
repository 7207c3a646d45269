//! Gap detection and repair: a notification that did not arrive is found, and read from the history.
//!
//! The next notification of the tenant shows the gap, since it names the position before it. When no other follows, or
//! the subscription broke, only a comparison shows it: one small script per partition with streams reads the tenants'
//! positions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    feed::{
        delivery::{channel::Channel, history::PAGE_ENTRIES},
        hub::Hub,
    },
    store::{HeadQuery, Partition},
};

/// Interval of comparing positions: a lost last notification is found within 2 s. Ten thousand tenants cost as much as
/// a thousand events.
const COMPARE_INTERVAL: Duration = Duration::from_millis(1_750);
/// A notification may be this long on its way before it counts as lost.
const IN_FLIGHT: Duration = Duration::from_millis(100);
/// Tenants compared by one script.
const MAX_BATCH: usize = 500;
/// Delay before a failed comparison or repair is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Position after every event: a channel without a position reads only where the history ends.
const AFTER_LAST: i64 = (1 << 53) - 1;

/// Compares positions, and after a break of the subscription also credentials, until the replica ends.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(COMPARE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let was_broken = tokio::select! {
            _ = ticks.tick() => false,
            () = hub.resubscribed.notified() => true,
        };
        let mut partitions: HashMap<Partition, Vec<Arc<Channel>>> = HashMap::new();
        for channel in hub.all_channels() {
            partitions.entry(channel.tenant_handle.partition()).or_default().push(channel);
        }
        let batches = partitions.values().flat_map(|channels| channels.chunks(MAX_BATCH));
        let compared =
            futures_util::future::join_all(batches.map(|channels| compare(&hub, channels, was_broken))).await;
        if was_broken {
            if compared.into_iter().all(|ok| ok) {
                hub.slots.restore(&hub.store).await;
            } else {
                // Until every tenant was compared, a revocation may have been missed.
                tokio::time::sleep(RETRY_DELAY).await;
                hub.resubscribed.notify_one();
            }
        }
    }
}

/// Compares the positions of one partition's tenants with their rings, and begins repairs. After a break of the
/// subscription it also ends the streams of revoked credentials. Returns whether Redis answered.
async fn compare(hub: &Arc<Hub>, channels: &[Arc<Channel>], was_broken: bool) -> bool {
    let ring_heads: Vec<_> = channels.iter().map(|channel| channel.ring().head()).collect();
    let asks: Vec<_> = channels
        .iter()
        .map(|channel| HeadQuery {
            tenant_handle: channel.tenant_handle.clone(),
            credentials: if was_broken { channel.credentials() } else { Vec::new() },
        })
        .collect();
    let Ok(heads) = hub.store.heads(&asks).await else { return false };
    let mut behind = Vec::new();
    for ((channel, ring_head), head) in channels.iter().zip(ring_heads).zip(heads) {
        let tenant = channel.tenant_handle.tenant();
        let Some(position) = head.position else {
            hub.end_streams(tenant, Some(channel), None);
            continue;
        };
        head.ended.iter().for_each(|credential| hub.end_streams(tenant, Some(channel), Some(credential)));
        match ring_head.filter(|_| !channel.is_live()) {
            // Redis is behind what it has published: it lost events.
            Some(ring_head) if position < ring_head => begin(hub, channel),
            Some(ring_head) if position > ring_head => behind.push((channel.clone(), position)),
            _ => {}
        }
    }
    if !behind.is_empty() {
        if !was_broken {
            tokio::time::sleep(IN_FLIGHT).await;
        }
        for (channel, position) in behind {
            let is_behind = channel.ring().head().is_some_and(|head| head < position);
            if is_behind {
                begin(hub, &channel);
            }
        }
    }
    true
}

/// Begins to repair a channel's ring, unless a repair is under way.
pub(super) fn begin(hub: &Arc<Hub>, channel: &Arc<Channel>) {
    if channel.ring().begin_repair() {
        metrics::counter!("holdfast_stream_repairs_total").increment(1);
        hub.runtime.spawn(repair(hub.clone(), channel.clone()));
    }
}

/// Reads the history from the ring's head on until nothing is missing.
async fn repair(hub: Arc<Hub>, channel: Arc<Channel>) {
    loop {
        let head = channel.ring().begin_read();
        match hub.store.replay(&channel.tenant_handle, head.unwrap_or(AFTER_LAST), PAGE_ENTRIES).await {
            Ok(Some(replay)) => {
                let needs_more = channel.repair(&replay);
                hub.notify([&channel]);
                if !needs_more {
                    return;
                }
            }
            Ok(None) => {
                hub.end_streams(channel.tenant_handle.tenant(), Some(&channel), None);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, tenant = %channel.tenant_handle.tenant(), "a gap cannot be repaired yet");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}
