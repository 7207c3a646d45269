//! The places of the tenants that this replica has to do with, and what is left of those that it has forgotten.
//!
//! A tenant has one place here, so that all its credentials share one floor. A place that nobody uses any more goes when there are too
//! many. Of its floor stays that none of its partition that was forgotten was higher than so much: a place that is made anew begins with that,
//! and scripts take it for the floor where Redis' clock is behind it. Elsewhere the clock alone makes the next position higher.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::names::TenantId,
    store::keys::{PARTITIONS, Partition, TenantHandle},
};

/// Places by their tenants. One for all runtimes of the replica.
#[derive(Debug)]
pub(in crate::store) struct TenantHandles {
    /// So many may be there before those that nobody uses go.
    spare: usize,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    places: HashMap<TenantId, Arc<TenantHandle>>,
    /// Of each partition, the highest position of what was forgotten.
    forgotten: Vec<i64>,
    /// With so many they are looked through again.
    look_at: usize,
}

impl TenantHandles {
    /// None is known yet; beside those in use, about `spare` are kept.
    pub(in crate::store) fn keeping(spare: usize) -> Self {
        Self {
            spare,
            known: Mutex::new(Known {
                places: HashMap::new(),
                forgotten: vec![0; usize::from(PARTITIONS)],
                look_at: spare,
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are there.
    pub(in crate::store) fn len(&self) -> usize {
        self.known().places.len()
    }

    /// The place of a tenant, made if need be.
    pub(in crate::store) fn of(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        let mut known = self.known();
        if let Some(place) = known.places.get(tenant) {
            return place.clone();
        }
        if known.places.len() >= known.look_at {
            known.forget_unused();
            // A quarter more, so that looking through all is a small part of what each new one costs.
            known.look_at = self.spare.max(known.places.len()) / 4 * 5;
        }
        let place = TenantHandle::new(tenant.clone());
        let forgotten = known.forgotten[place.partition().number()];
        let place = Arc::new(place.forgotten_at(forgotten));
        known.places.insert(tenant.clone(), place.clone());
        place
    }

    /// Notes a position that somebody else made.
    pub(in crate::store) fn heard(&self, tenant: &TenantId, position: i64) {
        let mut known = self.known();
        match known.places.get(tenant) {
            Some(place) => place.seen(position),
            None => known.forget(Partition::of(tenant), position),
        }
    }
}

impl Known {
    fn forget_unused(&mut self) {
        let (mut places, before) = (std::mem::take(&mut self.places), self.places.len());
        places.retain(|_, place| {
            // Nobody else has it, and nobody can get it while this is locked.
            let Some(unused) = Arc::get_mut(place) else { return true };
            self.forget(unused.partition(), unused.floor_to_keep());
            false
        });
        tracing::debug!(before, now = places.len(), "forgot places");
        self.places = places;
    }

    fn forget(&mut self, partition: Partition, position: i64) {
        let highest = &mut self.forgotten[partition.number()];
        *highest = position.max(*highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARE: usize = 8;

    #[test]
    fn places_in_use_stay_and_the_others_are_bounded() {
        let places = TenantHandles::keeping(SPARE);
        let used: Vec<_> = (0..2 * SPARE).map(|_| places.of(&TenantId::random())).collect();
        used.iter().for_each(|place| place.seen(7));
        for _ in 0..100 * SPARE {
            places.of(&TenantId::random());
            assert!(places.len() <= 3 * SPARE, "{}", places.len());
        }
        assert!(used.iter().all(|place| Arc::ptr_eq(place, &places.of(place.tenant()))), "one place for each");
    }

    #[test]
    fn of_a_forgotten_place_stays_that_it_was_no_higher() {
        let places = TenantHandles::keeping(SPARE);
        let tenant = TenantId::random();
        places.of(&tenant).seen(7_000);
        assert_eq!(places.of(&tenant).floor(), 7_000, "known exactly");

        (0..2 * SPARE).for_each(|_| drop(places.of(&TenantId::random())));
        assert_eq!((places.of(&tenant).floor(), places.of(&tenant).latest()), (-7_000, 0), "a bound, and nothing seen");
        places.of(&tenant).seen(6_000);
        assert_eq!(
            (places.of(&tenant).floor(), places.of(&tenant).latest()),
            (-7_000, 6_000),
            "it may have been higher"
        );

        // The bound outlives a place that was made anew and saw less.
        (0..2 * SPARE).for_each(|_| drop(places.of(&TenantId::random())));
        assert_eq!(places.of(&tenant).floor(), -7_000);
        places.of(&tenant).seen(7_001);
        assert_eq!(places.of(&tenant).floor(), 7_001, "exact again");
    }

    #[test]
    fn what_is_heard_of_a_tenant_that_is_not_known_raises_the_bound() {
        let places = TenantHandles::keeping(SPARE);
        let tenant = TenantId::random();
        places.heard(&tenant, 9_000);
        assert_eq!(places.of(&tenant).floor(), -9_000);
        places.heard(&tenant, 9_500);
        assert_eq!((places.of(&tenant).floor(), places.of(&tenant).latest()), (9_500, 9_500));
        assert_eq!(places.len(), 1);
    }
}
