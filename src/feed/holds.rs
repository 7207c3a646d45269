//! Held calls: answers that are held back until what they wait for is handed over.
//!
//! The event of a hand-over names its ticket, so it ends the hold on whichever replica that is. Beside that, every [`TOUCH_INTERVAL`] the
//! tickets of a tenant are touched in one call: it keeps them alive, and shows a hand-over whose event was lost. A new hold is touched at
//! once, together with those that came while the last call was under way: thousands that begin at the same moment cost Redis little more
//! than one.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    domain::{names::TenantId, waiting::TicketId},
    store::{Partition, Store, StoreError},
    sync::lock,
};

/// Interval at which the tickets of held calls are touched. A ticket lives at least 5 s without.
const TOUCH_INTERVAL: Duration = Duration::from_millis(1_500);
/// Tickets that are touched by one call of Redis.
const MAX_TOUCHED: usize = 500;

/// One held call: how many of its tickets still wait.
#[derive(Debug, Default)]
struct Held {
    left: Mutex<usize>,
    done: Notify,
}

impl Held {
    fn finish_one(&self) {
        let mut left = lock(&self.left);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.done.notify_one();
        }
    }
}

/// The held calls of one tenant.
#[derive(Debug, Default)]
struct TenantHolds {
    /// Each ticket with the calls that are held for it.
    tickets: HashMap<TicketId, Vec<Arc<Held>>>,
    /// Tickets whose hold has just begun.
    new: Vec<TicketId>,
    /// Wakes the task that touches the tickets.
    wake: Arc<Notify>,
}

/// The held calls of a replica. A tenant has an entry as long as a task touches its tickets.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<TenantId, TenantHolds>>);

impl Holds {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, TenantHolds>> {
        lock(&self.0)
    }

    /// Ends the holds of a ticket that waits no longer.
    pub(super) fn finish(&self, tenant: &TenantId, ticket: TicketId) {
        let mut tenants = self.tenants();
        let Some(holds) = tenants.get_mut(tenant) else { return };
        holds.tickets.remove(&ticket).into_iter().flatten().for_each(|held| held.finish_one());
    }

    /// Ends the holds of all of a tenant's tickets: its reservations were reset, or it is gone.
    pub(super) fn finish_all(&self, tenant: &TenantId) {
        let tickets = self.tenants().get_mut(tenant).map(|holds| std::mem::take(&mut holds.tickets));
        tickets.into_iter().flatten().flat_map(|(_, calls)| calls).for_each(|held| held.finish_one());
    }

    /// Removes the entry of a tenant for which no call is held; whether it did.
    fn remove_unused(&self, tenant: &TenantId) -> bool {
        let mut tenants = self.tenants();
        let is_unused = tenants.get(tenant).is_none_or(|holds| holds.tickets.is_empty());
        if is_unused {
            tenants.remove(tenant);
        }
        is_unused
    }

    /// Whether any call is held, or was until a moment ago.
    pub(super) fn are_there(&self) -> bool {
        !self.tenants().is_empty()
    }

    /// The partitions of tenants for whose tickets calls are held.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.tenants().keys().map(Partition::of).collect()
    }

    fn tickets(&self, tenant: &TenantId) -> Vec<TicketId> {
        self.tenants().get(tenant).map(|holds| holds.tickets.keys().copied().collect()).unwrap_or_default()
    }

    /// Adds a call. Answers what wakes the tenant's task, where the tenant had no entry and so has no task yet.
    fn add(&self, tenant: &TenantId, tickets: &[TicketId], held: &Arc<Held>) -> Option<Arc<Notify>> {
        let mut tenants = self.tenants();
        let (is_first, holds) = match tenants.entry(tenant.clone()) {
            Entry::Occupied(known) => (false, known.into_mut()),
            Entry::Vacant(vacant) => (true, vacant.insert(TenantHolds::default())),
        };
        for ticket in tickets {
            holds.tickets.entry(*ticket).or_default().push(held.clone());
        }
        is_first.then(|| holds.wake.clone())
    }

    /// Has tickets touched now.
    fn touch_now(&self, tenant: &TenantId, tickets: &[TicketId]) {
        if let Some(holds) = self.tenants().get_mut(tenant) {
            holds.new.extend_from_slice(tickets);
            holds.wake.notify_one();
        }
    }

    fn take_new(&self, tenant: &TenantId) -> Vec<TicketId> {
        self.tenants().get_mut(tenant).map(|holds| std::mem::take(&mut holds.new)).unwrap_or_default()
    }

    /// Takes a call out whose client is gone, or whose time is over.
    fn remove(&self, tenant: &TenantId, tickets: &[TicketId], held: &Arc<Held>) {
        let mut tenants = self.tenants();
        let Some(holds) = tenants.get_mut(tenant) else { return };
        for ticket in tickets {
            if let Some(calls) = holds.tickets.get_mut(ticket) {
                calls.retain(|call| !Arc::ptr_eq(call, held));
                if calls.is_empty() {
                    holds.tickets.remove(ticket);
                }
            }
        }
    }
}

/// Takes the call out when it ends, however it does.
struct Guard<'a> {
    holds: &'a Arc<Holds>,
    tenant: &'a TenantId,
    tickets: &'a [TicketId],
    held: Arc<Held>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.holds.remove(self.tenant, self.tickets, &self.held);
    }
}

/// Waits until none of a call's tickets waits any more. `subscribed` subscribes the tenant's partition; where that fails, and while Redis
/// is away, a hand-over is noticed later, by touching.
///
/// # Cancellation
/// The tickets keep their places for as long as they live.
pub(super) async fn hold(
    holds: &Arc<Holds>,
    store: &Store,
    tenant: &TenantId,
    tickets: &[TicketId],
    subscribed: impl Future<Output = Result<(), StoreError>>,
) {
    let held = Arc::new(Held { left: Mutex::new(tickets.len()), done: Notify::new() });
    let is_first = holds.add(tenant, tickets, &held);
    let guard = Guard { holds, tenant, tickets, held };
    if let Some(wake) = is_first {
        tokio::spawn(touch_regularly(holds.clone(), store.clone(), tenant.clone(), wake));
    }
    if let Err(error) = subscribed.await {
        tracing::debug!(%error, "a call is held without a subscription");
    }
    // The event of an earlier hand-over came when there was nobody to hear it.
    holds.touch_now(tenant, tickets);
    guard.held.done.notified().await;
}

/// Touches the tickets of a tenant as long as calls are held for some: new ones at once, all of them every [`TOUCH_INTERVAL`].
async fn touch_regularly(holds: Arc<Holds>, store: Store, tenant: TenantId, wake: Arc<Notify>) {
    let mut next = Instant::now() + TOUCH_INTERVAL;
    while !holds.remove_unused(&tenant) {
        let _ = tokio::time::timeout_at(next, wake.notified()).await;
        let mut tickets = holds.take_new(&tenant);
        // However often it is woken.
        if Instant::now() >= next {
            tickets = holds.tickets(&tenant);
            next = Instant::now() + TOUCH_INTERVAL;
        }
        for tickets in tickets.chunks(MAX_TOUCHED) {
            if let Err(error) = touch(&holds, &store, &tenant, tickets).await {
                tracing::debug!(%error, "the tickets of held calls could not be touched");
            }
        }
    }
}

/// Keeps tickets alive, and ends the holds of those that wait no longer.
async fn touch(holds: &Holds, store: &Store, tenant: &TenantId, tickets: &[TicketId]) -> Result<(), StoreError> {
    let Some(system) = store.system_caller(tenant).await? else {
        holds.finish_all(tenant);
        return Ok(());
    };
    let waiting = store.touch_tickets(&system, tickets).await?;
    for (ticket, waits) in tickets.iter().zip(waiting) {
        if !waits {
            holds.finish(tenant, *ticket);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tickets_of_a_tenant_are_touched_by_one_task_however_often_calls_come_and_go() {
        let (holds, tenant) = (Holds::default(), TenantId::random());
        let tickets = [TicketId::random()];
        let held = Arc::new(Held::default());
        let mut tasks = 0;
        for _ in 0..3 {
            tasks += usize::from(holds.add(&tenant, &tickets, &held).is_some());
            holds.remove(&tenant, &tickets, &held);
        }
        assert_eq!(tasks, 1);
        assert!(holds.remove_unused(&tenant));
        assert!(holds.add(&tenant, &tickets, &held).is_some(), "the task has ended");
        assert!(!holds.remove_unused(&tenant));
    }
}
