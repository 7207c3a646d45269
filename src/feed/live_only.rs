//! What is live only, refusals and changes of queues, is in no history: a message of it that is lost cannot be had any more, but it is
//! noticed. Such messages have a number, which grows by one with each of a tenant.
//!
//! The next message shows the loss, since its number is too high. When no other follows, the comparison does ([`gap_repair`]).
//!
//! [`gap_repair`]: super::gap_repair

use std::{collections::HashMap, sync::Mutex};

use chrono::{DateTime, Utc};

use crate::{
    domain::names::TenantId,
    feed::{buffer::frame::Frame, hub::Hub},
    sync::lock,
};

/// Up to where the messages of a tenant have arrived.
#[derive(Debug)]
struct Reached {
    number: i64,
    /// When that was known to be all.
    at: DateTime<Utc>,
}

/// The messages of each tenant with streams.
#[derive(Debug, Default)]
pub(super) struct LiveOnly(Mutex<HashMap<TenantId, Reached>>);

impl LiveOnly {
    /// The number of the last message that arrived, or that counts as lost; `None`: the tenant is not followed.
    pub(super) fn number(&self, tenant: &TenantId) -> Option<i64> {
        lock(&self.0).get(tenant).map(|reached| reached.number)
    }

    /// Follows a tenant from the message with this number on.
    pub(super) fn follow(&self, tenant: &TenantId, number: i64) {
        let mut tenants = lock(&self.0);
        let reached = tenants.entry(tenant.clone()).or_insert(Reached { number, at: Utc::now() });
        reached.number = reached.number.max(number);
    }

    /// Notes a message; since when some are missing before it, if so.
    pub(super) fn note(&self, tenant: &str, number: i64) -> Option<DateTime<Utc>> {
        let mut tenants = lock(&self.0);
        let reached = tenants.get_mut(tenant).filter(|reached| reached.number < number)?;
        let is_next = reached.number + 1 == number;
        let before = std::mem::replace(reached, Reached { number, at: Utc::now() });
        (!is_next).then_some(before.at)
    }

    /// Counts the messages up to a number as lost; since when, if they had not arrived.
    pub(super) fn give_up(&self, tenant: &TenantId, number: i64) -> Option<DateTime<Utc>> {
        let mut tenants = lock(&self.0);
        let reached = tenants.get_mut(tenant).filter(|reached| reached.number < number)?;
        Some(std::mem::replace(reached, Reached { number, at: Utc::now() }).at)
    }

    /// Notes that Redis counts `number` messages where it had `before`: all of them have arrived, or it has lost some of what was written.
    pub(super) fn agree(&self, tenant: &TenantId, before: i64, number: i64) {
        let mut tenants = lock(&self.0);
        if let Some(reached) = tenants.get_mut(tenant).filter(|reached| reached.number == before && before >= number) {
            *reached = Reached { number, at: Utc::now() };
        }
    }

    /// Forgets all tenants but these.
    pub(super) fn retain(&self, is_needed: impl Fn(&TenantId) -> bool) {
        lock(&self.0).retain(|tenant, _| is_needed(tenant));
    }
}

/// Reports to a tenant's streams that something is missing since `from`: those of its events by `RESET_CURSOR`, those of connections by `gap`.
pub(super) fn report_lost(hub: &Hub, tenant: &TenantId, from: DateTime<Utc>) {
    let live_channels = hub.select_live_channels(|of, channel| of == tenant && channel.subscribers() > 0);
    let mut channels: Vec<_> = live_channels.into_iter().map(|(_, channel)| channel).collect();
    for channel in &channels {
        channel.push(std::iter::once(Frame::gap(from, Utc::now(), "interrupted")));
    }
    if let Some(channel) = hub.find_channel(tenant.as_str()).filter(|channel| channel.subscribers() > 0) {
        channel.ring().note_lost();
        channels.push(channel);
    }
    hub.notify(&channels);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(number: i64) -> (LiveOnly, TenantId) {
        let (live_only, tenant) = (LiveOnly::default(), TenantId::random());
        live_only.follow(&tenant, number);
        (live_only, tenant)
    }

    #[test]
    fn a_number_that_is_left_out_is_a_loss_and_is_reported_once() {
        let (live_only, tenant) = followed(7);
        assert_eq!(live_only.note(tenant.as_str(), 7), None, "it was on its way when the tenant was followed");
        assert_eq!(live_only.note(tenant.as_str(), 8), None);
        assert!(live_only.note(tenant.as_str(), 10).is_some());
        assert_eq!(live_only.note(tenant.as_str(), 11), None);
        assert!(live_only.give_up(&tenant, 12).is_some());
        assert_eq!(live_only.give_up(&tenant, 12), None);
        assert_eq!(live_only.note(tenant.as_str(), 13), None);
    }

    #[test]
    fn nobody_is_followed_without_streams() {
        let (live_only, tenant) = followed(7);
        assert_eq!(live_only.note(TenantId::random().as_str(), 9), None);
        live_only.retain(|_| false);
        assert_eq!((live_only.number(&tenant), live_only.give_up(&tenant, 9)), (None, None));
    }

    #[test]
    fn a_redis_that_has_lost_what_it_wrote_counts_from_there() {
        let (live_only, tenant) = followed(7);
        live_only.agree(&tenant, 7, 3);
        assert_eq!(live_only.note(tenant.as_str(), 4), None);
        // A message that came while Redis was asked is no such sign.
        live_only.note(tenant.as_str(), 5);
        live_only.agree(&tenant, 4, 3);
        assert_eq!(live_only.number(&tenant), Some(5));
    }
}
