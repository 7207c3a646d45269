//! Rate limit with a burst, counted by the generic cell rate algorithm (GCRA, ITU-T I.371): its whole state is one number, the backlog.
//!
//! Each unit of cost adds 1/rate seconds to the backlog, which shrinks as time passes. A call is admitted as long as the backlog with it
//! stays within burst/rate seconds. Nothing here reads a clock.

use crate::domain::tier::Tier;

/// Items that a call may have at a cost of 1.
const ITEMS_INCLUDED: usize = 100;
/// Bytes that it may carry to Redis at a cost of 1, 100 KiB.
const BYTES_INCLUDED: usize = 100 << 10;
const SECOND_US: f64 = 1_000_000.0;

/// Rate limit, in units of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units per second in the long run.
    pub per_second: u32,
    /// Units at once, after as long a rest as [`Rate::window_s`].
    pub burst: u32,
}

impl Rate {
    /// Units that a backlog, in microseconds, leaves of the burst.
    #[must_use]
    pub fn left(self, backlog_us: i64) -> i64 {
        let in_use = (backlog_us.max(0) as f64 * f64::from(self.per_second) / SECOND_US).ceil() as i64;
        (i64::from(self.burst) - in_use).max(0)
    }

    /// Wait until a call of this cost is admitted, in microseconds; 0: it is admitted now. One that costs more than the burst costs the burst.
    #[must_use]
    pub fn wait_us(self, backlog_us: i64, cost: u32) -> i64 {
        let unit_us = SECOND_US / f64::from(self.per_second);
        let over = backlog_us as f64 + f64::from(cost.min(self.burst)) * unit_us - f64::from(self.burst) * unit_us;
        // Tolerance of 1 us, as in the script: rounding must not cost a unit.
        if over > 1.0 { over.ceil() as i64 } else { 0 }
    }

    /// Seconds until an empty burst is full again, if nobody calls.
    #[must_use]
    pub fn window_s(self) -> u32 {
        self.burst.div_ceil(self.per_second).max(1)
    }
}

/// Cost of a call: 1, and 1 more for each further 100 items or 100 KiB begun, whichever is more.
#[must_use]
pub fn cost(items: usize, bytes: usize) -> u32 {
    items.div_ceil(ITEMS_INCLUDED).max(bytes.div_ceil(BYTES_INCLUDED)).max(1) as u32
}

/// Value of `Retry-After`: the wait in whole seconds, rounded up, at least 1.
#[must_use]
pub fn retry_after_s(wait_us: i64) -> i64 {
    (wait_us as f64 / SECOND_US).ceil().max(1.0) as i64
}

/// Refusal of a call beyond its tenant's rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast {
    /// The tenant's tier.
    pub tier: Tier,
    /// The tenant's rate limit.
    pub rate: Rate,
    /// Wait until the call would be admitted, in microseconds, if nobody else calls.
    pub wait_us: i64,
    /// Redis' clock in microseconds, where Redis counted; `None` where this replica refused by itself.
    pub now_us: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Rate = Rate { per_second: 10, burst: 20 };

    #[test]
    fn a_call_costs_one_more_for_each_further_hundred_items_or_100_kib_begun() {
        assert_eq!([0, 1, 100, 101, 200, 201, 1_000].map(|items| cost(items, 0)), [1, 1, 1, 2, 2, 3, 10]);
        assert_eq!([0, 102_400, 102_401, 204_800, 204_801, 16 << 20].map(|bytes| cost(1, bytes)), [1, 1, 2, 2, 3, 164]);
        assert_eq!((cost(1_000, 204_800), cost(100, 1_024_000)), (10, 10));
    }

    #[test]
    fn the_backlog_says_what_is_left_and_how_long_to_wait() {
        assert_eq!((FREE.left(0), FREE.wait_us(0, 20)), (20, 0));
        assert_eq!((FREE.left(2_000_000), FREE.wait_us(2_000_000, 1)), (0, 100_000));
        assert_eq!((FREE.left(1_950_000), FREE.wait_us(1_950_000, 1)), (0, 50_000));
        assert_eq!((FREE.left(1_900_000), FREE.wait_us(1_900_000, 1)), (1, 0));
        // More than the burst: it takes all of it.
        assert_eq!((FREE.wait_us(0, 21), FREE.wait_us(100_000, 164)), (0, 100_000));
    }

    #[test]
    fn retry_after_is_never_too_early() {
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(retry_after_s), [1, 1, 1, 2]);
    }
}
