//! Held calls: answers that are held back until what they wait for is handed over.
//!
//! The event of a hand-over names its ticket, so it ends the hold on whichever replica that is. A call that may be held is noted before Redis is
//! asked, so it hears of its tickets from their beginning on, and needs no further look at them. Beside that, every [`TOUCH_INTERVAL`] the
//! tickets of a tenant are touched in one call: it keeps them alive, and shows a hand-over whose event was lost. A hold that may have missed an
//! event is touched at once, together with those that came while the last call was under way.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
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

/// One held call.
#[derive(Debug, Default)]
struct Held {
    state: Mutex<State>,
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many of its tickets still wait.
    left: usize,
    /// Whether Redis has answered which of its tickets wait. Until then a reset says nothing of them, for they may come after it.
    is_settled: bool,
    /// Whether there was such a reset.
    is_unsure: bool,
}

impl Held {
    fn finish_one(&self) {
        let mut state = lock(&self.state);
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            self.done.notify_one();
        }
    }

    fn is_settled(&self) -> bool {
        lock(&self.state).is_settled
    }

    async fn finished(&self) {
        while lock(&self.state).left > 0 {
            self.done.notified().await;
        }
    }
}

/// The held calls of one tenant.
#[derive(Debug, Default)]
struct TenantHolds {
    /// Each ticket with the calls that are held for it.
    tickets: HashMap<TicketId, Vec<Arc<Held>>>,
    /// Tickets that are to be touched at once.
    new: Vec<TicketId>,
    /// Wakes the task that touches the tickets.
    wake: Arc<Notify>,
    /// Whether there is that task.
    has_task: bool,
}

impl TenantHolds {
    fn add<'a>(&mut self, tickets: impl IntoIterator<Item = &'a TicketId>, held: &Arc<Held>) {
        for ticket in tickets {
            self.tickets.entry(*ticket).or_default().push(held.clone());
        }
    }

    fn has(&self, ticket: TicketId, held: &Arc<Held>) -> bool {
        self.tickets.get(&ticket).is_some_and(|calls| calls.iter().any(|call| Arc::ptr_eq(call, held)))
    }

    fn remove(&mut self, tickets: &[TicketId], held: &Arc<Held>) {
        for ticket in tickets {
            if let Entry::Occupied(mut calls) = self.tickets.entry(*ticket) {
                calls.get_mut().retain(|call| !Arc::ptr_eq(call, held));
                if calls.get().is_empty() {
                    calls.remove();
                }
            }
        }
    }
}

/// The held calls of a replica. A tenant has an entry as long as a call of its is held, or a task touches its tickets.
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
        let mut tenants = self.tenants();
        let tickets = tenants.get_mut(tenant).map(|holds| std::mem::take(&mut holds.tickets));
        for held in tickets.into_iter().flatten().flat_map(|(_, calls)| calls) {
            if held.is_settled() {
                held.finish_one();
            } else {
                lock(&held.state).is_unsure = true;
            }
        }
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
    pub(super) fn has_any(&self) -> bool {
        self.tenants().values().any(|holds| holds.has_task)
    }

    /// The partitions of tenants for whose tickets calls are held.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.tenants().keys().map(Partition::of).collect()
    }

    /// Tickets to touch by the clock.
    fn settled_tickets(&self, tenant: &TenantId) -> Vec<TicketId> {
        let tenants = self.tenants();
        let Some(holds) = tenants.get(tenant) else { return Vec::new() };
        let settled = holds.tickets.iter().filter(|(_, calls)| calls.iter().any(|held| held.is_settled()));
        settled.map(|(ticket, _)| *ticket).collect()
    }

    /// Adds a call that may be held for these tickets.
    fn add(&self, tenant: &TenantId, tickets: &[TicketId]) -> Arc<Held> {
        let held = Arc::new(Held {
            state: Mutex::new(State { left: tickets.len(), ..State::default() }),
            done: Notify::new(),
        });
        self.tenants().entry(tenant.clone()).or_default().add(tickets, &held);
        held
    }

    /// Takes a call out whose client is gone, or whose time is over.
    fn remove(&self, tenant: &TenantId, tickets: &[TicketId], held: &Arc<Held>) {
        let mut tenants = self.tenants();
        let Some(holds) = tenants.get_mut(tenant) else { return };
        holds.remove(tickets, held);
        if holds.tickets.is_empty() && !holds.has_task {
            tenants.remove(tenant);
        }
    }

    /// From here on a call is held for those tickets of which Redis said that they wait. What was noted for it before was `noted`.
    fn settle(
        &self,
        tenant: &TenantId,
        noted: &[TicketId],
        waiting: &HashSet<TicketId>,
        held: &Arc<Held>,
        received: bool,
    ) -> Settled {
        let mut tenants = self.tenants();
        let holds = tenants.entry(tenant.clone()).or_default();
        let mut state = lock(&held.state);
        state.is_settled = true;
        let (kept, others): (Vec<_>, Vec<_>) = noted.iter().partition(|ticket| waiting.contains(ticket));
        let is_sure = received && !state.is_unsure && kept.len() == waiting.len();
        if is_sure {
            holds.remove(&others, held);
            state.left = kept.iter().filter(|ticket| holds.has(**ticket, held)).count();
        } else {
            holds.remove(noted, held);
            holds.add(waiting, held);
            state.left = waiting.len();
        }
        let needs_task = !std::mem::replace(&mut holds.has_task, true);
        Settled { is_sure, wake: needs_task.then(|| holds.wake.clone()) }
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
}

/// What is left to do once a call is held.
struct Settled {
    /// Whether the end of each ticket was received, or will be.
    is_sure: bool,
    /// Of a tenant without a task: what wakes the one that is to be started.
    wake: Option<Arc<Notify>>,
}

/// A call that may be held. When it is dropped, it is not held any more.
#[derive(Debug)]
pub struct Hold {
    holds: Arc<Holds>,
    tenant: TenantId,
    /// Tickets that are noted for it.
    tickets: Vec<TicketId>,
    held: Arc<Held>,
    /// Whether everything is received that was published since it is noted.
    received: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.remove(&self.tenant, &self.tickets, &self.held);
    }
}

impl Hold {
    /// Notes a call before Redis is asked, with the tickets that may come of it. `listens` says, once it is noted, whether the channel of the
    /// tenant's partition is subscribed.
    pub(super) fn new(
        holds: &Arc<Holds>,
        tenant: TenantId,
        tickets: Vec<TicketId>,
        listens: impl FnOnce() -> bool,
    ) -> Self {
        let held = holds.add(&tenant, &tickets);
        let mut hold = Self { holds: holds.clone(), tenant, tickets, held, received: false };
        hold.received = listens();
        hold
    }

    /// Waits until none of these tickets waits any more, of which Redis said that they do. `subscribed` subscribes the tenant's partition; where
    /// that fails, and while Redis is away, a hand-over is noticed later, by touching.
    ///
    /// # Cancellation
    /// The tickets keep their places for as long as they live.
    pub(super) async fn wait(
        mut self,
        store: &Store,
        tickets: Vec<TicketId>,
        subscribed: impl Future<Output = Result<(), StoreError>>,
    ) {
        // Two items of a call may have one ticket.
        let waiting: HashSet<_> = tickets.into_iter().collect();
        let settled = self.holds.settle(&self.tenant, &self.tickets, &waiting, &self.held, self.received);
        self.tickets = waiting.into_iter().collect();
        if let Some(wake) = settled.wake {
            tokio::spawn(touch_regularly(self.holds.clone(), store.clone(), self.tenant.clone(), wake));
        }
        if !settled.is_sure {
            if let Err(error) = subscribed.await {
                tracing::debug!(%error, "a call is held without a subscription");
            }
            // The event of an earlier hand-over came when there was nobody to hear it.
            self.holds.touch_now(&self.tenant, &self.tickets);
        }
        self.held.finished().await;
    }
}

/// Touches the tickets of a tenant as long as calls are held for some: new ones at once, all of them every [`TOUCH_INTERVAL`].
async fn touch_regularly(holds: Arc<Holds>, store: Store, tenant: TenantId, wake: Arc<Notify>) {
    let mut next = Instant::now() + TOUCH_INTERVAL;
    while !holds.remove_unused(&tenant) {
        let _ = tokio::time::timeout_at(next, wake.notified()).await;
        let mut tickets = holds.take_new(&tenant);
        // However often it is woken.
        if Instant::now() >= next {
            tickets = holds.settled_tickets(&tenant);
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

    struct Case {
        holds: Arc<Holds>,
        tenant: TenantId,
    }

    impl Case {
        fn new() -> Self {
            Self { holds: Arc::default(), tenant: TenantId::random() }
        }

        fn hold(&self, tickets: &[TicketId]) -> Hold {
            Hold::new(&self.holds, self.tenant.clone(), tickets.to_vec(), || true)
        }

        /// What comes of Redis' answer that these tickets wait: whether none of them has to be touched, and whether a task is to be started.
        fn settle(&self, hold: &mut Hold, tickets: &[TicketId]) -> (bool, bool) {
            let waiting = tickets.iter().copied().collect();
            let settled = self.holds.settle(&self.tenant, &hold.tickets, &waiting, &hold.held, hold.received);
            hold.tickets = tickets.to_vec();
            (settled.is_sure, settled.wake.is_some())
        }
    }

    fn is_done(hold: &Hold) -> bool {
        lock(&hold.held.state).left == 0
    }

    #[test]
    fn the_tickets_of_a_tenant_are_touched_by_one_task_however_often_calls_come_and_go() {
        let case = Case::new();
        let tickets = [TicketId::random()];
        let tasks = (0..3).filter(|_| case.settle(&mut case.hold(&tickets), &tickets).1).count();
        assert_eq!(tasks, 1);
        assert!(case.holds.remove_unused(&case.tenant));
        let mut hold = case.hold(&tickets);
        assert!(case.settle(&mut hold, &tickets).1, "the task has ended");
        assert!(!case.holds.remove_unused(&case.tenant));
    }

    #[test]
    fn a_call_that_need_not_wait_leaves_nothing() {
        let case = Case::new();
        let hold = case.hold(&[TicketId::random()]);
        assert!(!case.holds.has_any(), "it is not held yet");
        drop(hold);
        assert_eq!(case.holds.partitions(), []);
    }

    #[test]
    fn a_hand_over_is_received_whether_it_comes_before_redis_answer_or_after_it() {
        let case = Case::new();
        let [first, second, taken] = [(); 3].map(|()| TicketId::random());
        let mut hold = case.hold(&[first, second, taken]);
        case.holds.finish(&case.tenant, first);
        assert_eq!(case.settle(&mut hold, &[first, second]), (true, true));
        assert!(!is_done(&hold), "the second still waits");
        case.holds.finish(&case.tenant, second);
        assert!(is_done(&hold));
        let mut hold = case.hold(&[first]);
        case.holds.finish(&case.tenant, first);
        assert_eq!(case.settle(&mut hold, &[first]), (true, false));
        assert!(is_done(&hold));
    }

    #[test]
    fn two_items_of_a_call_may_have_one_ticket() {
        let case = Case::new();
        let [ticket, unused] = [(); 2].map(|()| TicketId::random());
        let mut hold = case.hold(&[ticket, unused]);
        assert_eq!(case.settle(&mut hold, &[ticket, ticket]), (true, true));
        case.holds.finish(&case.tenant, ticket);
        assert!(is_done(&hold));
    }

    #[test]
    fn a_ticket_that_was_there_before_is_looked_at_once_more() {
        let case = Case::new();
        let [new, known] = [(); 2].map(|()| TicketId::random());
        let mut hold = case.hold(&[new]);
        case.holds.finish(&case.tenant, known);
        assert_eq!(case.settle(&mut hold, &[known]), (false, true));
        case.holds.finish(&case.tenant, new);
        assert!(!is_done(&hold));
        case.holds.finish(&case.tenant, known);
        assert!(is_done(&hold));
    }

    #[test]
    fn a_reset_ends_what_waits_and_not_what_is_only_asked_for() {
        let case = Case::new();
        let [before, after] = [(); 2].map(|()| TicketId::random());
        let (mut waits, mut asks) = (case.hold(&[before]), case.hold(&[after]));
        case.settle(&mut waits, &[before]);
        case.holds.finish_all(&case.tenant);
        assert!(is_done(&waits));
        assert_eq!(case.settle(&mut asks, &[after]), (false, false), "it may have come before the reset or after it");
        assert!(!is_done(&asks));
        case.holds.finish(&case.tenant, after);
        assert!(is_done(&asks));
    }

    #[test]
    fn only_tickets_that_redis_knows_are_touched_by_the_clock() {
        let case = Case::new();
        let [settled, asked_for] = [(); 2].map(|()| TicketId::random());
        let (mut waits, _asks) = (case.hold(&[settled]), case.hold(&[asked_for]));
        case.settle(&mut waits, &[settled]);
        assert_eq!(case.holds.settled_tickets(&case.tenant), [settled]);
    }
}
