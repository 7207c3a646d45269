//! Rate limiter of calls per tenant, in front of the shared count in Redis.

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

/// The local limit is this many times the tier's, so that it never refuses what the shared count would admit.
const LOCAL_FACTOR: u32 = 2;
/// Time for which this replica repeats a refusal of Redis without asking again. The tenant's burst refills meanwhile, so nothing is lost
/// but a third of a percent of the rate over half a minute.
const REFUSAL_TTL: Duration = Duration::from_millis(100);
/// Age up to which Redis' last count is trusted; short, so that a tenant whose tier rises is served within a second.
const COUNT_TTL: Duration = Duration::from_millis(500);
/// Tenants in the cache: those that called recently, since only floods matter. An evicted one begins with a full burst.
const CACHED_TENANTS: usize = 2_048;

/// Local limiters of the tenants that call this replica. One for all its runtimes.
#[derive(Debug)]
pub struct TenantLimiter {
    limiters: Cache<TenantId, Arc<LocalLimiter>>,
}

impl Default for TenantLimiter {
    fn default() -> Self {
        Self { limiters: Cache::new(CACHED_TENANTS) }
    }
}

#[derive(Debug)]
struct LocalLimiter {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
}

impl TenantLimiter {
    /// Admits a call to Redis.
    ///
    /// # Errors
    /// [`TooFast`] when the tenant calls this replica alone at more than twice its rate, or when Redis is known to refuse: it refused within
    /// the last 100 ms, or the backlog that it last reported leaves no room yet.
    pub fn admit(&self, caller: &Caller) -> Result<(), TooFast> {
        let Some(rate) = caller.limits().rate else { return Ok(()) };
        let refusal = |wait_us| Err(TooFast { tier: caller.tenant().tier, rate, wait_us, now_us: None });
        if let Some(state) = caller.tenant_handle().rate_state().now()
            && state.rate == rate
        {
            let wait_us = rate.wait_us(state.backlog_us, 1);
            if wait_us > 0 && state.age < COUNT_TTL {
                return refusal(wait_us);
            }
            if state.refused && state.age < REFUSAL_TTL {
                return refusal((REFUSAL_TTL - state.age).as_micros() as i64);
            }
        }
        match self.limiter(&caller.tenant().id, rate).limiter.check() {
            Ok(()) => Ok(()),
            Err(until) => {
                refusal(until.wait_time_from(governor::clock::DefaultClock::default().now()).as_micros() as i64)
            }
        }
    }

    fn limiter(&self, tenant: &TenantId, rate: Rate) -> Arc<LocalLimiter> {
        if let Some(limiter) = self.limiters.get(tenant).filter(|limiter| limiter.rate == rate) {
            return limiter;
        }
        let limiter = Arc::new(LocalLimiter { rate, limiter: RateLimiter::direct(local_quota(rate)) });
        self.limiters.insert(tenant.clone(), limiter.clone());
        limiter
    }
}

fn local_quota(rate: Rate) -> Quota {
    let times = |number: u32| NonZeroU32::new(number.saturating_mul(LOCAL_FACTOR)).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(times(rate.per_second)).allow_burst(times(rate.burst))
}
