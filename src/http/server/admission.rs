//! Admission of connections: how many a replica serves, how many of one address without a credential, and the places
//! that are kept for health checks when all others are taken.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
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
/// Connections beyond all bounds that are served for health checks alone, 32; the next one ends the oldest.
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
    health: Mutex<VecDeque<CancellationToken>>,
}

/// What a connection is admitted to.
#[derive(Debug)]
pub(super) enum Admission {
    /// Everything.
    Full(Arc<Place>),
    /// Health checks alone, until the token is cancelled.
    HealthOnly(CancellationToken),
}

/// A connection's place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
    /// Whether it counts against its address.
    is_counted: AtomicBool,
    _permit: OwnedSemaphorePermit,
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
        let Ok(permit) = self.places.clone().try_acquire_owned() else { return self.admit_for_health("all") };
        if counts {
            let mut unproved = lock(&self.unproved);
            let count = unproved.entry(address).or_default();
            if *count >= self.per_address {
                drop(unproved);
                return self.admit_for_health("address");
            }
            *count += 1;
        }
        let is_counted = AtomicBool::new(counts);
        Admission::Full(Arc::new(Place { slots: self.clone(), address, is_counted, _permit: permit }))
    }

    fn admit_for_health(&self, bound: &'static str) -> Admission {
        metrics::counter!("holdfast_connections_refused_total", "bound" => bound).increment(1);
        let token = CancellationToken::new();
        let mut health = lock(&self.health);
        if health.len() >= MAX_HEALTH_CONNECTIONS
            && let Some(oldest) = health.pop_front()
        {
            oldest.cancel();
        }
        health.push_back(token.clone());
        Admission::HealthOnly(token)
    }
}

impl Place {
    /// Records that a credential was proved on the connection: from now on the tenant's limits bound it.
    pub(super) fn prove(&self) {
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
    fn the_latest_health_checks_are_served() {
        let slots = ConnectionSlots::new(1, Vec::new());
        let _taken = full(&slots, 1).unwrap();
        let health: Vec<_> = (0..40)
            .map(|_| match slots.admit(address(2)) {
                Admission::HealthOnly(token) => token,
                Admission::Full(_) => panic!("no place is free"),
            })
            .collect();
        let ended = health.iter().take_while(|token| token.is_cancelled()).count();
        assert_eq!(ended, 40 - MAX_HEALTH_CONNECTIONS);
        assert!(health[ended..].iter().all(|token| !token.is_cancelled()));
    }
}
