//! The cache of tenants' handles. When a handle is evicted, its partition keeps the highest evicted floor.
//!
//! A tenant has one handle, so that all its credentials share one floor. Handles that nobody uses are evicted when there are too many. A
//! handle that is created again begins with the floor that its partition kept, as an upper bound of what the evicted one had seen:
//!
//! ```text
//! tenants of a partition   A: 7,000   B: 9,000 (evicted)   C: 5,000 (evicted)
//! evicted floor            9,000
//! B again                  -9,000: it may have been as high as that
//! ```
//!
//! Scripts take that bound for the floor only where Redis' clock is behind it. Elsewhere the clock alone makes the next position higher.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    domain::names::TenantId,
    store::{
        keys::{Namespace, PARTITIONS, Partition},
        tenants::handle::TenantHandle,
    },
    sync::lock,
};

/// Handles by their tenants. One cache for all runtimes of the replica.
#[derive(Debug)]
pub(in crate::store) struct TenantHandles {
    /// Capacity beside the handles in use.
    capacity: usize,
    namespace: Namespace,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    handles: HashMap<TenantId, Arc<TenantHandle>>,
    /// Of each partition, the highest position of its evicted handles.
    evicted_floors: Vec<i64>,
    /// The number of handles at which unused ones are evicted next.
    evict_at: usize,
}

impl TenantHandles {
    /// An empty cache that keeps about `capacity` handles beside those in use.
    pub(in crate::store) fn new(capacity: usize, namespace: Namespace) -> Self {
        let evicted_floors = vec![0; usize::from(PARTITIONS)];
        let state = State { handles: HashMap::new(), evicted_floors, evict_at: capacity };
        Self { capacity, namespace, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The number of handles.
    pub(in crate::store) fn len(&self) -> usize {
        self.state().handles.len()
    }

    /// What each cached tenant stores, of those that were looked at.
    pub(in crate::store) fn stored_bytes(&self) -> Vec<(TenantId, u64)> {
        let of = |(tenant, handle): (&TenantId, &Arc<TenantHandle>)| (tenant.clone(), handle.stored().bytes());
        self.state().handles.iter().map(of).filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// The handle of a tenant, created if it is not there.
    pub(in crate::store) fn get_or_insert(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        let mut state = self.state();
        if let Some(handle) = state.handles.get(tenant) {
            return handle.clone();
        }
        if state.handles.len() >= state.evict_at {
            state.evict_unused();
            // A quarter more, so that the scan of all handles is a small part of the cost of each insertion.
            state.evict_at = self.capacity.max(state.handles.len()) / 4 * 5;
        }
        let handle = TenantHandle::within(&self.namespace, tenant.clone());
        let evicted_floor = state.evicted_floors[handle.partition().number()];
        let handle = Arc::new(handle.with_evicted_floor(evicted_floor));
        state.handles.insert(tenant.clone(), handle.clone());
        handle
    }

    /// Notes a position of a tenant, which may not be cached.
    pub(in crate::store) fn note_position(&self, tenant: &TenantId, position: i64) {
        let mut state = self.state();
        match state.handles.get(tenant) {
            Some(handle) => handle.note_position(position),
            None => state.raise_evicted_floor(Partition::of(tenant), position),
        }
    }
}

impl State {
    fn evict_unused(&mut self) {
        let (mut handles, before) = (std::mem::take(&mut self.handles), self.handles.len());
        handles.retain(|_, handle| {
            // Nobody else holds it, and nobody can get it while this is locked.
            let Some(unused) = Arc::get_mut(handle) else { return true };
            self.raise_evicted_floor(unused.partition(), unused.highest_seen());
            false
        });
        tracing::debug!(before, now = handles.len(), "evicted unused handles of tenants");
        self.handles = handles;
    }

    fn raise_evicted_floor(&mut self, partition: Partition, position: i64) {
        let floor = &mut self.evicted_floors[partition.number()];
        *floor = position.max(*floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 8;

    #[test]
    fn handles_in_use_stay_and_the_others_are_bounded() {
        let handles = TenantHandles::new(CAPACITY, Namespace::default());
        let used: Vec<_> = (0..2 * CAPACITY).map(|_| handles.get_or_insert(&TenantId::random())).collect();
        used.iter().for_each(|handle| handle.note_position(7));
        for _ in 0..100 * CAPACITY {
            handles.get_or_insert(&TenantId::random());
            assert!(handles.len() <= 3 * CAPACITY, "{}", handles.len());
        }
        assert!(
            used.iter().all(|handle| Arc::ptr_eq(handle, &handles.get_or_insert(handle.tenant()))),
            "one handle for each"
        );
    }

    #[test]
    fn the_floor_of_an_evicted_handle_stays_as_a_bound() {
        let handles = TenantHandles::new(CAPACITY, Namespace::default());
        let tenant = TenantId::random();
        handles.get_or_insert(&tenant).note_position(7_000);
        assert_eq!(handles.get_or_insert(&tenant).floor(), 7_000, "known exactly");

        (0..2 * CAPACITY).for_each(|_| drop(handles.get_or_insert(&TenantId::random())));
        assert_eq!(
            (handles.get_or_insert(&tenant).floor(), handles.get_or_insert(&tenant).latest()),
            (-7_000, 0),
            "a bound, and nothing seen"
        );
        handles.get_or_insert(&tenant).note_position(6_000);
        assert_eq!(
            (handles.get_or_insert(&tenant).floor(), handles.get_or_insert(&tenant).latest()),
            (-7_000, 6_000),
            "it may have been higher"
        );

        // The bound outlives a handle that was created again and saw less.
        (0..2 * CAPACITY).for_each(|_| drop(handles.get_or_insert(&TenantId::random())));
        assert_eq!(handles.get_or_insert(&tenant).floor(), -7_000);
        handles.get_or_insert(&tenant).note_position(7_001);
        assert_eq!(handles.get_or_insert(&tenant).floor(), 7_001, "exact again");
    }

    #[test]
    fn a_position_of_a_tenant_that_is_not_cached_raises_the_bound() {
        let handles = TenantHandles::new(CAPACITY, Namespace::default());
        let tenant = TenantId::random();
        handles.note_position(&tenant, 9_000);
        assert_eq!(handles.get_or_insert(&tenant).floor(), -9_000);
        handles.note_position(&tenant, 9_500);
        assert_eq!((handles.get_or_insert(&tenant).floor(), handles.get_or_insert(&tenant).latest()), (9_500, 9_500));
        assert_eq!(handles.len(), 1);
    }
}
