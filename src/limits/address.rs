//! How often an address may try.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};

/// How many addresses are remembered. Beyond that all are forgotten and begin anew.
const ADDRESSES: usize = 50_000;

/// A count of attempts per address. One for all runtimes of the replica.
#[derive(Debug)]
pub struct AddressLimiter {
    quota: Quota,
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

#[derive(Debug)]
struct Address {
    limiter: DefaultDirectRateLimiter,
    refused_until: Option<Instant>,
}

impl AddressLimiter {
    /// Allows so many at once, and then so many per minute.
    #[must_use]
    pub fn new(at_once: NonZeroU32, per_minute: NonZeroU32) -> Self {
        Self { quota: Quota::per_minute(per_minute).allow_burst(at_once), addresses: Mutex::default() }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one attempt.
    ///
    /// # Errors
    /// How long to wait when there were too many.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        let mut addresses = self.addresses();
        if addresses.len() >= ADDRESSES {
            addresses.clear();
        }
        let known = addresses
            .entry(network(address))
            .or_insert_with(|| Address { limiter: RateLimiter::direct(self.quota), refused_until: None });
        known.limiter.check().map_err(|until| {
            let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
            known.refused_until = Some(Instant::now() + wait);
            wait
        })
    }

    /// Whether the address may try, without counting it as an attempt.
    ///
    /// # Errors
    /// How long to wait when there were too many.
    pub fn may(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        match self.addresses().get(&network(address)).and_then(|known| known.refused_until) {
            Some(until) if until > now => Err(until - now),
            _ => Ok(()),
        }
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_after_its_attempts_and_others_are_not() {
        let (three, one) = (NonZeroU32::new(3).unwrap(), NonZeroU32::new(1).unwrap());
        let attempts = AddressLimiter::new(three, one);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let bad = address("2001:db8::1");
        assert!((0..3).all(|_| attempts.count(bad).is_ok()));
        assert!(attempts.may(bad).is_ok(), "three are allowed, and a fourth may be a good one");
        assert!(attempts.count(bad).is_err());
        assert!(attempts.may(address("2001:db8::2")).is_err(), "the same network");
        assert!(attempts.may(address("2001:db8:0:1::1")).is_ok());
        assert!(attempts.may(address("::ffff:192.0.2.1")).is_ok());
    }
}
