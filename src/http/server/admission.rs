//! Admission of connections: how many a replica serves, how many of one address without a credential, and the places
//! that are kept for health checks when all others are taken.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::sync::lock;

/// Connections of one address on which no credential was proved yet, 512, or half of all if that is less. What such a
/// connection may hold is small, so 512 of them hold less than 100 MiB.
const MAX_UNPROVED_PER_ADDRESS: usize = 512;
/// Connections beyond all bounds that are served for health checks alone, 32. The next one ends the oldest of the address that
/// has the most of them, so that a flood from one address ends its own.
const MAX_HEALTH_CONNECTIONS: usize = 32;
/// Life of such a connection, 5 s.
pub(super) const HEALTH_CONNECTION_LIFE: Duration = Duration::from_secs(5);

/// The connections of a replica, shared by its runtimes.
#[derive(Debug)]
pub struct ConnectionSlots {
    places: Arc<Semaphore>,
    per_address: usize,
    /// Proxies in front: the addresses behind them are limited by them.
    trusted_proxies: Vec<IpNet>,
    unproved: Mutex<HashMap<IpAddr, usize>>,
    health: Mutex<Vec<HealthConnection>>,
}

/// A connection that is served for health checks alone.
#[derive(Debug)]
struct HealthConnection {
    address: IpAddr,
    ended: CancellationToken,
}

/// What a connection is admitted to.
#[derive(Debug)]
pub(super) enum Admission {
    /// Everything.
    Full(Arc<Place>),
    /// Health checks alone, until it is ended for another one.
    HealthOnly(HealthPlace),
}

/// A place for health checks. Dropping it frees it.
#[derive(Debug)]
pub(super) struct HealthPlace {
    slots: Arc<ConnectionSlots>,
    /// Cancelled when another connection gets the place.
    pub(super) ended: CancellationToken,
}

impl Drop for HealthPlace {
    fn drop(&mut self) {
        self.ended.cancel();
        lock(&self.slots.health).retain(|connection| !connection.ended.is_cancelled());
    }
}

/// A connection's place. Dropping it frees it.
#[derive(Debug)]
pub(in crate::http) struct Place {
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
    /// Whether it counts against its address.
    is_counted: AtomicBool,
    /// Calls that are held on it.
    held: AtomicUsize,
    _permit: OwnedSemaphorePermit,
}

/// A call that is held on a connection. Dropping it ends that.
#[derive(Debug)]
pub(in crate::http) struct HeldOnConnection {
    place: Arc<Place>,
    /// How many were held there when it began.
    pub(in crate::http) others: usize,
}

impl Drop for HeldOnConnection {
    fn drop(&mut self) {
        self.place.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionSlots {
    /// Slots for `connections` in all; connections from `trusted_proxies` are not counted by address.
    #[must_use]
    pub fn new(connections: usize, trusted_proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(connections)),
            per_address: MAX_UNPROVED_PER_ADDRESS.min(connections / 2).max(1),
            trusted_proxies,
            unproved: Mutex::default(),
            health: Mutex::default(),
        })
    }

    /// Admits a connection from this address.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Admission {
        let address = address.to_canonical();
        let counts = !self.trusted_proxies.iter().any(|network| network.contains(&address));
        let Ok(permit) = self.places.clone().try_acquire_owned() else { return self.admit_for_health(address, "all") };
        if counts {
            let mut unproved = lock(&self.unproved);
            let count = unproved.entry(address).or_default();
            if *count >= self.per_address {
                drop(unproved);
                return self.admit_for_health(address, "address");
            }
            *count += 1;
        }
        let is_counted = AtomicBool::new(counts);
        Admission::Full(Arc::new(Place {
            slots: self.clone(),
            address,
            is_counted,
            held: AtomicUsize::new(0),
            _permit: permit,
        }))
    }

    fn admit_for_health(self: &Arc<Self>, address: IpAddr, bound: &'static str) -> Admission {
        metrics::counter!("holdfast_connections_refused_total", "bound" => bound).increment(1);
        let ended = CancellationToken::new();
        let mut health = lock(&self.health);
        if health.len() >= MAX_HEALTH_CONNECTIONS {
            let count = |of: &HealthConnection| health.iter().filter(|other| other.address == of.address).count();
            // Of equal ones the last is chosen, so the search is from the newest to the oldest.
            let chosen = (0..health.len()).rev().max_by_key(|at| health.get(*at).map(count));
            chosen.into_iter().for_each(|at| health.remove(at).ended.cancel());
        }
        health.push(HealthConnection { address, ended: ended.clone() });
        Admission::HealthOnly(HealthPlace { slots: self.clone(), ended })
    }
}

impl Place {
    /// Counts a call that is held on the connection.
    pub(in crate::http) fn hold(self: &Arc<Self>) -> HeldOnConnection {
        HeldOnConnection { place: self.clone(), others: self.held.fetch_add(1, Ordering::Relaxed) }
    }

    /// Records that a credential was proved on the connection: from now on the tenant's limits bound it.
    pub(in crate::http) fn prove(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            let mut unproved = lock(&self.slots.unproved);
            if let Some(count) = unproved.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    unproved.remove(&self.address);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn full(slots: &Arc<ConnectionSlots>, last: u8) -> Option<Arc<Place>> {
        match slots.admit(address(last)) {
            Admission::Full(place) => Some(place),
            Admission::HealthOnly(_) => None,
        }
    }

    #[test]
    fn one_address_has_at_most_half_until_it_proves_a_credential() {
        let slots = ConnectionSlots::new(10, Vec::new());
        let five: Vec<_> = (0..5).map(|_| full(&slots, 1).unwrap()).collect();
        assert!(full(&slots, 1).is_none());
        assert!(full(&slots, 2).is_some(), "others are not concerned");
        five[0].prove();
        five[0].prove();
        let sixth = full(&slots, 1).unwrap();
        assert!(full(&slots, 1).is_none());
        drop((five, sixth));
        assert!(lock(&slots.unproved).is_empty(), "everything was given back");
        assert_eq!(slots.places.available_permits(), 10);
    }

    #[test]
    fn a_trusted_proxy_is_not_counted() {
        let slots = ConnectionSlots::new(10, vec!["192.0.2.1/32".parse().unwrap()]);
        let all: Vec<_> = (0..10).map(|_| full(&slots, 1).unwrap()).collect();
        assert!(full(&slots, 1).is_none(), "all places are taken");
        drop(all);
    }

    #[test]
    fn a_flood_ends_its_own_connections_and_not_a_health_check() {
        let slots = ConnectionSlots::new(1, Vec::new());
        let _taken = full(&slots, 1).unwrap();
        let admit = |last| match slots.admit(address(last)) {
            Admission::HealthOnly(place) => place,
            Admission::Full(_) => panic!("no place is free"),
        };
        let check = admit(2);
        let flood: Vec<_> = (0..100).map(|_| admit(3)).collect();
        let later = admit(4);
        assert!(!check.ended.is_cancelled() && !later.ended.is_cancelled());
        let ended = flood.iter().take_while(|place| place.ended.is_cancelled()).count();
        assert_eq!(ended, 100 - (MAX_HEALTH_CONNECTIONS - 2), "the oldest of the flood");
        assert!(flood[ended..].iter().all(|place| !place.ended.is_cancelled()));
        drop((check, flood, later));
        assert!(lock(&slots.health).is_empty(), "everything was given back");
    }
}
