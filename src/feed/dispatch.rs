//! Dispatch of notifications, on the subscription's thread: into the rings of their channels, and from there to the
//! streams.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        event::{EventType, ReservationEvent},
        names::TenantId,
        waiting::TicketId,
    },
    feed::{
        buffer::{frame::Frame, ring::Applied},
        gap_repair,
        hub::Hub,
        live_only::report_lost,
        live_snapshots,
    },
    redis::SubscriptionEvent,
    store::{Digest, Notification, Partition, Payload},
    sync::lock,
};

/// Prefix of an ingest key's field in the tenant's state.
const INGEST_KEY_FIELD: &str = "q:";
/// Subscribers that one flush may write to from the subscription's thread. More would delay the thread, and are worth
/// waking the runtimes for.
const MAX_INLINE_WRITES: usize = 32;

/// Handles an event of the subscription. Runs on its thread and must not wait.
pub(super) fn handle(hub: &Arc<Hub>, event: SubscriptionEvent<'_>) {
    match event {
        SubscriptionEvent::Payload(bytes) => match unread(hub, bytes) {
            Some(digest) => apply_digest(hub, &digest),
            None => Notification::read_all(bytes).into_iter().for_each(|notification| apply(hub, notification)),
        },
        SubscriptionEvent::Drained => flush(hub),
        SubscriptionEvent::Broken => {
            metrics::counter!("holdfast_subscription_breaks_total").increment(1);
            hub.forget_verified();
            hub.forget_missed();
            lock(&hub.disconnected_since).get_or_insert_with(Utc::now);
        }
        SubscriptionEvent::Resubscribed => {
            hub.resubscribed.notify_one();
            let since = lock(&hub.disconnected_since).take();
            if let Some(since) = since {
                push_gap(hub, since);
            }
        }
    }
}

/// The digest of a message of reservations' events that nobody reads here.
fn unread<'a>(hub: &Hub, bytes: &'a [u8]) -> Option<Digest<'a>> {
    let tenant = Digest::tenant_of(bytes)?;
    if hub.find_channel(tenant).is_some() { None } else { Digest::read(bytes) }
}

fn apply_digest(hub: &Hub, digest: &Digest<'_>) {
    let Some(tenant) = TenantId::parse(digest.tenant) else { return };
    hub.note_message(|| Some(Partition::of(&tenant)));
    if digest.is_reset {
        hub.holds.finish_all(&tenant);
    }
    digest.ended.iter().for_each(|ticket| hub.holds.finish(&tenant, *ticket));
    if let Some(position) = digest.position {
        hub.store.callers().note_position(&tenant, position);
    }
}

/// Applies a notification to the channel that it concerns; [`flush`] writes what is new.
fn apply(hub: &Arc<Hub>, notification: Notification) {
    hub.note_message(|| TenantId::parse(&notification.tenant).map(|tenant| Partition::of(&tenant)));
    match &notification.payload {
        Payload::Queues { connection, changes } => {
            let Some(tenant) = TenantId::parse(&notification.tenant) else { return };
            if let Some(channel) = hub.find_live_channel(tenant, *connection) {
                channel.push(changes.iter().map(Frame::queue_change));
                lock(&hub.dirty).push(channel);
            }
        }
        Payload::Number { number } => {
            if let Some(from) = hub.live_only.note(&notification.tenant, *number)
                && let Some(tenant) = TenantId::parse(&notification.tenant)
            {
                report_lost(hub, &tenant, from);
            }
        }
        Payload::Ended { credential } => {
            let Some(tenant) = TenantId::parse(&notification.tenant) else { return };
            let channel = hub.find_channel(&notification.tenant);
            hub.end_streams(&tenant, channel.as_ref(), credential.as_deref());
            if credential.as_deref().is_some_and(|credential| credential.starts_with(INGEST_KEY_FIELD)) {
                // An ingest key ends when its connection is deleted.
                hub.runtime.spawn(live_snapshots::end_deleted(hub.clone(), tenant));
            }
        }
        Payload::Reservation { .. } | Payload::Platform { .. } => apply_event(hub, notification),
    }
}

/// Ends held calls whose tickets wait no longer.
fn end_holds(hub: &Hub, tenant: &str, event: &ReservationEvent) {
    let Some(tenant) = TenantId::parse(tenant) else { return };
    match (event.r#type, event.ticket.as_deref().and_then(TicketId::parse)) {
        (EventType::Reset, _) => hub.holds.finish_all(&tenant),
        (EventType::Waiting, _) | (_, None) => {}
        (_, Some(ticket)) => hub.holds.finish(&tenant, ticket),
    }
}

fn apply_event(hub: &Arc<Hub>, notification: Notification) {
    if let Payload::Reservation { event, .. } = &notification.payload
        && (event.ticket.is_some() || event.r#type == EventType::Reset)
    {
        end_holds(hub, &notification.tenant, event);
    }
    let channel = hub.find_channel(&notification.tenant);
    if let Some((_, position)) = notification.positions() {
        match &channel {
            Some(channel) => channel.tenant_handle.note_position(position),
            None => {
                let tenant = TenantId::parse(&notification.tenant);
                tenant.iter().for_each(|tenant| hub.store.callers().note_position(tenant, position));
            }
        }
    }
    let Some(channel) = channel else { return };
    match channel.apply(notification) {
        Applied::Added => lock(&hub.dirty).push(channel),
        Applied::Gap => {
            gap_repair::begin(hub, &channel);
        }
        Applied::Unchanged => {}
    }
}

/// Writes new frames to their streams: from this thread if they are few, since waking another thread takes as long as a
/// write, else from the runtimes.
fn flush(hub: &Hub) {
    let mut dirty = std::mem::take(&mut *lock(&hub.dirty));
    let (mut budget, mut woken) = (MAX_INLINE_WRITES, HashSet::new());
    for channel in dirty.drain(..) {
        for shard in &hub.shards {
            if channel.has_subscribers_on(shard.number)
                && !channel.flush_inline(shard.number, shard.now_ms(), &mut budget)
            {
                hub.enqueue_on(shard, &channel, &mut woken);
            }
        }
    }
    hub.wake(woken);
    hub.evict_if_exhausted();
    // The list's capacity is used again. Only this thread adds to it, so nothing was added meanwhile.
    *lock(&hub.dirty) = dirty;
}

/// Announces to every connection's streams that changes may be missing.
fn push_gap(hub: &Hub, from: DateTime<Utc>) {
    let channels: Vec<_> = hub.select_live_channels(|_, _| true).into_iter().map(|(_, channel)| channel).collect();
    for channel in &channels {
        channel.push(std::iter::once(Frame::gap(from, Utc::now(), "interrupted")));
    }
    hub.notify(&channels);
}
