//! Notices what was not heard, and mends it from the history.
//!
//! A message that is lost shows when the next one names a position that nobody heard. When no other follows, or the subscription was
//! cut, only looking helps: every now and then one small script per partition with readers tells where its tenants stand.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    feed::{Hub, PAGE, delivery::channel::Channel},
    store::{Ask, Partition},
};

/// How often the tenants' positions are compared: ten thousand of them cost as much as a thousand events. A lost last message is noticed
/// within two seconds.
const LOOK: Duration = Duration::from_millis(1_750);
/// What was published may still be on its way for so long before it counts as lost.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// How many tenants are asked about at once.
const ASKED_AT_ONCE: usize = 500;
/// How long mending waits for a Redis that cannot be asked.
const RETRY: Duration = Duration::from_millis(100);
/// Where a channel is read from of which nothing is known: after everything.
const AFTER_ALL: i64 = (1 << 53) - 1;

/// Looks until the replica ends.
pub(super) async fn watch(hub: Arc<Hub>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let cut = tokio::select! {
            _ = looks.tick() => false,
            () = hub.back.notified() => true,
        };
        let mut partitions: HashMap<Partition, Vec<Arc<Channel>>> = HashMap::new();
        for channel in hub.all_channels() {
            partitions.entry(channel.place.partition()).or_default().push(channel);
        }
        let looks = partitions
            .values()
            .flat_map(|channels| channels.chunks(ASKED_AT_ONCE))
            .map(|channels| look(&hub, channels, cut));
        let whole = futures_util::future::join_all(looks).await.into_iter().all(|told| told);
        if cut {
            // What was said while nobody listened is unknown until everything was looked at.
            if whole {
                hub.leases.tell_again(&hub.store).await;
            } else {
                tokio::time::sleep(RETRY).await;
                hub.back.notify_one();
            }
        }
    }
}

/// Compares where tenants of one partition stand with what was heard. After a cut also their credentials are looked after: a
/// revocation may have been missed. Answers whether Redis told.
async fn look(hub: &Arc<Hub>, channels: &[Arc<Channel>], cut: bool) -> bool {
    let heard: Vec<_> = channels.iter().map(|channel| channel.ring().head()).collect();
    let asks: Vec<_> = channels
        .iter()
        .map(|channel| Ask {
            place: channel.place.clone(),
            credentials: if cut { channel.credentials() } else { Vec::new() },
        })
        .collect();
    let Ok(heads) = hub.store.heads(&asks).await else { return false };
    let mut behind = Vec::new();
    for ((channel, heard), head) in channels.iter().zip(heard).zip(heads) {
        let Some(position) = head.position else {
            hub.end(channel.place.tenant(), Some(channel), None);
            continue;
        };
        head.ended.iter().for_each(|ended| hub.end(channel.place.tenant(), Some(channel), Some(ended)));
        match heard.filter(|_| !channel.is_live()) {
            // Redis stands before what it told: it has lost it.
            Some(heard) if position < heard => hub.mend(channel),
            Some(heard) if position > heard => behind.push((channel.clone(), position)),
            _ => {}
        }
    }
    if !behind.is_empty() {
        if !cut {
            tokio::time::sleep(ON_ITS_WAY).await;
        }
        for (channel, position) in behind {
            if channel.ring().head().is_some_and(|head| head < position) {
                hub.mend(&channel);
            }
        }
    }
    true
}

/// Reads the history from where a channel's ring ends until nothing is missing.
pub(super) async fn mend(hub: Arc<Hub>, channel: Arc<Channel>) {
    loop {
        let head = channel.ring().begin_reading();
        match hub.store.replay(&channel.place, head.unwrap_or(AFTER_ALL), PAGE).await {
            Ok(Some(replay)) => {
                let full = replay.notes.len() >= PAGE;
                let more = channel.mend(&replay, full);
                hub.ring(&channel);
                if !more {
                    return;
                }
            }
            Ok(None) => {
                hub.end(channel.place.tenant(), Some(&channel), None);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, tenant = %channel.place.tenant(), "a stream cannot be mended yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
