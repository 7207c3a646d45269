//! The guard of each replica in front of the shared count.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use quick_cache::sync::Cache;

use crate::{
    domain::{
        names::TenantId,
        rate::{Rate, TooFast},
    },
    store::Caller,
};

/// The guard is so much looser than the tier: it must never refuse what the shared count would admit.
const LOOSER: u32 = 2;
/// After a refusal by Redis this replica refuses by itself for so long. Meanwhile the tenant's burst fills by as much, and is not lost:
/// over half a minute it is a third of a percent of the rate.
const HOLD: Duration = Duration::from_millis(100);
/// What Redis said is believed for so long, so that a tenant whose tier rises is served within a second.
const BELIEVED: Duration = Duration::from_millis(500);
/// How many tenants' guards are remembered: those that called lately, since it is for floods. One that is forgotten begins anew.
const TENANTS: usize = 2_048;

/// The guards of the tenants that call here. One for all runtimes of the replica.
#[derive(Debug)]
pub struct TenantLimiter {
    guards: Cache<TenantId, Arc<Guard>>,
}

impl Default for TenantLimiter {
    fn default() -> Self {
        Self { guards: Cache::new(TENANTS) }
    }
}

#[derive(Debug)]
struct Guard {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
}

impl TenantLimiter {
    /// Lets a call go on to Redis.
    ///
    /// # Errors
    /// [`TooFast`] when it is beyond twice the tier's rate here alone, or when Redis is known to refuse it: it refused within the last
    /// tenth of a second, or what it last said leaves no room yet.
    pub fn admit(&self, caller: &Caller) -> Result<(), TooFast> {
        let Some(rate) = caller.limits().rate else { return Ok(()) };
        let refusal = |wait_us| Err(TooFast { tier: caller.tenant().tier, rate, wait_us, now_us: None });
        if let Some(pace) = caller.place().pace().now()
            && pace.rate == rate
        {
            let wait_us = rate.wait_us(pace.backlog_us, 1);
            if wait_us > 0 && pace.age < BELIEVED {
                return refusal(wait_us);
            }
            if pace.refused && pace.age < HOLD {
                return refusal((HOLD - pace.age).as_micros() as i64);
            }
        }
        let guard = self.guard(&caller.tenant().id, rate);
        match guard.limiter.check() {
            Ok(()) => Ok(()),
            Err(until) => {
                refusal(until.wait_time_from(governor::clock::DefaultClock::default().now()).as_micros() as i64)
            }
        }
    }

    fn guard(&self, tenant: &TenantId, rate: Rate) -> Arc<Guard> {
        if let Some(guard) = self.guards.get(tenant).filter(|guard| guard.rate == rate) {
            return guard;
        }
        let guard = Arc::new(Guard { rate, limiter: RateLimiter::direct(looser(rate)) });
        self.guards.insert(tenant.clone(), guard.clone());
        guard
    }
}

fn looser(rate: Rate) -> Quota {
    let twice = |number: u32| NonZeroU32::new(number.saturating_mul(LOOSER)).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(twice(rate.per_second)).allow_burst(twice(rate.burst))
}
