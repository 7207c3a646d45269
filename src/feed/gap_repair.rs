//! Gap detection and repair: a notification that did not arrive is found, and read from the history.
//!
//! The next notification of the tenant shows the gap, since it names the position before it. When no other follows, or
//! the subscription broke, only a comparison shows it: one small script per partition with streams reads the tenants'
//! positions, how much there was of what is live only, and which credentials of open streams have ended.
//!
//! A comparison that has to repair the same partition twice, without one message from it in between, shows more: that the
//! subscription delivers nothing, although its connection answers. It is then made anew.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use crate::{
    domain::names::TenantId,
    feed::{
        delivery::{channel::Channel, history::PAGE_ENTRIES},
        hub::Hub,
        live_only::report_lost,
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
/// Credentials that one script looks at. The streams of most tenants share a few.
const MAX_CREDENTIALS: usize = 2_000;
/// Comparisons in a row that find something missing of a partition, after which the subscription counts as silent.
const MISSED_IN_A_ROW: u32 = 2;
/// Delay before a failed comparison or repair is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Position after every event: a channel without a position reads only where the history ends.
const AFTER_LAST: i64 = (1 << 53) - 1;

/// Compares positions and credentials until the replica ends.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(COMPARE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let was_broken = tokio::select! {
            _ = ticks.tick() => false,
            () = hub.resubscribed.notified() => true,
        };
        let (partitions, batches): (Vec<_>, Vec<_>) = batches(&hub).into_iter().unzip();
        let compared =
            futures_util::future::join_all(batches.into_iter().map(|batch| compare(&hub, batch, was_broken))).await;
        if was_broken {
            if compared.iter().all(|outcome| *outcome != Compared::Unanswered) {
                hub.slots.restore(&hub.store).await;
            } else {
                // Until every tenant was compared, a revocation may have been missed.
                tokio::time::sleep(RETRY_DELAY).await;
                hub.resubscribed.notify_one();
            }
            continue;
        }
        let outcomes = partitions.into_iter().zip(compared);
        let missed: HashSet<_> =
            outcomes.filter(|(_, outcome)| *outcome == Compared::Missed).map(|(partition, _)| partition).collect();
        // Each is noted, so not by `any`, which would end at the first.
        let in_a_row = missed.into_iter().map(|partition| hub.note_missed(partition)).max();
        if in_a_row >= Some(MISSED_IN_A_ROW) {
            tracing::warn!("the subscription delivers nothing of what is published; subscribing anew");
            hub.renew_subscription();
        }
    }
}

/// Channels that are compared together, each with the credentials of its open streams, or a part of these.
type Batch = Vec<(Arc<Channel>, Vec<String>)>;

/// The channels of the replica, in batches that one script can look at.
fn batches(hub: &Hub) -> Vec<(Partition, Batch)> {
    // Each with the number of its credentials.
    let mut batches: HashMap<Partition, Vec<(usize, Batch)>> = HashMap::new();
    for channel in hub.all_channels() {
        let of_partition = batches.entry(channel.tenant_handle.partition()).or_default();
        let credentials = channel.credentials();
        // Whatever one tenant has, a part of it fits into a script.
        let mut parts: Vec<Vec<String>> = credentials.chunks(MAX_CREDENTIALS).map(<[String]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for part in parts {
            match of_partition.last_mut() {
                Some((count, batch)) if batch.len() < MAX_BATCH && *count + part.len() <= MAX_CREDENTIALS => {
                    *count += part.len();
                    batch.push((channel.clone(), part));
                }
                _ => of_partition.push((part.len(), vec![(channel.clone(), part)])),
            }
        }
    }
    let each = batches
        .into_iter()
        .flat_map(|(partition, batches)| batches.into_iter().map(move |(_, batch)| (partition, batch)));
    each.collect()
}

/// Outcome of a comparison.
#[derive(PartialEq, Eq)]
enum Compared {
    /// Redis did not answer.
    Unanswered,
    /// Nothing is missing.
    Whole,
    /// Something was missing, and is being repaired.
    Missed,
}

/// Compares the positions of one partition's tenants with their rings, begins repairs, and ends the streams of credentials that have ended.
async fn compare(hub: &Arc<Hub>, batch: Batch, was_broken: bool) -> Compared {
    let ring_heads: Vec<_> = batch.iter().map(|(channel, _)| channel.ring().head()).collect();
    let numbers: Vec<_> =
        batch.iter().map(|(channel, _)| hub.live_only.number(channel.tenant_handle.tenant())).collect();
    let (channels, credentials): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let asks: Vec<_> = channels
        .iter()
        .zip(credentials)
        .map(|(channel, credentials)| HeadQuery { tenant_handle: channel.tenant_handle.clone(), credentials })
        .collect();
    let Ok(heads) = hub.store.heads(&asks).await else { return Compared::Unanswered };
    let (mut behind, mut unheard) = (Vec::new(), Vec::new());
    for (((channel, ring_head), number), head) in channels.iter().zip(ring_heads).zip(numbers).zip(heads) {
        let tenant = channel.tenant_handle.tenant();
        let Some(position) = head.position else {
            hub.end_streams(tenant, Some(channel), None);
            continue;
        };
        head.ended.iter().for_each(|credential| hub.end_streams(tenant, Some(channel), Some(credential)));
        match number {
            None => hub.live_only.follow(tenant, head.number),
            Some(number) if number >= head.number => hub.live_only.agree(tenant, number, head.number),
            Some(_) => unheard.push((tenant.clone(), head.number)),
        }
        match ring_head.filter(|_| !channel.is_live()) {
            // Redis is behind what it has published: it lost events.
            Some(ring_head) if position < ring_head => {
                begin(hub, channel);
            }
            Some(ring_head) if position > ring_head => behind.push((channel.clone(), position)),
            _ => {}
        }
    }
    let has_lost = report_unheard(hub, unheard).await;
    if !behind.is_empty() && !was_broken {
        tokio::time::sleep(IN_FLIGHT).await;
    }
    let mut has_begun = false;
    for (channel, position) in behind {
        let is_behind = channel.ring().head().is_some_and(|head| head < position);
        if is_behind {
            has_begun |= begin(hub, &channel);
        }
    }
    if has_begun || has_lost { Compared::Missed } else { Compared::Whole }
}

/// Reports to the streams of tenants what is live only and has not arrived, up to a number; whether there was any. What is on its way arrives
/// first: unlike a repair, this is noticed by clients.
async fn report_unheard(hub: &Hub, unheard: Vec<(TenantId, i64)>) -> bool {
    if unheard.is_empty() || !hub.settle().await {
        return false;
    }
    let mut has_lost = false;
    for (tenant, number) in unheard {
        if let Some(from) = hub.live_only.give_up(&tenant, number) {
            has_lost = true;
            report_lost(hub, &tenant, from);
        }
    }
    has_lost
}

/// Begins to repair a channel's ring, unless a repair is under way; whether it did.
pub(super) fn begin(hub: &Arc<Hub>, channel: &Arc<Channel>) -> bool {
    let begins = channel.ring().begin_repair();
    if begins {
        metrics::counter!("holdfast_stream_repairs_total").increment(1);
        hub.runtime.spawn(repair(hub.clone(), channel.clone()));
    }
    begins
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
