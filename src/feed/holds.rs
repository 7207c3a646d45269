//! Held calls: answers that are held back until what they wait for is handed over.
//!
//! The event of a hand-over names its ticket, so it ends the hold on whichever replica that is. Beside that, every [`TOUCH_INTERVAL`] the tickets of a
//! tenant are touched in one call: it keeps them alive, and shows a hand-over whose event was lost.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;

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

/// The tickets of one tenant for which calls are held: each ticket with those calls.
type Tickets = HashMap<TicketId, Vec<Arc<Held>>>;

/// The held calls of a replica. A tenant has an entry as long as its tickets are touched regularly, so one task does that.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<TenantId, Tickets>>);

impl Holds {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tickets>> {
        lock(&self.0)
    }

    /// Ends the holds of a ticket that waits no longer.
    pub(super) fn finish(&self, tenant: &TenantId, ticket: TicketId) {
        let mut tenants = self.tenants();
        let Some(tickets) = tenants.get_mut(tenant) else { return };
        tickets.remove(&ticket).into_iter().flatten().for_each(|held| held.finish_one());
    }

    /// Ends the holds of all of a tenant's tickets: its reservations were reset, or it is gone.
    pub(super) fn finish_all(&self, tenant: &TenantId) {
        let tickets = self.tenants().get_mut(tenant).map(std::mem::take);
        tickets.into_iter().flatten().flat_map(|(_, calls)| calls).for_each(|held| held.finish_one());
    }

    /// Removes the entry of a tenant for which no call is held; whether it did.
    fn remove_unused(&self, tenant: &TenantId) -> bool {
        let mut tenants = self.tenants();
        let is_unused = tenants.get(tenant).is_none_or(HashMap::is_empty);
        if is_unused {
            tenants.remove(tenant);
        }
        is_unused
    }

    /// The partitions of tenants for whose tickets calls are held.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.tenants().keys().map(Partition::of).collect()
    }

    fn tickets(&self, tenant: &TenantId) -> Vec<TicketId> {
        self.tenants().get(tenant).map(|tickets| tickets.keys().copied().collect()).unwrap_or_default()
    }

    /// Adds a call; whether its tenant had no entry.
    fn add(&self, tenant: &TenantId, tickets: &[TicketId], held: &Arc<Held>) -> bool {
        let mut tenants = self.tenants();
        let (is_first, known) = match tenants.entry(tenant.clone()) {
            Entry::Occupied(known) => (false, known.into_mut()),
            Entry::Vacant(vacant) => (true, vacant.insert(HashMap::new())),
        };
        for ticket in tickets {
            known.entry(*ticket).or_default().push(held.clone());
        }
        is_first
    }

    /// Takes a call out whose client is gone, or whose time is over.
    fn remove(&self, tenant: &TenantId, tickets: &[TicketId], held: &Arc<Held>) {
        let mut tenants = self.tenants();
        let Some(known) = tenants.get_mut(tenant) else { return };
        for ticket in tickets {
            if let Some(calls) = known.get_mut(ticket) {
                calls.retain(|call| !Arc::ptr_eq(call, held));
                if calls.is_empty() {
                    known.remove(ticket);
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

/// Waits until none of a call's tickets waits any more. The tenant's partition is subscribed.
///
/// # Errors
/// As [`StoreError`] says, where it cannot be found out whether they wait at all.
///
/// # Cancellation
/// The tickets keep their places for as long as they live.
pub(super) async fn hold(
    holds: &Arc<Holds>,
    store: &Store,
    tenant: &TenantId,
    tickets: &[TicketId],
) -> Result<(), StoreError> {
    let held = Arc::new(Held { left: Mutex::new(tickets.len()), done: Notify::new() });
    let is_first = holds.add(tenant, tickets, &held);
    let guard = Guard { holds, tenant, tickets, held };
    if is_first {
        tokio::spawn(touch_regularly(holds.clone(), store.clone(), tenant.clone()));
    }
    // A hand-over before the hold was added had nobody to end.
    touch(holds, store, tenant, tickets).await?;
    guard.held.done.notified().await;
    Ok(())
}

/// Touches the tickets of a tenant as long as calls are held for some.
async fn touch_regularly(holds: Arc<Holds>, store: Store, tenant: TenantId) {
    while !holds.remove_unused(&tenant) {
        tokio::time::sleep(TOUCH_INTERVAL).await;
        for tickets in holds.tickets(&tenant).chunks(MAX_TOUCHED) {
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
            tasks += usize::from(holds.add(&tenant, &tickets, &held));
            holds.remove(&tenant, &tickets, &held);
        }
        assert_eq!(tasks, 1);
        assert!(holds.remove_unused(&tenant));
        assert!(holds.add(&tenant, &tickets, &held), "the task has ended");
        assert!(!holds.remove_unused(&tenant));
    }
}
