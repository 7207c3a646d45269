//! Rate limiter of attempts per client address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};

/// Most addresses with state; beyond that all state is dropped.
const MAX_ADDRESSES: usize = 50_000;

/// Counts attempts per address by GCRA. One for all runtimes of the replica.
#[derive(Debug)]
pub struct AddressLimiter {
    quota: Quota,
    addresses: Mutex<HashMap<IpAddr, Attempts>>,
}

#[derive(Debug)]
struct Attempts {
    limiter: DefaultDirectRateLimiter,
    refused_until: Option<Instant>,
}

impl AddressLimiter {
    /// Allows `burst` attempts at once, and `per_minute` in the long run.
    #[must_use]
    pub fn new(burst: NonZeroU32, per_minute: NonZeroU32) -> Self {
        Self { quota: Quota::per_minute(per_minute).allow_burst(burst), addresses: Mutex::default() }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Attempts>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one attempt.
    ///
    /// # Errors
    /// The wait until the next attempt is allowed.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        let mut addresses = self.addresses();
        if addresses.len() >= MAX_ADDRESSES {
            addresses.clear();
        }
        let attempts = addresses
            .entry(network(address))
            .or_insert_with(|| Attempts { limiter: RateLimiter::direct(self.quota), refused_until: None });
        attempts.limiter.check().map_err(|until| {
            let wait = until.wait_time_from(governor::clock::DefaultClock::default().now());
            attempts.refused_until = Some(Instant::now() + wait);
            wait
        })
    }

    /// Checks whether the address may try, without counting an attempt.
    ///
    /// # Errors
    /// The wait until the next attempt is allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        match self.addresses().get(&network(address)).and_then(|attempts| attempts.refused_until) {
            Some(until) if until > now => Err(until - now),
            _ => Ok(()),
        }
    }
}

/// The unit that is limited: an IPv4 address, or the /64 network of an IPv6 address, which one client owns as a whole.
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
        assert!(attempts.check(bad).is_ok(), "three are allowed, and a fourth may be a good one");
        assert!(attempts.count(bad).is_err());
        assert!(attempts.check(address("2001:db8::2")).is_err(), "the same network");
        assert!(attempts.check(address("2001:db8:0:1::1")).is_ok());
        assert!(attempts.check(address("::ffff:192.0.2.1")).is_ok());
    }
}
